"""Near duplicates among many images, against every pair compared with every other; no file is read."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from zoo.data.folders import duplicates
from zoo.data.folders.duplicates import LEAST_CONTRAST, NEAR, find_duplicates
from zoo.data.folders.inspection import Inspection

COUNT = 600


@pytest.fixture(scope="module")
def thumbs():
    """[N, 16, 16], of which every tenth is the one before, lightened and with some noise, and a few are empty."""
    random = np.random.default_rng(0)
    found = random.integers(0, 200, (COUNT, 16, 16), dtype=np.uint8)
    for k in range(10, COUNT, 10):
        found[k] = found[k - 1] + random.integers(10, 14 + k % 30, (16, 16), dtype=np.uint8)
    found[5:COUNT:100] = 77
    return found


def inspected(thumbs, widths=None) -> Inspection:
    count = len(thumbs)
    same = np.full(count, 50, np.int32)
    digests = np.array([thumb.tobytes()[:16] for thumb in thumbs], "V16")
    zeros = np.zeros(count, np.int32)
    flags = np.zeros(count, bool)
    return Inspection(
        np.zeros(count, np.int8), {"L": count}, flags, same, same if widths is None else widths, digests,
        thumbs[..., np.newaxis],
        zeros, flags, (),
    )  # fmt: skip


def compared_one_by_one(thumbs) -> set[tuple[int, int]]:
    """All pairs that are near."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float64)
    flat -= flat.mean(axis=1, keepdims=True)
    clear = flat.std(axis=1) >= LEAST_CONTRAST
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9)
    apart = np.sqrt(np.maximum(0, 2 - 2 * flat @ flat.T))
    near = (apart <= NEAR) & clear & clear[:, np.newaxis]
    return {(one, other) for one, other in np.argwhere(near).tolist() if one < other}


@pytest.mark.parametrize("at_once", [duplicates.AT_ONCE, 7, 100])
def test_near_ones_are_found_whatever_number_of_them_is_looked_at_at_once(thumbs, at_once, monkeypatch):
    monkeypatch.setattr(duplicates, "AT_ONCE", at_once)
    found = find_duplicates(inspected(thumbs))
    pairs = compared_one_by_one(thumbs)
    assert 20 < len(pairs) < COUNT // 10, "some of those that were made alike are near, and no others"
    units = found.near
    assert {(k - 1, k) for k in range(10, COUNT, 10) if units[k] == units[k - 1]} == pairs
    assert len(set(units.tolist())) == len(set(found.equal.tolist())) - len(pairs)


def test_near_ones_of_other_proportions_are_others(thumbs):
    widths = np.where(np.arange(COUNT) % 10 == 0, 100, 50).astype(np.int32)
    found = find_duplicates(inspected(thumbs, widths))
    np.testing.assert_array_equal(found.near, found.equal)


def test_the_memory_is_that_of_a_block(thumbs, monkeypatch):
    monkeypatch.setattr(duplicates, "AT_ONCE", 250)
    many = np.random.default_rng(1).integers(0, 256, (6000, 16, 16), dtype=np.uint8)
    find_duplicates(inspected(thumbs))  # imports
    inspection = inspected(many)
    tracemalloc.start()
    find_duplicates(inspection)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6  # as numbers, they are 6 MB


@pytest.mark.parametrize("indexed", [1, 50, 599])
def test_blocks_of_an_index_find_what_one_of_all_finds(thumbs, indexed, monkeypatch):
    whole = find_duplicates(inspected(thumbs))
    monkeypatch.setattr(duplicates, "INDEXED", indexed)
    in_blocks = find_duplicates(inspected(thumbs))
    np.testing.assert_array_equal(in_blocks.near, whole.near)
    np.testing.assert_array_equal(in_blocks.equal, whole.equal)


@pytest.mark.parametrize("indexed", [duplicates.INDEXED, 100])
def test_as_many_pairs_are_looked_for_in_blocks_as_in_all(thumbs, indexed, monkeypatch):
    """Frequencies that are near, which is what is counted, are here those of the pairs that are near."""
    monkeypatch.setattr(duplicates, "INDEXED", indexed)
    clear, coarse = duplicates._measured(thumbs[..., np.newaxis], np.arange(COUNT))
    apart = np.linalg.norm(coarse[clear][:, np.newaxis].astype(np.float64) - coarse[clear], axis=2)
    pairs = int((apart <= NEAR).sum() - clear.sum()) // 2
    assert pairs > 20
    for most, found in ((pairs, True), (pairs - 1, False)):
        monkeypatch.setattr(duplicates, "MOST_PAIRS", most)
        assert (find_duplicates(inspected(thumbs)).near is not None) is found


@pytest.mark.parametrize("count", [0, 1])
def test_where_no_thumb_has_contrast_none_is_near(count):
    """An index of nothing, or of one."""
    flat = np.full((3, 16, 16), 7, np.uint8)
    flat[:count] = np.arange(256).reshape(16, 16)
    flat[:, 0, 0] += np.arange(3, dtype=np.uint8)
    found = find_duplicates(inspected(flat))
    np.testing.assert_array_equal(found.near, found.equal)
