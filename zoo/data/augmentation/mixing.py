"""Images that are made of two, and targets in the same shares: mixup and CutMix."""

from __future__ import annotations

from typing import Any

Tensor = Any  # a tf.Tensor

MIXUP, CUTMIX = 1, 2  # folded into a step's seed, for random streams of their own


def mixed(images: Tensor, targets: Tensor, mixup: float, cutmix: float, seed: Tensor) -> tuple[Tensor, Tensor]:
    """Each image [B, H, W, C] uint8 takes in a part of its neighbor in the batch, its target [B, K] the same share.

    mixup: the largest share that is blended in (Zhang et al. 2018). cutmix: the share of the images into which a
    rectangle is pasted instead (Yun et al. 2019). Departures: everything is drawn for each image, where the papers draw
    it for a batch; mixup's shares evenly, where they have a Beta distribution.
    """
    import tensorflow as tf

    count, height, width, _ = images.shape
    changed, shares = images, tf.zeros([count, 1])
    draws = tf.random.stateless_uniform([4, count], tf.random.fold_in(seed, CUTMIX))
    chosen, area, top, left = (row[:, None] for row in tf.unstack(draws))  # [B, 1]
    if mixup:
        shares = tf.random.stateless_uniform([count, 1], tf.random.fold_in(seed, MIXUP), 0, mixup)
        shares = tf.where(chosen < cutmix, 0.0, shares)
        changed = _blend(tf.cast(images, tf.float32), shares[:, :, None, None])
        changed = tf.cast(tf.round(changed), tf.uint8)
    if cutmix:
        pasted = _within(height, top, area)[:, :, None] & _within(width, left, area)[:, None]  # [B, H, W]
        pasted &= chosen[:, :, None] < cutmix
        changed = _pasted(changed, images, pasted)
        shares += tf.reduce_mean(tf.cast(pasted, tf.float32), [1, 2])[:, None]
    return changed, _blend(targets, shares)


def _blend(own: Tensor, share: Tensor) -> Tensor:
    import tensorflow as tf

    return own + share * (tf.roll(own, 1, axis=0) - own)


def _within(side: int, middle: Tensor, area: Tensor) -> Tensor:
    """[B, side] bool: the rows or columns of a rectangle of the image's form, cut where it leaves the image.

    middle: where it lies, [B, 1] in 0..1. area: its share of the image, [B, 1].
    """
    import tensorflow as tf

    place = tf.range(side, dtype=tf.float32)[None]
    begin, end = (tf.round(side * (middle + half)) for half in (-tf.sqrt(area) / 2, tf.sqrt(area) / 2))
    return (place >= begin) & (place < end)


def _pasted(changed: Tensor, images: Tensor, pasted: Tensor) -> Tensor:
    """The changed images, but where pasted [B, H, W] is true, the neighbor's pixels as they were: one look-up."""
    import tensorflow as tf

    count, height, width, channels = images.shape
    both = tf.reshape(tf.concat([changed, images], axis=0), [2 * count * height * width, channels])
    own, neighbor = tf.range(count), count + (tf.range(count) - 1) % count
    source = tf.where(pasted, neighbor[:, None, None], own[:, None, None])  # [B, H, W]
    places = tf.reshape(tf.range(height * width), [1, height, width])
    return tf.gather(both, source * (height * width) + places)
