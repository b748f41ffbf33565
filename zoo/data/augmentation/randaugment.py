"""RandAugment (Cubuk et al. 2020): a few operations out of a list, drawn for each image, all of one magnitude.

All images go through all operations, each by its own amounts, which are nothing where it wasn't drawn: TensorFlow does
that many times faster than it would take each image through its own two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from zoo.data.augmentation.colors import recolored, to_bytes
from zoo.data.augmentation.geometry import Moves, crops, matrices, resampled, turns

Tensor = Any  # a tf.Tensor

OPERATIONS = 2  # for each image, the same one twice included
MAGNITUDE = 0.3  # of the most that each operation can do, as Cubuk et al. have it: theirs is 9 of 30

MOVES = {"rotate": 30.0, "shear x": 0.3, "shear y": 0.3, "translate x": 0.45, "translate y": 0.45}  # degrees, shares
COLORS = {"brightness": 0.9, "contrast": 0.9, "sharpness": 0.9, "saturation": 0.9}  # their factors' distance to 1
OTHERS = ("identity", "autocontrast", "solarize")
NAMES = (*OTHERS, *MOVES, *COLORS)  # gray images have no saturation, the last one
SOLARIZED = round(256 * (1 - MAGNITUDE))  # values from here on are inverted


def randaugment(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """A random resized crop of each image, mirrored where labels allow it, and then two operations of `NAMES`.

    Departures from the paper: moves come first and are one resampling with the crop, solarize comes last. Equalize is
    left out, whose table look-up for each pixel takes longer than all the others do; and posterize, which at this
    magnitude clears one bit of eight.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    count, height, width, channels = images.shape
    often, signed = drawn(count, NAMES if channels == 3 else NAMES[:-1], seeds[0])
    amount = {name: MAGNITUDE * most * signed[name] for name, most in (MOVES | COLORS).items() if name in signed}

    matrix, shift = crops(height, width, count, moves.mirrored, seeds[1])
    angle, one = math.pi / 180 * amount["rotate"], tf.ones([count])
    turn = matrices(tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle))
    turn @= matrices(one, amount["shear x"], amount["shear y"], one)
    if moves.turned:
        turn = turns(count, moves, seed) @ turn
    shift += tf.stack([width * amount["translate x"], height * amount["translate y"]], axis=1)
    changed = resampled(images, turn @ matrix, tf.linalg.matvec(turn, shift))

    changed = recolored(
        changed,
        stretched=often["autocontrast"] > 0,
        brightness=1 + amount["brightness"],
        contrast=1 + amount["contrast"],
        saturation=1 + amount.get("saturation", tf.zeros([count])),
    )
    changed = to_bytes(_sharpened(changed, amount["sharpness"]))
    solarized = (often["solarize"] > 0)[:, None, None, None] & (changed >= SOLARIZED)
    return tf.where(solarized, 255 - changed, changed)


def drawn(count: int, names: Sequence[str], seed: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """How often each operation is drawn for each image, [B] float32; and the same with a sign, drawn each time."""
    import tensorflow as tf

    number, sign = tf.unstack(tf.random.stateless_uniform([2, count, OPERATIONS], seed))
    chosen = tf.one_hot(tf.cast(number * len(names), tf.int32), len(names))  # [B, OPERATIONS, names]
    signed = tf.where(sign < 0.5, -1.0, 1.0)[:, :, None] * chosen
    often, amounts = (tf.unstack(tf.reduce_sum(values, axis=1), axis=1) for values in (chosen, signed))
    return dict(zip(names, often, strict=True)), dict(zip(names, amounts, strict=True))


def _sharpened(images: Tensor, amount: Tensor) -> Tensor:
    """Images [B, H, W, C] float32 farther from what Pillow's SMOOTH makes of them, or nearer. amount: [B]."""
    import tensorflow as tf

    kernel = tf.constant([[1, 1, 1], [1, 5, 1], [1, 1, 1]], tf.float32) / 13
    kernel = tf.tile(kernel[:, :, None, None], [1, 1, images.shape[3], 1])
    padded = tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], "SYMMETRIC")
    smooth = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")
    return images + amount[:, None, None, None] * (images - smooth)
