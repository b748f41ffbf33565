"""Why a classifier predicts a label: its class activation map, resized and drawn over the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from zoo.arrays import matching_parts

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from zoo.arrays import Part
    from zoo.contract import Metadata
    from zoo.images import Pixels
    from zoo.runtime.prediction import Prediction

# Of Okabe & Ito's palette, which color-blind people distinguish.
FOR, AGAINST = (213, 94, 0), (0, 114, 178)
DARKEST, LIGHTEST = 60, 220  # the grays that black and white are drawn in
UNSEEN, PAPER, INK = (160, 160, 160), (255, 255, 255), (27, 31, 36)
STRONGEST = 0.8  # share of the color where the map is strongest: the image stays visible
SIDE, MARGIN, LINE = 448, 16, 20  # pixels: the drawn image's longer side, the space around it, a line of text


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which positions of an image are evidence for a label, and which against it.

    label: the explained label. logit: its logit.
    map: [h, w] float32, the class activation map of the label (Zhou et al. 2016). Its mean plus `bias` is the logit: a
    value of 3 at one of 49 positions adds 3 / 49. The value at a position depends on its whole receptive field. What
    decides the prediction is the difference between logits, so compare the maps of other labels as well. For a model
    with a hidden layer, the map is that of the units that are active for this image, which all positions determine
    together.
    image: uint8 [H, W, C], as it was passed, upright.
    """

    prediction: Prediction
    label: str
    logit: float
    map: NDArray[np.float32]
    image: Pixels
    metadata: Metadata

    @property
    def bias(self) -> float:
        """The part of the label's logit that comes from no position."""
        return self.logit - float(self.map.mean(dtype=np.float64))

    @property
    def probability(self) -> float:
        """The probability of the label, 0..1."""
        return dict(self.prediction.ranking)[self.label]

    def over_image(self) -> NDArray[np.float32]:
        """The map at the size of the image, [H, W] float32: NaN where the image was cropped."""
        return self._over(self.image.shape[0], self.image.shape[1])

    def draw(self) -> Image:
        """Draw the image in gray, with evidence for the label in orange and against it in blue, and a scale below."""
        from PIL import Image

        rows, columns = self.image.shape[:2]
        height, width = (max(1, round(side * SIDE / max(rows, columns))) for side in (rows, columns))
        gray = Image.fromarray(self.image[..., 0] if self.image.shape[2] == 1 else self.image).convert("L")
        larger = max(rows, columns) < SIDE
        gray = gray.resize((width, height), Image.Resampling.NEAREST if larger else Image.Resampling.BILINEAR)
        most = float(np.abs(self.map).max())
        drawn = Image.new("RGB", (SIDE + 2 * MARGIN, height + 3 * MARGIN + 4 * LINE), PAPER)
        # Neither black nor white, on which colors wouldn't show.
        colored = _colored(DARKEST + (LIGHTEST - DARKEST) / 255 * np.asarray(gray), self._over(height, width), most)
        drawn.paste(Image.fromarray(colored), (MARGIN + (SIDE - width) // 2, MARGIN))
        self._draw_scale(drawn, height + 2 * MARGIN, most)
        return drawn

    def _over(self, height: int, width: int) -> NDArray[np.float32]:
        """The map over the image drawn at a height and width."""
        from PIL import Image

        about, (rows, columns) = self.metadata, self.image.shape[:2]
        seen, place = matching_parts(rows, columns, about.height, about.width, about.resizing)
        inside = _scaled(seen, height / rows, width / columns)
        down, across = (self.map.shape[axis] / (about.height, about.width)[axis] for axis in (0, 1))
        box = (place[1].start * across, place[0].start * down, place[1].stop * across, place[0].stop * down)
        laid = np.full((height, width), np.nan, np.float32)
        size = (inside[1].stop - inside[1].start, inside[0].stop - inside[0].start)
        laid[inside] = np.asarray(Image.fromarray(self.map).resize(size, Image.Resampling.BILINEAR, box=box))
        return laid

    def _draw_scale(self, drawn: Image, top: int, most: float) -> None:
        """What the colors stand for, and how the map comes to the logit."""
        from PIL import Image, ImageDraw, ImageFont

        paper, font = ImageDraw.Draw(drawn), ImageFont.load_default(13)  # whose letters are Latin ones alone
        name = " ".join(self.label.split())
        name = name if name.isascii() else f"label {self.metadata.labels.index(self.label)}"
        title = f"for {name[:40]}, {self.probability:.1%}"
        sides = (MARGIN, MARGIN + SIDE // 2, MARGIN + SIDE)
        values = np.linspace(-most, most, SIDE, dtype=np.float32)[np.newaxis].repeat(LINE - 4, axis=0)
        bar = _colored(np.full(values.shape, (DARKEST + LIGHTEST) / 2), values, most)
        paper.text((sides[0], top), f"against {name[:20]}", INK, font)
        paper.text((sides[2], top), title, INK, font, anchor="ra")
        drawn.paste(Image.fromarray(bar), (MARGIN, top + LINE))
        for x, text, anchor in zip(sides, (f"{-most:.3g}", "0", f"{most:+.3g}"), ("la", "ma", "ra"), strict=True):
            paper.text((x, top + 2 * LINE), text, INK, font, anchor=anchor)
        sums = f"mean {self.logit - self.bias:+.3g}, bias {self.bias:+.3g}: logit {self.logit:+.3g}"
        paper.text((sides[1], top + 3 * LINE), sums, INK, font, anchor="ma")


def _scaled(part: Part, down: float, across: float) -> Part:
    """A part of an image where that is drawn at another size, a pixel at least."""
    found = []
    for side, factor in zip(part, (down, across), strict=True):
        start, stop = round(side.start * factor), round(side.stop * factor)
        start = min(start, max(0, stop - 1))
        found.append(slice(start, max(stop, start + 1)))
    return found[0], found[1]


def _colored(gray: NDArray[np.float64], values: NDArray[np.float32], most: float) -> Pixels:
    """gray [H, W] under the colors of values [H, W], the strongest of which are -most and most -> [H, W, 3]."""
    strength = np.nan_to_num(np.abs(values) / (most or 1.0), nan=0.7) * STRONGEST
    color = np.where((values > 0)[..., np.newaxis], FOR, AGAINST)
    color[np.isnan(values)] = UNSEEN
    mixed = gray[..., np.newaxis] * (1 - strength[..., np.newaxis]) + color * strength[..., np.newaxis]
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
