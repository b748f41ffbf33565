"""Images that are there more than once: equal ones, and ones that were saved, scaled or lightened anew."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.folders.inspection import THUMB, Inspection
from zoo.errors import MissingExtraError
from zoo.images import Pixels

# Of two thumbs with mean 0 and length 1; a correlation of 0.9972. Letters of 24 to 72 pixels that were saved as JPEG,
# half of them at twice the size, moved by 0.016 in the median and by less than 0.072 in 99 of 100; the nearest of 1,500
# others was 0.145 away. Of 6,000 images of Fashion-MNIST, which are much alike, five have another nearer than 0.081.
NEAR = 0.075
LEAST_CONTRAST = 2.0  # of 255, the standard deviation below which a thumb is as good as empty
NEAREST_ASPECT = 1.02  # ratio of two images' proportions above which one isn't the other, scaled
MOST_PAIRS, COUNTED = 1_000_000, 500
AT_ONCE = 8192  # thumbs as numbers: 1 kB each, or 100,000 images would take 200 MB here alone
FREQUENCIES = 4  # a thumb's lowest frequencies in each direction: 15 numbers that are never further apart than it


@dataclass(frozen=True, eq=False)
class Duplicates:
    """Which of N images are the same.

    equal: [N] int64, the same number for images with the same pixels; each unreadable one is alone. near: [N] the
    same for those that look the same, which equal ones do; None where they weren't looked for, or are too many.
    """

    equal: NDArray[np.int64]
    near: NDArray[np.int64] | None

    @property
    def units(self) -> NDArray[np.int64]:
        """[N]: what belongs together."""
        return self.equal if self.near is None else self.near


def find_duplicates(inspection: Inspection) -> Duplicates:
    """Compare each image with each other, by an index rather than one by one."""
    readable = inspection.readable
    _, equal = np.unique(inspection.digests, return_inverse=True)
    # Those that can't be read have one digest, and nothing else in common.
    equal = np.where(readable, equal, len(readable) + np.arange(len(readable)))
    _, first, equal = np.unique(equal, return_index=True, return_inverse=True)
    if inspection.thumbs is None:
        return Duplicates(equal, None)
    one_of_each = first[readable[first]]
    near = _near_pairs(inspection, one_of_each)
    return Duplicates(equal, None if near is None else connected(equal, equal[one_of_each[near]]))


def connected(units: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Units [N] after those of each pair [P, 2] have become one."""
    sparse = _scipy("sparse")
    count = int(units.max(initial=-1)) + 1
    graph = sparse.coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), (count, count))
    _, component = sparse.csgraph.connected_components(graph, directed=False)
    found: NDArray[np.int64] = component[units].astype(np.int64)
    return found


def _near_pairs(inspection: Inspection, among: NDArray[np.int64]) -> NDArray[np.int64] | None:
    """[P, 2] indices into `among`, of images with the same proportions whose thumbs are near.

    None where they are more than MOST_PAIRS, as in images of one scene: there it would take hours.
    """
    assert inspection.thumbs is not None  # noqa: S101 (the caller asked)
    thumbs = inspection.thumbs
    # In an orthonormal basis, some coordinates are never further apart than all of them: the index looks at few, and
    # the thumbs themselves, four times as large with a fraction, are never all at hand.
    coarse = np.empty((len(among), FREQUENCIES**2 - 1), np.float32)
    clear = np.empty(len(among), bool)
    for start in range(0, len(among), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        clear[part], normal = _normal(thumbs[among[part]])
        coarse[part] = _coarse(normal)
    places = np.flatnonzero(clear)
    if len(places) < 2:
        return np.empty((0, 2), np.int64)
    coarse = coarse[places]
    pairs = _within(_scipy("spatial").cKDTree(coarse), coarse)
    if pairs is None:
        return None
    pairs = places[pairs]
    near = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), AT_ONCE):
        (_, one), (_, other) = (_normal(thumbs[among[each]]) for each in pairs[start : start + AT_ONCE].T)
        near[start : start + AT_ONCE] = np.square(one - other).sum(axis=(1, 2)) <= NEAR**2
    pairs = pairs[near]
    aspect = np.log(inspection.widths[among] / inspection.heights[among])
    alike: NDArray[np.int64] = pairs[np.abs(aspect[pairs[:, 0]] - aspect[pairs[:, 1]]) <= np.log(NEAREST_ASPECT)]
    return alike


def _normal(thumbs: Pixels) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Of thumbs [M, 16, 16]: whether each has contrast, and all with mean 0 and length 1."""
    normal = thumbs.astype(np.float32)
    normal -= normal.mean(axis=(1, 2), keepdims=True)
    contrast = normal.std(axis=(1, 2))
    normal /= np.maximum(contrast, LEAST_CONTRAST)[:, np.newaxis, np.newaxis] * THUMB
    return contrast >= LEAST_CONTRAST, normal


def _coarse(normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """[M, 15]: their lowest frequencies, but for the mean."""
    wave = _waves()
    found = (wave @ normal @ wave.T).reshape(len(normal), -1)[:, 1:]
    return np.asarray(found, np.float32)


def _within(tree: Any, points: NDArray[np.float32]) -> NDArray[np.int64] | None:
    """[P, 2] indices of points that are NEAR; None for more than MOST_PAIRS.

    Asked point by point, and for the neighbors of those alone that have one: the tree's own `query_pairs` took 65 s
    for the 100,000 points that this goes through in 2.
    """
    pairs, found = [np.empty((0, 2), np.int64)], 0
    for start in range(0, len(points), COUNTED):
        counts = tree.query_ball_point(points[start : start + COUNTED], NEAR, return_length=True)
        found += int(counts.sum()) - len(counts)  # each is near itself
        if found > 2 * MOST_PAIRS:
            return None
        crowded = start + np.flatnonzero(counts > 1)
        if len(crowded):
            neighbors = tree.query_ball_point(points[crowded], NEAR)
            one = np.repeat(crowded, [len(others) for others in neighbors])
            other = np.concatenate(neighbors).astype(np.int64)
            pairs.append(np.stack([one, other], axis=1)[one < other])
    return np.concatenate(pairs)


def _waves() -> NDArray[np.float32]:
    """[FREQUENCIES, THUMB]: the first cosines of the orthonormal DCT-II."""
    u, x = np.mgrid[:FREQUENCIES, :THUMB]
    waves = np.cos(np.pi * u * (2 * x + 1) / (2 * THUMB)) * np.sqrt(2 / THUMB)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, np.float32)


def _scipy(module: str):  # type: ignore[no-untyped-def]
    from importlib import import_module

    try:
        if module == "sparse":
            import_module("scipy.sparse.csgraph")
        return import_module(f"scipy.{module}")
    except ModuleNotFoundError:
        raise MissingExtraError("scipy", "train") from None
