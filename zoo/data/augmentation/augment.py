"""Augmentation of a whole batch at once: uint8 in, uint8 out, and the same change again for the same seed.

Each function: images [B, H, W, C] uint8, moves (what may be done to them without changing their labels), seed [2]
int64 -> [B, H, W, C] uint8. It runs inside of tf.data, where every operation is a call: few and large ones are fast.
Keras' layers (3.15) don't serve: RandomZoom and RandomRotation refuse a step's seed, RandomColorJitter and RandAugment
draw from generators of their own beside it, and each resamples anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from zoo.data.augmentation.geometry import Moves, turned
from zoo.data.augmentation.noise import random_bytes
from zoo.data.augmentation.photo import photo
from zoo.data.augmentation.randaugment import randaugment
from zoo.errors import RecipeError, unknown

Tensor = Any  # a tf.Tensor
Augmentation = Callable[[Tensor, Moves, Tensor], Tensor]

SHIFT_SHARE = 1 / 14  # of the side: 2 pixels of 28


def augmentation_called(name: str) -> Augmentation:
    """The function of that name; RecipeError where there is none."""
    if name not in AUGMENTATIONS:
        raise RecipeError(unknown("augmentation", name, AUGMENTATIONS))
    return AUGMENTATIONS[name]


def none(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """Images as they are, but for rotation and zoom."""
    return turned(images, moves, seed)


def mirror(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """Every other image is mirrored, where labels allow it."""
    images = turned(images, moves, seed)
    return _moved(images, 0, moves.mirrored, seed) if moves.mirrored else images


def light(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """Each image is shifted by up to 1/14 of its side, at least one pixel; its edge fills what is uncovered.

    Every other one is mirrored, where labels allow it.
    """
    return _moved(turned(images, moves, seed), SHIFT_SHARE, moves.mirrored, seed)


def strong(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """`light`, and in every other image a rectangle of noise."""
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    return _erased(_moved(turned(images, moves, seed), SHIFT_SHARE, moves.mirrored, seeds[0]), seeds[1])


AUGMENTATIONS: Mapping[str, Augmentation] = {
    "none": none,
    "mirror": mirror,
    "light": light,
    "strong": strong,
    "photo": photo,
    "randaugment": randaugment,
}


def _moved(images: Tensor, shift_share: float, mirrored: bool, seed: Tensor) -> Tensor:
    """Shift and mirror: both only change where a pixel is taken from, so that one look-up does the two."""
    import tensorflow as tf

    seeds = tf.random.split(seed, 3)
    count, height, width, channels = images.shape

    def positions(side: int, seed: Tensor) -> Tensor:
        """[B, side] int32: for each place the one that it is taken from, outside of the image the nearest inside."""
        most = max(1, round(side * shift_share)) if shift_share else 0
        shift = tf.random.stateless_uniform([count, 1], seed, -most, most + 1, tf.int32)
        return tf.clip_by_value(tf.range(side)[None] + shift, 0, side - 1)

    rows, columns = positions(height, seeds[0]), positions(width, seeds[1])
    if mirrored:
        flipped = tf.random.stateless_uniform([count, 1], seeds[2]) < 0.5
        columns = tf.where(flipped, width - 1 - columns, columns)
    starts = tf.range(count)[:, None, None] * (height * width)
    places = starts + rows[:, :, None] * width + columns[:, None, :]  # [B, H, W]
    return tf.gather(tf.reshape(images, [count * height * width, channels]), places)


def _erased(images: Tensor, seed: Tensor) -> Tensor:
    """Random erasing (Zhong et al. 2020, with their numbers): half of the images lose 2 to 40 % of their area.

    Departure: a rectangle longer than the image is cut to it, where the paper draws another.
    """
    import tensorflow as tf

    seeds = tf.random.split(seed, 2)
    count, height, width, _ = images.shape
    chance, area, ratio, top, left = tf.unstack(tf.random.stateless_uniform([5, count], seeds[0]))
    area = (0.02 + 0.38 * area) * (height * width)  # pixels
    ratio = 0.3 + (1 / 0.3 - 0.3) * ratio  # height / width
    tall = tf.clip_by_value(tf.round(tf.sqrt(area * ratio)), 1, height)
    wide = tf.clip_by_value(tf.round(tf.sqrt(area / ratio)), 1, width)
    tall = tf.where(chance < 0.5, tall, 0)

    def inside(side: int, start: Tensor, length: Tensor) -> Tensor:
        """[B, side] bool"""
        begin = tf.floor(start * (side - length + 1))[:, None]
        place = tf.range(side, dtype=tf.float32)[None]
        return (place >= begin) & (place < begin + length[:, None])

    mask = inside(height, top, tall)[:, :, None, None] & inside(width, left, wide)[:, None, :, None]  # [B, H, W, 1]
    return tf.where(mask, random_bytes(images.shape, seeds[1]), images)
