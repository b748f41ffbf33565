"""Known photographs, published as archives: read from these as a folder is, at the size that is asked for."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from published import FLOWERS, PETS, published_in, save_flowers, save_pets, tar

from zoo.data import load
from zoo.data.known import photos
from zoo.errors import DataError
from zoo.images import read_image, resize


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_DATA", raising=False)


@pytest.fixture
def pets(tmp_path, monkeypatch):
    """A folder with 36 pets of three breeds, and their JPEGs by name."""
    folder = tmp_path / "files"
    folder.mkdir()
    images = save_pets(folder)
    monkeypatch.setattr(photos, "PETS", published_in(folder, photos.PETS))
    return folder, images


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    folder = tmp_path / "files"
    folder.mkdir()
    images = save_flowers(folder)
    monkeypatch.setattr(photos, "FLOWERS", published_in(folder, photos.FLOWERS))
    return folder, images


@pytest.mark.parametrize("size", [(16, 24), None])
def test_pets_have_the_splits_and_the_breeds_of_their_authors(pets, size):
    folder, images = pets
    data = load("oxford-pets", folder=folder, size=size, resizing="crop")
    assert data.labels == PETS
    assert [len(split) for split in (data.train, data.validation, data.test)] == [21, 3, 12]
    assert data.name == "oxford-pets"
    assert data.mirrored
    for split in (data.train, data.test):
        for name, label, image in zip(split.names, split.labels, split.inputs, strict=True):
            assert name.startswith(PETS[label])
            expected = resize(read_image(images[f"images/{name}"], 3), *(size or (64, 64)), "crop")
            np.testing.assert_array_equal(image, expected)
    assert data.test.names[0] == "Abyssinian_9.jpg"


def test_flowers_are_divided_like_a_folder_and_read_once_from_a_file_where_memory_is_short(flowers, monkeypatch):
    folder, _ = flowers
    data = load("flowers", folder=folder)
    assert data.labels == FLOWERS
    assert [len(split) for split in (data.train, data.validation, data.test)] == [35, 5, 10]
    assert (data.height, data.width) == (20, 30), "all of them have one size"
    monkeypatch.setenv("ZOO_MEMORY", "0")
    assert load("flowers", folder=folder).digest == data.digest


def test_an_archive_is_unpacked_once_and_into_one_file(pets, tmp_path):
    folder, _ = pets
    load("oxford-pets", folder=folder)
    (kept,) = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    before = kept.stat().st_mtime_ns
    load("oxford-pets", folder=folder)
    assert kept.stat().st_mtime_ns == before
    assert sorted(path.name for path in folder.iterdir()) == ["annotations.tar.gz", "images.tar.gz"]


def test_an_archive_that_is_not_compressed_is_read_where_it_lies(pets, tmp_path, monkeypatch):
    folder, _ = pets
    packed = folder / "images.tar.gz"
    packed.write_bytes(gzip.decompress(packed.read_bytes()))
    monkeypatch.setattr(photos, "PETS", published_in(folder, photos.PETS))
    assert load("oxford-pets", folder=folder).origin == str(packed)
    assert not (tmp_path / "cache").exists()


def cut(content: bytes) -> bytes:
    return gzip.compress(gzip.decompress(content)[:-20_000])


DAMAGES = {
    "an image that a list names is missing": (
        lambda content: gzip.compress(tar({"images/a.jpg": b""})),
        "Abyssinian_1",
    ),
    "cut short within": (cut, "it was cut short"),
    "gzip cut short": (lambda content: content[:-20], "not a complete gzip file"),
    "no archive": (lambda content: b"milk", "is not the file of|it isn't a tar archive|cut short"),
    "a bomb": (lambda content: gzip.compress(bytes(10**7)), "unpacks to more than 1,000,000 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_archive_is_told(pets, tmp_path, monkeypatch, damage):
    folder, _ = pets
    change, expected = DAMAGES[damage]
    packed = folder / "images.tar.gz"
    packed.write_bytes(change(packed.read_bytes()))
    monkeypatch.setattr(photos, "PETS", published_in(folder, photos.PETS))
    monkeypatch.setattr(photos, "LARGEST_ARCHIVE", 10**6)
    with pytest.raises(DataError, match=expected) as error:
        load("oxford-pets", folder=folder)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").rglob(".*"))


def test_names_that_lead_out_of_the_archive_are_names_alone(flowers, tmp_path, monkeypatch):
    folder, images = flowers
    hostile = {f"../../{name}": content for name, content in images.items()}
    (folder / "flower_photos.tgz").write_bytes(tar({**images, **hostile, "/etc/x/y.jpg": b""}, "w:gz"))
    monkeypatch.setattr(photos, "FLOWERS", published_in(folder, photos.FLOWERS))
    before = sorted(tmp_path.rglob("*"))
    data = load("flowers", folder=folder)
    assert len(data.train) + len(data.validation) + len(data.test) == len(images)
    assert {path.suffix for path in set(tmp_path.rglob("*")) - set(before) if path.is_file()} == {".tar"}


def test_a_damaged_image_is_left_out_and_named(flowers, monkeypatch):
    folder, images = flowers
    name = next(iter(images))
    (folder / "flower_photos.tgz").write_bytes(tar({**images, name: images[name][:100]}, "w:gz"))
    monkeypatch.setattr(photos, "FLOWERS", published_in(folder, photos.FLOWERS))
    (sentence,) = load("flowers", folder=folder).skipped
    assert ".tar/daisy/0.jpg can't be opened as an image" in sentence
