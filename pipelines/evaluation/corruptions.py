"""Images as the world hands them over: noisy, blurred, shifted, faint. A model that only knows clean ones fails here.

After the common corruptions of Hendrycks & Dietterich (2019), four of their kinds at two severities each, with sizes as
shares of the side: theirs are made for photographs of 224 pixels. Same images, same corruption, same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from zoo.data.pixels import Images, in_chunks
from zoo.images import Pixels

Values = NDArray[np.float32]  # [B, H, W, C], 0..255

SEED = 2019
BATCH = 1000  # images at a time: a whole test set as float32 can be gigabytes
DESIGNED_FOR = 28  # pixels: sizes are stated for images of this side, and scaled to others


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image. amount: what it does, in words. severity: 1 (mild) or 2 (strong)."""

    kind: str
    severity: int
    amount: str
    spoil: Callable[[Values, np.random.Generator], Values]

    def __call__(self, images: Pixels) -> Pixels:
        """[N, H, W, C] uint8 -> the same, spoiled. What an image gets depends on its place, so that all differ."""
        return np.concatenate([*self.batches(images)])

    def batches(self, images: Images) -> Iterator[Pixels]:
        """The same, some of them at a time."""
        random = np.random.default_rng(SEED)
        for some in in_chunks(images, BATCH):
            values = self.spoil(some.astype(np.float32), random)
            yield np.clip(np.rint(values), 0, 255).astype(np.uint8)


def noise(deviation: float) -> Callable[[Values, np.random.Generator], Values]:
    """Add to each value a number drawn from a normal distribution. deviation: its standard one, a share of 255."""
    return lambda images, random: images + 255 * deviation * random.standard_normal(images.shape, np.float32)


def blur(pixels: float) -> Callable[[Values, np.random.Generator], Values]:
    """Average around each pixel with Gaussian weights; beyond the edge it goes on. pixels: their deviation at 28."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001 (one signature for all)
        for axis in (1, 2):
            side = max(16, images.shape[axis])  # as a share of less it reaches no other pixel, and changes nothing
            images = _blurred(images, pixels * side / DESIGNED_FOR, axis)
        return images

    return spoil


def shift(pixels: int) -> Callable[[Values, np.random.Generator], Values]:
    """Move each image towards one of its corners; its edge fills what is uncovered. pixels: each way, at 28."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        signs = random.choice([-1, 1], (2, len(images), 1))
        rows, columns = (
            np.clip(np.arange(side) + sign * ceil(side * pixels / DESIGNED_FOR), 0, side - 1)
            for side, sign in zip(images.shape[1:3], signs, strict=True)
        )
        moved: Values = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
        return moved

    return spoil


def contrast(kept: float) -> Callable[[Values, np.random.Generator], Values]:
    """Pull each value towards the mean of its image. kept: the share of its distance that is left."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001
        means: Values = images.mean(axis=(1, 2, 3), keepdims=True)
        return kept * (images - means) + means

    return spoil


def _blurred(images: Values, deviation: float, axis: int) -> Values:
    """deviation: of the weights, in pixels along the axis; beyond three of it lies 0.3 % of them."""
    reach = ceil(3 * deviation)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    margins = [(reach, reach) if k == axis else (0, 0) for k in range(images.ndim)]
    padded = np.moveaxis(np.pad(images, margins, "edge"), axis, 0)
    side = images.shape[axis]
    total = sum(np.float32(weight) * padded[k : k + side] for k, weight in enumerate(weights))
    return np.moveaxis(np.asarray(total, np.float32), 0, axis)


# So strong that models differ: the mild ones cost a good model some points, the strong ones a weak model most of its.
CORRUPTIONS = (
    Corruption("noise", 1, "Gaussian, deviation 5% of the range", noise(0.05)),
    Corruption("noise", 2, "Gaussian, deviation 10% of the range", noise(0.1)),
    Corruption("blur", 1, "Gaussian, deviation 0.75 pixels of 28", blur(0.75)),
    Corruption("blur", 2, "Gaussian, deviation 1.5 pixels of 28", blur(1.5)),
    Corruption("shift", 1, "2 pixels of 28, both ways", shift(2)),
    Corruption("shift", 2, "4 pixels of 28, both ways", shift(4)),
    Corruption("contrast", 1, "three quarters of it left", contrast(0.75)),
    Corruption("contrast", 2, "half of it left", contrast(0.5)),
)
