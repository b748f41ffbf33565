"""Images of other things than a model knows, for measuring alone: drawn, made up, or from what packages bring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_digits, load_sample_images

from zoo.data import load

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabdefghkmnpqrstuvwxyz"  # none that looks like a digit


def foreign_images(data_set: str, known: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Name -> images [count, side, side, 1] uint8. known: images of the data set [N, side, side, 1], to be inverted."""
    random, side = np.random.default_rng(0), known.shape[1]
    if data_set == "digits":
        clothes = np.asarray(load("fashion-mnist").test.inputs[:count])
        sets = {"clothes": np.stack([resized(image[:, :, 0], side) for image in clothes])}
    else:
        sets = {
            "digits": np.stack(
                [resized((image / 16 * 255).astype(np.uint8), side) for image in load_digits().images[:count]]
            ),
            "glyphs 0-9": glyphs("0123456789", count, side, random),
        }
    sets["letters"] = glyphs(LETTERS, count, side, random)
    sets["uniform noise"] = random.integers(0, 256, (count, side, side), dtype=np.uint8)
    gaussian = random.normal(random.uniform(40, 215, (count, 1, 1)), 40, (count, side, side))
    sets["Gaussian noise"] = np.clip(gaussian, 0, 255).astype(np.uint8)
    sets["clouds"] = np.stack([cloud(side, random) for _ in range(count)])
    sets["textures"] = np.stack([texture(k, side, random) for k in range(count)])
    sets["photographs"] = photographs(count, side, random)
    sets["constant"] = np.arange(256, dtype=np.uint8)[:, None, None].repeat(side, 1).repeat(side, 2)
    sets["inverted"] = 255 - known[:count, :, :, 0]
    return {name: np.ascontiguousarray(images[..., None]) for name, images in sets.items()}


def resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR), np.uint8)


def glyphs(characters: str, count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """White characters on black, of the fonts that Matplotlib brings, in several sizes and places."""
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.name]
    images = []
    for _ in range(count):
        font = ImageFont.truetype(str(fonts[random.integers(len(fonts))]), int(random.integers(60, 100)))
        image = Image.new("L", (112, 112))
        place = (56 + int(random.integers(-8, 9)), 56 + int(random.integers(-8, 9)))
        ImageDraw.Draw(image).text(
            place, characters[random.integers(len(characters))], fill=255, font=font, anchor="mm"
        )
        images.append(resized(np.asarray(image), side))
    return np.stack(images)


def photographs(count: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Squares cut out of scikit-learn's photographs of a temple and a flower, in gray."""
    photos = [np.asarray(Image.fromarray(photo).convert("L")) for photo in load_sample_images().images]
    images = []
    for _ in range(count):
        photo, size = photos[random.integers(len(photos))], int(random.integers(side, 260))
        top, left = (int(random.integers(length - size + 1)) for length in photo.shape)
        images.append(resized(photo[top : top + size, left : left + size], side))
    return np.stack(images)


def cloud(side: int, random: np.random.Generator) -> np.ndarray:
    blurred = gaussian_filter(random.normal(size=(side, side)), random.uniform(1, 4))
    image: np.ndarray = np.clip((blurred - blurred.min()) / np.ptp(blurred) * 255, 0, 255).astype(np.uint8)
    return image


def texture(kind: int, side: int, random: np.random.Generator) -> np.ndarray:
    """Stripes, checkerboards, waves and gradients, in any direction, period and contrast."""
    y, x = np.mgrid[:side, :side].astype(float)
    angle, period, phase = random.uniform(0, np.pi), random.uniform(2, 14), random.uniform(0, 2 * np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    wave = np.sin(2 * np.pi * along / period + phase)
    drawn: tuple[Callable[[], np.ndarray], ...] = (
        lambda: np.sign(wave),
        lambda: np.sign(wave * np.sin(2 * np.pi * across / period)),
        lambda: wave,
        lambda: (along - along.min()) / np.ptp(along) * 2 - 1,
    )
    low, high = np.sort(random.integers(0, 256, 2))
    values = low + (max(high, low + 40) - low) * (drawn[kind % 4]() + 1) / 2
    image: np.ndarray = np.clip(values, 0, 255).astype(np.uint8)
    return image
