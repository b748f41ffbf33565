"""The weights of a first layer as images: which are drawn, and in which colors, in a plot or on a page."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.plotting.palette import NEGATIVE, NEUTRAL, POSITIVE, rgb
from zoo.images import Pixels

DRAWN = 64  # filters or neurons


def strongest(weights: NDArray[np.floating]) -> NDArray[np.intp]:
    """The places of those with the largest norms, `DRAWN` at most, in their order. weights: [H, W, C, F]."""
    norms = (np.nan_to_num(weights.astype(np.float64)) ** 2).sum(axis=(0, 1, 2))
    return np.sort(np.argsort(-norms, kind="stable")[:DRAWN])


def colored(weights: NDArray[np.floating]) -> Pixels:
    """[H, W, C, F] -> [F, H, W, 3] uint8. One channel: on one scale for all. Three: each on its own, around gray."""
    tiles = np.moveaxis(np.nan_to_num(weights.astype(np.float64)), -1, 0)
    if tiles.shape[3] == 3:
        largest = np.abs(tiles).max(axis=(1, 2, 3), keepdims=True).clip(1e-12)
        return _pixels(255 * (0.5 + tiles / (2 * largest)))
    scale = np.quantile(np.abs(tiles), 0.995) or 1.0  # a few extremes would pale all others
    shares = np.clip(tiles / scale, -1, 1)  # [F, H, W, 1]
    neutral = np.array(rgb(NEUTRAL))
    return _pixels(neutral + np.abs(shares) * (np.where(shares > 0, rgb(POSITIVE), rgb(NEGATIVE)) - neutral))


def legend(channels: int) -> str:
    """What the colors mean."""
    return "orange raises the output, blue lowers it" if channels == 1 else "gray: no weight"


def _pixels(values: NDArray[np.float64]) -> Pixels:
    rounded: Pixels = np.rint(values).astype(np.uint8)
    return rounded
