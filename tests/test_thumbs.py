"""What the check of images keeps of each of them: little, and the small copies in a file, not in memory."""

from __future__ import annotations

import json
import tempfile

import numpy as np
import pytest
from PIL import Image

from zoo.data.folders.decoding import INSPECTION_FILE
from zoo.data.folders.inspection import Inspection, inspect, read, save
from zoo.data.folders.layouts import list_images
from zoo.data.folders.thumbs import THUMBS_FILE
from zoo.data.pixels import PixelFile
from zoo.errors import DataError

COUNT = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two classes, one of which can't be read."""
    root = tmp_path_factory.mktemp("data") / "images"
    random = np.random.default_rng(0)
    for k in range(COUNT):
        path = root / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20 + k, 30, 3)[: 2 + k % 2], dtype=np.uint8)).save(path)
    (root / "a" / "4.png").write_bytes(b"\x89PNG nothing")
    return root


def looked_at(folder, thumbs_in=None) -> Inspection:
    return inspect(list_images(folder), lambda *_: lambda: None, lambda *_: None, thumbs_in=thumbs_in)


def test_a_thumb_is_the_gray_image_as_pillow_makes_it_small(folder):
    listing, found = list_images(folder), looked_at(folder)
    for place, file in enumerate(listing.files):
        expected = np.zeros((16, 16), np.uint8)  # of what can't be read
        if file != "a/4.png":
            with Image.open(folder / file) as image:
                expected = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found.thumbs[place][..., 0], expected)


def test_memory_for_an_image_is_small_and_no_file_is_left(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = looked_at(folder)
    assert isinstance(found.thumbs, PixelFile)
    assert sum(value.nbytes for value in vars(found).values() if isinstance(value, np.ndarray)) <= 30 * COUNT
    assert not any(tmp_path.iterdir())
    assert found.thumbs[[0, 3]].shape == (2, 16, 16, 1), "the file is gone, and can still be read"


def test_what_is_kept_beside_images_is_what_was_found(folder, tmp_path):
    found = looked_at(folder, thumbs_in=tmp_path)
    assert (tmp_path / THUMBS_FILE).stat().st_size == 256 * COUNT
    save(found, tmp_path / INSPECTION_FILE)
    again = read(tmp_path / INSPECTION_FILE)
    assert (again.problems, again.modes) == (found.problems, {"L": 5, "RGB": 6})
    for name in ("formats", "colors", "heights", "widths", "digests", "highest", "constant", "thumbs"):
        np.testing.assert_array_equal(getattr(again, name)[:], getattr(found, name)[:])
    (tmp_path / INSPECTION_FILE).write_bytes(json.dumps({}).encode())
    with pytest.raises(DataError, match="is damaged"):
        read(tmp_path / INSPECTION_FILE)


def test_without_a_place_for_them_one_sentence_says_what_to_do(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"can't be used .*make room, or choose another folder with TMPDIR"):
        looked_at(folder)
