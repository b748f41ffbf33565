"""Images that don't fit into memory: read from a file, they give bit for bit what they give in memory."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import shutil
import signal
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from folders import make
from glyphs import fonts, mix_in, save_letters
from PIL import Image
from processes import end, start, until

from pipelines import tracking
from pipelines.core.provenance.reading import read_data
from pipelines.training.loop import checkpoint
from pipelines.training.train import train
from zoo.data import load
from zoo.data.folders import decoding
from zoo.data.freed import give_back
from zoo.data.pixels import PixelFile, PixelWriter, join
from zoo.errors import DataError

SETTINGS = {"epochs": 20, "batch_size": 32, "augmentation": "light", "precision": "float32"}


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    root = tmp_path_factory.mktemp("letters") / "letters"
    save_letters(root, fonts()[::6], 12)
    mix_in(root, broken=5, copies=5, redone=5)
    return root


@pytest.fixture
def streamed(monkeypatch, tmp_path):
    """No image may stay in memory."""
    monkeypatch.setenv("ZOO_MEMORY", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read_data.cache_clear()
    yield tmp_path / "cache"
    read_data.cache_clear()


def splits_of(data):
    return (data.train, data.validation, data.test)


def test_the_same_data_set_comes_from_the_file(letters, streamed, monkeypatch):
    from_file = load(str(letters), size=(16, 20))
    monkeypatch.setenv("ZOO_MEMORY", "4")
    in_memory = load(str(letters), size=(16, 20))
    assert isinstance(from_file.train.inputs, PixelFile)
    assert isinstance(in_memory.train.inputs, np.ndarray)
    assert from_file.digest == in_memory.digest
    assert from_file.report == in_memory.report
    for some, others in zip(splits_of(from_file), splits_of(in_memory), strict=True):
        assert list(some.names) == list(others.names)
        np.testing.assert_array_equal(some.inputs[:], others.inputs)
        np.testing.assert_array_equal(some.labels, others.labels)


def test_images_are_decoded_once_and_again_when_one_has_changed(letters, streamed):
    def decoded() -> int:
        done = []
        load(str(letters), size=(16, 20), on_progress=lambda k, _: done.append(k))
        return len(done)

    count = decoded()
    assert count == 26 * 12 + 15
    assert decoded() == 0
    path = letters / "a" / "new.png"
    Image.new("L", (9, 9)).save(path)
    assert decoded() == count + 1
    path.unlink()
    assert len(list(streamed.rglob("pixels.u8"))) == 2
    assert not [path for path in streamed.rglob("*") if path.name.startswith(".new")]


def test_a_pixel_file_is_indexed_as_an_array(tmp_path):
    dice = np.random.RandomState(0)
    images = dice.randint(0, 256, (50, 4, 3, 1)).astype(np.uint8)
    colored = dice.randint(0, 256, (50, 4, 3, 3)).astype(np.uint8)
    writer = PixelWriter(200, 4, 3, tmp_path / "pixels.u8")
    for image in (*images, *colored):
        writer.add(image)
    expected = np.concatenate([np.repeat(images, 3, axis=3), colored])
    found = writer.finish()
    assert (found.shape, len(found), found.ndim, found.dtype) == (expected.shape, 100, 4, expected.dtype)
    some = dice.permutation(100)[:37]
    for index in (7, -1, slice(3, 60), slice(None, None, -7), some, some[:0], np.arange(5, 40)):
        np.testing.assert_array_equal(found[index], expected[index])
    np.testing.assert_array_equal(found.take(some)[4:9], expected[some][4:9])
    both = join(found.take(some), found.take(np.arange(3)))
    np.testing.assert_array_equal(both[:], np.concatenate([expected[some], expected[:3]]))
    np.testing.assert_array_equal(np.stack([*found]), expected)


def test_a_file_that_was_cut_is_told(tmp_path):
    writer = PixelWriter(2, 4, 3, tmp_path / "pixels.u8")
    for _ in range(2):
        writer.add(np.zeros((4, 3, 1), np.uint8))
    found = writer.finish()
    os.truncate(tmp_path / "pixels.u8", 20)
    with pytest.raises(DataError, match="was cut short"):
        found[:]


def test_a_store_that_was_damaged_is_told_and_not_taken_for_other_images(letters, streamed):
    for name, length in (("pixels.u8", 1000), ("inspection.npz", 50), ("inspection.npz", 0)):
        load(str(letters), size=(16, 20))
        (path,) = streamed.rglob(name)
        os.truncate(path, length)
        with pytest.raises(DataError, match="will be created again"):
            load(str(letters), size=(16, 20))
        shutil.rmtree(path.parent)


def test_the_first_image_does_not_decide_the_room_that_all_take(letters, streamed, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=10**7))
    path = letters / "a" / "0 first.png"
    Image.effect_noise((1500, 1500), 50).save(path)
    assert load(str(letters)).train.inputs.shape[1:] == (64, 64, 3)
    path.unlink()


def test_decoded_images_that_nobody_used_for_a_month_are_removed_when_others_are_made(letters, streamed):
    def stores() -> set[str]:
        return {path.parent.name for path in streamed.rglob("pixels.u8")}

    load(str(letters), size=(16, 20))
    (forgotten,) = stores()
    load(str(letters), size=(20, 16))
    (used,) = stores() - {forgotten}
    for store in (forgotten, used):
        os.utime(streamed / "classifier-zoo/images" / store, (time.time() - 31 * 24 * 3600,) * 2)
    load(str(letters), size=(20, 16))  # not a month ago any more
    load(str(letters), size=(8, 8))
    assert len(stores()) == 2
    assert used in stores()


def test_images_in_memory_are_there_once_when_they_are_divided(tmp_path):
    random = np.random.default_rng(1)
    for k in range(120):
        (tmp_path / f"images/{k % 3}").mkdir(parents=True, exist_ok=True)
        pixels = np.full((256, 256, 3), random.integers(256, size=3), np.uint8)
        pixels[random.integers(240) :, random.integers(240) :] = random.integers(256, size=3)
        Image.fromarray(pixels).save(tmp_path / f"images/{k % 3}/{k}.png")
    load(str(tmp_path / "images"))  # what this imports isn't to be counted
    tracemalloc.start()
    data = load(str(tmp_path / "images"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.8 * 120 * 256 * 256 * 3  # once, and what the threads have decoded ahead
    for split in splits_of(data):
        for name, label, pixels in zip(split.names, split.labels, split.inputs, strict=True):
            assert name.startswith(data.labels[label])
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(tmp_path / "images" / name)))


def test_a_known_data_set_at_a_large_size_is_read_from_a_file_with_the_same_images(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = load("digits", size=(12, 20), resizing="pad")
    monkeypatch.setenv("ZOO_MEMORY", "0")
    for _ in ("written", "found again"):
        data = load("digits", size=(12, 20), resizing="pad")
        assert all(isinstance(split.inputs, PixelFile) for split in splits_of(data))
        assert (data.digest, data.resizing) == (whole.digest, "pad")
    (file,) = tmp_path.rglob("*.u8")
    file.write_bytes(b"cut short")
    with pytest.raises(DataError, match="was cut short: remove"):
        load("digits", size=(12, 20), resizing="pad")
    assert not isinstance(load("digits").train.inputs, PixelFile), "at its own size it is in memory already"


def test_a_budget_that_is_no_number_is_told(letters, monkeypatch):
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("ZOO_MEMORY", wrong)
        with pytest.raises(DataError, match="ZOO_MEMORY must be a number of GiB"):
            load(str(letters))


@pytest.mark.slow  # kills are in test_interrupted, the same weights after an interruption in test_train
def test_killed_in_mid_training_and_resumed_it_gives_the_weights_of_a_run_in_memory(
    letters, streamed, store, monkeypatch
):
    training = {"model": "lenet5", "data": str(letters), "size": (16, 16), "settings": SETTINGS}
    run = _killed_after_two_epochs(start(store, train, **training))
    read_data.cache_clear()
    resumed = train(resume=run)
    assert resumed.run == run

    monkeypatch.setenv("ZOO_MEMORY", "4")
    read_data.cache_clear()
    whole = train(**training)
    assert resumed.validation_accuracy == whole.validation_accuracy
    for some, others in zip(_weights(run), _weights(whole.run), strict=True):
        np.testing.assert_array_equal(some, others)


def _killed_after_two_epochs(process: Any) -> str:
    """The id of the run that was killed."""

    def so_far() -> list[str]:
        assert process.is_alive(), "it ended before it could be killed"
        runs = [path.parent.name for path in Path(checkpoint.FOLDER).glob(f"*/{checkpoint.FILE}")]
        return [run for run in runs if checkpoint.load(run).epoch >= 2]

    (run,) = until(so_far)
    process.kill()
    assert end(process) == -signal.SIGKILL
    return run


def _weights(run: str) -> list[np.ndarray]:
    return tracking.load_keras_model(run).get_weights()


@pytest.fixture
def few(tmp_path):
    return make(tmp_path / "pets", ("cat", "dog"), 8)


def test_images_are_decoded_anew_where_a_plugin_has_come_that_reads_more_of_them(few, streamed, monkeypatch):
    kept = streamed / "classifier-zoo" / "images"
    load(str(few), size=(8, 8))
    load(str(few), size=(8, 8))
    assert len(list(kept.iterdir())) == 1
    monkeypatch.setattr(decoding, "plugin_versions", lambda: ("pillow-heif 99",))
    load(str(few), size=(8, 8))
    assert len(list(kept.iterdir())) == 2


def test_what_another_process_has_just_removed_from_the_cache_ends_no_training(few, streamed):
    kept = streamed / "classifier-zoo" / "images"
    kept.mkdir(parents=True)
    (kept / ".new-removed").symlink_to(kept / "nowhere")  # it is listed, and then isn't there
    assert len(load(str(few), size=(8, 8)).train)


def test_a_cache_that_takes_no_finished_folder_is_named(few, streamed, monkeypatch):

    def refuse(self, target):
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DataError, match=r"can't be used \(Disk quota exceeded\): images that don't fit into memory"):
        load(str(few), size=(8, 8))
    assert list((streamed / "classifier-zoo" / "images").iterdir()) == []


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another C library returns memory by itself")
def test_what_was_freed_between_other_things_is_given_back():
    def resident() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

    blocks = [np.ones(8192, np.uint8) for _ in range(16_000)]  # 125 MiB, each too small for a mapping of its own
    kept = blocks[::100]
    del blocks
    before = resident()
    give_back()
    assert before - resident() > 50
    assert len(kept) == 160
