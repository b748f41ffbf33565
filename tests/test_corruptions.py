"""Corrupted images: the same each time, as strong as they say, images still, and told apart as seen and unseen."""

from __future__ import annotations

import hashlib
import io
import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter1d
from sklearn.datasets import load_sample_images

from pipelines.evaluation import robustness, spoiling
from pipelines.evaluation.corruptions import (
    FIRST_BATCH,
    FIRST_SUITE,
    KINDS,
    MOST_IMAGES,
    MOST_VALUES,
    STRENGTHS,
    SUITE,
    VALUES,
    as_learned,
)
from pipelines.evaluation.robustness import CorruptedMetrics, measure_corrupted, robust_metrics, suite_of
from zoo.data import Split
from zoo.recipe import Recipe

random = np.random.default_rng(3)
SIZES = [(28, 28, 1), (64, 64, 3), (8, 8, 1), (20, 33, 3), (1, 1, 1), (1, 1, 3), (1, 9, 1), (9, 1, 3), (2, 3, 1)]


def corruption_ids(corruption):
    return f"{corruption.kind}-{corruption.severity}"


def kind_ids(kind):
    return kind.name.replace(" ", "-")


@cache
def photograph(number, mode):
    """One of scikit-learn's two, at half its size."""
    return np.asarray(Image.fromarray(load_sample_images().images[number]).resize((320, 213)).convert(mode))


def photographs(height, width, channels, count=12):
    """Pieces of photographs: [count, height, width, channels] uint8."""
    found = []
    for k in range(count):
        top, left = (int(random.integers(0, most)) for most in (214 - height, 321 - width))
        piece = photograph(k % 2, "L" if channels == 1 else "RGB")[top : top + height, left : left + width]
        found.append(piece.reshape(height, width, channels))
    return np.stack(found)


# --- the contract, for all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("corrupt", [*SUITE, *FIRST_SUITE], ids=corruption_ids)
def test_images_stay_images_and_come_out_the_same_again(corrupt):
    for size in SIZES:
        images = random.integers(0, 256, (3, *size), dtype=np.uint8)
        images[0] = 0  # of one shade, as fog and contrast find it hardest
        before = images.copy()
        spoiled = corrupt(images)
        assert (spoiled.dtype, spoiled.shape) == (np.uint8, images.shape)
        np.testing.assert_array_equal(corrupt(images), spoiled, str(size))
        np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("size", [(28, 28, 1), (64, 64, 3), (28, 40, 3)], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=kind_ids)
def test_each_strength_changes_more_than_the_one_before(kind, size):
    images = photographs(*size)
    change = [np.abs(corrupt(images).astype(float) - images).mean() for corrupt in kind.corruptions()]
    assert [corrupt.severity for corrupt in kind.corruptions()] == [1, 2, 3, 4, 5]
    assert change[0] > 0.5
    assert (np.diff(change) > 0).all(), change


@pytest.mark.parametrize("side", [8, 28, 64])
def test_the_strong_one_of_the_first_suite_changes_more_than_the_mild_one(side):
    images = photographs(side, side, 1)
    change = {(c.kind, c.severity): np.abs(c(images).astype(float) - images).mean() for c in FIRST_SUITE}
    for kind in ("noise", "blur", "shift", "contrast"):
        assert 0 <= change[kind, 1] < change[kind, 2]


@pytest.mark.parametrize("corrupt", [*SUITE[STRENGTHS - 1 :: STRENGTHS], *FIRST_SUITE], ids=corruption_ids)
def test_a_test_set_larger_than_a_batch_is_corrupted_to_its_end(corrupt):
    images = random.integers(0, 256, (FIRST_BATCH + 7, 4, 4, 1), dtype=np.uint8)
    spoiled = corrupt(images)
    np.testing.assert_array_equal(spoiled[:FIRST_BATCH], corrupt(images[:FIRST_BATCH]))
    assert (spoiled[-7:] != images[-7:]).any()


def test_what_the_first_exports_were_measured_on_is_what_it_was():
    """Which draws and which order of batches, by the corruption whose bytes no arithmetic of floats decides."""
    places = np.arange(FIRST_BATCH + 100)[:, None, None, None]
    images = ((places + 7 * np.arange(9)[:, None, None] + np.arange(8)[:, None]) % 256).astype(np.uint8)
    digests = [hashlib.sha256(c(images).tobytes()).hexdigest()[:16] for c in FIRST_SUITE if c.kind == "shift"]
    assert digests == ["e84af2c3fd2ac2c2", "7a476d08ed1c909d"]


