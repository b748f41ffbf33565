"""Random bytes, four from each random number: of what augmentation does, drawing noise takes longest."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

Tensor = Any  # a tf.Tensor


def random_bytes(shape: Sequence[int], seed: Tensor) -> Tensor:
    """uint8 of a shape, all values equally likely."""
    import tensorflow as tf

    count = prod(shape)
    words = tf.random.stateless_uniform([-(-count // 4)], seed, None, None, tf.uint32)
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint8), [-1])[:count], shape)
