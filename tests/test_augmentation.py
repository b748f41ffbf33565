"""What a training changes in its images: where pixels come from, in which colors, and mixed with which others."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps
from scipy.ndimage import gaussian_filter
from test_batches import assert_same, split_of, targets

from pipelines.training.artifacts import changes, log_augmented
from zoo.data import DataSet, Split
from zoo.data.augmentation.augment import AUGMENTATIONS
from zoo.data.augmentation.colors import recolored, to_bytes
from zoo.data.augmentation.degrade import _blurred, degraded
from zoo.data.augmentation.geometry import LEAST_AREA, MOST_STRETCH, Moves, crops, resampled, turned, turns
from zoo.data.augmentation.mixing import mixed
from zoo.data.augmentation.photo import photo
from zoo.data.augmentation.randaugment import COLORS, MAGNITUDE, NAMES, SOLARIZED, _sharpened, drawn
from zoo.data.batches import training_batches
from zoo.errors import RecipeError
from zoo.recipe import LEARNED_AS_THEY_ARE, Recipe

MIXINGS = {"alone": (0, 0), "mixup": (0.4, 0), "cutmix": (0, 0.5), "mixup and cutmix": (0.4, 0.5)}
TURNS = {"upright": Moves(mirrored=True), "turned": Moves(mirrored=True, rotation=20, scale=0.3)}


def seed_of(step: int):
    return tf.constant([1, 2 * step + 1], tf.int64)


def photographs(count: int = 8, height: int = 14, width: int = 10, channels: int = 3) -> np.ndarray:
    return split_of(count, height, width, channels).inputs


def constant(value: int, count: int = 8, channels: int = 3) -> np.ndarray:
    return np.full((count, 14, 10, channels), value, np.uint8)


# --- the contract, for all of them ---------------------------------------------------------------------------------


# Each augmentation, gray and in color, turned and not, with one way of mixing each: what is mixed is changed before.
STEPS = [(*each, tuple(MIXINGS)[(k + k // 4) % 4]) for k, each in enumerate(product(AUGMENTATIONS, (1, 3), TURNS))]


@pytest.mark.parametrize(("augmentation", "channels", "moves", "mixing"), STEPS)
def test_what_a_step_is_given_depends_on_seed_and_step_alone(augmentation, channels, moves, mixing):
    images, labels = photographs(channels=channels), np.eye(8, dtype=np.float32)

    def at(step):
        changed = AUGMENTATIONS[augmentation](tf.constant(images), TURNS[moves], seed_of(step))
        return mixed(changed, tf.constant(labels), *MIXINGS[mixing], seed_of(step))

    (first, shares), (again, shares_again), (other, _) = at(7), at(7), at(8)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(shares, shares_again)
    assert (first.dtype, first.shape) == (tf.uint8, images.shape)
    np.testing.assert_allclose(tf.reduce_sum(shares, axis=1), 1, rtol=1e-6)
    nothing = (augmentation, moves, mixing) == ("none", "upright", "alone")
    assert np.array_equal(first, other) == nothing
    assert np.array_equal(first, images) == nothing
    assert np.array_equal(shares, labels) == (mixing == "alone")


# Each augmentation, gray and in color, with each way of mixing, turned and not, at least once.
RESUMED = [
    (name, channels, tuple(TURNS)[(k // 2) % 2], tuple(MIXINGS)[(k + k // 4) % 4])
    for k, (name, channels) in enumerate(product(("photo", "randaugment", "none", "light"), (1, 3)))
]


# In color they are slow: a graph of random changes takes half a second to trace, and one more for the rest.
@pytest.mark.parametrize(
    ("augmentation", "channels", "moves", "mixing"),
    [pytest.param(*each, marks=[pytest.mark.slow] * (each[1] == 3)) for each in RESUMED],
)
def test_a_resumed_training_is_given_the_same_images(augmentation, channels, moves, mixing):
    split, (mixup, cutmix) = split_of(30, channels=channels), MIXINGS[mixing]
    settings = {"mixup": mixup, "cutmix": cutmix, "rotation": TURNS[moves].rotation, "scale": TURNS[moves].scale}
    settings |= {"degrade": 0.5 * (channels == 1)}
    whole = targets(split, augmentation, mirrored=True, epochs=3, **settings)
    rest = targets(split, augmentation, mirrored=True, first_epoch=2, epochs=1, **settings)
    assert_same(rest, whole[6:])
    assert [(images.dtype, images.shape) for images, _ in rest] == [(np.uint8, (8, 14, 10, channels))] * 3


@pytest.mark.parametrize("augmentation", ["photo", "randaugment"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_an_image_of_few_pixels_is_augmented_too(augmentation, height, width):
    images = tf.constant(photographs(4, height, width))
    for moves in TURNS.values():
        assert AUGMENTATIONS[augmentation](images, moves, seed_of(1)).shape == images.shape


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_images_are_as_bright_as_before_in_the_mean(augmentation):
    images = tf.constant(np.repeat(photographs(64), 32, axis=0) // 2 + 64)  # 64 to 191
    changed = AUGMENTATIONS[augmentation](images, TURNS["turned"], seed_of(1))
    assert abs(np.mean(changed) - np.mean(images)) < (3 if augmentation == "randaugment" else 1.5)  # which inverts


@pytest.mark.parametrize(
    "setting",
    [{"rotation": 5}, {"scale": 0.1}, {"degrade": 1}, {"cutmix": 0.5}, {"mixup": 0.1}, {"augmentation": "photo"}],
    ids=str,
)
def test_the_rows_of_a_table_are_learned_as_they_are(setting):
    rows = Split(np.zeros((4, 3), np.float32), np.zeros(4, np.int64), tuple("abcd"))
    recipe = Recipe(augmentation="none").with_values(setting)
    message = (
        "rows of a table are learned as they are: set augmentation=none rotation=0 scale=0 degrade=0 mixup=0 cutmix=0"
    )
    with pytest.raises(RecipeError, match=message):
        training_batches(rows, 2, recipe, mirrored=False, first_epoch=0, epochs=1)


def test_the_docs_have_each_augmentation_and_each_field_and_only_these():
    page = Path(__file__).parents[1].joinpath("docs/augmentation.md").read_text().split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in page.splitlines() if line.startswith("| ")]
    assert [value.strip("`") for name, value in rows if name in ("`augmentation`", "")] == list(AUGMENTATIONS)
    fields = {name.strip("`") for name, _ in rows if name} - {"field"}
    assert fields == {*LEARNED_AS_THEY_ARE, "mirrored"}


def test_what_was_trained_before_there_were_these_fields_keeps_its_digest():
    assert not {"rotation", "scale", "degrade", "cutmix"} & Recipe().decisive().keys()
    assert Recipe(cutmix=0.5).decisive()["cutmix"] == 0.5


# --- where pixels come from ----------------------------------------------------------------------------------------


def origins(matrix, shift, height=21, width=31, upright=False) -> np.ndarray:
    """[B, H, W, 2]: where each pixel is taken from, as (x, y), read off images whose values are their places."""
    places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=2)[None].astype(np.uint8)
    images = tf.constant(np.repeat(places, len(matrix), axis=0))
    return resampled(images, matrix, shift, upright=upright).numpy()


def test_crops_are_as_large_and_as_stretched_as_they_are_said_to_be():
    matrix, shift = crops(21, 31, 400, True, seed_of(1))
    found = origins(matrix, shift, upright=True)
    wide = (found[:, 10, -1, 0] - found[:, 10, 0, 0]) / 30  # share of the width, negative where mirrored
    tall = (found[:, -1, 15, 1] - found[:, 0, 15, 1]) / 20
    assert 0.4 < np.mean(wide < 0) < 0.6
    wide = abs(wide)
    # A crop that would be longer than the image is cut, and is then smaller.
    assert LEAST_AREA * 0.86 < (wide * tall).min() < LEAST_AREA + 0.05
    assert (wide * tall).max() > 0.9
    assert 1 / MOST_STRETCH - 0.01 < (wide / tall).min() < 0.85
    assert 1.15 < (wide / tall).max() < MOST_STRETCH + 0.01
    assert found[..., 0].min() >= -0.01
    assert found[..., 0].max() <= 30.01  # no black line at an edge, which lies nowhere
    assert 0 < found[..., 1].max() <= 20.01
    middles = found[:, 10, 15]
    assert np.abs(middles.mean(axis=0) - [15, 10]).max() < 0.5
    assert middles.std(axis=0).min() > 1


def test_the_fast_way_of_a_crop_and_the_general_one_agree():
    images = tf.constant(photographs(32))
    matrix, shift = crops(14, 10, 32, True, seed_of(1))
    ways = [resampled(images, matrix, shift, upright=upright).numpy() for upright in (True, False)]
    assert np.abs(ways[0] - ways[1]).max() < 0.02


def test_images_are_rotated_and_zoomed_as_far_as_they_may_be():
    matrix = turns(400, Moves(rotation=20, scale=0.25), seed_of(1))
    found = origins(matrix, tf.zeros([400, 2]))
    across = found[:, 10, 17] - found[:, 10, 13]  # (x, y) in the old image of four pixels to the right
    down = found[:, 12, 15] - found[:, 8, 15]
    angle = np.degrees(np.arctan2(across[:, 1], across[:, 0]))
    zoom = np.hypot(*across.T) / 4
    assert (np.abs(angle).max() <= 20.1, angle.min() < -18, angle.max() > 18) == (True,) * 3
    assert (0.79 < zoom.min() < 0.83, 1.2 < zoom.max() < 1.26) == (True, True)
    np.testing.assert_allclose(down, np.stack([-across[:, 1], across[:, 0]], axis=1), atol=1e-3)  # a right angle
    assert np.abs(found[:, 10, 15] - [15, 10]).max() < 1e-3  # the middle stays


def test_a_rotation_is_the_one_that_pillow_makes():
    smooth = Image.fromarray(photographs(1, 4, 4)[0]).resize((33, 25), Image.Resampling.BICUBIC)
    angle = math.radians(30)
    matrix = tf.constant([[[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]], tf.float32)
    ours = resampled(tf.constant(np.asarray(smooth)[None]), matrix, tf.zeros([1, 2]))[0].numpy()
    theirs = np.asarray(smooth.rotate(30, Image.Resampling.BILINEAR), np.float32)
    inside = np.asarray(Image.new("L", smooth.size, 255).rotate(30)) == 255
    inside &= np.roll(inside, (1, 1), (0, 1)) & np.roll(inside, (-1, -1), (0, 1))
    assert inside.sum() > 400
    assert np.abs(ours - theirs)[inside].max() <= 1


@pytest.mark.parametrize("value", [0, 1, 127, 200, 255])
def test_an_image_of_one_color_stays_as_it_is_however_it_is_moved(value):
    images = tf.constant(constant(value))
    moves = Moves(mirrored=True, rotation=180, scale=1)
    for step in range(3):
        assert set(np.unique(turned(images, moves, seed_of(step)))) == {value}
        assert set(np.unique(resampled(images, *crops(14, 10, 8, True, seed_of(step)), upright=True))) == {value}


def test_a_photo_that_may_not_be_mirrored_is_not():
    ramp = tf.constant(np.broadcast_to(np.arange(0, 200, 10, dtype=np.uint8)[None, None, :, None], (200, 20, 20, 1)))
    for name, moves in product(("photo", "randaugment"), (Moves(), Moves(rotation=10, scale=0.1))):
        changed = AUGMENTATIONS[name](ramp, moves, seed_of(1)).numpy().astype(int)
        growth = np.sign(np.diff(changed, axis=2)).sum((1, 2, 3))
        assert (growth < 0).mean() < 0.02, name


# --- in which colors -----------------------------------------------------------------------------------------------


def recolored_once(image: Image.Image, **factor: float) -> np.ndarray:
    """One change of one image, by `recolored`."""
    factors = {name: tf.constant([value]) for name, value in factor.items()}
    usual = dict.fromkeys(("brightness", "contrast", "saturation"), tf.ones([1])) | factors
    return to_bytes(recolored(tf.constant(np.asarray(image, np.float32)[None]), **usual))[0].numpy()


ENHANCED = {
    "brightness": ImageEnhance.Brightness,
    "contrast": ImageEnhance.Contrast,
    "saturation": ImageEnhance.Color,
}


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.3])
@pytest.mark.parametrize("name", ENHANCED)
def test_a_change_of_color_is_the_one_that_pillow_makes(name, factor):
    image = Image.fromarray(photographs(1, 40, 30)[0])
    theirs = np.asarray(ENHANCED[name](image).enhance(factor), int)
    assert np.abs(recolored_once(image, **{name: factor}) - theirs).max() <= 1  # Pillow cuts decimals off


def test_autocontrast_and_sharpness_are_those_that_pillow_makes():
    image = Image.fromarray(photographs(1, 40, 30)[0] // 2 + 40)
    assert np.abs(recolored_once(image, stretched=True) - np.asarray(ImageOps.autocontrast(image), int)).max() <= 1
    assert set(np.unique(recolored_once(Image.new("RGB", (5, 5), (7, 7, 7)), stretched=True))) == {7}
    for amount in (-0.27, 0.54):
        ours = to_bytes(_sharpened(tf.constant(np.asarray(image, np.float32)[None]), tf.constant([amount])))[0]
        theirs = np.asarray(ImageEnhance.Sharpness(image).enhance(1 + amount), int)
        assert np.abs(ours - theirs)[1:-1, 1:-1].max() <= 1  # Pillow leaves the edge as it is


def test_another_hue_leaves_luma_and_grays_as_they_are():
    image = Image.fromarray(photographs(1, 40, 30)[0] // 4 + 96)
    turned_once = recolored_once(image, hue=0.5)
    weights = [0.299, 0.587, 0.114]
    assert np.abs(turned_once @ weights - np.asarray(image) @ weights).max() <= 1
    assert np.abs(turned_once - np.asarray(image, int)).max() > 5
    np.testing.assert_array_equal(recolored_once(image, hue=2 * math.pi), image)
    gray = Image.new("RGB", (4, 4), (90, 90, 90))
    np.testing.assert_array_equal(recolored_once(gray, hue=0.5), gray)


def test_a_gray_photo_changes_as_the_same_in_three_channels_does():
    gray = photographs(16, channels=1)
    alone, three = (photo(tf.constant(images), Moves(), seed_of(3)) for images in (gray, np.repeat(gray, 3, axis=3)))
    assert np.abs(np.asarray(alone, int) - np.asarray(three, int)).max() <= 1


def test_each_operation_is_drawn_as_often_as_the_others_and_two_for_an_image():
    often, signed = drawn(4000, NAMES, seed_of(1))
    counts, signs = np.stack(list(often.values())), np.stack(list(signed.values()))
    assert list(often) == list(signed) == list(NAMES)
    assert set(counts.sum(axis=0)) == {2}
    np.testing.assert_allclose(counts.mean(axis=1), 2 / len(NAMES), atol=0.03)
    assert (abs(signs) <= counts).all()
    assert (abs(signs.mean(axis=1)) < 0.03).all()


def test_what_is_not_drawn_changes_nothing():
    """An image of one gray is changed by brightness alone, and where it is bright by solarize."""
    images, gray, step = tf.constant(constant(100, 600)), 100.0, MAGNITUDE * COLORS["brightness"]
    found = np.unique(AUGMENTATIONS["randaugment"](images, Moves(), seed_of(1)))
    answers = [round(gray * (1 + often * step)) for often in (-2, -1, 0, 1, 2)]
    assert set(answers[1:4]) <= set(found) <= set(answers)
    bright = AUGMENTATIONS["randaugment"](tf.constant(constant(SOLARIZED + 1, 600)), Moves(), seed_of(1))
    assert 0.1 < np.mean(np.asarray(bright) == 255 - SOLARIZED - 1) < 0.2  # one of twelve, in two draws


# --- as a poorer camera takes it -----------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
def test_a_quarter_is_blurred_a_quarter_noisy_and_half_in_another_light(channels):
    """Read off steps from 80 to 170, whose sides keep their means but for light, and their deviations but for noise."""
    images = np.full((800, 28, 28, channels), 80, np.uint8)
    images[:, :, 14:] = 170
    changed = degraded(tf.constant(images), 0.5, seed_of(1)).numpy().astype(float)
    left, right = changed[:, :, :8].mean((1, 2, 3)), changed[:, :, -8:].mean((1, 2, 3))
    contrast, brightness = (right - left) / 90, (left + right) / 2 - 125
    lit = np.abs(contrast - 1) + np.abs(brightness) / 255 > 0.02
    assert 0.4 < lit.mean() < 0.6
    assert 0.26 < contrast.min() < 0.36
    assert 1.12 < contrast.max() < 1.25
    assert (-52 < brightness.min() < -42, 42 < brightness.max() < 52) == (True, True)
    noisy = changed[:, :, :8].std((1, 2, 3)) > 1
    assert 0.19 < noisy.mean() < 0.29
    assert 26 < changed[:, :, :8].std((1, 2, 3)).max() < 34  # 12 % of the range: 31
    edges = (changed[:, :, 14].mean((1, 2)) - changed[:, :, 13].mean((1, 2))) / (right - left)  # 1 where it is sharp
    blurred = (edges < 0.97) & ~noisy
    assert 0.19 < blurred.mean() < 0.29
    assert 0.25 < edges.min() < 0.45
    untouched = (changed == images).all((1, 2, 3))
    assert 0.2 < untouched.mean() < 0.3


@pytest.mark.parametrize(("height", "width", "channels"), [(1, 1, 1), (1, 9, 3), (9, 1, 1), (28, 20, 3)])
@pytest.mark.parametrize("share", [0.1, 1])
def test_what_is_degraded_depends_on_seed_and_step_alone_and_stays_an_image(share, height, width, channels):
    images = photographs(64, height, width, channels)
    first, again, other = (degraded(tf.constant(images), share, seed_of(step)).numpy() for step in (7, 7, 8))
    assert (first.dtype, first.shape) == (np.uint8, images.shape)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    changed = (first != images).reshape(64, -1).any(axis=1).mean()
    assert changed > 0.5 if share == 1 else changed < 0.4
    images = np.repeat(images // 2 + 64, 8, axis=0)
    mean = np.mean(degraded(tf.constant(images), share, seed_of(1)), dtype=float)
    assert abs(mean - np.mean(images)) < 4, "as bright as before in the mean"


def test_a_blur_is_scipys_on_images_that_are_not_square():
    images = photographs(2, 20, 36, 3).astype(np.float32)
    expected = gaussian_filter(images, (0, 1.8, 1.8, 0), mode="nearest", truncate=2)
    assert np.abs(_blurred(tf.constant(images)) - expected).max() < 1


# --- mixed with which others ---------------------------------------------------------------------------------------


def test_cutmix_pastes_a_rectangle_and_its_share_of_the_target():
    images, labels = photographs(64, 20, 24), np.eye(64, dtype=np.float32)
    changed, shares = (found.numpy() for found in mixed(tf.constant(images), tf.constant(labels), 0, 1, seed_of(1)))
    areas = []
    for k in range(64):
        neighbor = images[k - 1]
        pasted = (changed[k] == neighbor).all(axis=2)
        own = (changed[k] == images[k]).all(axis=2)
        assert (pasted ^ own).all()  # of noise in three channels, no two pixels are alike
        rows, columns = pasted.any(axis=1), pasted.any(axis=0)
        np.testing.assert_array_equal(pasted, rows[:, None] & columns[None])
        assert all(np.ptp(np.flatnonzero(side)) + 1 == side.sum() for side in (rows, columns) if side.any())
        assert shares[k, k - 1] == pytest.approx(pasted.mean(), abs=1e-6)
        assert shares[k, k] == pytest.approx(own.mean(), abs=1e-6)
        areas.append(pasted.mean())
    assert min(areas) < 0.05
    assert max(areas) > 0.6
    assert 0.2 < np.mean(areas) < 0.5  # half, less what is cut off at the edges


@pytest.mark.parametrize("cutmix", [0.25, 0.75])
def test_each_image_has_mixup_or_cutmix_where_both_are_set(cutmix):
    images, labels = tf.constant(photographs(64, 20, 24)), tf.eye(64)
    both, cut, blended = (mixed(images, labels, *how, seed_of(1)) for how in ((0.4, cutmix), (0, 1), (0.4, 0)))
    is_cut, is_blended = ((both[0].numpy() == other[0].numpy()).all(axis=(1, 2, 3)) for other in (cut, blended))
    assert (is_cut ^ is_blended).all()
    assert abs(is_cut.mean() - cutmix) < 0.15
    np.testing.assert_array_equal(both[1], np.where(is_cut[:, None], cut[1], blended[1]))


def test_images_that_are_not_chosen_stay_as_they_are():
    images, labels = tf.constant(photographs(64, 20, 24)), tf.eye(64)
    changed, shares = mixed(images, labels, 0, 0.25, seed_of(1))
    same = (changed.numpy() == images.numpy()).all(axis=(1, 2, 3))
    assert 0.6 < same.mean() < 0.9
    np.testing.assert_array_equal(shares.numpy()[same], np.eye(64)[same])


def test_nothing_is_shown_of_what_a_recipe_states_and_a_training_does_not_do():
    nothing: Any = None  # instead of images, which are looked at if something is drawn
    log_augmented("", Recipe(augmentation="photo", mixup=0.2), {"augmentation": "none", "mixup": 0.0}, nothing)
    with pytest.raises(AttributeError):
        log_augmented("", Recipe(augmentation="photo", mixup=0.2), {"mixup": 0.0}, nothing)


def test_images_of_all_classes_are_shown_of_a_folder_that_is_sorted_by_class():
    random, labels = np.random.default_rng(1), np.repeat(np.arange(3), 250)
    split = Split(random.integers(0, 256, (750, 4, 4, 1), np.uint8), labels, tuple(map(str, range(750))))
    images, _ = changes(Recipe(), DataSet("sorted", tuple("abc"), split, split, split, False, "sorted"))
    np.testing.assert_array_equal(images, split.inputs[[0, 250, 500, 1, 2, 3, 4, 5]])


def test_what_is_shown_of_mixed_images_stands_below_the_image_that_it_was():
    split = split_of(8)
    data_set = DataSet("noise", tuple("01234567"), split, split, split, False, "noise")
    images, changed = changes(Recipe(augmentation="none", cutmix=1), data_set)
    np.testing.assert_array_equal(images, split.inputs)
    own = (changed == images).mean(axis=(2, 3, 4))  # [CHANGES, P]: the share that wasn't pasted over
    assert own.mean() > 0.5
    assert (own < 0.9).any()
