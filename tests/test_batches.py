"""What a training sees: every image once an epoch, changed a little, and the same again for the same seed."""

from __future__ import annotations

import numpy as np
import pytest

from zoo.data import Split
from zoo.data.augmentation.augment import augmentation_called
from zoo.data.batches import steps_per_epoch, training_batches
from zoo.errors import RecipeError
from zoo.recipe import Recipe

CLASSES = 64


def split_of(count: int, height: int = 14, width: int = 10, channels: int = 1) -> Split:
    """Random images whose labels are their indices: a batch then says which images it is made of."""
    assert count <= CLASSES
    images = np.random.RandomState(0).randint(0, 256, (count, height, width, channels)).astype(np.uint8)
    return Split(images, np.arange(count, dtype=np.int64), tuple(str(i) for i in range(count)))


def targets(split, augmentation="none", *, mirrored=False, own="auto", first_epoch=0, epochs=1, teacher=None, **recipe):
    """The whole stream as [(images, targets)]."""
    recipe = Recipe(augmentation=augmentation, mirrored=own, **{"batch_size": 8, **recipe})
    batches = training_batches(
        split, CLASSES, recipe, mirrored=mirrored, first_epoch=first_epoch, epochs=epochs, teacher=teacher
    )
    return [(images.numpy(), target.numpy()) for images, target in batches]


def stream(split, augmentation="none", **options):
    """The same with the class that each target means, which is the image's index where `split_of` made it."""
    return [(images, target.argmax(axis=1)) for images, target in targets(split, augmentation, **options)]


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for (images, labels), (expected_images, expected_labels) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_an_epoch_sees_each_image_at_most_once_and_drops_the_partial_batch():
    split = split_of(30)
    batches = stream(split)
    assert [images.shape for images, _ in batches] == [(8, 14, 10, 1)] * 3
    assert all(images.dtype == np.uint8 for images, _ in batches)
    seen = np.concatenate([labels for _, labels in batches])
    assert len(seen) == len(set(seen)) == 24
    for images, labels in batches:
        np.testing.assert_array_equal(images, split.inputs[labels])


def test_batches_have_a_fixed_shape_in_the_graph():
    recipe = Recipe(batch_size=8, augmentation="strong", mixup=0.2, label_smoothing=0.1)
    answers = np.full((8, CLASSES), 1 / CLASSES, np.float32)
    batches = training_batches(
        split_of(30, channels=3), CLASSES, recipe, mirrored=True, first_epoch=0, epochs=1, teacher=lambda _: answers
    )
    images, target = batches.element_spec
    assert (images.shape.as_list(), target.shape.as_list()) == ([8, 14, 10, 3], [8, CLASSES])
    assert (images.dtype.name, target.dtype.name) == ("uint8", "float32")


def test_each_epoch_has_its_own_order_and_leaves_out_other_images():
    epochs = stream(split_of(30), epochs=2)
    first, second = ({int(i) for _, labels in part for i in labels} for part in (epochs[:3], epochs[3:]))
    assert first != second
    assert [list(labels) for _, labels in epochs[:3]] != [list(labels) for _, labels in epochs[3:]]


def test_a_split_smaller_than_a_batch_is_one_batch():
    split = split_of(5)
    assert steps_per_epoch(split, 8) == 1
    batches = stream(split, "strong", epochs=3)
    assert [sorted(labels) for _, labels in batches] == [[0, 1, 2, 3, 4]] * 3


def test_as_many_batches_come_as_steps_were_promised():
    assert steps_per_epoch(split_of(30), 8) * 4 == len(stream(split_of(30), epochs=4))


@pytest.mark.parametrize("augmentation", ["none", "light", "strong"])
def test_a_stream_begun_at_a_later_epoch_is_the_rest_of_the_whole_one(augmentation):
    split = split_of(30, channels=3)
    whole = stream(split, augmentation, mirrored=True, epochs=4)
    rest = stream(split, augmentation, mirrored=True, first_epoch=2, epochs=2)
    assert_same(rest, whole[6:])


def test_the_same_seed_sees_the_same_and_another_seed_something_else():
    split = split_of(30)
    assert_same(stream(split, "strong", seed=3), stream(split, "strong", seed=3))
    orders = [[list(labels) for _, labels in stream(split, seed=seed)] for seed in (3, 4)]
    assert orders[0] != orders[1]


def test_each_step_changes_images_in_its_own_way():
    alike = Split(np.repeat(split_of(1).inputs, 16, axis=0), np.zeros(16, np.int64), ("",) * 16)
    (first, _), (second, _), (third, _) = stream(alike, "light", epochs=2)[:3]
    assert (first != second).any()
    assert (first != third).any()
    assert len({image.tobytes() for image in first}) > 1  # and each image of a batch, too


def test_light_shifts_by_whole_pixels_and_repeats_the_edge():
    split = split_of(64, height=28, width=14)
    shifts = set()
    for images, labels in stream(split, "light", batch_size=32):
        for image, label in zip(images, labels, strict=True):
            rows, columns = shift_of(split.inputs[label], image, most_rows=2, most_columns=1)
            shifts.add((rows, columns))
    assert {abs(rows) for rows, _ in shifts} == {0, 1, 2}
    assert {columns for _, columns in shifts} == {-1, 0, 1}


def shift_of(original, shifted, most_rows, most_columns):
    """The shift that explains the image, by another way than ours: pad with the edge, and cut out."""
    padded = np.pad(original, ((most_rows,) * 2, (most_columns,) * 2, (0, 0)), mode="edge")
    height, width, _ = original.shape
    for rows in range(-most_rows, most_rows + 1):
        for columns in range(-most_columns, most_columns + 1):
            top, left = most_rows + rows, most_columns + columns
            if np.array_equal(shifted, padded[top : top + height, left : left + width]):
                return rows, columns
    raise AssertionError("no shift explains this image")


