"""Data sets: the known ones wherever they lie, folders of images in every shape that people have them in."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from published import closed_port, serving

from zoo.data import data_set, data_sets, load, registry
from zoo.data.dataset import Split
from zoo.data.known import fashion_mnist
from zoo.data.sources.download import Published
from zoo.data.splits import draw
from zoo.errors import DataError
from zoo.images import read_image, resize

CLASSES = ("cat", "dog")


def save_image(path: Path, seed: int = 0, size: tuple[int, int] = (6, 9), mode: str = "RGB") -> None:
    """An image of noise; size: (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.RandomState(seed).randint(0, 256, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


def save_classes(folder: Path, classes=CLASSES, images: int = 10, **options) -> Path:
    for c, label in enumerate(classes):
        for i in range(images):
            save_image(folder / label / f"{i}.png", seed=zlib.crc32(f"{folder.name} {c} {i}".encode()), **options)
    return folder


def told(data: Path | str, **options) -> str:
    """The one sentence with which loading ends."""
    with pytest.raises(DataError) as error:
        load(str(data), **options)
    message = str(error.value)
    assert "\n" not in message
    return message


def splits_of(data):
    return {"train": data.train, "validation": data.validation, "test": data.test}


def test_listing_data_sets_imports_nothing_heavy():
    program = "import sys, zoo.data; print(*{'tensorflow', 'sklearn', 'keras', 'PIL'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout == "\n"


# --- known data sets -----------------------------------------------------------------------------------------------


def test_digits_are_those_of_scikit_learn_in_bytes():
    from sklearn.datasets import load_digits

    digits = load("digits")
    assert (digits.height, digits.width, digits.channels, digits.classes) == (8, 8, 1, 10)
    assert digits.labels == tuple("0123456789")
    original = load_digits()
    for split in splits_of(digits).values():
        indices = [int(name) for name in split.names]
        assert split.inputs.dtype == np.uint8
        np.testing.assert_allclose(split.inputs[..., 0] / 255 * 16, original.images[indices], atol=0.032)
        np.testing.assert_array_equal(split.labels, original.target[indices])


def test_the_splits_of_digits_share_no_image_and_all_classes():
    digits = load("digits")
    names = [name for split in splits_of(digits).values() for name in split.names]
    assert len(names) == len(set(names)) == 1797
    for split, share in ((digits.train, 0.7), (digits.validation, 0.1), (digits.test, 0.2)):
        counts = np.bincount(split.labels, minlength=10)
        whole = sum(np.bincount(s.labels) for s in splits_of(digits).values())
        np.testing.assert_allclose(counts, whole * share, atol=1)


def test_the_digest_is_of_the_content_and_the_same_everywhere():
    # Another digest would mean another split, on which earlier metrics weren't measured.
    assert load("digits").digest == "2f5d65d865e09cce03907c254813055a88c856128811edd2a16881d51ce886da"


def test_a_known_data_set_comes_in_any_size():
    digits = load("digits")
    large = load("digits", size=(12, 10))
    assert large.test.inputs.shape == (len(digits.test), 12, 10, 1)
    np.testing.assert_array_equal(large.test.inputs[7], resize(digits.test.inputs[7], 12, 10))
    assert large.digest != digits.digest
    assert load("digits", size=(8, 8)).digest == digits.digest


def test_digits_take_no_data_folder(tmp_path):
    assert "scikit-learn" in told("digits", folder=tmp_path)


@pytest.mark.parametrize("name", ["fashion-mnits", "fashion_mnist"])
def test_an_unknown_data_set_names_the_nearest(name):
    assert f"no data set is called '{name}': did you mean fashion-mnist" in told(name)


@pytest.mark.parametrize("name", ["phtos", "./phtos", "phtos/"])
def test_a_mistyped_folder_names_the_nearest(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("photos", "mlruns"):
        (tmp_path / folder).mkdir()
    said = told(name)
    assert re.search(r"did you mean (\./)?photos\?", said)
    assert "mlruns" not in said


def test_an_unlike_name_lists_all():
    assert f"there are {', '.join(data_sets())}" in told("zzz")


@pytest.mark.parametrize("size", [(0, 8), (8, -1), (8, 100_000)])
def test_an_absurd_size_is_refused(size):
    assert f"received {size[0]}x{size[1]}" in told("digits", size=size)


def test_a_new_data_set_is_one_function(monkeypatch):
    monkeypatch.setattr(registry, "_loaders", dict(registry._loaders))

    @data_set("more-digits")
    def more_digits(folder, on_progress):
        """The same once more."""
        return load("digits")

    assert data_sets()["more-digits"] == "The same once more."
    assert load("more-digits").classes == 10
    with pytest.raises(DataError, match="two data sets are called 'digits'"):
        data_set("digits")(more_digits)


# --- a draw --------------------------------------------------------------------------------------------------------


def test_a_draw_takes_its_share_of_each_class_and_one_at_least():
    labels = np.repeat([0, 1, 2], [100, 10, 2])
    stays, drawn = draw(labels, 0.2)
    assert sorted([*stays, *drawn]) == list(range(112))
    np.testing.assert_array_equal(np.bincount(labels[drawn]), [20, 2, 1])
    np.testing.assert_array_equal(draw(labels, 0.2)[1], drawn)


def test_a_draw_leaves_every_class_something_where_it_can():
    # A has one image in each of three units; B and C have one each of those, and two units of three.
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2])
    units = np.array([1, 2, 3, 1, 4, 4, 4, 5, 5, 5, 2, 6, 6, 6, 7, 7, 7])
    stays, drawn = draw(labels, 0.2, units)
    assert set(labels[stays]) == set(labels[drawn]) == {0, 1, 2}
    assert not set(units[stays]) & set(units[drawn])


def test_a_split_needs_a_label_and_a_name_for_each_image():
    with pytest.raises(DataError, match="received 2 images, 3 labels and 2 names"):
        Split(np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int64), ("a", "b"))
    with pytest.raises(DataError, match="received float64"):
        Split(np.zeros((1, 4, 4, 1)), np.zeros(1, np.int64), ("a",))


