"""IDX, the format of MNIST: a header of big-endian numbers, then a byte a value."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import DataSet, Split
from zoo.data.sources.download import Progress, Source, find_files, read_file
from zoo.data.splits import hold_out
from zoo.errors import DataError

_UNSIGNED_BYTE = 8


def read_idx(content: bytes, dimensions: int) -> NDArray[np.uint8]:
    """The array of a file: two zeros, the type, the number of dimensions, their sizes, the values.

    Raises ValueError where it hasn't that many dimensions of bytes, or another length than its header says.
    """
    header = 4 + 4 * dimensions
    if content[:4] != bytes((0, 0, _UNSIGNED_BYTE, dimensions)) or len(content) < header:
        raise ValueError(f"not an IDX file of {dimensions} dimensions of bytes")
    shape = [int(size) for size in np.frombuffer(content, ">u4", dimensions, 4)]
    if len(content) != header + math.prod(shape):
        raise ValueError(f"its header says {shape}, but {len(content) - header:,} bytes follow")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def idx_split(images: bytes, labels: bytes, classes: int) -> Split:
    """From the content of two files: images [N, H, W] -> [N, H, W, 1], and labels [N], which name one of the classes.

    Raises ValueError where they aren't that, or don't belong together.
    """
    pixels, indices = read_idx(images, 3), read_idx(labels, 1)
    if len(pixels) != len(indices) or not len(indices):
        raise ValueError(f"{len(pixels):,} images, but {len(indices):,} labels")
    if indices.max() >= classes:
        raise ValueError(f"a label of {indices.max()}, expected 0 to {classes - 1}")
    return Split(pixels[..., np.newaxis], indices.astype(np.int64), tuple(str(k) for k in range(len(indices))))


def load_idx(
    source: Source, labels: tuple[str, ...], folder: Path | None, on_progress: Progress, *, mirrored: bool = False
) -> DataSet:
    """A data set of four files: images and labels to train on, images and labels to test on.

    Raises DataError where they can't be had, or aren't the authors'.
    """
    found = find_files(source, folder, on_progress)
    images, indices, test_images, test_indices = (read_file(source, name, found) for name in source.files)
    try:
        train, validation = hold_out(idx_split(images, indices, len(labels)))
        test = idx_split(test_images, test_indices, len(labels))
    except ValueError as error:
        raise DataError(f"{found} doesn't contain {source.title} ({error}): replace its files") from None
    return DataSet(source.name, labels, train, validation, test, mirrored=mirrored, origin=str(found))
