"""The augmentation of photographs: another part of the image, mirrored, in another light."""

from __future__ import annotations

import math
from typing import Any

from zoo.data.augmentation.colors import recolored, to_bytes
from zoo.data.augmentation.geometry import Moves, crops, resampled, turns

Tensor = Any  # a tf.Tensor

JITTER = 0.3  # of brightness, contrast and saturation: from 0.7 to 1.3
HUE = 0.03  # of a full turn: a red stays a red


def photo(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """A random resized crop of each image, mirrored where labels allow it, with its colors changed a little."""
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    count, height, width, _ = images.shape
    matrix, shift = crops(height, width, count, moves.mirrored, seeds[0])
    if moves.turned:
        turn = turns(count, moves, seed)
        matrix, shift = turn @ matrix, tf.linalg.matvec(turn, shift)
    changed = resampled(images, matrix, shift, upright=not moves.turned)
    brightness, contrast, saturation, hue = tf.unstack(tf.random.stateless_uniform([4, count], seeds[1], -1, 1))
    return to_bytes(
        recolored(
            changed,
            brightness=1 + JITTER * brightness,
            contrast=1 + JITTER * contrast,
            saturation=1 + JITTER * saturation,
            hue=2 * math.pi * HUE * hue,
        )
    )
