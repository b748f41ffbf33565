"""The bootstrap (Efron 1979): how far a metric of these images would be off on as many others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

ROUNDS = 1000


def resampled(images: int) -> Iterator[NDArray[np.int64]]:
    """ROUNDS times how often each of N images is in a sample of N, drawn with replacement: [N]. The same each time."""
    random = np.random.RandomState(0)
    for _ in range(ROUNDS):
        yield np.bincount(random.randint(images, size=images), minlength=images)


def resampled_means(values: Numbers) -> Numbers:
    """The mean of [N] values in each round, [ROUNDS]."""
    return np.array([counts @ values for counts in resampled(len(values))]) / len(values)


def percentiles(found: Numbers) -> tuple[float, float]:
    """The middle 95 % of what resampling found, [ROUNDS] -> (low, high)."""
    low, high = np.percentile(found, (2.5, 97.5))
    return float(low), float(high)
