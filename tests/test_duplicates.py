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
        np.zeros(count, np.int8), np.full(count, "L"), flags, same, same if widths is None else widths, digests, thumbs,
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
