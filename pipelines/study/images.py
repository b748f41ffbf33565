"""The images of the experiments: subsets, shifted, scaled, scrambled or mislabeled.

No function changes its arguments. images: [N, H, W, C] uint8.
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
    """A known data set with `count` of its training images, balanced over classes, drawn by the seed.

    They are drawn from the training and the validation split, as nothing is selected here. The test split stays whole.
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
    """Pixels permuted within blocks of block x block, by the same permutation for all images and blocks.

    The side must be a multiple of the block. A block as large as the image permutes all pixels, one of 1 none.
    """
    count, height, width, channels = images.shape
    order = np.random.default_rng(seed).permutation(block * block)
    blocks = images.reshape(count, height // block, block, width // block, block, channels).swapaxes(2, 3)
    mixed = blocks.reshape(*blocks.shape[:3], block * block, channels)[..., order, :]
    return np.ascontiguousarray(mixed.reshape(blocks.shape).swapaxes(2, 3).reshape(images.shape))


def shifted(images: Pixels, rows: int, columns: int) -> Pixels:
    """All images shifted down and to the right by whole pixels, on black."""
    found = np.zeros_like(images)
    height, width = images.shape[1:3]
    to_rows, from_rows = _overlap(height, rows)
    to_columns, from_columns = _overlap(width, columns)
    found[:, to_rows, to_columns] = images[:, from_rows, from_columns]
    return found


def _overlap(side: int, by: int) -> tuple[slice, slice]:
    return slice(max(by, 0), side + min(by, 0)), slice(max(-by, 0), side + min(-by, 0))


def scaled(images: Pixels, sizes: NDArray[np.float64]) -> Pixels:
    """Each image scaled around its center by a factor, with Pillow's bilinear resampling, on black. sizes: [N]"""
    from PIL import Image

    height, width = images.shape[1:3]
    found = np.empty_like(images)
    for place, (image, size) in enumerate(zip(images, sizes, strict=True)):
        # Pillow maps coordinates of the new image to those of the old one.
        shift = (width / 2 * (1 - 1 / size), height / 2 * (1 - 1 / size))
        change = (1 / size, 0, shift[0], 0, 1 / size, shift[1])
        original = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        resized = original.transform((width, height), Image.Transform.AFFINE, change, Image.Resampling.BILINEAR)
        found[place] = np.asarray(resized).reshape(image.shape)
    return found


FOREIGN = ("digits", "photographs", "noise")  # kinds of images that are no clothes


def foreign(kind: str, count: int, side: int) -> Pixels:
    """[count, side, side, 1] of one of FOREIGN: handwritten digits and parts of two photographs, both as scikit-learn
    brings them, in gray; and uniform noise.
    """
    from PIL import Image
    from sklearn.datasets import load_digits, load_sample_images

    random = np.random.default_rng(0)
    if kind == "noise":
        return random.integers(0, 256, (count, side, side, 1), np.uint8)
    if kind == "digits":
        whole = [(image / 16 * 255).astype(np.uint8) for image in load_digits().images[:count]]
    else:
        photographs = [np.asarray(Image.fromarray(image).convert("L")) for image in load_sample_images().images]
        whole = [_part(photographs[random.integers(len(photographs))], side, random) for _ in range(count)]
    resized = [Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR) for image in whole]
    return np.stack([np.asarray(image) for image in resized])[..., np.newaxis]


def _part(photograph: Pixels, side: int, random: np.random.Generator) -> Pixels:
    """A square of it, [S, S], not smaller than the side."""
    size = int(random.integers(side, min(photograph.shape) // 2))
    top, left = (int(random.integers(length - size + 1)) for length in photograph.shape)
    return photograph[top : top + size, left : left + size]


def with_wrong_labels(data_set: DataSet, share: float, seed: int) -> DataSet:
    """Label noise: a share of the training images has a random wrong label. The test set keeps its labels."""
    random = np.random.default_rng(seed)
    labels = data_set.train.labels.copy()
    wrong: NDArray[np.int64] = random.permutation(len(labels))[: round(share * len(labels))]
    labels[wrong] = (labels[wrong] + random.integers(1, data_set.classes, len(wrong))) % data_set.classes
    return replace(data_set, train=replace(data_set.train, labels=labels))
