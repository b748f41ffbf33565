"""Changes of color: brightness, contrast, saturation and hue of each image, as one matrix for its pixels.

Departure from how they are commonly done: values are cut to 0..255 once, at the end, and not between the changes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Tensor = Any  # a tf.Tensor

YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])  # · (R, G, B); FCC 1953
# A pixel (row) is multiplied by GRAY, its luma, and by COLOR, the rest, which ACROSS turns by a right angle.
GRAY, COLOR, ACROSS = (
    (np.linalg.inv(YIQ) @ part @ YIQ).T.astype(np.float32)
    for part in (np.diag([1, 0, 0]), np.diag([0, 1, 1]), np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]))
)


def recolored(
    images: Tensor,
    *,
    brightness: Tensor,
    contrast: Tensor,
    saturation: Tensor,
    hue: Tensor | None = None,
    stretched: Tensor | None = None,
) -> Tensor:
    """Images [B, H, W, C] float32, changed by factors [B]: 1 leaves an image as it is. C is 1 or 3.

    brightness: of each value. contrast: of its distance to the image's mean luma. saturation: of a color's distance to
    its gray. hue: an angle, in radians. The last two mean nothing on gray images. stretched: whether the values of each
    channel are first stretched to 0..255, [B] bool. The values may leave 0..255.
    """
    import tensorflow as tf

    count, height, width, channels = images.shape
    scale, offset = brightness[:, None] * tf.ones([channels]), tf.zeros([count, channels])  # [B, C]
    if stretched is not None:
        low, high = tf.reduce_min(images, [1, 2]), tf.reduce_max(images, [1, 2])
        stretched = stretched[:, None] & (high - low >= 1)  # less is what rounding made of one color
        scale *= tf.where(stretched, 255 / tf.where(stretched, high - low, 255.0), 1.0)
        offset = tf.where(stretched, -scale * low, offset)
    mean = scale * tf.reduce_mean(images, [1, 2]) + offset  # [B, C]
    luma = tf.linalg.matvec(mean, YIQ[0].astype(np.float32)) if channels == 3 else mean[:, 0]
    scale, offset = contrast[:, None] * scale, contrast[:, None] * offset + ((1 - contrast) * luma)[:, None]
    matrix = tf.linalg.diag(scale)  # [B, C, C]
    if channels == 3:
        factor = saturation[:, None, None]
        turn = COLOR if hue is None else tf.cos(hue)[:, None, None] * COLOR + tf.sin(hue)[:, None, None] * ACROSS
        colors = GRAY + factor * turn
        matrix, offset = matrix @ colors, tf.linalg.matvec(colors, offset, transpose_a=True)
    pixels = tf.reshape(images, [count, height * width, channels])
    return tf.reshape(pixels @ matrix + offset[:, None], images.shape)


def to_bytes(images: Tensor) -> Tensor:
    """Values of any size as uint8: rounded, and cut to 0..255."""
    import tensorflow as tf

    return tf.saturate_cast(tf.round(images), tf.uint8)
