"""Where the pixels of a changed image are taken from: crop, mirror, rotation, zoom and shear in one resampling.

A move is an affine map from a place in the new image to one in the old, both in pixels from the middle, as (x, y):
old = matrix [B, 2, 2] · new + shift [B, 2]. Moves are composed before anything is resampled, which would blur again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

Tensor = Any  # a tf.Tensor

# Of the image, in a crop. 0.08, which Szegedy et al. 2015 begin with, is made for hundreds of epochs, and often shows
# none of what the label names; from 0.35 on, at least three fifths of each side are left.
LEAST_AREA = 0.35
MOST_STRETCH = 4 / 3  # of a crop, in width over height or in height over width
TURNED = 3  # folded into a step's seed, for a random stream of its own


@dataclass(frozen=True)
class Moves:
    """What may be done to an image without changing its label.

    mirrored: left to right. rotation: by at most so many degrees, to either side. scale: enlarged or shrunk by at most
    this share.
    """

    mirrored: bool = False
    rotation: float = 0.0
    scale: float = 0.0

    @property
    def turned(self) -> bool:
        """Whether pixels come to lie between the old ones."""
        return self.rotation > 0 or self.scale > 0


def turned(images: Tensor, moves: Moves, seed: Tensor) -> Tensor:
    """Images [B, H, W, C] uint8, each rotated and zoomed as it may be; the same where it may not."""
    import tensorflow as tf

    if not moves.turned:
        return images
    matrix = turns(images.shape[0], moves, seed)
    return tf.cast(tf.round(resampled(images, matrix, tf.zeros([images.shape[0], 2]))), tf.uint8)


def turns(count: int, moves: Moves, seed: Tensor) -> Tensor:
    """Rotation and zoom [B, 2, 2], about the middle: angles are drawn evenly, zooms evenly in their logarithm."""
    import tensorflow as tf

    angle, zoom = tf.unstack(tf.random.stateless_uniform([2, count], tf.random.fold_in(seed, TURNED), -1, 1))
    angle *= math.radians(moves.rotation)
    zoom = tf.exp(math.log1p(moves.scale) * zoom)
    return matrices(zoom * tf.cos(angle), -zoom * tf.sin(angle), zoom * tf.sin(angle), zoom * tf.cos(angle))


def crops(height: int, width: int, count: int, mirrored: bool, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Random resized crops (Szegedy et al. 2015), every other one mirrored where it may be: matrix and shift.

    The area is drawn evenly, the stretch evenly in its logarithm. Departure: a crop longer than the image is cut to it,
    where others draw again.
    """
    import tensorflow as tf

    area, stretch, across, down, flip = tf.unstack(tf.random.stateless_uniform([5, count], seed))
    area = LEAST_AREA + (1 - LEAST_AREA) * area
    stretch = tf.exp(math.log(MOST_STRETCH) * (2 * stretch - 1))  # width / height, of what an uncut image has
    wide, tall = tf.minimum(tf.sqrt(area * stretch), 1), tf.minimum(tf.sqrt(area / stretch), 1)  # shares of the sides
    across, down = (across - 0.5) * (1 - wide) * (width - 1), (down - 0.5) * (1 - tall) * (height - 1)
    if mirrored:
        wide = tf.where(flip < 0.5, -wide, wide)
    return matrices(wide, tf.zeros_like(wide), tf.zeros_like(wide), tall), tf.stack([across, down], axis=1)


def matrices(xx: Tensor, xy: Tensor, yx: Tensor, yy: Tensor) -> Tensor:
    """[B, 2, 2] of four [B]: x = xx · x + xy · y, y = yx · x + yy · y."""
    import tensorflow as tf

    return tf.stack([tf.stack([xx, xy], axis=1), tf.stack([yx, yy], axis=1)], axis=1)


def resampled(images: Tensor, matrix: Tensor, shift: Tensor, *, upright: bool = False) -> Tensor:
    """Images [B, H, W, C] uint8 moved, bilinear: float32 in 0..255. Their edges fill what lies outside.

    upright: the matrices are diagonal and nothing lies outside; TensorFlow then has a way that takes half the time.
    """
    import tensorflow as tf

    count, height, width, _ = images.shape
    middle = tf.constant([(width - 1) / 2, (height - 1) / 2])
    if upright:
        reach = tf.linalg.diag_part(matrix) * middle
        corners = tf.concat([middle + shift - reach, middle + shift + reach], axis=1)  # [B, 4]: x, y of both
        left, top, right, bottom = tf.unstack(corners, axis=1)
        boxes = tf.stack([top, left, bottom, right], axis=1)
        boxes /= [max(1, height - 1), max(1, width - 1)] * 2
        boxes = tf.clip_by_value(boxes, 1e-6, 1 - 1e-6)  # by rounding, a place could lie outside, which is black there
        return tf.image.crop_and_resize(images, boxes, tf.range(count), [height, width])
    corner = middle + shift - tf.linalg.matvec(matrix, middle)  # where the first pixel is taken from
    rows = tf.concat([matrix, corner[:, :, None]], axis=2)  # [B, 2, 3]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.concat([tf.reshape(rows, [count, 6]), tf.zeros([count, 2])], axis=1),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="NEAREST",
    )
