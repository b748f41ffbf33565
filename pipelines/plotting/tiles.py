"""Small images in rows: training images with augmentation, the most confident errors, and first-layer weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipelines.core.metrics.classification import Counts
from pipelines.plotting.first_layer import colored, legend, strongest
from pipelines.plotting.palette import INK, QUIET, WRONG
from pipelines.plotting.style import drawing, short_names
from zoo.data.pixels import Images
from zoo.images import Pixels

ERRORS_DRAWN = 24


@drawing
def errors(
    figure: Figure,
    images: Images,
    labels: Sequence[str],
    truth: Counts,
    answer: Counts,
    confidence: NDArray[np.floating],
) -> str:
    """The most confident wrong answers, the most confident first.

    images: [N, H, W, C] uint8, all of the test. truth, answer: [N]. confidence: [N], the probability of the answer.
    """
    wrong, worst = _worst(truth, answer, confidence)
    tall = min(images.shape[1] / images.shape[2], 2)
    tiles = _tiles(
        figure, len(worst), 8, (1.0, tall), above=0.42, title=_errors_title(len(worst), len(wrong), len(truth))
    )
    names = short_names(labels, 11)
    for tile, image in zip(tiles, worst, strict=True):
        tile.show(images[image])
        text = f"→ {names[answer[image]]}  {_percent(confidence[image])}"
        tile.write(names[truth[image]], 19, color=INK, fontsize=7.5)
        tile.write(text, 6, color=WRONG, fontsize=7.5)
    return errors_text(labels, truth, answer, confidence)


def errors_text(labels: Sequence[str], truth: Counts, answer: Counts, confidence: NDArray[np.floating]) -> str:
    """What the plot shows, in words."""
    wrong, worst = _worst(truth, answer, confidence)
    if not len(worst):
        return f"None of the {len(truth):,} test images was misclassified."
    first = worst[0]
    example = f"{labels[truth[first]]!r} as {labels[answer[first]]!r} with probability {confidence[first]:.3f}"
    return f"The {len(worst)} most confident of {len(wrong):,} errors on {len(truth):,} test images; first {example}."


def _worst(truth: Counts, answer: Counts, confidence: NDArray[np.floating]) -> tuple[Counts, Counts]:
    """The places of all wrong answers, and of those that are drawn."""
    wrong = np.flatnonzero(truth != answer)
    return wrong, wrong[np.argsort(-confidence[wrong], kind="stable")][:ERRORS_DRAWN]


@drawing
def augmented(figure: Figure, images: Pixels, changed: Pixels, how: str) -> str:
    """Images in a row, and below each what augmentation makes of it, anew in each row.

    images: [P, H, W, C] uint8. changed: [K, P, H, W, C] uint8. how: what the recipe sets for it.
    """
    tall = min(images.shape[1] / images.shape[2], 2)
    title = fill(f"Training images (top row), and with {how}", 60)
    rows = np.concatenate([images[np.newaxis], changed])  # [1 + K, P, H, W, C]
    tiles = _tiles(figure, rows.shape[0] * rows.shape[1], rows.shape[1], (0.8, 0.8 * tall), above=0, title=title)
    for tile, image in zip(tiles, rows.reshape(-1, *rows.shape[2:]), strict=True):
        tile.show(image)
    return f"{len(images)} training images, and each {len(changed)} times with {how}."


def _errors_title(drawn: int, wrong: int, images: int) -> str:
    if not wrong:
        return f"No errors on {images:,} test images"
    if wrong == 1:
        return f"The only error on {images:,} test images: class → prediction"
    if drawn == wrong:
        return f"All {wrong:,} errors on {images:,} test images: class → prediction"
    return f"The {drawn} most confident of {wrong:,} errors on {images:,} test images: class → prediction"


@drawing
def first_layer(figure: Figure, weights: NDArray[np.floating], unit: str, labels: Sequence[str] | None = None) -> str:
    """The weights of each filter of a first conv layer, or of each neuron of a dense one, as an image.

    weights: [H, W, C, F]. One channel: on one scale for all. Three: each on its own, around gray.
    unit: "filter" or "neuron". labels: F names, where the first layer is the last one too.
    """
    height, width, channels, units = weights.shape
    shown = strongest(weights)
    title = _first_layer_title(weights, unit)
    named = labels is not None and len(shown) == units
    side = 1.2 if named else 0.62
    columns = 5 if named else 8 if units <= 32 else 16
    tiles = _tiles(
        figure, len(shown), columns, (side, side * height / width), above=0.24 if named else 0.0, title=title
    )
    figure.text(0.99, figure.texts[0].get_position()[1], legend(channels), ha="right", va="top", color=QUIET)

    for k, (tile, pixels) in enumerate(zip(tiles, colored(weights[..., shown]), strict=True)):
        tile.draw(pixels, interpolation="nearest")
        if labels is not None and named:
            tile.write(short_names(labels, 16)[k], 4, fontsize=8.5)
    return first_layer_text(weights, unit)


def first_layer_text(weights: NDArray[np.floating], unit: str) -> str:
    """What the plot shows, in words."""
    height, width = weights.shape[:2]
    return f"{_first_layer_title(weights, unit)}: their weights, as images of {height}x{width} pixels."


def _first_layer_title(weights: NDArray[np.floating], unit: str) -> str:
    shown, units = len(strongest(weights)), weights.shape[3]
    return f"The {'' if shown == units else f'{shown} strongest of the '}first layer's {units} {unit}s"


@dataclass(frozen=True)
class _Tile:
    """Room for an image on axes that all tiles share: axes of their own would take ten times as long to draw.

    left, bottom, width, height: inches.
    """

    ax: Axes
    left: float
    bottom: float
    width: float
    height: float

    def draw(self, values: NDArray[Any], **how: Any) -> None:
        """Values [H, W] or [H, W, 3] as an image, as large as fits; its pixels are square."""
        pixel = min(self.width / values.shape[1], self.height / values.shape[0])
        across, down = pixel * values.shape[1] / 2, pixel * values.shape[0] / 2
        x, y = self.left + self.width / 2, self.bottom + self.height / 2
        self.ax.imshow(values, extent=(x - across, x + across, y - down, y + down), aspect="auto", **how)

    def show(self, image: Pixels) -> None:
        """An image [H, W, C]."""
        values, how = _shown(image)
        self.draw(values, **how)

    def write(self, text: str, above: float, **how: Any) -> None:
        """A line over the image, so many points above it."""
        corner = (self.left, self.bottom + self.height)
        self.ax.annotate(text, corner, (0, above), "data", "offset points", va="baseline", **how)


def _tiles(
    figure: Figure, count: int, columns: int, size: tuple[float, float], *, above: float, title: str
) -> list[_Tile]:
    """Room for so many images, in rows under a title. size: (width, height) of each; above: room over it; inches."""
    gap, edge, head = 0.12 if size[0] < 1 else 0.28, 0.15, 0.5
    across, down = min(columns, count), ceil(count / columns)
    inches = (max(across * (size[0] + gap) - gap, 5.2) + 2 * edge, head + down * (size[1] + above + gap) + edge / 2)
    figure.set_layout_engine("none")
    figure.set_size_inches(inches)
    figure.text(edge / inches[0], 1 - edge / inches[1], title, va="top", fontsize=10.5, fontweight="bold")
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, inches[0]), ylim=(0, inches[1]), autoscale_on=False)
    ax.set_axis_off()
    return [
        _Tile(
            ax,
            edge + (k % columns) * (size[0] + gap),
            inches[1] - head - (k // columns + 1) * (size[1] + above + gap) + gap,
            *size,
        )
        for k in range(count)
    ]


def show_image(ax: Axes, image: Pixels) -> None:
    """An image [H, W, C] on axes of its own; pixels stay square-edged where there are few of them."""
    values, how = _shown(image)
    ax.imshow(values, **how)


def _shown(image: Pixels) -> tuple[Pixels, dict[str, Any]]:
    gray = image.shape[2] == 1
    smooth = "antialiased" if max(image.shape) > 96 else "nearest"
    how = {"cmap": "gray" if gray else None, "vmin": 0, "vmax": 255, "interpolation": smooth}
    return image[..., 0] if gray else image, how


def _percent(probability: float) -> str:
    """Without rounding up to a certainty that no probability has."""
    return f"{min(float(probability), 0.999):.1%}" if probability > 0.99 else f"{probability:.0%}"
