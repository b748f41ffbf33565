"""Classification metrics: confusion matrix, precision, recall, F1, top-k accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]


def confusion_matrix(truth: Counts, predicted: Counts, classes: int) -> Counts:
    """[K, K] int64: images of the row's class that were classified as the column's. truth, predicted: [N], 0..K-1."""
    pairs = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def precision_recall_f1(confusion: Counts) -> tuple[Shares, Shares, Shares]:
    """For each class [K]: the share of its predictions that are correct, the share of its images found, and F1.

    0 for a class that was never predicted, or that has no image.
    """
    correct = np.diag(confusion).astype(np.float64)
    predictions, images = confusion.sum(axis=0), confusion.sum(axis=1)
    return _share(correct, predictions), _share(correct, images), _share(2 * correct, predictions + images)


def balanced_accuracy(confusion: Counts) -> float:
    """The mean of the classes' recalls, those without an image left out (Brodersen et al. 2010): all count alike."""
    images = confusion.sum(axis=1)
    return float(_share(np.diag(confusion).astype(np.float64), images)[images > 0].mean())


def macro_f1(confusion: Counts) -> float:
    """The mean of the classes' F1, of those that have an image or a prediction."""
    _, _, f1 = precision_recall_f1(confusion)
    return float(f1[confusion.sum(axis=0) + confusion.sum(axis=1) > 0].mean())


def top_accuracy(scores: NDArray[np.floating], truth: Counts, k: int) -> float:
    """The share of images whose class is among the k highest scores. scores: [N, K] logits or probabilities."""
    own = np.take_along_axis(scores, truth[:, np.newaxis], axis=1)
    return float(((scores > own).sum(axis=1) < k).mean())


def _share(part: Shares, whole: Counts) -> Shares:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
