"""The statistics of a test: how sure an accuracy is, how classes are confused, how far to believe a probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def confusion_matrix(truth: Counts, answer: Counts, classes: int) -> Counts:
    """[K, K] int64: how often an image of the row's class was given the column's. truth, answer: [N], 0..K-1."""
    pairs = np.bincount(truth * classes + answer, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def precision_recall_f1(confusion: Counts) -> tuple[Shares, Shares, Shares]:
    """For each class [K]: the share of its answers that are correct, the share of its images found, and F1.

    A class that was never the answer, or that has no image, has 0.
    """
    correct = np.diag(confusion).astype(np.float64)
    answers, images = confusion.sum(axis=0), confusion.sum(axis=1)
    return _share(correct, answers), _share(correct, images), _share(2 * correct, answers + images)


def top_accuracy(scores: NDArray[np.floating], truth: Counts, k: int) -> float:
    """The share of images whose class is among the k highest scores. scores: [N, K], of any kind that ranks."""
    own = np.take_along_axis(scores, truth[:, np.newaxis], axis=1)
    return float(((scores > own).sum(axis=1) < k).mean())


def _share(part: Shares, whole: Counts) -> Shares:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
