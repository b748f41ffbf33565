"""What spoils images, one function each: a strength -> a function of images [B, H, W, C] float32, 0..255.

After Hendrycks & Dietterich (2019), with sizes as shares of the side: theirs are made for photographs of 224 pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from math import ceil, floor, radians

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.float32]  # [B, H, W, C], 0..255
Spoil = Callable[[Values, np.random.Generator], Values]

DESIGNED_FOR = 28  # pixels: sizes are stated for images of this side, and scaled to others
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # (down, to the right)
OCTAVES = 5  # of fog: each of half the size, and as much less


def noise(deviation: float) -> Spoil:
    """Add to each value a number drawn from a normal distribution. deviation: its standard one, a share of 255."""
    return lambda images, random: images + 255 * deviation * random.standard_normal(images.shape, np.float32)


def shot_noise(photons: float) -> Spoil:
    """Count photons in place of values (Poisson): bright pixels are noisier. photons: how many a value of 255 is."""
    return lambda images, random: (random.poisson(images * (photons / 255)) * (255 / photons)).astype(np.float32)


def impulse_noise(share: float) -> Spoil:
    """Make a share of all values black or white."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        drawn = random.random(images.shape, np.float32)
        return np.where(drawn < share, np.where(drawn < share / 2, np.float32(0), np.float32(255)), images)

    return spoil


def blur(pixels: float) -> Spoil:
    """Average around each pixel with Gaussian weights; beyond the edge it goes on. pixels: their deviation at 28."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001 (one signature for all)
        for axis in (1, 2):
            side = max(16, images.shape[axis])  # as a share of less it reaches no other pixel, and changes nothing
            images = _blurred(images, pixels * side / DESIGNED_FOR, axis)
        return images

    return spoil


def motion_blur(pixels: float) -> Spoil:
    """Average along a line through each pixel, in one of four directions. pixels: its length at 28."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        length = pixels * max(16, *images.shape[1:3]) / DESIGNED_FOR
        reach = ceil((length - 1) / 2)
        weights = np.clip((length - 1) / 2 + 1 - np.abs(np.arange(-reach, reach + 1)), 0, 1)  # the ends a part
        padded = np.pad(images, [(0, 0), (reach, reach), (reach, reach), (0, 0)], "edge")
        chosen, (height, width) = random.integers(0, len(DIRECTIONS), len(images)), images.shape[1:3]
        spoiled = np.zeros_like(images)
        for place, (down, right) in enumerate(DIRECTIONS):
            some = padded[chosen == place]
            for weight, step in zip(weights / weights.sum(), range(-reach, reach + 1), strict=True):
                top, left = reach + step * down, reach + step * right
                spoiled[chosen == place] += np.float32(weight) * some[:, top : top + height, left : left + width]
        return spoiled

    return spoil


def fog(thickness: float) -> Spoil:
    """Lay a bright haze over each image, thicker here than there, and darken all to 0..255. thickness: of its most.

    The haze is noise at five sizes, where Hendrycks & Dietterich have a plasma fractal, which looks alike.
    """

    def spoil(images: Values, random: np.random.Generator) -> Values:
        count, height, width, _ = images.shape
        haze = np.zeros((count, height, width), np.float32)
        for octave in range(OCTAVES):
            points = 2 ** (octave + 1) + 1
            drawn = random.random((count, points, points), np.float32)
            haze += np.float32(0.5**octave) * (_between(height, points) @ drawn @ _between(width, points).T)
        haze -= haze.min(axis=(1, 2), keepdims=True)
        haze *= 255 * thickness / np.maximum(haze.max(axis=(1, 2), keepdims=True), 1e-6)
        most = images.max(axis=(1, 2, 3), keepdims=True)
        spoiled: Values = (images + haze[..., None]) * (most / (most + 255 * thickness))
        return spoiled

    return spoil


def brightness(added: float) -> Spoil:
    """Add to all values of an image, or take off: as likely. added: a share of 255."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        signs: Values = random.choice(np.array([-1, 1], np.float32), (len(images), 1, 1, 1))
        return images + np.float32(255 * added) * signs

    return spoil


def contrast(kept: float) -> Spoil:
    """Pull each value towards the mean of its image. kept: the share of its distance that is left."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001
        means: Values = images.mean(axis=(1, 2, 3), keepdims=True)
        return kept * (images - means) + means

    return spoil


