"""Small gray images that near duplicates are found with: of each image one, in a file, however many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from zoo.data.pixels import PixelFile
from zoo.errors import DataError
from zoo.images import Decoded, Pixels

THUMB = 16  # pixels a side
THUMBS_FILE = "thumbs.u8"


class ThumbWriter:
    """Takes the thumbs of N images, in any order and from any thread; one that isn't given is black."""

    def __init__(self, file: Path, count: int) -> None:
        self._file, self._shape = file, (count, THUMB, THUMB, 1)
        self._out = file.open("wb", buffering=0)
        self._out.truncate(count * THUMB**2)

    def put(self, place: int, thumbs: Pixels) -> None:
        """One thumb, or those of all images from a place on. Raises DataError where there is no room for them."""
        try:
            os.pwrite(self._out.fileno(), thumbs.data, place * THUMB**2)
        except OSError as error:
            raise _no_room(self._file.parent, error) from None

    def finish(self) -> PixelFile:
        """[N, 16, 16, 1] uint8, which can be read for as long as it lives, even when the file has been removed."""
        self.close()
        return PixelFile(self._file, self._shape)

    def close(self) -> None:
        """No more of them come."""
        self._out.close()


@contextmanager
def writing_thumbs(count: int, folder: Path | None) -> Iterator[ThumbWriter]:
    """A writer, in a block. folder: that keeps the file; by default it is a temporary one, gone after the block.

    Raises DataError where it can't be created.
    """
    with ExitStack() as block:
        try:
            folder = folder or Path(block.enter_context(TemporaryDirectory(prefix="zoo-")))
            writer = ThumbWriter(folder / THUMBS_FILE, count)
        except OSError as error:
            raise _no_room(folder or "the folder for temporary files", error) from None
        block.callback(writer.close)
        yield writer


def _no_room(folder: Path | str, error: OSError) -> DataError:
    return DataError(
        f"{folder} can't be used ({error.strerror or error}): a small copy of each image, {THUMB**2} bytes, is kept "
        "there; make room, or choose another folder with TMPDIR"
    )


def thumb_of(decoded: Decoded) -> Pixels:
    """[16, 16], gray. Each pixel takes in some of its neighbors: edges may lie anywhere between two."""
    from PIL import Image

    image, pixels = decoded.image, decoded.pixels
    if image is None:
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    return np.asarray(image.convert("L").resize((THUMB, THUMB), Image.Resampling.BILINEAR))
