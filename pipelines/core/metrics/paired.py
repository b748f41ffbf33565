"""Two models on the same images: McNemar's test, and the difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import newcombe_interval

EXACT_UP_TO = 25  # discordant images; with fewer, the exact test, which is conservative


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same N images.

    difference: first's accuracy minus second's, -1..1; low, high: its 95% interval (Newcombe 1998, method 10). p: of
    McNemar's test, two-sided. only_first, only_second: images that one of them alone classifies correctly.
    """

    images: int
    difference: float
    low: float
    high: float
    p: float
    only_first: int
    only_second: int


def paired_test(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedTest:
    """Whether one model is correct more often than another, image by image. first, second: [N], correct or not.

    The same images are easy for both, so that this test has more power than a comparison of two intervals.
    """
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    low, high = newcombe_interval(both, only_first, only_second, neither)
    p = mcnemar(only_first, only_second)
    return PairedTest(n, (only_first - only_second) / n, low, high, p, only_first, only_second)


def mcnemar(only_first: int, only_second: int) -> float:
    """The two-sided p of McNemar's test (1947), where both models are equally likely to be correct.

    By the binomial distribution: exact below 25 discordant images; from there mid-p, which is less conservative and in
    practice keeps the significance level (Fagerland, Lydersen & Laake 2013).
    """
    n = only_first + only_second
    chance = tail = 1  # of 2**n, in whole numbers: nothing underflows
    for k in range(min(only_first, only_second)):
        chance = chance * (n - k) // (k + 1)
        tail += chance
    twice = 2 * tail - (chance if n >= EXACT_UP_TO else 0)
    return float(min(1.0, twice / 2**n))


def holm(p: Sequence[float]) -> list[float]:
    """The p of each of several tests, adjusted to control the family-wise error rate.

    Holm 1979: the smallest times their number, the next times one less, and none below a smaller one's.
    """
    adjusted, least = [0.0] * len(p), 0.0
    for left, k in zip(range(len(p), 0, -1), sorted(range(len(p)), key=p.__getitem__), strict=True):
        least = adjusted[k] = max(least, min(1.0, left * p[k]))
    return adjusted
