"""A stratified, seeded draw: every class gives the same share, and the same pictures each time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Apart from the recipe's seed: two runs that differ in that one are still judged on the same pictures.
SPLIT_SEED = 0
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
# Of what is left once the test pictures are drawn: 10 of 80.
VALIDATION_SHARE_OF_REST = VALIDATION_SHARE / (1 - TEST_SHARE)


def draw(labels: NDArray[np.int64], share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of those that stay and of those that are drawn, both ascending: `share` of each class, at least one.

    labels: [N] int64.
    """
    # RandomState: numpy promises never to change its stream, which it doesn't of the newer Generator (NEP 19).
    random = np.random.RandomState(SPLIT_SEED)
    drawn = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        drawn[random.permutation(members)[: max(1, round(len(members) * share))]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)
