"""What is familiar: a Gaussian around each class, in the features of images that were learned, and how far is far.

Only images of the known classes are needed. Lee et al. 2018 take the Mahalanobis distance to the nearest class in the
features of several layers; Mueller & Hein 2025 ("Mahalanobis++") show that features of unit length make it hold for all
models. Here features become shares of their sum, whose square roots have unit length (Hellinger's): how bright an image
is, or how sharp, doesn't matter then, and no single channel decides. benchmarks/familiarity.py has the comparison with
energy, the largest logit and probability, nearest neighbors and ViM.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]  # [N, D], nothing below 0
Matrix = NDArray[np.float64]

METHOD = "Mahalanobis distance to the nearest class, features of unit length"
RANK = 32  # directions in which the classes' common covariance is kept; in all others it is one variance
MEANS = 64  # directions that the means of more classes than that are told by
CELLS = 64  # of the distribution of held-out images
BETWEEN = 4  # held-out images in a cell, at least
LEAST = 20  # held-out images: below, one in twenty can't be told
THRESHOLD = 0.05  # of familiarity: 95 % of held-out images lie above


@dataclass(frozen=True)
class Fitted:
    """The numbers behind FAMILIARITY.

    x [D] features -> y = sqrt(scale x / (total · scale x + epsilon)) - center
    w = y - (y A) A^T: white, that is of covariance 1
    score = max over classes of (w B + c) - |w|^2: minus the squared distance to the nearest class
    familiarity = mean over cells of clip(score · steepness + start, 0, 1)

    scale [D]; total: one number; center [D]; directions A [D, R]; classes B, a factor [D, K], or two [D, M], [M, K];
    offsets c [K]; steepness, start [cells]. A and B are numbers of float16: half the file, and as good. images: held
    out, that the distribution was taken from.
    """

    scale: Matrix
    total: float
    epsilon: float
    center: Matrix
    directions: Matrix
    classes: tuple[Matrix, ...]
    offsets: Matrix
    steepness: Matrix
    start: Matrix
    images: int

    def scores(self, features: Features) -> Matrix:
        """[N]: the greater, the nearer to a class."""
        scaled = features.astype(np.float64) * self.scale
        y = np.sqrt(scaled / (self.total * scaled.sum(axis=1, keepdims=True) + self.epsilon)) - self.center
        white = y - (y @ self.directions) @ self.directions.T
        by_class = white
        for factor in self.classes:
            by_class = by_class @ factor
        nearest = (by_class + self.offsets).max(axis=1)
        scores: Matrix = nearest - (white**2).sum(axis=1)
        return scores

    def familiarity(self, features: Features) -> Matrix:
        """[N] in 0..1: the share of held-out images that look less familiar. What the graph computes, in float64."""
        cells = self.scores(features)[:, np.newaxis] * self.steepness + self.start
        share: Matrix = np.clip(cells, 0, 1).mean(axis=1)
        return share


def fit(features: Features, labels: NDArray[np.int64], sizes: tuple[int, ...], held_out: Features) -> Fitted:
    """The Gaussians of learned images [N, D] with labels [N], and the distribution of others that are held out [M, D].

    sizes: D by activation, each of which weighs as much as the others, however large its values and however many.
    The covariance is shared by the classes and shrunk (Ledoit & Wolf 2004), so that a few images of each do.
    """
    from scipy.linalg import eigh
    from sklearn.covariance import ledoit_wolf

    scale = np.concatenate(
        [np.full(part.shape[1], 1 / max(float(part.sum(axis=1).mean()), 1e-12)) for part in _parts(features, sizes)]
    )
    unit = _unit(features, scale)
    center = unit.mean(axis=0)
    known, place = np.unique(labels, return_inverse=True)
    means = np.stack([unit[place == k].mean(axis=0) for k in range(len(known))]) - center  # [K, D]
    covariance, _ = ledoit_wolf(unit - center - means[place], assume_centered=True)
    size = len(covariance)
    rank = min(RANK, size - 1)
    largest, directions = eigh(covariance, subset_by_index=[size - rank, size - 1])
    # Of all other directions, as of probabilistic PCA (Tipping & Bishop 1999); never so little that it is rounding.
    rest = max((float(np.trace(covariance)) - float(largest.sum())) / (size - rank), 1e-8)
    # covariance^-1/2 = (1 - kept kept^T) / rest^1/2, and 1 / rest is in `total`: the graph saves a step.
    kept = _half(directions * np.sqrt(1 - np.sqrt(rest / np.maximum(largest, rest))))
    means = (means - (means @ kept) @ kept.T) / rest**0.5
    factors: tuple[Matrix, ...]
    if len(means) > MEANS:
        left, strength, right = np.linalg.svd(means, full_matrices=False)
        coordinates = left[:, :MEANS] * strength[:MEANS]  # [K, M]
        means = coordinates @ right[:MEANS]
        factors = (_half(right[:MEANS].T), _half(2 * coordinates.T))
    else:
        factors = (_half(2 * means.T),)
    fitted = Fitted(
        scale=scale,
        total=rest,
        epsilon=1e-6 * rest,
        center=center / rest**0.5,
        directions=kept,
        classes=factors,
        offsets=-(means**2).sum(axis=1),
        steepness=np.zeros(0),
        start=np.zeros(0),
        images=len(held_out),
    )
    grid = _grid(fitted.scores(held_out))
    steepness = 1 / np.diff(grid)
    return Fitted(**{**fitted.__dict__, "steepness": steepness, "start": -grid[:-1] * steepness})


def _half(values: Matrix) -> Matrix:
    return values.astype(np.float16).astype(np.float64)


def _parts(features: Features, sizes: tuple[int, ...]) -> list[Features]:
    return np.split(features, np.cumsum(sizes)[:-1], axis=1)


def _unit(features: Features, scale: Matrix) -> Matrix:
    scaled = features.astype(np.float64) * scale
    unit: Matrix = np.sqrt(scaled / (scaled.sum(axis=1, keepdims=True) + 1e-6))
    return unit


def _grid(scores: Matrix) -> Matrix:
    """[cells + 1] scores, each above the one before, with as many held-out images between two as between all others."""
    cells = min(CELLS, len(scores) // BETWEEN)
    grid: Matrix = np.quantile(scores, np.linspace(0, 1, cells + 1))
    # A cell that is too narrow would make steps of what is rounding.
    least = max(0.1 * float(np.median(np.diff(grid))), 1e-3)
    for place in range(1, len(grid)):
        grid[place] = max(grid[place], grid[place - 1] + least)
    return grid
