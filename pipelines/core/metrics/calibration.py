"""Calibration: how well probabilities match accuracies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.classification import Counts


def cross_entropy(logits: NDArray[np.floating], truth: Counts) -> float:
    """The mean negative log likelihood in nats. logits: [N, K]; from these, because a probability can round to 0."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    own = np.take_along_axis(shifted, truth[:, np.newaxis], axis=1)[:, 0]
    return float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())


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
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 15
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
