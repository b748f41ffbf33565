"""Two models on the same images: McNemar's test, and the difference with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import _newcombe_interval

EXACT_UP_TO = 25  # images with one correct model alone: with fewer, the exact test; it never finds too much


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same N images.

    difference: first's accuracy less second's, -1..1; low, high: its 95% interval (Newcombe 1998, method 10). p: of
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

    The same images are easy for both, so that this finds differences that two intervals side by side can't.
    """
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    low, high = _newcombe_interval(both, only_first, only_second, neither)
    p = mcnemar(only_first, only_second)
    return PairedTest(n, (only_first - only_second) / n, low, high, p, only_first, only_second)


def mcnemar(only_first: int, only_second: int) -> float:
    """How often so uneven a split, or a more uneven one, comes about if the models are equally likely to be correct.

    McNemar 1947, by the binomial distribution: exact below 25 images; from there mid-p, half the chance of just this
    split, which is less timid and in practice no less safe (Fagerland, Lydersen & Laake 2013).
    """
    n = only_first + only_second
    chance = tail = 1  # of 2**n, in whole numbers: nothing underflows
    for k in range(min(only_first, only_second)):
        chance = chance * (n - k) // (k + 1)
        tail += chance
    twice = 2 * tail - (chance if n >= EXACT_UP_TO else 0)
    return float(min(1.0, twice / 2**n))


def holm(chances: Sequence[float]) -> list[float]:
    """The p of each of several tests, raised so that one false positive among all is no likelier than in a single test.

    Holm 1979: the smallest times their number, the next times one less, and none below a smaller one's.
    """
    adjusted, least = [0.0] * len(chances), 0.0
    for left, k in zip(range(len(chances), 0, -1), sorted(range(len(chances)), key=chances.__getitem__), strict=True):
        least = adjusted[k] = max(least, min(1.0, left * chances[k]))
    return adjusted
