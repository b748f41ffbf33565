"""A stratified, seeded draw: every class gives the same share, and the same pictures each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

# Apart from the recipe's seed: two runs that differ in that one are still judged on the same pictures.
SPLIT_SEED = 0
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
# Of what is left once the test pictures are drawn: 10 of 80.
VALIDATION_SHARE_OF_REST = VALIDATION_SHARE / (1 - TEST_SHARE)


def draw(
    labels: NDArray[np.integer], share: float, units: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of those that stay and of those that are drawn, both ascending: `share` of each class, at least one.

    labels: [N] int64. units: [N] int64, what has the same number is drawn together or not at all; a class may then give
    somewhat less than its share, or as much as its smallest unit.
    """
    # RandomState: numpy promises never to change its stream, which it doesn't of the newer Generator (NEP 19).
    random = np.random.RandomState(SPLIT_SEED)
    of_unit = np.arange(len(labels)) if units is None else np.unique(units, return_inverse=True)[1]
    content = [Counter[int]() for _ in range(int(of_unit.max(initial=-1)) + 1)]  # of each unit: pictures by class
    for unit, label in zip(of_unit.tolist(), labels.tolist(), strict=True):
        content[unit][label] += 1
    drawn = np.zeros(len(content), bool)
    given: Counter[int] = Counter()
    goal = {
        int(label): max(1, round(int(count) * share))
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True)
    }

    def fits(unit: int) -> bool:
        return all(given[label] + count <= goal[label] for label, count in content[unit].items())

    for label in goal:
        members = of_unit[random.permutation(np.flatnonzero(labels == label))].tolist()
        for unit in members:
            if given[label] >= goal[label]:
                break
            if not drawn[unit] and fits(unit):
                drawn[unit] = True
                given += content[unit]
        if not given[label]:  # each unit is larger than the share
            smallest = min(members, key=lambda unit: content[unit].total())
            drawn[smallest] = True
            given += content[smallest]
    return np.flatnonzero(~drawn[of_unit]), np.flatnonzero(drawn[of_unit])
