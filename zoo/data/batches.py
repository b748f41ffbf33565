"""The stream of a training: what every step is given depends on the seed and the step's number alone, not on the past.

A run that is resumed at epoch k is therefore given, bit for bit, what it would have been without the interruption.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.augmentation.augment import augmentation_called
from zoo.data.augmentation.degrade import degraded
from zoo.data.augmentation.geometry import Moves
from zoo.data.augmentation.mixing import mixed
from zoo.data.dataset import Split
from zoo.errors import MissingExtraError, RecipeError
from zoo.images import Pixels
from zoo.recipe import LEARNED_AS_THEY_ARE, Recipe

Tensor = Any  # a tf.Tensor
Teacher = Callable[[Pixels], NDArray[np.float32]]  # images [B, H, W, C] uint8 -> probabilities [B, K]


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Full batches in one pass; the images left over are others each time. A split smaller than a batch is one."""
    return max(1, len(split) // batch_size)


def training_batches(
    split: Split,
    classes: int,
    recipe: Recipe,
    *,
    mirrored: bool,
    first_epoch: int,
    epochs: int,
    teacher: Teacher | None = None,
) -> Any:
    """A tf.data.Dataset of (images [B, H, W, C] uint8, targets [B, K] float32): `epochs` epochs in one stream.

    Of a table it is rows [B, F] float32, which are learned as they are.

    A target is the share of each class, 1 in all: the label's, after smoothing, mixing and distillation.
    mirrored: whether a mirrored image keeps its label, where the recipe leaves it to the data set. first_epoch: the
    first is 0. Raises RecipeError for an unknown augmentation, or one of a table's rows.
    """
    if split.inputs.ndim == 2 and recipe.changes_images:
        settings = " ".join(f"{name}={value}" for name, value in LEARNED_AS_THEY_ARE.items())
        raise RecipeError(f"the rows of a table are learned as they are: set {settings}")
    augment = augmentation_called(recipe.augmentation)
    mirrored = mirrored if recipe.mirrored == "auto" else recipe.mirrored == "yes"
    moves = Moves(mirrored, recipe.rotation, recipe.scale)
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        raise MissingExtraError("tensorflow", "train") from None

    steps = steps_per_epoch(split, recipe.batch_size)
    batch_size = min(recipe.batch_size, len(split))
    off = recipe.label_smoothing / classes
    with tf.device("CPU:0"):  # where tf.data works; tensors outside of its functions aren't copied into its graph
        labels = tf.constant(split.labels)
        if recipe.balance == "classes":
            counts = np.bincount(split.labels)[split.labels]  # [N]: how many there are of each image's class
            rarity = tf.constant(-np.log(counts, dtype=np.float32)[None])  # [1, N]: all classes are equally likely

    def order(epoch: Tensor) -> Any:
        """[steps, B] indices of images. Even seeds are for orders, odd ones for changes of images."""
        seed = [recipe.seed, 2 * epoch]
        if recipe.balance == "classes":
            shuffled = tf.random.stateless_categorical(rarity, steps * batch_size, seed, tf.int32)[0]
        else:
            shuffled = tf.random.experimental.stateless_shuffle(tf.range(len(split)), seed)
        return tf.data.Dataset.from_tensor_slices(tf.reshape(shuffled[: steps * batch_size], [steps, batch_size]))

    def batch(step: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        seed = tf.stack([recipe.seed, 2 * step + 1])
        images = augment(_gathered(split, indices, batch_size), moves, seed)
        if recipe.degrade:
            images = degraded(images, recipe.degrade, seed)
        targets = tf.one_hot(tf.gather(labels, indices), classes, 1 - recipe.label_smoothing + off, off)
        if recipe.mixup or recipe.cutmix:
            images, targets = mixed(images, targets, recipe.mixup, recipe.cutmix, seed)
        if teacher is not None:
            soft_targets = tf.ensure_shape(tf.numpy_function(teacher, [images], tf.float32), targets.shape)
            targets += recipe.teacher_share * (soft_targets - targets)
        return images, targets

    orders = tf.data.Dataset.range(first_epoch, first_epoch + epochs).flat_map(order)
    batches = orders.enumerate(first_epoch * steps).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def plain_batches(split: Split, classes: int, batch_size: int) -> Any:
    """A tf.data.Dataset of (images [B, H, W, C] uint8, targets [B, K] float32): each image once, in order."""
    import tensorflow as tf

    def batch(start: Tensor) -> tuple[Tensor, Tensor]:
        indices = tf.range(start, tf.minimum(start + batch_size, len(split)))
        return _gathered(split, indices, None), tf.one_hot(tf.gather(labels, indices), classes)

    with tf.device("CPU:0"):
        labels = tf.constant(split.labels)
    starts = tf.data.Dataset.range(0, len(split), batch_size)
    return starts.map(batch).prefetch(1)


def view_batches(split: Split, recipe: Recipe, *, mirrored: bool, view: int, batch_size: int) -> Any:
    """A tf.data.Dataset of images [B, H, W, C] uint8: each once, in order, as the recipe augments it.

    view: 0 for images as they are; each other number augments them in its own way. The last batch is filled up with
    images from the beginning.
    """
    augment = augmentation_called(recipe.augmentation if view else "none")
    mirrored = mirrored if recipe.mirrored == "auto" else recipe.mirrored == "yes"
    moves = Moves(mirrored, recipe.rotation, recipe.scale) if view else Moves(mirrored=False)
    import tensorflow as tf

    steps = math.ceil(len(split) / batch_size)

    def batch(step: Tensor) -> Tensor:
        indices = (step * batch_size + tf.range(batch_size, dtype=tf.int64)) % len(split)
        seed = tf.stack([recipe.seed, view * steps + step])
        images = augment(_gathered(split, indices, batch_size), moves, seed)
        return degraded(images, recipe.degrade, seed) if view and recipe.degrade else images

    batches = tf.data.Dataset.range(steps).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)


def _gathered(split: Split, indices: Tensor, count: int | None) -> Tensor:
    """Images or rows at indices [B], from memory or from a file; TensorFlow would copy them all."""
    import tensorflow as tf

    inputs = tf.numpy_function(lambda some: split.inputs[some], [indices], tf.as_dtype(split.inputs.dtype))
    return tf.ensure_shape(inputs, [count, *split.inputs.shape[1:]])
