"""Split conformal prediction (Vovk et al. 2005): how probable a label must be, for the set to hold the true one."""

from __future__ import annotations

from decimal import ROUND_FLOOR, Context
from math import ceil

import numpy as np
from numpy.typing import NDArray

from zoo.runtime.label_sets import images_needed

DIGITS = Context(prec=6, rounding=ROUND_FLOOR)


def threshold(own: NDArray[np.floating], coverage: float) -> float:
    """The probability that a label needs to be in the set, so that the true one is in a share `coverage` of the sets.

    own: [n], the probabilities of the true labels of n images that the model didn't learn from. By the LAC score, one
    less the probability (Sadinle et al. 2019), and its quantile ceil((n + 1) * coverage) / n: for another image that
    comes from where these do, the set holds the true label with at least this probability, whatever the model is worth.
    Rounded down, which makes sets no smaller. Raises ValueError for fewer images than `images_needed`.
    """
    if len(own) < images_needed(coverage):
        raise ValueError(f"expected {images_needed(coverage)} images or more, received {len(own)}")
    left_out = len(own) - ceil(round((len(own) + 1) * coverage, 9))  # images whose true label may be below
    return float(DIGITS.create_decimal_from_float(float(np.sort(own)[left_out])))
