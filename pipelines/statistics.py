"""The statistics of a test: how sure an accuracy is, how classes are confused, how far to believe a probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): (low, high), both 0..1; n = 0 gives (0, 1), nothing being known.

    Unlike accuracy ± 1.96 standard errors it stays within 0..1, and isn't empty where all answers are right.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"expected 0 <= correct <= n, received {correct} of {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = correct / n, z * z / n
    centre = share + spread / 2
    reach = z * sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (centre - reach) / (1 + spread)), min(1.0, (centre + reach) / (1 + spread))


def mean_interval(values: Sequence[float] | Shares, confidence: float = 0.95) -> tuple[float, float]:
    """Of the mean of a few measured values, by Student's t (1908); of one value everything, since it tells nothing."""
    from scipy.special import stdtrit  # a wait that only who asks for it has

    n = len(values)
    if n < 2:
        return -inf, inf
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * float(np.std(values, ddof=1)) / sqrt(n)
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def confusion_matrix(truth: Counts, answer: Counts, classes: int) -> Counts:
    """[K, K] int64: how often a picture of the row's class was given the column's. truth, answer: [N], 0..K-1."""
    pairs = np.bincount(truth * classes + answer, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def precision_recall_f1(confusion: Counts) -> tuple[Shares, Shares, Shares]:
    """For each class [K]: the share of its answers that are right, the share of its pictures found, and F1.

    A class that was never the answer, or that has no picture, has 0.
    """
    right = np.diag(confusion).astype(np.float64)
    answers, pictures = confusion.sum(axis=0), confusion.sum(axis=1)
    return _share(right, answers), _share(right, pictures), _share(2 * right, answers + pictures)


def top_accuracy(scores: NDArray[np.floating], truth: Counts, k: int) -> float:
    """The share of pictures whose class is among the k highest scores. scores: [N, K], of any kind that ranks."""
    own = np.take_along_axis(scores, truth[:, np.newaxis], axis=1)
    return float(((scores > own).sum(axis=1) < k).mean())


def cross_entropy(logits: NDArray[np.floating], truth: Counts) -> float:
    """The mean negative log likelihood in nats. logits: [N, K]; from these, because a probability can round to 0."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, truth[:, np.newaxis], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())


@dataclass(frozen=True)
class CalibrationBin:
    """The pictures whose answer was about equally sure. confidence: their mean; accuracy: the share that was right."""

    pictures: int
    correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """0..1."""
        return self.correct / self.pictures


def calibration_bins(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = 15
) -> list[CalibrationBin]:
    """The bins, of equal width over 0..1, that hold a picture. confidence: [N] of the answers given; right: [N]."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        CalibrationBin(int(inside.sum()), int(right[inside].sum()), float(confidence[inside].mean(dtype=np.float64)))
        for inside in (place == k for k in range(bins))
        if inside.any()
    ]


def calibration_error(bins: list[CalibrationBin]) -> float:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017): 0 where a 0.8 is right 8 times of 10."""
    pictures = sum(b.pictures for b in bins)
    return sum(b.pictures * abs(b.accuracy - b.confidence) for b in bins) / pictures


EXACT_UP_TO = 25  # pictures that one model alone gets right: with fewer, the exact test; it never finds too much


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same N pictures.

    difference: first's accuracy less second's, -1..1; low, high: its 95% interval (Newcombe 1998, method 10). p: of
    McNemar's test, two-sided. only_first, only_second: pictures that one of them alone gets right.
    """

    pictures: int
    difference: float
    low: float
    high: float
    p: float
    only_first: int
    only_second: int


def paired_test(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedTest:
    """Whether one model is right more often than another, picture by picture. first, second: [N], right or not.

    The same pictures are easy for both, so that this tells apart what two intervals side by side can't.
    """
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    low, high = _newcombe_interval(both, only_first, only_second, neither)
    p = mcnemar(only_first, only_second)
    return PairedTest(n, (only_first - only_second) / n, low, high, p, only_first, only_second)


def mcnemar(only_first: int, only_second: int) -> float:
    """How often so uneven a split, or a more uneven one, comes about if either model is as likely to be the right one.

    McNemar 1947, by the binomial distribution: exact below 25 pictures; from there mid-p, half the chance of just this
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
    """The p of each of several tests, raised so that one mistake among all of them is no likelier than in a single one.

    Holm 1979: the smallest times their number, the next times one less, and none below a smaller one's.
    """
    adjusted, least = [0.0] * len(chances), 0.0
    for left, k in zip(range(len(chances), 0, -1), sorted(range(len(chances)), key=chances.__getitem__), strict=True):
        least = adjusted[k] = max(least, min(1.0, left * chances[k]))
    return adjusted


def _newcombe_interval(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Of the difference of paired shares, 95%: Wilson's intervals of the two, joined by how much they agree.

    Newcombe 1998, method 10. Unlike the difference ± 1.96 standard errors it has a width where both are always right.
    """
    n = both + only_first + only_second + neither
    if n == 0:
        return -1.0, 1.0
    shares = (both + only_first) / n, (both + only_second) / n
    (low1, high1), (low2, high2) = (wilson_interval(both + only, n) for only in (only_first, only_second))
    agreement = float(both * neither - only_first * only_second)
    if agreement > 0:
        agreement = max(agreement - n / 2, 0.0)  # his correction for continuity
    sides = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    phi = agreement / sqrt(sides) if sides else 0.0

    def reach(one: float, other: float) -> float:
        return sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))

    difference = (only_first - only_second) / n
    below = reach(shares[0] - low1, high2 - shares[1])
    above = reach(high1 - shares[0], shares[1] - low2)
    return difference - below, difference + above


def _share(part: Shares, whole: Counts) -> Shares:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
