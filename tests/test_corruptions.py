"""Corrupted images: the same each time, as strong as they say, and images still."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pipelines.evaluation.corruptions import BATCH, CORRUPTIONS, blur, contrast, noise, shift

random = np.random.default_rng(3)
SIZES = [(28, 28, 1), (8, 8, 1), (20, 33, 3), (1, 1, 1)]


def corruption_ids(corruption):
    return f"{corruption.kind}-{corruption.severity}"


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=corruption_ids)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_images_stay_images_and_come_out_the_same_again(corrupt, size):
    images = random.integers(0, 256, (5, *size), dtype=np.uint8)
    before = images.copy()
    spoiled = corrupt(images)
    assert (spoiled.dtype, spoiled.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(corrupt(images), spoiled)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("corrupt", CORRUPTIONS, ids=corruption_ids)
def test_a_test_set_larger_than_a_batch_is_corrupted_to_its_end(corrupt):
    images = random.integers(0, 256, (BATCH + 7, 4, 4, 1), dtype=np.uint8)
    spoiled = corrupt(images)
    np.testing.assert_array_equal(spoiled[:BATCH], corrupt(images[:BATCH]))
    assert all((one != other).any() for one, other in zip(spoiled[-7:], images[-7:], strict=True))


@pytest.mark.parametrize("side", [8, 28, 64])
def test_the_strong_one_changes_more_than_the_mild_one(side):
    smooth = gaussian_filter1d(gaussian_filter1d(random.normal(size=(50, side, side, 1)), side / 10, 1), side / 10, 2)
    images = np.uint8(np.clip(127 + 300 * smooth, 0, 255))
    change = {(c.kind, c.severity): np.abs(c(images).astype(float) - images).mean() for c in CORRUPTIONS}
    for kind in ("noise", "blur", "shift", "contrast"):
        assert 0 <= change[kind, 1] < change[kind, 2]


def test_blur_is_scipys():
    images = random.uniform(0, 255, (3, 28, 56, 2)).astype(np.float32)
    expected = gaussian_filter1d(images, 1.0, 1, mode="nearest", truncate=3)
    expected = gaussian_filter1d(expected, 2.0, 2, mode="nearest", truncate=3)  # twice as wide, twice the pixels
    np.testing.assert_allclose(blur(1)(images, random), expected, rtol=1e-4)


def test_noise_has_the_deviation_that_it_names():
    gray = np.full((20, 28, 28, 1), 128, np.float32)
    noisy = noise(0.1)(gray, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(128, abs=1)
    assert noisy.std() == pytest.approx(25.5, rel=0.02)


@pytest.mark.parametrize(("side", "pixels"), [(28, 2), (8, 1), (64, 5)])
def test_a_shift_moves_to_each_corner_and_repeats_the_edge(side, pixels):
    images = np.broadcast_to(random.uniform(0, 255, (side, side, 1)).astype(np.float32), (40, side, side, 1))
    padded = np.pad(images[0], ((pixels, pixels), (pixels, pixels), (0, 0)), "edge")
    corners = [padded[y : y + side, x : x + side] for y in (0, 2 * pixels) for x in (0, 2 * pixels)]
    went = [
        [corner for corner, expected in enumerate(corners) if (image == expected).all()]
        for image in shift(2)(images, np.random.default_rng(0))
    ]
    assert all(len(found) == 1 for found in went)
    assert {found[0] for found in went} == {0, 1, 2, 3}


def test_contrast_keeps_the_mean_and_shrinks_the_rest():
    images = random.uniform(0, 255, (6, 9, 9, 3)).astype(np.float32)
    faint = contrast(0.25)(images, random)
    np.testing.assert_allclose(faint.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(faint.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 4, rtol=1e-4)
