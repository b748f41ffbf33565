"""Confidence intervals: of a share, of a mean, of a paired difference."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, sqrt
from statistics import NormalDist

import numpy as np

from pipelines.core.metrics.classification import Shares


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): (low, high), both 0..1; (0, 1) for n = 0.

    Unlike accuracy ± 1.96 standard errors it stays within 0..1, and isn't empty where all predictions are correct.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"expected 0 <= correct <= n, received {correct} of {n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, spread = correct / n, z * z / n
    center = share + spread / 2
    reach = z * sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, (center - reach) / (1 + spread)), min(1.0, (center + reach) / (1 + spread))


def mean_interval(
    values: Sequence[float] | Shares, confidence: float = 0.95, *, overlap: float = 0.0
) -> tuple[float, float]:
    """Of the mean of a few measured values, by Student's t (1908); unbounded for a single value.

    overlap: test over training rows, where each value is of another split of the same rows. Such values share most of
    their rows, so that the variance of their mean is larger (Nadeau & Bengio 2003, equation 9).
    """
    from scipy.special import stdtrit  # slow to import

    n = len(values)
    if n < 2:
        return -inf, inf
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * float(np.std(values, ddof=1)) * sqrt(1 / n + overlap)
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def newcombe_interval(both: int, only_first: int, only_second: int, neither: int) -> tuple[float, float]:
    """Of the difference of paired shares, 95%: Wilson's intervals of the two, combined by their correlation.

    Newcombe 1998, method 10. Unlike the difference ± 1.96 standard errors it has a width where both are always correct.
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
