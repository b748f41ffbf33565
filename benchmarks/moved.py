"""Accuracy on moved images: what the sliders of `zoo demo` do, over a whole test set instead of ten samples.

PYTHONPATH=. python benchmarks/moved.py fashion-mnist/mlp-small fashion-mnist/conv-small fashion-mnist/conv-mlp-small
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

import zoo
from zoo.data import load
from zoo.images import Pixels

BATCH = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="+", metavar="EXPORT", help="of one data set")
    options = parser.parse_args()
    classifiers = [zoo.load(export, provider="cpu") for export in options.exports]
    test = load(classifiers[0].metadata.data_set).test
    print("|", " | ".join(["", *(classifier.metadata.model for classifier in classifiers)]), "|")
    print("|---" + "|---:" * len(classifiers) + "|")
    for name, images in moves(np.asarray(test.inputs)):
        shares = []
        for classifier in classifiers:
            batches = [classifier.probabilities(images[k : k + BATCH]) for k in range(0, len(images), BATCH)]
            shares.append((np.concatenate(batches).argmax(axis=1) == test.labels).mean())
        print(f"| {name} |", " | ".join(f"{share:.1%}" for share in shares), "|", flush=True)


def moves(images: Pixels) -> Iterator[tuple[str, Pixels]]:
    """Name and images, as in examples/web/src/transform.ts."""
    yield "as they are", images
    for pixels in (2, 4, 6):
        yield f"{pixels} pixels to the right", moved(images, right=pixels)
    for scale in (0.7, 1.3):
        yield f"{scale} times the size", moved(images, scale=scale)
    for degrees in (15, 30):
        yield f"rotated by {degrees}°", moved(images, rotate=degrees)
    for block in (2, 4, 7, 28):
        yield f"scrambled in blocks of {block} × {block}", scrambled(images, block)


def moved(images: Pixels, right: float = 0, down: float = 0, scale: float = 1, rotate: float = 0) -> Pixels:
    """Shifted by pixels, scaled, and rotated by degrees, around the center; the edge fills what is uncovered."""
    height, width = images.shape[1:3]
    angle = np.deg2rad(rotate)
    rows, columns = np.mgrid[:height, :width].astype(float)
    u, v = columns - (width - 1) / 2 - right, rows - (height - 1) / 2 - down
    x = np.clip((np.cos(angle) * u + np.sin(angle) * v) / scale + (width - 1) / 2, 0, width - 1)
    y = np.clip((np.cos(angle) * v - np.sin(angle) * u) / scale + (height - 1) / 2, 0, height - 1)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
    share_x, share_y = (x - x0)[..., None], (y - y0)[..., None]
    values = images.astype(np.float32)
    above = values[:, y0, x0] * (1 - share_x) + values[:, y0, x1] * share_x
    below = values[:, y1, x0] * (1 - share_x) + values[:, y1, x1] * share_x
    moved: NDArray[np.uint8] = np.floor(above * (1 - share_y) + below * share_y + 0.5).astype(np.uint8)
    return moved


def scrambled(images: Pixels, block: int) -> Pixels:
    """The pixels of each block in another order, by one fixed permutation."""
    height, width = images.shape[1:3]
    places = np.arange(height * width)
    blocks = places // width // block * width + places % width // block
    order, goal = np.lexsort((shuffled(places), blocks)), np.lexsort((places, blocks))
    flat = images.reshape(len(images), height * width, -1)
    result = np.empty_like(flat)
    result[:, goal] = flat[:, order]
    return result.reshape(images.shape)


def shuffled(places: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The finalizer of MurmurHash3: each number gets another one of its own."""
    h = places.astype(np.uint32)
    h ^= h >> 16
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> 13
    h *= np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


if __name__ == "__main__":
    main()
