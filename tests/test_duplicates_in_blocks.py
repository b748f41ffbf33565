"""Near duplicates are looked for in blocks of images: the same ones as all at once, in a bounded amount of memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from zoo.data.folders import duplicates
from zoo.data.folders.duplicates import LEAST_CONTRAST, NEAR, find_duplicates
from zoo.data.folders.inspection import THUMB, Inspection


def inspected(thumbs: np.ndarray) -> Inspection:
    """As of images with these thumbs, all of one size, no two of them equal."""
    count = len(thumbs)
    of_each = {"formats": np.zeros(count, np.int8), "modes": np.full(count, "RGB"), "colors": np.ones(count, bool)}
    sides = np.full(count, 64, np.int32)
    digests = np.arange(2 * count, dtype=np.int64).view("V16")
    zeros = np.zeros(count, np.int32)
    return Inspection(**of_each, heights=sides, widths=sides, digests=digests, thumbs=thumbs, highest=zeros,
                      constant=np.zeros(count, bool), problems=())  # fmt: skip


def some_thumbs(count: int) -> np.ndarray:
    """Noise in blots, every third one with a lighter or noisier copy somewhere, and some that are empty."""
    random = np.random.default_rng(5)
    blots = np.kron(random.integers(30, 200, (count, 4, 4)), np.ones((4, 4), int))
    copied = blots[: count // 3] + random.integers(0, 6, (count // 3, 1, 1)) * random.integers(-1, 2, (1, THUMB, THUMB))
    thumbs = np.concatenate([blots, copied, np.full((3, THUMB, THUMB), 7)])
    return np.clip(thumbs[random.permutation(len(thumbs))], 0, 255).astype(np.uint8)


@pytest.mark.parametrize("at_once", [1, 7, 400])
def test_blocks_find_the_pairs_that_the_definition_has(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    thumbs = some_thumbs(300)
    monkeypatch.setattr(duplicates, "AT_ONCE", at_once)
    near = find_duplicates(inspected(thumbs)).near
    exact = thumbs.reshape(len(thumbs), -1).astype(np.float64)
    exact -= exact.mean(axis=1, keepdims=True)
    contrast = exact.std(axis=1)
    units = exact / np.maximum(contrast, 1e-9)[:, np.newaxis] / THUMB
    alike = np.square(units[:, np.newaxis] - units[np.newaxis]).sum(axis=2) <= NEAR**2
    alike &= (contrast >= LEAST_CONTRAST) & (contrast >= LEAST_CONTRAST)[:, np.newaxis]
    first, second = np.nonzero(np.triu(alike, 1))
    assert len(first) > 20
    assert (near[first] == near[second]).all()
    groups = len(thumbs) - len(np.unique(near))
    assert 0 < groups <= len(first)  # nothing else was put together


def test_the_memory_is_that_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "AT_ONCE", 250)
    inspection = inspected(some_thumbs(4500))  # as numbers, 6 MB, and as much again of length 1
    find_duplicates(inspected(some_thumbs(30)))  # imports
    tracemalloc.start()
    find_duplicates(inspection)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4e6
