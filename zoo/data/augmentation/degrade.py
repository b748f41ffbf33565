"""Images as a poorer camera, in poorer light, would have taken them: other brightness, less contrast, noise or blur."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.augmentation.colors import to_bytes
from zoo.data.augmentation.noise import random_bytes

Tensor = Any  # a tf.Tensor

DEGRADED = 4  # folded into a step's seed, for a random stream of its own
LEAST_CONTRAST, MOST_CONTRAST = 0.3, 1.2  # what is left of it, drawn evenly in its logarithm
BRIGHTNESS = 0.2  # of the range, added to all pixels or taken off, at most
# Of the range, the largest deviation. Values are drawn evenly, as random bytes: on a busy machine these were drawn for
# 1,857 images of 224x224 in color a second, normal numbers for 194.
NOISE = 0.12
EVEN_DEVIATION = math.sqrt((256**2 - 1) / 12)  # of a byte, all values being equally likely
BLUR = 0.05  # of the longer side, the deviation of the widest blur: 1.4 pixels of 28


def degraded(images: Tensor, share: float, seed: Tensor) -> Tensor:
    """Images [B, H, W, C] uint8; a share in another light, and a share, drawn anew, half noisy and half blurred.

    Blur is a share of a Gaussian one, which is drawn evenly, so that one convolution does it for all.
    """
    import tensorflow as tf

    seeds = tf.random.split(tf.random.fold_in(seed, DEGRADED), 2)
    count = images.shape[0]
    draws = tf.random.stateless_uniform([5, count, 1, 1, 1], seeds[0])
    lit, contrast, brightness, spoiled, amount = tf.unstack(draws)
    changed = tf.cast(images, tf.float32)
    blurred = tf.where(spoiled < share / 2, amount, 0.0)
    changed += blurred * (_blurred(changed) - changed)

    low, high = math.log(LEAST_CONTRAST), math.log(MOST_CONTRAST)
    contrast = tf.where(lit < share, tf.exp(low + (high - low) * contrast), 1.0)
    brightness = tf.where(lit < share, 255 * BRIGHTNESS * (2 * brightness - 1), 0.0)
    mean = tf.reduce_mean(changed, [1, 2, 3], keepdims=True)
    changed = mean + contrast * (changed - mean) + brightness

    noise = tf.where((spoiled >= share / 2) & (spoiled < share), 255 * NOISE * amount, 0.0)
    evenly = (tf.cast(random_bytes(images.shape, seeds[1]), tf.float32) - 127.5) / EVEN_DEVIATION
    return to_bytes(changed + noise * evenly)


def _blurred(images: Tensor) -> Tensor:
    """Images [B, H, W, C] float32 with Gaussian weights around each pixel: a product of matrices along each side."""
    import tensorflow as tf

    _, height, width, _ = images.shape
    rows, columns = (tf.constant(_weights(side, BLUR * max(height, width))) for side in (height, width))
    return tf.einsum("hk,wl,bklc->bhwc", rows, columns, images, optimize="optimal")


def _weights(side: int, deviation: float) -> NDArray[np.float32]:
    """[side, side]: of each place the Gaussian weights of all others; beyond the edge, the edge goes on."""
    places, reach = np.arange(side), math.ceil(2 * deviation)
    weights = np.zeros([side, side], np.float32)
    for step in range(-reach, reach + 1):
        np.add.at(weights, (places, np.clip(places + step, 0, side - 1)), math.exp(-0.5 * (step / deviation) ** 2))
    total: NDArray[np.float32] = weights.sum(axis=1, keepdims=True)
    return weights / total
