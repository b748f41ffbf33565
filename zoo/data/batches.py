"""The stream of a training: what every step sees depends on the seed and the step's number alone, not on the past.

A run that goes on at epoch k therefore sees, bit for bit, what it would have seen without the interruption.
"""

from __future__ import annotations

from typing import Any

from zoo.data.augment import augmentation_called
from zoo.data.dataset import Split
from zoo.errors import MissingExtraError


def steps_per_epoch(split: Split, batch_size: int) -> int:
    """Full batches in one pass; the pictures left over are others each time. A split smaller than a batch is one."""
    return max(1, len(split) // batch_size)


def training_batches(
    split: Split, batch_size: int, augmentation: str, mirrored: bool, seed: int, first_epoch: int, epochs: int
) -> Any:
    """A tf.data.Dataset of (images [B, H, W, C] uint8, labels [B] int64): `epochs` epochs in one stream.

    augmentation: a name in zoo.data.augment. mirrored: whether a mirrored picture keeps its label.
    first_epoch: the first is 0. Raises RecipeError for an unknown augmentation.
    """
    augment = augmentation_called(augmentation)
    try:
        import tensorflow as tf
    except ModuleNotFoundError:
        raise MissingExtraError("tensorflow", "train") from None

    steps = steps_per_epoch(split, batch_size)
    batch_size = min(batch_size, len(split))
    with tf.device("CPU:0"):  # where tf.data works; tensors outside of its functions aren't copied into its graph
        images, labels = tf.constant(split.images), tf.constant(split.labels)

    def order(epoch: Any) -> Any:
        """[steps, B] indices of pictures. Even seeds are for orders, odd ones for changes of pictures."""
        shuffled = tf.random.experimental.stateless_shuffle(tf.range(len(split)), [seed, 2 * epoch])
        return tf.data.Dataset.from_tensor_slices(tf.reshape(shuffled[: steps * batch_size], [steps, batch_size]))

    def batch(step: Any, indices: Any) -> tuple[Any, Any]:
        return augment(tf.gather(images, indices), mirrored, tf.stack([seed, 2 * step + 1])), tf.gather(labels, indices)

    orders = tf.data.Dataset.range(first_epoch, first_epoch + epochs).flat_map(order)
    batches = orders.enumerate(first_epoch * steps).map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return batches.prefetch(tf.data.AUTOTUNE)
