"""`zoo data check` in several processes: the report is the same, whatever their number; one that is killed is named."""

from __future__ import annotations

import csv
import os
import pickle
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import psutil
import pytest
from PIL import Image

from pipelines.core.support.workers import in_workers
from pipelines.datasets import check
from pipelines.datasets.check import data_check
from pipelines.datasets.report import EXAMPLES
from zoo.data.folders import checking, inspection
from zoo.data.folders.checking import check_images
from zoo.data.registry import list_data
from zoo.errors import InputError

IMAGES = 40  # of two classes, some of which are copies, lightened, or broken
KINDS = ["folder", "table", "shards", "arrays"]
# Who runs tests in the background ignores Ctrl-C, and so does all that is started from there.
COMMAND = """import signal, sys
from pipelines.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())"""


def pixels(k):
    """[12, 12] of uint8, or of 16 bits."""
    number = k - k % 10 if k % 10 in (2, 4) else k  # 2 is a copy of 0, and 4 is 0, lightened
    found = np.random.default_rng(number).integers(0, 200, (12, 12), dtype=np.uint8) + np.uint8(20 * (k % 10 == 4))
    return found.astype(np.uint16) * 20 if k == 31 else found


def make(kind, root):
    """The data set at a place, which is returned."""
    folder = root / "images"
    for k in range(IMAGES):
        file = folder / "ab"[k % 4 == 3] / f"{k}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(k)).save(file)
    (folder / "a" / "9.png").write_text("milk")
    files = sorted(folder.rglob("*.png"))
    if kind == "table":
        with (root / "table.csv").open("w", newline="") as text:
            csv.writer(text).writerows([("path", "label"), *((file, file.parent.name) for file in files)])
        return root / "table.csv"
    if kind == "shards":
        label = root / "label.cls"
        for number in range(3):
            with tarfile.open(root / f"part-{number}.tar", "w") as shard:
                for file in files[number::3]:
                    label.write_text(file.parent.name)
                    shard.add(file, f"{file.stem}.png")
                    shard.add(label, f"{file.stem}.cls")
        return root / "part-*.tar"
    if kind == "arrays":
        images = [pixels(k).astype(np.uint8) for k in range(IMAGES)]
        labels = np.arange(IMAGES) % 2
        half = IMAGES // 2 + 3
        train, test = {"x_train": images[:half], "y_train": labels[:half]}, {"x_test": images[half:]}
        np.savez(root / "arrays.npz", **train, **test, y_test=labels[half:])
        return root / "arrays.npz"
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_of_parts_is_that_of_the_whole(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(checking, "PART", 7)
    listing, steps = list_data(str(make(kind, tmp_path))), []
    one, shown = check_images(listing, examples=EXAMPLES, on_progress=lambda *_: None)
    parts, shown_of_parts = check_images(
        listing, examples=EXAMPLES, on_progress=lambda *done: steps.append(done), mapping=map_as_between_processes
    )
    assert one.surplus["equal"] and one.surplus["near"]
    assert kind == "arrays" or (len(one.unreadable) == 1 and "of 16 bits" in str(one.findings))
    assert parts == one
    assert list(shown_of_parts) == list(shown)
    for label, images in shown.items():
        assert list(map(np.ndarray.tolist, shown_of_parts[label])) == list(map(np.ndarray.tolist, images))
    assert steps[-1] == (IMAGES, IMAGES)


def map_as_between_processes(look, parts):
    """As other processes get them and give them back."""
    for part in parts:
        yield pickle.loads(pickle.dumps(look(pickle.loads(pickle.dumps(part)))))


@pytest.mark.parametrize("mapping", [None, map_as_between_processes])
def test_of_too_many_images_no_thumbs_are_made_and_equal_ones_are_found_alone(tmp_path, monkeypatch, mapping):
    for module in (checking, inspection):
        monkeypatch.setattr(module, "LARGEST_WITH_THUMBS", IMAGES - 1)
        for maker in ("thumb_of", "writing_thumbs"):
            monkeypatch.delattr(module, maker)
    listing = list_data(str(make("folder", tmp_path)))
    report, _ = check_images(listing, on_progress=lambda *_: None, mapping=mapping)
    assert report.surplus == {"equal": 4}


def test_several_processes_give_what_they_find_in_order():
    found = in_workers(abs, [*range(-20, 0), "a"], 2)
    assert [next(found) for _ in range(20)] == [*range(20, 0, -1)]
    with pytest.raises(TypeError, match="bad operand"):
        next(found)


@pytest.mark.parametrize("count", [0, -1])
def test_no_process_is_refused(count, tmp_path):
    with pytest.raises(InputError, match=f"processes must be 1 or more, received {count}"):
        data_check(tmp_path, processes=count)


# --- a command of its own -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Six thousand images of 256x256: tens of seconds of work."""
    folder = tmp_path_factory.mktemp("many") / "images"
    for name in "ab":
        (folder / name).mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a" / "0.png")
    for k in range(1, 6_000):
        (folder / "ab"[k % 2] / f"{k}.png").hardlink_to(folder / "a" / "0.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("whose", ["a process's end", "Ctrl-C", "the command's end"])
def test_what_ends_is_one_sentence_and_no_process_is_left(whose, many, tmp_path):
    """Slow: thousands of images, until it has been killed."""
    words = [sys.executable, "-c", COMMAND, "data", "check", str(many), "--processes", "2"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as process:
        workers = []
        while len(workers) < 2 or min(sum(each.cpu_times()[:2]) for each in workers) < 3:  # they are at work
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
            every = psutil.Process(process.pid).children()
            workers = [each for each in every if "spawn_main" in " ".join(each.cmdline())]
        if whose == "a process's end":
            workers[0].kill()
        else:
            process.send_signal(signal.SIGINT if whose == "Ctrl-C" else signal.SIGKILL)
        out, said = process.communicate()
    assert not psutil.wait_procs(every, timeout=60)[1]
    assert out == "" and "Traceback" not in said
    if whose == "the command's end":
        assert process.returncode == -signal.SIGKILL
        return
    code, sentence = {
        "a process's end": (
            1,
            "zoo: one of 2 processes that read images was killed or crashed: check how much memory is free, or use "
            "fewer processes",
        ),
        "Ctrl-C": (130, "zoo: interrupted"),
    }[whose]
    assert (process.returncode, said.splitlines()[-1]) == (code, sentence)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_processes_reports_what_one_does(kind, tmp_path, monkeypatch):
    """Slow: processes are started for each."""
    monkeypatch.setattr(checking, "PART", 7)
    monkeypatch.setattr(check, "PART", 7)
    data, page = make(kind, tmp_path), tmp_path / "page.html"
    one, *others = ((data_check(data, page=page, processes=k), page.read_bytes()) for k in (1, 2, 3))
    assert others == [one, one]