# --- Fashion-MNIST, wherever it lies -------------------------------------------------------------------------------


@pytest.fixture
def tiny_fashion(tmp_path, monkeypatch) -> Path:
    """A folder with a Fashion-MNIST of 40 + 20 images in its own format, in a world that has no other."""
    served = tmp_path / "served"
    served.mkdir()
    files = {}
    for name, count in (("train", 40), ("t10k", 20)):
        pixels = np.random.RandomState(count).randint(0, 256, (count, 28, 28)).astype(np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        contents = {
            f"{name}-images-idx3-ubyte.gz": struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes(),
            f"{name}-labels-idx1-ubyte.gz": struct.pack(">II", 2049, count) + labels.tobytes(),
        }
        for file, content in contents.items():
            (served / file).write_bytes(gzip.compress(content))
            known = (len(content), hashlib.sha256(content).hexdigest())
            url = f"http://127.0.0.1:{closed_port()}/{file}"
            files[file] = Published(url, (served / file).stat().st_size, content=known)
    source = replace(fashion_mnist.SOURCE, files=files, elsewhere=(tmp_path / "debian",))
    monkeypatch.setattr(fashion_mnist, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZOO_DATA", raising=False)
    return served


@pytest.fixture
def server(tiny_fashion, monkeypatch):
    """The folder behind real HTTP; its list of the paths that were asked for."""
    with serving(tiny_fashion) as (address, asked):
        files = {name: replace(file, url=address + name) for name, file in fashion_mnist.SOURCE.files.items()}
        monkeypatch.setattr(fashion_mnist, "SOURCE", replace(fashion_mnist.SOURCE, files=files))
        yield asked


@pytest.mark.parametrize("inside", ["", "fashion-mnist"])
def test_it_is_found_in_the_folder_that_is_named(tiny_fashion, tmp_path, monkeypatch, inside):
    place = tmp_path / "here" / inside
    shutil.copytree(tiny_fashion, place)
    data = load("fashion-mnist", folder=tmp_path / "here")
    assert data.origin == str(place)
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 10, 20)
    assert data.mirrored
    assert data.labels[9] == "Ankle boot"
    np.testing.assert_array_equal(np.bincount(data.validation.labels), np.ones(10))

    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "here"))
    assert load("fashion-mnist").digest == data.digest


