"""A stratified, seeded draw: every class gives the same share, and the same images each time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import Split

# Apart from the recipe's seed: two runs that differ in that one are still judged on the same images.
SPLIT_SEED = 0
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
# Of what is left once the test images are drawn: 10 of 80.
VALIDATION_SHARE_OF_REST = VALIDATION_SHARE / (1 - TEST_SHARE)
VALIDATION_IMAGES = 5_000  # of a data set that comes with a test set of its own


def draw_splits(everything: Split) -> tuple[Split, Split, Split]:
    """Train, validation and test, drawn from all that there is: 70, 10 and 20 % of each class."""
    places = np.arange(len(everything))
    found = fill_splits({"train": places}, everything.labels, places)
    train, validation, test = (everything.take(found[name]) for name in ("train", "validation", "test"))
    return train, validation, test


def hold_out(given: Split) -> tuple[Split, Split]:
    """Train and validation, drawn from the images that a data set gives to train on: 5,000, at most a tenth of each."""
    train, validation = draw(given.labels, min(VALIDATION_IMAGES / len(given), VALIDATION_SHARE))
    return given.take(train), given.take(validation)


def fill_splits(
    given: Mapping[str, NDArray[np.int64]], labels: NDArray[np.integer], units: NDArray[np.int64]
) -> dict[str, NDArray[np.int64]]:
    """The places of train, validation and test: those that aren't given are drawn from train, 70/10/20 where none is.

    given: split -> its places among the N, train among them. labels, units: [N], as `draw` takes them.
    """
    places = dict(given)
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE_OF_REST)):
        if name not in places:
            train = places["train"]
            stays, drawn = draw(labels[train], share, units[train])
            places |= {"train": train[stays], name: train[drawn]}
    return places


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
    # Each unit's classes, and how many of its images each has: some places in these two, from `begin` on.
    classes = int(labels.max(initial=0)) + 1
    contents, counts = np.unique(of_unit.astype(np.int64) * classes + labels, return_counts=True)
    owner, kinds = np.divmod(contents, classes)
    # As views, not as lists: of a million images, these would take 100 MB.
    begin = np.searchsorted(owner, np.arange(int(of_unit.max(initial=-1)) + 2)).data
    kind, count = kinds.data, counts.data
    stays = np.bincount(labels).tolist()
    goal = [max(1, round(images * share)) for images in stays]
    given = [0] * len(stays)
    drawn = np.zeros(len(begin) - 1, bool)

    def content(unit: int) -> Iterator[tuple[int, int]]:
        """Its classes, and how many images of each."""
        return ((kind[place], count[place]) for place in range(begin[unit], begin[unit + 1]))

    def give(unit: int) -> None:
        drawn[unit] = True
        for label, images in content(unit):
            given[label] += images
            stays[label] -= images

    def badness(unit: int) -> tuple[bool, int]:
        """Whether a class would have nothing left, and how much it is in all."""
        found = list(content(unit))
        return any(stays[label] <= images for label, images in found), sum(images for _, images in found)

    for label in np.unique(labels).tolist():
        members = of_unit[random.permutation(np.flatnonzero(labels == label))].data
        for unit in members:
            if given[label] >= goal[label]:
                break
            if not drawn[unit] and all(given[k] + images <= goal[k] for k, images in content(unit)):
                give(unit)
        if not given[label]:  # each unit is larger than the share
            give(min(members, key=badness))
    return np.flatnonzero(~drawn[of_unit]), np.flatnonzero(drawn[of_unit])
