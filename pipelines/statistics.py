"""The statistics of a test: how sure an accuracy is, how classes are confused, how far to believe a probability."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
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


def _share(part: Shares, whole: Counts) -> Shares:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