def test_places_are_searched_in_order(tiny_fashion, tmp_path, monkeypatch):
    places = [tmp_path / "named", tmp_path / "debian", tmp_path / "cache" / "classifier-zoo" / "fashion-mnist"]
    for place in places:
        shutil.copytree(tiny_fashion, place)
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "named"))
    assert load("fashion-mnist", folder=tiny_fashion).origin == str(tiny_fashion)
    for place in places:
        assert load("fashion-mnist").origin == str(place)
        shutil.rmtree(place)


def test_a_named_folder_without_it_is_not_replaced_by_another(tiny_fashion, tmp_path):
    shutil.copytree(tiny_fashion, tmp_path / "debian")
    message = told("fashion-mnist", folder=tmp_path / "elsewhere")
    assert f"{tmp_path / 'elsewhere'} doesn't contain Fashion-MNIST" in message


def test_offline_and_absent_names_all_places_and_what_to_install(tiny_fashion, tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_DATA", str(tmp_path / "named"))
    message = told("fashion-mnist")
    for place in ("named", "named/fashion-mnist", "debian", "cache/classifier-zoo/fashion-mnist"):
        assert str(tmp_path / place) in message
    assert "apt-get install dataset-fashion-mnist" in message
    assert "refused" in message
    assert not (tmp_path / "cache" / "classifier-zoo" / "fashion-mnist").exists()


def test_it_is_downloaded_once_and_then_found_in_the_cache(server, tiny_fashion, tmp_path):
    progress = []
    data = load("fashion-mnist", on_progress=lambda done, in_all: progress.append((done, in_all)))
    assert server == [f"/{file}" for file in fashion_mnist.SOURCE.files]
    size = fashion_mnist.SOURCE.size
    assert [in_all for _, in_all in progress] == [size] * len(progress)
    assert sorted(done for done, _ in progress)[-1] == progress[-1][0] == size
    cache = tmp_path / "cache" / "classifier-zoo"
    assert data.origin == str(cache / "fashion-mnist")
    assert [path.name for path in cache.iterdir()] == ["fashion-mnist"]
    assert load("fashion-mnist").digest == data.digest
    assert len(server) == 4


def test_what_a_killed_download_left_is_removed_after_a_day(server, tiny_fashion, tmp_path):
    cache = tmp_path / "cache" / "classifier-zoo" / "fashion-mnist"
    cache.mkdir(parents=True)
    for name, days in ((".new-old", 2), (".new-young", 0)):
        (cache / name).write_bytes(b"part")
        os.utime(cache / name, (time.time() - days * 86400,) * 2)
    load("fashion-mnist")
    assert sorted(path.name for path in cache.iterdir()) == sorted([*fashion_mnist.SOURCE.files, ".new-young"])


@pytest.mark.parametrize("damage", ["other bytes", "cut", "not gzip", "missing", "unpacks to more"])
def test_a_file_that_is_not_the_authors_is_not_kept(server, tiny_fashion, tmp_path, damage):
    file = tiny_fashion / "t10k-labels-idx1-ubyte.gz"
    content = file.read_bytes()
    if damage == "other bytes":
        file.write_bytes(gzip.compress(bytes(fashion_mnist.SOURCE.files[file.name].content[0])))
    elif damage == "unpacks to more":
        file.write_bytes(gzip.compress(bytes(10**6)))
    elif damage == "cut":
        file.write_bytes(content[:-12])
    elif damage == "not gzip":
        file.write_bytes(b"<html>a login page</html>")
    else:
        file.unlink()
    message = told("fashion-mnist")
    assert "HTTP Error 404" in message if damage == "missing" else file.name in message
    others = [name for name in fashion_mnist.SOURCE.files if name != file.name]  # each of them is checked
    kept = tmp_path / "cache" / "classifier-zoo" / "fashion-mnist"
    assert sorted(path.name for path in kept.iterdir()) == sorted(others)


def test_a_found_file_with_other_content_is_named(tiny_fashion):
    file = tiny_fashion / "train-labels-idx1-ubyte.gz"
    file.write_bytes(gzip.compress(bytes(fashion_mnist.SOURCE.files[file.name].content[0])))
    message = told("fashion-mnist", folder=tiny_fashion)
    assert f"{file} is not the file of Fashion-MNIST (expected the SHA-256" in message


def test_a_place_with_some_of_the_files_names_those_missing(tiny_fashion):
    (tiny_fashion / "t10k-images-idx3-ubyte.gz").unlink()
    assert "but not t10k-images-idx3-ubyte.gz" in told("fashion-mnist", folder=tiny_fashion)


def test_a_cache_that_cannot_be_written_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert "can't be written" in told("fashion-mnist")


@pytest.mark.skipif(not fashion_mnist.DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_fashion_mnist_has_the_authors_splits():
    data = load("fashion-mnist")
    assert data.train.inputs.shape == (55_000, 28, 28, 1)
    np.testing.assert_array_equal(np.bincount(data.validation.labels), np.full(10, 500))
    np.testing.assert_array_equal(np.bincount(data.test.labels), np.full(10, 1000))
    assert data.labels[data.test.labels[0]] == "Ankle boot"
    assert data.digest == "afdee72fab3564eebb7294c240a922ae659a2c80b5990f04524ffcf9f14af6d0"


# --- folders of images -------------------------------------------------------------------------------------------


def test_each_sub_folder_is_a_class(tmp_path):
    data = load(str(save_classes(tmp_path / "pets")))
    assert (data.name, data.labels, data.mirrored) == ("pets", CLASSES, False)
    assert (data.height, data.width, data.channels) == (6, 9, 3)
    assert [len(split) for split in splits_of(data).values()] == [14, 2, 4]
    for split in splits_of(data).values():
        for image, label, name in zip(split.inputs, split.labels, split.names, strict=True):
            assert name.split("/")[0] == data.labels[label]
            np.testing.assert_array_equal(image, read_image(tmp_path / "pets" / name, 3))
    names = [name for split in splits_of(data).values() for name in split.names]
    assert len(set(names)) == 20
    assert data.skipped == ()


def test_the_digest_does_not_depend_on_the_place(tmp_path):
    folder = save_classes(tmp_path / "pets")
    before = load(str(folder)).digest
    folder.rename(tmp_path / "elsewhere")
    assert load(str(tmp_path / "elsewhere")).digest == before
    save_image(tmp_path / "elsewhere" / "cat" / "3.png", seed=99)
    assert load(str(tmp_path / "elsewhere")).digest != before


def test_classes_and_files_are_in_natural_order(tmp_path):
    data = load(str(save_classes(tmp_path, [f"class {i}" for i in (10, 9, 1)], images=12)))
    assert data.labels == ("class 1", "class 9", "class 10")
    ones = [int(Path(name).stem) for name in data.train.names if name.startswith("class 1/")]
    assert ones == sorted(ones)
    assert max(ones) > 9


@pytest.mark.parametrize("validation", ["val", "validation", "Val"])
def test_a_folder_may_bring_its_own_splits(tmp_path, validation):
    for split, images in (("train", 4), (validation, 2), ("test", 3)):
        save_classes(tmp_path / split, images=images)
    data = load(str(tmp_path))
    assert data.labels == CLASSES
    assert [len(split) for split in splits_of(data).values()] == [8, 4, 6]
    assert {name.split("/")[0] for name in data.validation.names} == {validation}


@pytest.mark.parametrize(
    ("given", "sizes"), [(("train", "test"), (36, 4, 40)), (("train", "val"), (32, 40, 8)), (("train",), (28, 4, 8))]
)
def test_splits_that_a_folder_lacks_are_drawn_from_train(tmp_path, given, sizes):
    for split in given:
        save_classes(tmp_path / split, images=20)
    data = load(str(tmp_path))
    assert tuple(len(split) for split in splits_of(data).values()) == sizes


def test_classes_may_be_called_train_and_test(tmp_path):
    save_classes(tmp_path, ("test", "train"))
    assert "say so with --groups none, or folder" in told(tmp_path)
    assert load(str(tmp_path), groups="none").labels == ("test", "train")


def test_images_of_several_sizes_become_64x64_or_what_is_asked(tmp_path):
    save_classes(tmp_path)
    save_image(tmp_path / "cat" / "10.png", size=(7, 9))
    assert load(str(tmp_path)).train.inputs.shape[1:] == (64, 64, 3)
    data = load(str(tmp_path), size=(5, 8))
    assert data.train.inputs.shape[1:] == (5, 8, 3)
    expected = resize(read_image(tmp_path / data.test.names[0], 3), 5, 8)
    np.testing.assert_array_equal(data.test.inputs[0], expected)


def test_one_channel_where_every_image_is_grey_however_it_was_saved(tmp_path):
    save_classes(tmp_path, mode="L")
    saved_as_color = tmp_path / "cat" / "color.png"
    Image.open(tmp_path / "cat" / "0.png").convert("RGB").save(saved_as_color)
    data = load(str(tmp_path), size=(11, 7))
    assert data.channels == 1
    for name, image in zip(data.train.names, data.train.inputs, strict=True):
        np.testing.assert_array_equal(image, resize(read_image(tmp_path / name, 1), 11, 7))

    save_image(tmp_path / "dog" / "red.png")
    data = load(str(tmp_path), size=(11, 7))
    assert data.channels == 3
    for name, image in zip(data.train.names, data.train.inputs, strict=True):
        np.testing.assert_array_equal(image, resize(read_image(tmp_path / name, 3), 11, 7))


def test_images_lie_anywhere_below_their_class_and_hidden_things_are_ignored(tmp_path):
    save_classes(tmp_path)
    save_image(tmp_path / "cat" / "deep" / "down" / "x.JPG")
    save_image(tmp_path / ".hidden" / "x.png")
    save_image(tmp_path / "cat" / ".hidden.png")
    (tmp_path / "cat" / "notes.txt").write_text("not an image, and not called one")
    data = load(str(tmp_path))
    names = {name for split in splits_of(data).values() for name in split.names}
    assert "cat/deep/down/x.JPG" in names
    assert len(names) == 21
    (sentence,) = data.skipped
    assert "notes.txt doesn't end as images do" in sentence


def test_links_to_folders_are_not_followed(tmp_path):
    folder = save_classes(tmp_path / "pets")
    save_classes(tmp_path / "outside")
    (folder / "mice").symlink_to(tmp_path / "outside" / "cat")
    (folder / "cat" / "more").symlink_to(tmp_path / "outside")
    (folder / "dog" / "round").symlink_to(folder)
    data = load(str(folder))
    assert data.labels == CLASSES
    assert sum(len(split) for split in splits_of(data).values()) == 20
    assert [problem.file for problem in data.report.left_out] == ["cat/more", "dog/round", "mice"]
    (sentence,) = data.skipped
    assert f"{folder / 'cat' / 'more'} is a link" in sentence
    assert "2 others" in sentence


def test_progress_is_told_image_by_image(tmp_path):
    progress = []
    load(str(save_classes(tmp_path)), on_progress=lambda done, in_all: progress.append((done, in_all)))
    assert progress == [(i, 20) for i in range(1, 21)]


def test_a_known_name_wins_over_a_folder_beside_it(tmp_path, monkeypatch):
    save_classes(tmp_path / "digits")
    save_classes(tmp_path / "pets")
    monkeypatch.chdir(tmp_path)
    assert load("digits").classes == 10
    folder = load("./digits")
    assert (folder.name, folder.labels) == ("digits-folder", CLASSES)
    assert load("pets").labels == CLASSES
    assert load(".", groups="none").name == tmp_path.name


# --- folders that nothing can be learned from ----------------------------------------------------------------------


def test_a_missing_folder_and_a_file_are_told(tmp_path):
    assert f"at {tmp_path / 'no'}, but there is none" in told(tmp_path / "no")
    (tmp_path / "file").touch()
    assert "but it is a file" in told(tmp_path / "file")


def test_a_folder_takes_no_data_folder(tmp_path):
    assert "received one with" in told(save_classes(tmp_path), folder=tmp_path)


def test_a_folder_without_images_is_told(tmp_path):
    assert "holds no images" in told(tmp_path)
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "notes.txt").touch()
    assert "expected a sub-folder for each class, with files in it that end in .avif .bmp" in told(tmp_path)


def test_images_without_a_class_are_told(tmp_path):
    save_image(tmp_path / "x.png")
    assert "expected a sub-folder for each class" in told(tmp_path)


def test_one_class_is_told(tmp_path):
    assert "holds one class, 'cat'" in told(save_classes(tmp_path, ("cat",)))


@pytest.mark.parametrize("images", [0, 1, 2])
def test_a_class_with_too_few_images_is_told_by_name_and_number(tmp_path, images):
    save_classes(tmp_path)
    (tmp_path / "mouse").mkdir()
    save_classes(tmp_path, ("mouse",), images=images)
    message = told(tmp_path)
    assert f"class 'mouse' in {tmp_path} has {images} image{'' if images == 1 else 's'}, expected at " in message
    assert "least 3" in message


def test_three_images_a_class_are_enough(tmp_path):
    data = load(str(save_classes(tmp_path, images=3)))
    for split in splits_of(data).values():
        np.testing.assert_array_equal(split.labels, [0, 1])


def test_a_split_without_one_of_the_classes_is_told(tmp_path):
    save_classes(tmp_path / "train")
    save_classes(tmp_path / "test", ("cat",))
    assert f"class 'dog' in test of {tmp_path} has 0 images" in told(tmp_path)
    save_classes(tmp_path / "test", ("dog", "mouse"))
    assert f"class 'mouse' in train of {tmp_path} has 0 images" in told(tmp_path)


def test_splits_without_train_or_twice_are_told(tmp_path):
    save_classes(tmp_path / "test")
    save_classes(tmp_path / "val")
    assert "no folder train" in told(tmp_path)
    save_classes(tmp_path / "validation")
    assert "two folders for validation" in told(tmp_path)


def test_few_damaged_images_are_left_out_and_listed(tmp_path):
    save_classes(tmp_path, images=30)
    whole = (tmp_path / "cat" / "0.png").read_bytes()
    (tmp_path / "cat" / "0.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "dog" / "text.png").write_text("milk, bread")
    (tmp_path / "dog" / "empty.jpg").touch()
    data = load(str(tmp_path))
    assert sum(len(split) for split in splits_of(data).values()) == 59
    assert len(data.skipped) == 3
    assert "0.png is damaged" in data.skipped[0]
    assert "empty.jpg is empty" in data.skipped[1]
    assert "text.png is not an image" in data.skipped[2]
    assert (data.height, data.width) == (6, 9)


def test_many_damaged_images_end_it(tmp_path):
    save_classes(tmp_path)
    for name in ("a.png", "b.png", "c.png", "d.png"):
        (tmp_path / "cat" / name).touch()
    message = told(tmp_path)
    assert "4 of 24 images" in message
    assert "expected at most 5%" in message
    assert "a.png is empty" in message
    assert "d.png" not in message


def test_a_class_whose_images_are_all_damaged_is_told(tmp_path):
    save_classes(tmp_path, images=100)
    for i in range(3):
        (tmp_path / "mouse").mkdir(exist_ok=True)
        (tmp_path / "mouse" / f"{i}.png").write_text("cheese")
    message = told(tmp_path)
    assert "class 'mouse'" in message
    assert "has 0 images that can be read" in message
    assert "0.png is not an image" in message


def test_every_image_damaged_is_told(tmp_path):
    for label in CLASSES:
        (tmp_path / label).mkdir()
        for i in range(3):
            (tmp_path / label / f"{i}.png").touch()
    assert "holds no images that can be read" in told(tmp_path)


def test_images_that_fit_neither_into_memory_nor_on_the_disk_are_told_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ZOO_MEMORY", "0.001")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**6))
    save_classes(tmp_path / "pets")
    message = told(tmp_path / "pets", size=(512, 512))
    assert "more than ZOO_MEMORY allows (0.001), and than is free" in message
    assert list((tmp_path / "cache").rglob("*.u8")) == []


def test_a_class_name_that_cannot_be_printed_is_told(tmp_path):
    assert "rename" in told(save_classes(tmp_path, ("cat\n", "dog")))
