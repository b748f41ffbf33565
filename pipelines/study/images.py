"""The images of the experiments: fewer of them, moved, scaled, scrambled or wrongly labeled.

All functions leave what they are given as it is. images: [N, H, W, C] uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.reading import read_data
from zoo.data import DataSet
from zoo.errors import StudyError
from zoo.images import Pixels


def subset(name: str, count: int, seed: int) -> DataSet:
    """A known data set with `count` of its training images, as many of each class, drawn by the seed.

    Those of its validation are learned from, too: nothing is chosen by them here. The test images are all there.
    """
    whole = read_data(name).without_validation()
    labels = whole.train.labels
    order = np.random.default_rng(seed).permutation(len(labels))
    each = count // whole.classes
    kept = [order[labels[order] == label][:each] for label in range(whole.classes)]
    short = min(map(len, kept))
    if short < each:
        raise StudyError(f"{name} has a class of {short:,} training images, expected {each:,} or more: ask for fewer")
    return replace(whole, train=whole.train.take(np.sort(np.concatenate(kept))))


def changed(data_set: DataSet, change: Callable[[Pixels], Pixels]) -> DataSet:
    """Training and test images after the same change."""
    train, test = (replace(s, inputs=change(s.inputs)) for s in (data_set.train, data_set.test))
    return replace(data_set, train=train, validation=replace(train.take(np.arange(0))), test=test)


def scrambled(images: Pixels, block: int, seed: int = 0) -> Pixels:
    """Pixels in another order within blocks of block x block, the same order for all images and blocks.

    The side must be a multiple of it; a block as large as the image scrambles everything, 1 nothing.
    """
    count, height, width, channels = images.shape
    order = np.random.default_rng(seed).permutation(block * block)
    blocks = images.reshape(count, height // block, block, width // block, block, channels).swapaxes(2, 3)
    mixed = blocks.reshape(*blocks.shape[:3], block * block, channels)[..., order, :]
    return np.ascontiguousarray(mixed.reshape(blocks.shape).swapaxes(2, 3).reshape(images.shape))


def moved(images: Pixels, rows: int, columns: int) -> Pixels:
    """All images moved down and to the right by whole pixels; black comes in from outside."""
    found = np.zeros_like(images)
    height, width = images.shape[1:3]
    to_rows, from_rows = _overlap(height, rows)
    to_columns, from_columns = _overlap(width, columns)
    found[:, to_rows, to_columns] = images[:, from_rows, from_columns]
    return found


def _overlap(side: int, by: int) -> tuple[slice, slice]:
    return slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side + min(-by, 0))


def scaled(images: Pixels, sizes: NDArray[np.float64]) -> Pixels:
    """Each image at so many times its size, around its middle, by Pillow's bilinear resampling, on black."""
    from PIL import Image

    height, width = images.shape[1:3]
    found = np.empty_like(images)
    for place, (image, size) in enumerate(zip(images, sizes, strict=True)):
        # Pillow maps places of the new image to those of the old one.
        shift = (width / 2 * (1 - 1 / size), height / 2 * (1 - 1 / size))
        change = (1 / size, 0, shift[0], 0, 1 / size, shift[1])
        drawn = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        moved = drawn.transform((width, height), Image.Transform.AFFINE, change, Image.Resampling.BILINEAR)
        found[place] = np.asarray(moved).reshape(image.shape)
    return found


def with_wrong_labels(data_set: DataSet, share: float, seed: int) -> DataSet:
    """That share of the training images has another label, drawn from the wrong ones; the test set stays right."""
    random = np.random.default_rng(seed)
    labels = data_set.train.labels.copy()
    wrong: NDArray[np.int64] = random.permutation(len(labels))[: round(share * len(labels))]
    labels[wrong] = (labels[wrong] + random.integers(1, data_set.classes, len(wrong))) % data_set.classes
    return replace(data_set, train=replace(data_set.train, labels=labels))