def jpeg(quality: int) -> Spoil:
    """Compress each image as a JPEG file, and read it again. quality: as Pillow takes it, 1 to 95."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001
        spoiled = np.empty_like(images)
        for place, pixels in enumerate(images.astype(np.uint8)):
            file = io.BytesIO()
            Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(file, "JPEG", quality=quality)
            spoiled[place] = np.asarray(Image.open(file)).reshape(pixels.shape)
        return spoiled

    return spoil


def pixelation(kept: float) -> Spoil:
    """Make each image of fewer, larger pixels. kept: the share of its pixels along a side."""

    def spoil(images: Values, random: np.random.Generator) -> Values:  # noqa: ARG001
        rows, columns = (_blocks(side, max(1, floor(side * kept))) for side in images.shape[1:3])
        spoiled: Values = np.einsum("hk,wl,bklc->bhwc", rows, columns, images, optimize=True)
        return spoiled

    return spoil


def shift(pixels: int) -> Spoil:
    """Move each image towards one of its corners; its edge fills what is uncovered. pixels: each way, at 28."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        signs = random.choice([-1, 1], (2, len(images), 1))
        rows, columns = (
            np.clip(np.arange(side) + sign * ceil(side * pixels / DESIGNED_FOR), 0, side - 1)
            for side, sign in zip(images.shape[1:3], signs, strict=True)
        )
        moved: Values = images[np.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
        return moved

    return spoil


def rotation(degrees: float) -> Spoil:
    """Rotate each image about its middle, to either side; its edge fills what is uncovered."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        angle = random.choice([-1, 1], len(images)) * radians(degrees)
        matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        return _moved(images, matrix.transpose(2, 0, 1))

    return spoil


def scale(factor: float) -> Spoil:
    """Enlarge each image from its middle by a factor, or shrink it as much; its edge fills what is uncovered."""

    def spoil(images: Values, random: np.random.Generator) -> Values:
        zoom = factor ** random.choice([-1, 1], len(images)).astype(np.float64)
        return _moved(images, zoom[:, None, None] * np.eye(2))

    return spoil


def _moved(images: Values, matrix: NDArray[np.float64]) -> Values:
    """Each pixel from another place, bilinear. matrix: [B, 2, 2], from (y, x) about the middle to where it is taken."""
    count, height, width, _ = images.shape
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    places = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1) - middle  # [H, W, 2]
    places = np.clip(np.einsum("bij,hwj->bhwi", matrix, places) + middle, 0, 2 * middle)
    begin = np.floor(places).astype(np.intp)
    end = np.minimum(begin + 1, [height - 1, width - 1])
    down, right = np.moveaxis((places - begin).astype(np.float32), -1, 0)[..., None]  # [B, H, W, 1]: shares of the ends
    top, bottom, left, far, each = (
        begin[..., 0],
        end[..., 0],
        begin[..., 1],
        end[..., 1],
        np.arange(count)[:, None, None],
    )
    upper = images[each, top, left] * (1 - right) + images[each, top, far] * right
    lower = images[each, bottom, left] * (1 - right) + images[each, bottom, far] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def _blurred(images: Values, deviation: float, axis: int) -> Values:
    """deviation: of the weights, in pixels along the axis; beyond three of it lies 0.3 % of them."""
    reach = ceil(3 * deviation)
    steps = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (steps / deviation) ** 2)
    weights /= weights.sum()
    margins = [(reach, reach) if k == axis else (0, 0) for k in range(images.ndim)]
    padded = np.moveaxis(np.pad(images, margins, "edge"), axis, 0)
    side = images.shape[axis]
    total = sum(np.float32(weight) * padded[k : k + side] for k, weight in enumerate(weights))
    return np.moveaxis(np.asarray(total, np.float32), 0, axis)


def _between(side: int, points: int) -> Values:
    """[side, points]: values at evenly spaced points -> in between, linear."""
    place = np.linspace(0, points - 1, side)
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(points))), np.float32)


def _blocks(side: int, count: int) -> Values:
    """[side, side]: each place has the mean of its block, of which there are `count`, cut where they end."""
    edges = np.linspace(0, side, count + 1)
    begin, end = edges[:-1, None], edges[1:, None]
    place = np.arange(side)
    within = np.clip(np.minimum(place + 1, end) - np.maximum(place, begin), 0, None)  # [count, side]
    of_place = np.minimum((place + 0.5) * count // side, count - 1).astype(np.intp)
    return np.asarray((within / within.sum(axis=1, keepdims=True))[of_place], np.float32)