def test_an_image_of_few_pixels_still_moves():
    split = split_of(64, height=8, width=8)
    moved = [
        shift_of(split.inputs[label], image, 1, 1)
        for images, labels in stream(split, "light")
        for image, label in zip(images, labels, strict=True)
    ]
    assert len(set(moved)) == 9


@pytest.mark.parametrize("augmentation", ["mirror", "light", "strong"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_half_of_the_images_are_mirrored_where_labels_allow_it(mirrored, augmentation):
    ramp = np.broadcast_to(np.arange(0, 200, 10, dtype=np.uint8)[None, None, :, None], (400, 20, 20, 1))
    split = Split(ramp, np.zeros(400, np.int64), ("",) * 400)
    ((images, _),) = stream(split, augmentation, batch_size=400, mirrored=mirrored)
    # Noise hides some of an image: the direction in which most neighbors grow is the image's own.
    growth = np.sign(np.diff(images.astype(int), axis=2)).sum((1, 2, 3))
    share = (growth < 0).mean()
    assert 0.4 < share < 0.6 if mirrored else share < 0.02


@pytest.mark.parametrize(("recipe", "data_set", "expected"), [("yes", False, True), ("no", True, False)])
def test_a_recipe_knows_better_than_the_data_set_whether_images_can_be_mirrored(recipe, data_set, expected):
    split = split_of(32)
    (images, labels), *_ = stream(split, "mirror", mirrored=data_set, own=recipe, batch_size=32)
    changed = (images != split.inputs[labels]).any(axis=(1, 2, 3))
    assert changed.any() == expected


def test_mirror_moves_nothing_else():
    split = split_of(64)
    for images, labels in stream(split, "mirror", mirrored=True):
        for image, label in zip(images, labels, strict=True):
            own = split.inputs[label]
            assert np.array_equal(image, own) or np.array_equal(image, own[:, ::-1])


def test_strong_erases_a_rectangle_of_noise_in_half_of_the_images():
    split = Split(np.zeros((400, 20, 24, 3), np.uint8), np.zeros(400, np.int64), ("",) * 400)
    ((images, _),) = stream(split, "strong", batch_size=400)
    touched = images.any(axis=3)  # a pixel of noise is black once in 2**24
    erased = touched.any(axis=(1, 2))
    assert 0.4 < erased.mean() < 0.6
    for mask in touched[erased]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns[None])
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()  # in one piece
        assert np.ptp(np.flatnonzero(columns)) + 1 == columns.sum()
    shares = touched[erased].mean(axis=(1, 2))
    assert 0.01 < shares.min() < 0.06
    assert 0.3 < shares.max() < 0.43
    noise = images[touched]
    assert abs(noise.mean() - 127.5) < 2
    assert abs(noise.std() - 73.9) < 2  # of uniform bytes


def test_an_unknown_augmentation_names_the_nearest():
    with pytest.raises(RecipeError, match="no augmentation is called 'strnog': did you mean strong"):
        augmentation_called("strnog")


def test_a_smoothed_target_gives_each_class_its_share():
    ((_, target),) = targets(split_of(8), label_smoothing=0.2)
    np.testing.assert_allclose(np.sort(target, axis=1)[:, -1], 0.8 + 0.2 / CLASSES, rtol=1e-6)
    np.testing.assert_allclose(np.sort(target, axis=1)[:, :-1], 0.2 / CLASSES, rtol=1e-5)


def test_mixup_blends_images_and_targets_in_the_same_share():
    split = split_of(32)
    shares = []
    for images, target in targets(split, mixup=0.4, batch_size=16):
        for image, weights in zip(images, target, strict=True):
            blend = np.tensordot(weights[:32], split.inputs.astype(np.float32), axes=1)
            assert np.abs(image - blend).max() <= 0.51  # rounded to a whole step of 255
            shares.append(1 - weights.max())
    assert 0 < max(shares) <= 0.4 + 1e-6
    assert 0.1 < np.mean(shares) < 0.3
    assert len(set(shares)) > 10


def test_a_teacher_is_asked_about_the_very_images_that_are_learned():
    asked = []

    def teacher(images):
        asked.append(images.copy())
        answers = np.zeros((len(images), CLASSES), np.float32)
        answers[:, 0] = 1
        return answers

    batches = targets(split_of(32), "strong", teacher=teacher, teacher_share=0.75, epochs=2)
    assert {images.tobytes() for images, _ in batches} == {images.tobytes() for images in asked}
    for _, target in batches:
        np.testing.assert_allclose(target.sum(axis=1), 1, rtol=1e-6)
        assert set(np.unique(target[:, 0])) <= {np.float32(0.75), np.float32(1)}


def test_balanced_classes_are_seen_equally_often_however_rare_they_are():
    images = np.zeros((60, 4, 4, 1), np.uint8)
    split = Split(images, np.repeat([0, 1, 2], [50, 8, 2]), tuple(map(str, range(60))))
    seen = np.concatenate([labels for _, labels in stream(split, balance="classes", epochs=40)])
    assert np.bincount(seen) / len(seen) == pytest.approx([1 / 3] * 3, abs=0.04)  # of 2,240 draws
    first, again, other = (stream(split, balance="classes", seed=seed) for seed in (1, 1, 2))
    assert_same(first, again)
    assert any((a != b).any() for (_, a), (_, b) in zip(first, other, strict=True))
