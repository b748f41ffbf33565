"""Files that somebody means ill with, or a disk has garbled: no crash, no hang, and an end to the memory they take."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from glyphs import fonts, save_letters
from PIL import Image

from pipelines.datasets.check import data_check
from pipelines.training.train import train
from zoo.errors import DataError
from zoo.images import LARGEST_IMAGE

MUTATED = 1000
# Of resident memory beyond that of an empty check: one image of 64 million pixels, laid on white.
MEMORY_BOUND = 1.5 * 2**30

CHECK = """
import resource, sys
from pathlib import Path
from pipelines.datasets.check import data_check
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
data_check(Path(sys.argv[1]))
before = peak()
report = data_check(Path(sys.argv[2]))
print(report.files, report.readable, peak() - before)
"""


def mutate(whole: bytes, dice: random.Random) -> bytes:
    """One of the ways in which a file goes wrong, or is made to."""
    data = bytearray(whole)
    kind = dice.randrange(6)
    if kind == 0:  # bits flipped anywhere
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif kind == 1:  # cut
        del data[dice.randrange(len(data)) :]
    elif kind == 2:  # another format's beginning
        data[: dice.randrange(4, 32)] = dice.choice(
            (b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"RIFF", b"II*\0")
        )
    elif kind == 3:  # a size, or a length, that can't be
        place = dice.randrange(min(len(data), 64))
        data[place : place + 4] = b"\xff\xff\xff\x7f"
    elif kind == 4:  # a part moved elsewhere
        begin, end = sorted(dice.randrange(len(data)) for _ in range(2))
        data[begin:end] = data[begin:end][::-1]
    else:  # garbage behind or between
        place = dice.randrange(len(data))
        data[place:place] = dice.randbytes(dice.randrange(1, 500))
    return bytes(data)


@pytest.fixture(scope="module")
def mutated(tmp_path_factory):
    root = tmp_path_factory.mktemp("mutated") / "letters"
    save_letters(root, fonts()[::6], 20)
    dice = random.Random(0)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    for k in range(MUTATED):
        source = dice.choice(files)
        source.with_name(f"mutated {k}{source.suffix}").write_bytes(mutate(source.read_bytes(), dice))
    return root


def measured(clean: Path, hostile: Path) -> tuple[int, int, int]:
    """Files, readable ones, and bytes of memory that the check took beyond that of a clean folder."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK, clean, hostile],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    files, readable, memory = map(int, done.stdout.split())
    return files, readable, memory


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    root = tmp_path_factory.mktemp("clean")
    save_letters(root, fonts()[::6], 1)
    return root


def test_a_thousand_mutated_images_are_checked_in_bounded_memory(mutated, clean):
    files, readable, memory = measured(clean, mutated)
    assert files == 26 * 20 + MUTATED
    assert 26 * 20 < readable < files  # some mutations harm nothing that is looked at
    assert memory < MEMORY_BOUND


@pytest.mark.slow  # 8 seconds; the bound itself is tested on small files above
def test_large_images_are_decoded_one_at_a_time(clean, tmp_path):
    save_letters(tmp_path, fonts()[:3], 3)
    side = int(LARGEST_IMAGE**0.5)
    Image.new("LA", (side, side)).save(tmp_path / "a" / "0.png", compress_level=1)
    for k in range(1, 3):
        (tmp_path / "a" / f"{k}.png").hardlink_to(tmp_path / "a" / "0.png")
    files, readable, memory = measured(clean, tmp_path)
    assert files == readable
    assert memory < MEMORY_BOUND


@pytest.mark.slow  # two trainings; the check of the same images is tested above
def test_mutated_images_are_learned_from_or_refused_in_one_sentence(mutated, store):
    settings = {"epochs": 1, "precision": "float32"}
    with pytest.raises(DataError, match=r"images in .* can't be read, expected at most 5%") as error:
        train("softmax", str(mutated), size=(16, 16), settings=settings)
    assert "\n" not in str(error.value)

    for problem in data_check(mutated).unreadable[40:]:
        (mutated / problem.file).unlink()
    trained = train("softmax", str(mutated), size=(16, 16), settings=settings)
    assert trained.validation_accuracy is not None
