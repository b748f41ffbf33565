"""Calibration: how well probabilities match accuracies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.classification import Counts
from pipelines.core.metrics.resampling import ROUNDS, percentiles, resampled

BINS = 15


def cross_entropy(logits: NDArray[np.floating], truth: Counts) -> float:
    """The mean negative log likelihood in nats. logits: [N, K]; from these, because a probability can round to 0."""
    return float(cross_entropies(logits, truth).mean())


def cross_entropies(logits: NDArray[np.floating], truth: Counts) -> NDArray[np.float64]:
    """Of each image, [N]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, truth[:, np.newaxis], axis=1)[:, 0]
    found: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1)) - own
    return found


@dataclass(frozen=True)
class CalibrationBin:
    """The images with similar confidence. confidence: their mean; accuracy: the share of correct predictions."""

    images: int
    correct: int
    confidence: float

    @property
    def accuracy(self) -> float:
        """0..1."""
        return self.correct / self.images


def calibration_bins(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = BINS
) -> list[CalibrationBin]:
    """The non-empty bins of equal width over 0..1. confidence: [N] of the predicted classes; correct: [N]."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        CalibrationBin(int(inside.sum()), int(correct[inside].sum()), float(confidence[inside].mean(dtype=np.float64)))
        for inside in (place == k for k in range(bins))
        if inside.any()
    ]


def calibration_error(bins: list[CalibrationBin]) -> float:
    """The expected calibration error (Naeini et al. 2015; Guo et al. 2017): 0 where a 0.8 is correct 8 times in 10."""
    images = sum(b.images for b in bins)
    return sum(b.images * abs(b.accuracy - b.confidence) for b in bins) / images


@dataclass(frozen=True)
class MassError:
    """The expected calibration error in 15 bins of equal mass, and its 95 % interval: 0..1."""

    error: float
    low: float
    high: float


def equal_mass_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_]) -> MassError:
    """The calibration error in bins that hold the same number of images, by their confidence (Nguyen & O'Connor 2015).

    Bins of equal width hold nearly all images of a good model in the last one. confidence, correct: [N].

    Noise alone adds to it: probabilities that are exactly true come to some error, too. The interval begins at 0 unless
    the error is beyond what 97.5 % of draws from such would come to, and above that at the excess. It ends where 2.5 %
    of the bootstrap's rounds lie above: noise counts twice in each of them, so that it is rather too wide.
    """
    images = len(correct)
    order = np.argsort(confidence, kind="stable")
    sure: NDArray[np.float64] = confidence[order].astype(np.float64)
    begins = np.arange(min(BINS, images)) * images // min(BINS, images)

    def error(gaps: NDArray[np.float64]) -> float:
        """gaps: [N], confidence less correctness of each image, in the order of the bins."""
        return float(np.abs(np.add.reduceat(gaps, begins)).sum() / images)

    gaps, random = sure - correct[order], np.random.RandomState(0)
    by_chance = [error(sure - (random.random(images) < sure)) for _ in range(ROUNDS)]
    again = [error(counts * gaps) for counts in resampled(images)]
    found, excess = error(gaps), percentiles(np.array(by_chance))[1]
    return MassError(found, max(0.0, found - excess), max(found, percentiles(np.array(again))[1]))


def accuracy_by_share(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The share of images answered, [N] ascending to 1, and the accuracy of those: the surest first.

    Selective prediction (El-Yaniv & Wiener 2010). confidence, correct: [N].
    """
    order = np.argsort(-confidence, kind="stable")
    number = np.arange(1, len(order) + 1)
    accuracy: NDArray[np.float64] = np.cumsum(correct[order]) / number
    return number / len(order), accuracy
