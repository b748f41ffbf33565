"""A forest plot as SVG text: effects of one unit, each with its interval and the bounds of its claim."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from pipelines.plotting.palette import GRAY, GREEN, VERMILION
from pipelines.plotting.svg import LETTER, WIDTH, marker, opening

LEFT, RIGHT, TOP, BOTTOM, ROW = 168, 14, 6, 48, 26  # margins, and the height of a row, in pixels
TICKS = (1, 2, 5)  # of each decade, as many as there is room for
GAP = 30  # pixels between two ticks
KINDS = {
    "as claimed": (GREEN, "circle"),
    "undecided": (GRAY, "diamond"),
    "contradicts the claim": (VERMILION, "square"),
}


@dataclass(frozen=True)
class Row:
    """An effect. low, high: its interval. least, most: bounds of what is claimed, None for none. kind: of KINDS.

    texts: the mean, the interval and what is claimed, as they are written elsewhere.
    """

    name: str
    mean: float
    low: float
    high: float
    least: float | None
    most: float | None
    kind: str
    texts: tuple[str, str, str]


@dataclass(frozen=True)
class Forest:
    """Effects in one unit, on a scale that is linear around 0 and logarithmic further out, on both sides of it."""

    title: str
    unit: str
    effects: Sequence[Row]

    def rows(self) -> list[list[str]]:
        """The same as a table, as `svg.Chart.rows`."""
        head = ["", self.unit, "95% interval", "claimed", "result"]
        return [head, *([e.name, *e.texts, e.kind] for e in self.effects)]

    def svg(self) -> str:
        """The drawing: a gray field is what the claim predicts."""
        ends = [math.asinh(value) for e in self.effects for value in (e.low, e.high, 0.0)]
        low, high = min(ends), max(ends)
        room = 0.04 * (high - low) or 1.0
        low, high = low - room, high + room

        def at(value: float) -> float:
            return LEFT + (math.asinh(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

        def inside(value: float | None, else_: float) -> float:
            return min(max(at(value), LEFT), WIDTH - RIGHT) if value is not None else else_

        bottom = TOP + ROW * len(self.effects)
        height = bottom + BOTTOM + 24
        parts = opening(self.title, height)
        for value in _ticks(at):
            parts.append(f'<path class="rule" d="M{at(value):.1f} {TOP}V{bottom}"/>')
            text = f"{value:+g}" if value else "0"
            parts.append(
                f'<text class="quiet" x="{at(value):.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'
            )
        for number, e in enumerate(self.effects):
            y = TOP + ROW * (number + 0.5)
            left, right = inside(e.least, LEFT), inside(e.most, WIDTH - RIGHT)
            parts.append(
                f'<rect x="{left:.1f}" y="{y - ROW / 2 + 2:.1f}" width="{right - left:.1f}" height="{ROW - 4}" '
                f'fill="{GRAY}" fill-opacity="0.18"/>'
            )
            color, shape = KINDS[e.kind]
            mean, interval, _ = e.texts
            said = f"{e.name}: {mean} {self.unit} (95% interval {interval}), {e.kind}"
            parts.append(f'<path d="M{at(e.low):.1f} {y:.1f}H{at(e.high):.1f}" stroke="{color}" stroke-width="2.5"/>')
            parts.append(marker(shape, at(e.mean), y, color, said))
            parts.append(f'<text x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{escape(e.name)}</text>')
        middle = (LEFT + WIDTH - RIGHT) / 2
        label = f"{escape(self.unit)}, logarithmic away from 0"
        parts.append(f'<text x="{middle}" y="{bottom + 40}" text-anchor="middle">{label}</text>')
        x = 12.0
        for kind, (color, shape) in KINDS.items():
            parts.append(marker(shape, x, height - 10, color))
            parts.append(f'<text x="{x + 10}" y="{height - 5}">{kind}</text>')
            x += 34 + LETTER * len(kind)
        return "\n".join([*parts, "</svg>"])


def _ticks(at: Callable[[float], float]) -> list[float]:
    """0, and on both sides of it those of each decade that are far enough from the one before."""
    kept = [0.0]
    for side in (1, -1):
        last = at(0)
        for value in (side * step * 10.0**power for power in range(4) for step in TICKS):
            x = at(value)
            if LEFT <= x <= WIDTH - RIGHT and abs(x - last) >= GAP:
                kept.append(value)
                last = x
    return kept
