"""Images that are there more than once: equal ones, and ones that were saved, scaled or lightened anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.folders.inspection import Inspection
from zoo.data.folders.thumbs import THUMB
from zoo.data.pixels import Images
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
INDEXED = 50_000  # images in one index, which takes 250 bytes for each
REACH = 1.001 * NEAR  # of one coordinate: with room for how it is rounded
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
    found, left = [np.empty((0, 2), np.int64)], MOST_PAIRS
    for block, own in _blocks(inspection.thumbs, among):
        clear, coarse = _measured(inspection.thumbs, among[block])
        places, coarse = block[clear], coarse[clear]
        pairs = _within(_scipy("spatial").cKDTree(coarse), coarse, int(clear[:own].sum()), left)
        if pairs is None:
            return None
        left -= len(pairs)
        found.append(_confirmed(inspection.thumbs, among, places[pairs]))
    pairs = np.concatenate(found)
    aspect = np.log(inspection.widths[among[pairs]] / inspection.heights[among[pairs]])
    alike: NDArray[np.int64] = pairs[np.abs(aspect[:, 0] - aspect[:, 1]) <= np.log(NEAREST_ASPECT)]
    return alike


def _blocks(thumbs: Images, among: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Places in `among`, INDEXED of them at a time, and behind these all further ones that may be near one of them.

    Each block with the number of its own. Two that are near have near frequencies, too: all are ordered by the one of
    these that differs most.
    """
    if len(among) <= INDEXED:
        yield np.arange(len(among)), len(among)
        return
    _, some = _measured(thumbs, among[:: len(among) // AT_ONCE + 1])
    chosen = int(some.std(axis=0).argmax())
    along = np.concatenate(
        [_measured(thumbs, among[k : k + AT_ONCE])[1][:, chosen] for k in range(0, len(among), AT_ONCE)]
    )
    order = np.argsort(along)
    along = along[order]
    for start in range(0, len(among), INDEXED):
        own = order[start : start + INDEXED]
        end = int(np.searchsorted(along, along[start + len(own) - 1] + REACH, side="right"))
        yield order[start:end], len(own)


def _measured(thumbs: Images, places: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Of thumbs at M places: whether each has contrast, and its lowest frequencies, [M, 15].

    In an orthonormal basis, some coordinates are never further apart than all of them: the index looks at few, and the
    thumbs themselves, four times as large with a fraction, are never all at hand.
    """
    clear = np.empty(len(places), bool)
    coarse = np.empty((len(places), FREQUENCIES**2 - 1), np.float32)
    for start in range(0, len(places), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        clear[part], normal = _normal(thumbs[places[part]])
        coarse[part] = _coarse(normal)
    return clear, coarse


def _confirmed(thumbs: Images, among: NDArray[np.int64], pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Those of the pairs [P, 2] whose thumbs are near in all their pixels."""
    near = np.zeros(len(pairs), bool)
    for start in range(0, len(pairs), AT_ONCE):
        (_, one), (_, other) = (_normal(thumbs[among[each]]) for each in pairs[start : start + AT_ONCE].T)
        near[start : start + AT_ONCE] = np.square(one - other).sum(axis=(1, 2)) <= NEAR**2
    return pairs[near]


def _normal(thumbs: Pixels) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Of thumbs [M, 16, 16, 1]: whether each has contrast, and all, [M, 16, 16], with mean 0 and length 1."""
    normal = thumbs[..., 0].astype(np.float32)
    normal -= normal.mean(axis=(1, 2), keepdims=True)
    contrast = normal.std(axis=(1, 2))
    normal /= np.maximum(contrast, LEAST_CONTRAST)[:, np.newaxis, np.newaxis] * THUMB
    return contrast >= LEAST_CONTRAST, normal


def _coarse(normal: NDArray[np.float32]) -> NDArray[np.float32]:
    """[M, 15]: their lowest frequencies, but for the mean."""
    wave = _waves()
    found = (wave @ normal @ wave.T).reshape(len(normal), -1)[:, 1:]
    return np.asarray(found, np.float32)


def _within(tree: Any, points: NDArray[np.float32], own: int, most: int) -> NDArray[np.int64] | None:
    """[P, 2] indices of points that are NEAR, one of them among the first `own`; None for more than `most`.

    Asked point by point, and for the neighbors of those alone that have one: the tree's own `query_pairs` took 65 s
    for the 100,000 points that this goes through in 2.
    """
    pairs, found = [np.empty((0, 2), np.int64)], 0
    for start in range(0, own, COUNTED):
        asked = points[start : min(start + COUNTED, own)]
        counts = tree.query_ball_point(asked, NEAR, return_length=True)
        found += int(counts.sum()) - len(counts)  # each is near itself; a pair is counted twice at most
        if found > 2 * most:
            return None
        crowded = start + np.flatnonzero(counts > 1)
        if len(crowded):
            neighbors = tree.query_ball_point(points[crowded], NEAR)
            one = np.repeat(crowded, [len(others) for others in neighbors])
            other = np.concatenate(neighbors).astype(np.int64)
            pairs.append(np.stack([one, other], axis=1)[one < other])
    in_all = np.concatenate(pairs)
    return in_all if len(in_all) <= most else None


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
