"""Tar shards, as WebDataset writes them: what is a sample, which split it is in, and what a damaged shard is."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from published import jpeg, noise, tar

from pipelines.cli import main
from pipelines.core.provenance.plan import make_plan
from zoo.data import load
from zoo.data.folders.layouts import list_images
from zoo.errors import DataError
from zoo.images import read_image

CLASSES = ("cat", "dog")


def sample(key: str, label: str | int, seed: int, ending: str = "cls") -> dict[str, bytes]:
    text = str(label) if ending == "cls" else json.dumps({"label": label, "caption": "an animal"})
    return {f"{key}.jpg": jpeg(seed), f"{key}.{ending}": text.encode()}


def members(count: int, first: int = 0, ending: str = "cls") -> dict[str, bytes]:
    """Samples by their names, one class after the other in turn."""
    found: dict[str, bytes] = {}
    for k in range(first, first + count):
        found |= sample(f"{k:03}", CLASSES[k % 2], k, ending)
    return found


def save(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar(files))
    return path


def told(path: Path | str, **options) -> str:
    with pytest.raises(DataError) as error:
        load(str(path), **options)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.fixture
def shards(tmp_path):
    """A folder with two shards of ten samples each."""
    folder = tmp_path / "pets"
    for k in range(2):
        save(folder / f"part-{k:03}.tar", members(10, 10 * k))
    return folder


# --- what is a sample ------------------------------------------------------------------------------------------------


def test_each_image_has_the_label_beside_it(shards):
    data = load(str(shards))
    assert data.labels == CLASSES
    assert data.name == "pets"
    assert [len(split) for split in (data.train, data.validation, data.test)] == [14, 2, 4]
    for split in (data.train, data.validation, data.test):
        for name, label, image in zip(split.names, split.labels, split.inputs, strict=True):
            place = int(Path(name).stem)
            assert name == f"part-{place // 10:03}.tar/{place:03}.jpg"
            assert label == place % 2
            np.testing.assert_array_equal(image, read_image(jpeg(place), 3))


def test_images_come_from_a_file_where_memory_is_short_and_anew_where_a_shard_changed(shards, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    expected = load(str(shards), size=(16, 16)).digest
    monkeypatch.setenv("ZOO_MEMORY", "0")
    assert load(str(shards), size=(16, 16)).digest == expected
    changed = members(10) | {"000.jpg": jpeg(99)}
    save(shards / "part-000.tar", changed)
    assert load(str(shards), size=(16, 16)).digest != expected


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise(seed, 20, 30, 3)).save(out, "PNG")
    return out.getvalue()


# what members are called and hold -> the images and labels that they are
SAMPLES = {
    "numbers": ({"a.jpg": b"", "a.cls": b"10", "b.jpg": b"", "b.cls": b"9\n"}, [("a.jpg", "10"), ("b.jpg", "9")]),
    "json": ({"a.json": b'{"label": "cat"}', "a.jpg": b""}, [("a.jpg", "cat")]),
    "json with numbers": ({"a.json": b'{"class": 3}', "a.jpg": b""}, [("a.jpg", "3")]),
    "cls before json": ({"a.json": b'{"label": "x"}', "a.cls": b"cat", "a.jpg": b""}, [("a.jpg", "cat")]),
    "folders": (
        {"x/a.jpg": b"", "x/a.cls": b"0", "y/a.jpg": b"", "y/a.cls": b"1"},
        [("x/a.jpg", "0"), ("y/a.jpg", "1")],
    ),
    "dots in folders": ({"./v1.0/a.jpg": b"", "./v1.0/a.cls": b"0"}, [("v1.0/a.jpg", "0")]),
    "the first dot": ({"a.b.jpg": b"", "a.jpg": b"", "a.cls": b"0"}, [("a.jpg", "0")]),
    "capitals": ({"a.JPG": b"", "a.CLS": b"0"}, [("a.jpg", "0")]),
    "masks": ({"a.jpg": b"", "a.seg.png": b"", "a.cls": b"0"}, [("a.jpg", "0")]),
    "hidden": ({".a.jpg": b"", ".a.cls": b"0", "README": b"hello", "b.png": b"", "b.cls": b"0"}, [("b.png", "0")]),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_a_sample_is_one_name_up_to_its_first_dot(tmp_path, case):
    files, expected = SAMPLES[case]
    listing = list_images(save(tmp_path / "a.tar", files))
    found = [
        (name.removeprefix("a.tar/"), listing.labels[k]) for name, k in zip(listing.files, listing.classes, strict=True)
    ]
    assert found == expected


def test_a_label_that_is_named_is_the_one_that_counts(tmp_path):
    """Of the .json, also beside a .cls, which has no names."""
    files = {}
    for k in range(12):
        entry = json.dumps({"breed": ("pug", "tabby")[k % 2], "label": "pet"}).encode()
        files |= {f"{k}.jpg": jpeg(k), f"{k}.cls": b"animal", f"{k}.json": entry}
    assert load(str(save(tmp_path / "a.tar", files)), label="breed").labels == ("pug", "tabby")


def test_what_is_no_sample_is_left_out_and_named(shards):
    loose = {"x.jpg": b"", "y.cls": b"cat", **members(10)}
    save(shards / "part-000.tar", loose)
    skipped = load(str(shards)).skipped
    assert any("x in" in sentence and "has no label: expected samples" in sentence for sentence in skipped)
    assert any("y in" in sentence and "has no image" in sentence for sentence in skipped)


def test_labels_apart_from_their_images_are_told(tmp_path):
    files = members(10)
    images = {name: content for name, content in files.items() if name.endswith(".jpg")}
    message = told(save(tmp_path / "a.tar", {**images, **files}))  # a dictionary: first all images
    assert "holds no images (" in message
    assert "of one name and next to each other" in message


def test_another_entry_of_the_json_is_the_label_where_one_is_named(tmp_path):
    files: dict[str, bytes] = {}
    for k in range(20):
        files |= {f"{k}.jpg": jpeg(k), f"{k}.json": json.dumps({"label": 0, "breed": CLASSES[k % 2]}).encode()}
    path = save(tmp_path / "a.tar", files)
    assert load(str(path), label="breed").labels == CLASSES
    assert "did you mean breed?" in told(path, label="bred")


# --- which shards, and which split -----------------------------------------------------------------------------------


def test_a_file_a_pattern_and_a_folder_mean_shards(shards, monkeypatch):
    whole = load(str(shards)).digest
    for pattern in ("part-*.tar", "part-{000..001}.tar", "part-00[01].tar", "*.tar"):
        found = load(str(shards / pattern))
        assert (found.digest, found.name) == (whole, "pets")
    assert len(load(str(shards / "part-001.tar")).train) == 6
    monkeypatch.chdir(shards)
    assert load("part-*.tar").digest == whole
    assert make_plan("softmax", "part-*.tar").data == str(shards / "part-*.tar")
    assert f"{shards}/part-002.tar matches no shard" in told(shards / "part-{000..002}.tar")
    assert "stands for 1,000,000 shards" in told(shards / "part-{000000..999999}.tar")
    assert "stands for 0 shards" in told(shards / "part-{5..2}.tar")
    assert "matches no shard" in told("nothing-*.tar")


NAMED = {
    "folders": ("train/0.tar", "val/0.tar", "test/0.tar"),
    "names": ("pets-train-0.tar", "pets-validation-0.tar", "pets-test-0.tar"),
}


@pytest.mark.parametrize(
    ("pattern", "name", "splits"),
    [
        ("{0..1}/part.tar", "{}/part.tar", (14, 2, 4)),
        ("*/part-0.tar", "day-{}/part-0.tar", (14, 2, 4)),
        ("*/part.tar", ("train/part.tar", "val/part.tar"), (8, 10, 2)),
    ],
)
def test_a_pattern_may_have_wildcards_in_its_folders(tmp_path, monkeypatch, pattern, name, splits):
    names = [name.format(k) for k in range(2)] if isinstance(name, str) else name
    for k, each in enumerate(names):
        save(tmp_path / "pets" / each, members(10, 10 * k))
    for found in (load(str(tmp_path / "pets" / pattern)), monkeypatch.chdir(tmp_path) or load(f"pets/{pattern}")):
        assert (found.name, tuple(map(len, (found.train, found.validation, found.test)))) == ("pets", splits)


@pytest.mark.parametrize("case", NAMED)
def test_splits_are_those_that_folders_or_names_mean(tmp_path, case):
    for k, name in enumerate(NAMED[case]):
        save(tmp_path / name, members(6 + 2 * k, 20 * k))
    data = load(str(tmp_path))
    assert [len(split) for split in (data.train, data.validation, data.test)] == [6, 8, 10]
    (tmp_path / NAMED[case][1]).unlink()
    if case == "folders":
        (tmp_path / "val").rmdir()
    assert len(load(str(tmp_path)).test) == 10


def test_names_that_mean_a_split_for_some_alone_are_told(shards):
    save(shards / "pets-train-0.tar", members(2))
    assert "part-000.tar, which isn't called like one of them" in told(shards)


def test_an_archive_beside_folders_of_classes_is_no_shard(tmp_path):
    save(tmp_path / "backup.tar", members(2))
    for label in CLASSES:
        (tmp_path / label).mkdir()
        for k in range(3):
            (tmp_path / label / f"{k}.jpg").write_bytes(jpeg(k + len(label) * (label == "dog")))
    assert list_images(tmp_path).files[0] == "cat/0.jpg"


def test_what_goes_with_other_layouts_is_refused(shards):
    assert "--groups requires a table or a folder" in told(shards, groups="folder")
    assert "--images requires a table or a folder" in told(shards, images=shards)


def test_a_shard_that_is_a_link_is_followed_on_demand(shards, tmp_path):
    save(tmp_path / "elsewhere.tar", members(2, 30))
    (shards / "part-002.tar").symlink_to(tmp_path / "elsewhere.tar")
    assert "a link that leads out of" in told(shards)
    assert len(load(str(shards), follow_links=True).train) == 16


# --- what is wrong with a shard --------------------------------------------------------------------------------------


def several(content: bytes) -> bytes:
    return content + content


def below_0() -> bytes:
    """The header of a member, after which older versions of tarfile come to the same header again (CVE-2025-8194)."""
    header = bytearray(tarfile.TarInfo("b.txt").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


# Of an archive whose second member begins at byte 1,024: a header and a block of bytes are before it.
DAMAGES = {
    "cut within an image": (lambda content: content[:2000], "it was cut short"),
    "cut at a member's end": (lambda content: content[:1024], "it was cut short"),
    "cut within a header": (lambda content: content[:1100], "it was cut short"),
    "without its end": (lambda content: content.rstrip(b"\0") + bytes(-len(content.rstrip(b"\0")) % 512), "cut short"),
    "damaged header": (lambda content: content[:1024] + b"x" * 512 + content[1536:], "it is damaged at byte 1,024"),
    "compressed": (gzip.compress, "it is compressed: unpack it by gunzip"),
    "two in one": (several, "data after its end"),
    "a size below 0": (lambda content: content[:1024] + below_0() + content[1536:], "b.txt has a size below 0"),
    "no archive": (lambda content: b"milk, bread" * 500, "it isn't a tar archive"),
    "empty": (lambda content: b"", "it isn't a tar archive, empty file"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_named_in_one_sentence(shards, damage):
    change, expected = DAMAGES[damage]
    shard = shards / "part-001.tar"
    shard.write_bytes(change(tar({"9.cls": b"cat", "9.jpg": jpeg(9), **members(4)})))
    message = told(shards)
    assert message.startswith(f"{shard} can't be read as a shard (")
    assert expected in message


LABELS = {
    "two images": ({"a.png": b""}, "a has two images, jpg and png"),
    "twice": ({"b.jpg": b"", "b.JPG": b""}, "b.JPG is in it twice"),
    "no text": ({"b.jpg": b"", "b.cls": b"\xff\xfe"}, "b.cls: 'utf-8' codec can't decode"),
    "empty": ({"b.jpg": b"", "b.cls": b" \n"}, "b.cls has no label"),
    "no json": ({"b.jpg": b"", "b.json": b"cat"}, "b.json: Expecting value"),
    "a list": ({"b.jpg": b"", "b.json": b"[1]"}, "expected an object with the label in it"),
    "no label": (
        {"b.jpg": b"", "b.json": b'{"x": 1}'},
        "no entry is called 'label': there are x; --label names another",
    ),
    "several labels": ({"b.jpg": b"", "b.json": b'{"label": [1, 2]}'}, "[1, 2] isn't a label"),
    "deep": ({"b.jpg": b"", "b.json": b"[" * 100_000}, "b.json: "),
    "large": ({"b.jpg": b"", "b.json": b" " * 2**21}, "has 2,097,152 bytes, expected at most 1,048,576"),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_that_cannot_be_read_is_named_with_its_shard(tmp_path, case):
    added, expected = LABELS[case]
    path = save(tmp_path / "a.tar", {"a.jpg": b"", "a.cls": b"cat", **added})
    message = told(path)
    assert message.startswith(f"{path} can't be read as a shard (")
    assert expected in message


def test_links_and_names_that_lead_elsewhere_lead_nowhere(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("000.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name, content in members(20, 1).items():
            member = tarfile.TarInfo(f"../../{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    before = sorted(tmp_path.parent.rglob("*"))
    data = load(str(path))
    assert len(data.train) + len(data.validation) + len(data.test) == 20
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_damaged_image_is_left_out_and_a_shard_that_shrinks_meanwhile_is_told(shards):
    files = {name: content for k in range(2) for name, content in members(20, 10 + 20 * k).items()}
    save(shards / "part-001.tar", files | {"010.jpg": jpeg(10)[:100]})
    (sentence,) = load(str(shards)).skipped
    assert "part-001.tar/010.jpg can't be opened as an image" in sentence
    listing = list_images(shards)
    os.truncate(shards / "part-001.tar", 1000)
    with pytest.raises(DataError, match="its archive is truncated"), listing.decoding(len(listing) - 1):
        pass


def test_the_check_reports_them_like_a_folder(shards, capsys):
    assert main(["data", "check", str(shards / "part-*.tar")]) == 0
    shown = capsys.readouterr().out
    assert "20 of 20 images can be read" in shown
    assert "JPEG (20)" in shown