def test_a_large_test_set_is_spoiled_in_bounded_memory():
    images = np.zeros((60, 224, 224, 3), np.uint8)
    tracemalloc.start()
    try:
        for corrupt in (SUITE[0], SUITE[25]):
            for _ in corrupt.batches(images):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * VALUES * 4, "a few copies of a batch as float32, whatever the size of the test set"


# --- what each of them does ----------------------------------------------------------------------------------------


def test_blur_is_scipys():
    images = random.uniform(0, 255, (3, 28, 56, 2)).astype(np.float32)
    expected = gaussian_filter1d(images, 1.0, 1, mode="nearest", truncate=3)
    expected = gaussian_filter1d(expected, 2.0, 2, mode="nearest", truncate=3)  # twice as wide, twice the pixels
    np.testing.assert_allclose(spoiling.blur(1)(images, random), expected, rtol=1e-4)


@pytest.mark.parametrize(("spoil", "deviation"), [(spoiling.noise(0.1), 25.5), (spoiling.shot_noise(50), 255 * 0.1)])
def test_noise_has_the_deviation_that_it_names(spoil, deviation):
    gray = np.full((20, 28, 28, 1), 127.5, np.float32)  # of 50 photons for white, 25 ± 5
    noisy = spoil(gray, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(127.5, abs=1)
    assert noisy.std() == pytest.approx(deviation, rel=0.02)


def test_impulses_are_black_and_white_and_as_many_as_named():
    gray = np.full((20, 28, 28, 3), 100, np.float32)
    noisy = spoiling.impulse_noise(0.1)(gray, np.random.default_rng(0))
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert [np.mean(noisy == value) for value in (0, 255)] == pytest.approx([0.05, 0.05], rel=0.1)


@pytest.mark.parametrize(("length", "reached"), [(3, [1, 1, 1]), (2, [0.5, 1, 0.5])])
def test_motion_smears_a_point_along_a_line_in_each_direction(length, reached):
    images = np.zeros((60, 28, 28, 1), np.float32)
    images[:, 14, 14] = 120
    smeared = spoiling.motion_blur(length)(images, np.random.default_rng(0))[..., 0]
    lines = [smeared[:, 13:16, 14], smeared[:, 14, 13:16]]
    lines += [np.stack([smeared[:, 14 + k, 14 + sign * k] for k in (-1, 0, 1)], axis=1) for sign in (1, -1)]
    fits = np.array([np.isclose(line, 120 * np.array(reached) / length, atol=1e-3).all(axis=1) for line in lines])
    assert (fits.sum(axis=0) == 1).all()
    assert fits.any(axis=1).all()


def test_fog_brightens_what_is_dark_and_stays_within_the_range_of_its_image():
    images = np.zeros((6, 28, 28, 1), np.float32)
    images[:, 7:21, 7:21] = 200
    foggy = spoiling.fog(0.5)(images, np.random.default_rng(0))
    assert foggy.min() >= 0
    assert foggy.max() <= 200.01
    dark, bright = foggy[:, :7], foggy[:, 7:21, 7:21]
    assert dark.mean() > 20
    assert bright.mean() < 180
    assert dark.std(axis=(1, 2, 3)).min() > 3, "thicker here than there"


def test_brightness_goes_both_ways():
    gray = np.full((40, 5, 5, 3), 100, np.float32)
    assert set(np.unique(spoiling.brightness(0.2)(gray, np.random.default_rng(0)))) == {49, 151}


def test_contrast_keeps_the_mean_and_shrinks_the_rest():
    images = random.uniform(0, 255, (6, 9, 9, 3)).astype(np.float32)
    faint = spoiling.contrast(0.25)(images, random)
    np.testing.assert_allclose(faint.mean(axis=(1, 2, 3)), images.mean(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(faint.std(axis=(1, 2, 3)), images.std(axis=(1, 2, 3)) / 4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_pillow_reads_again(channels):
    images = photographs(20, 30, channels, count=2)
    found = spoiling.jpeg(40)(images.astype(np.float32), random)
    for pixels, spoiled in zip(images, found, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, "JPEG", quality=40)
        np.testing.assert_array_equal(np.asarray(Image.open(file)).reshape(pixels.shape), spoiled)


def test_pixelation_is_pillows_box_filter_and_back():
    image = photographs(28, 28, 1, count=1)[0]
    small = Image.fromarray(image[..., 0].astype(np.float32)).resize((7, 14), Image.Resampling.BOX)
    expected = np.asarray(small.resize((28, 28), Image.Resampling.NEAREST))
    rows, columns = spoiling._blocks(28, 14), spoiling._blocks(28, 7)
    np.testing.assert_allclose(rows @ image[..., 0].astype(np.float32) @ columns.T, expected, atol=1e-2)
    uneven = spoiling.pixelation(0.75)(image[None].astype(np.float32), random)[0, :, :, 0]
    assert len(np.unique(uneven)) <= 21 * 21
    assert uneven.mean() == pytest.approx(image.mean(), rel=0.03)


@pytest.mark.parametrize(("side", "pixels"), [(28, 2), (8, 1), (64, 5)])
def test_a_shift_moves_to_each_corner_and_repeats_the_edge(side, pixels):
    images = np.broadcast_to(random.uniform(0, 255, (side, side, 1)).astype(np.float32), (40, side, side, 1))
    padded = np.pad(images[0], ((pixels, pixels), (pixels, pixels), (0, 0)), "edge")
    corners = [padded[y : y + side, x : x + side] for y in (0, 2 * pixels) for x in (0, 2 * pixels)]
    went = [
        [corner for corner, expected in enumerate(corners) if (image == expected).all()]
        for image in spoiling.shift(2)(images, np.random.default_rng(0))
    ]
    assert all(len(found) == 1 for found in went)
    assert {found[0] for found in went} == {0, 1, 2, 3}


@pytest.mark.parametrize("spoil", ["rotation", "scale"])
def test_a_move_is_scipys_in_one_direction_or_the_other(spoil):
    images = np.repeat(photographs(21, 30, 3, count=1), 12, axis=0).astype(np.float32)
    turn = np.array([[np.cos(0.3), np.sin(0.3)], [-np.sin(0.3), np.cos(0.3)]])
    ways = (turn, turn.T) if spoil == "rotation" else (1.3 * np.eye(2), np.eye(2) / 1.3)
    middle = np.array([10, 14.5])
    expected = [
        np.stack(
            [
                affine_transform(images[0, ..., c], way, middle - way @ middle, order=1, mode="nearest")
                for c in range(3)
            ],
            axis=-1,
        )
        for way in ways
    ]
    moved = (spoiling.rotation(np.degrees(0.3)) if spoil == "rotation" else spoiling.scale(1.3))(
        images, np.random.default_rng(0)
    )
    near = np.array([[np.abs(image - way).max() < 0.05 for way in expected] for image in moved])
    assert (near.sum(axis=1) == 1).all()
    assert near.any(axis=0).all(), "some to the one side, some to the other"


# --- seen and unseen -----------------------------------------------------------------------------------------------

ALWAYS_UNSEEN = {"impulse noise", "motion blur", "fog", "JPEG", "pixelation"}
SEEN = {
    "augmentation=none": set(),
    "augmentation=mirror": set(),
    "augmentation=light": {"shift"},
    "augmentation=strong": {"shift"},
    "augmentation=photo": {"shift", "scale", "brightness", "contrast"},
    "augmentation=randaugment": {"shift", "scale", "brightness", "contrast", "rotation"},
    "degrade=0.5": {"brightness", "contrast", "Gaussian noise", "shot noise", "Gaussian blur"},
    "rotation=10": {"rotation"},
    "scale=0.1": {"scale"},
    "normalize=image": set(),
    "mixup=0.4": set(),
}


@pytest.mark.parametrize("setting", SEEN)
def test_a_kind_is_seen_where_augmentation_imitates_it(setting):
    name, _, value = setting.partition("=")
    recipe = Recipe(augmentation="none").with_values({name: value}).to_json()
    seen = {kind.name for kind in KINDS if kind.is_seen(recipe)}
    assert seen == SEEN[setting]
    assert not seen & ALWAYS_UNSEEN, "what no augmentation imitates keeps the figure honest"


@pytest.mark.parametrize(
    ("fields", "alone", "seen"),
    [
        ({"views": 1, "frozen": 1.0}, True, False),
        ({"views": 1, "frozen": 1.0}, False, True),  # which mean nothing where nothing is transferred, or new
        ({"views": 2, "frozen": 1.0}, True, True),  # the second view is augmented
    ],
)
def test_features_of_images_as_they_are_have_seen_none_that_is_spoiled(fields, alone, seen):
    recipe = as_learned({**Recipe(degrade=0.5).to_json(), **fields}, head_alone=alone)
    assert {kind.name for kind in KINDS if kind.is_seen(recipe)} == (
        {kind.name for kind in KINDS if kind.is_seen(Recipe(degrade=0.5).to_json())} if seen else set()
    )


def test_a_recipe_from_before_there_were_fields_is_read_by_their_defaults():
    assert {kind.name for kind in KINDS if kind.is_seen({})} == {"shift"}  # light


@pytest.mark.parametrize(("images", "size"), [(MOST_IMAGES + 500, (2, 2, 1)), (20, (2000, 2000, 1))], ids=str)
def test_of_a_large_test_set_each_corruption_has_some_images_others_each_time(images, size):
    lazily = np.broadcast_to(np.uint8(0), (images, *size))
    chosen = [corrupt.chosen(lazily) for corrupt in SUITE]
    most = min(MOST_IMAGES, MOST_VALUES // int(np.prod(size)))
    for places, again in zip(chosen, (corrupt.chosen(lazily) for corrupt in SUITE), strict=True):
        np.testing.assert_array_equal(places, again)
        assert len(places) == most < images
        assert (np.diff(places) > 0).all()
    assert len({places.tobytes() for places in chosen}) == len(SUITE)
    assert {len(corrupt.chosen(lazily)) for corrupt in FIRST_SUITE} == {images}


def by_brightness(images):
    """Probabilities of two classes: dark, bright."""
    share = images.reshape(len(images), -1).mean(axis=1, dtype=np.float64) / 255
    both = np.stack([1 - share, share], axis=1).astype(np.float32)
    return both, both


def test_accuracies_are_those_of_the_chosen_images_and_told_apart():
    images = random.integers(0, 256, (300, 1, 1, 1), dtype=np.uint8).repeat(6, 1).repeat(6, 2)
    test = Split(images, (images[:, 0, 0, 0] > 127).astype(np.int64), tuple(map(str, range(300))))
    found = measure_corrupted(test, by_brightness, Recipe(augmentation="light").to_json())
    assert [(each.kind, each.severity) for each in found] == [(c.kind, c.severity) for c in SUITE]
    assert {each.images for each in found} == {300}
    assert {each.kind for each in found if each.seen} == {"shift"}
    accuracy = {(each.kind, each.severity): each.accuracy for each in found}
    assert accuracy["shift", 5] == accuracy["rotation", 5] == 1
    spoiled = SUITE[[c.kind for c in SUITE].index("brightness") + 4](images)
    assert accuracy["brightness", 5] == np.mean((spoiled.mean(axis=(1, 2, 3)) > 127.5) == test.labels) < 0.9
    metrics = robust_metrics(found)
    assert metrics["test_robust_seen"] == 1
    assert metrics["test_robust_mean"] == pytest.approx((1 + 12 * metrics["test_robust_unseen"]) / 13)
    first = measure_corrupted(test, by_brightness, {}, FIRST_SUITE)
    assert robust_metrics(first) == {"test_robust_accuracy": pytest.approx(np.mean([each.accuracy for each in first]))}


def test_few_images_are_spoiled_once_for_all_models_that_are_asked(monkeypatch):
    spoiled = []
    suite = [
        replace(each, spoil=lambda *given, each=each: spoiled.append(each) or each.spoil(*given)) for each in SUITE
    ]
    images = random.integers(0, 256, (20, 6, 6, 1), dtype=np.uint8)
    tests = [Split(some, np.arange(20) % 2, tuple(map(str, range(20)))) for some in (images, 255 - images)]
    first = measure_corrupted(tests[0], by_brightness, {}, suite)
    assert measure_corrupted(tests[0], by_brightness, {}, suite) == first
    assert len(spoiled) == len(SUITE)
    assert measure_corrupted(tests[1], by_brightness, {}, suite) != first, "other images of the same size"
    assert len(spoiled) == 2 * len(SUITE)
    monkeypatch.setattr(robustness, "KEPT", images.nbytes * len(SUITE) - 1)
    assert measure_corrupted(tests[0], by_brightness, {}, suite) == first, "where they are too many, each time"
    assert len(spoiled) == 3 * len(SUITE)
    assert len(robustness._kept) <= len(SUITE)


def test_a_mean_over_no_kind_is_left_out():
    found = [CorruptedMetrics(kind.name, 1, "", 0.5, 10, seen=False) for kind in KINDS]
    assert robust_metrics(found) == {"test_robust_mean": 0.5, "test_robust_unseen": 0.5}
    assert robust_metrics([replace(each, seen=True) for each in found]).keys() == {
        "test_robust_mean",
        "test_robust_seen",
    }
    assert robust_metrics([]) == {}


@pytest.mark.parametrize(
    ("names", "suite"),
    [((), ()), (("test_robust_accuracy",), FIRST_SUITE), (("test_robust_mean",), SUITE)],
    ids=("none", "the first", "of today"),  # and not a function's address, which each worker has its own of
)
def test_stored_metrics_are_measured_again_on_their_own_suite(names, suite):
    assert suite_of(dict.fromkeys(("test_accuracy", *names), 0.5)) is suite
