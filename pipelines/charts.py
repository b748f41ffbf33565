"""Charts as SVG text: for pages that show a number under the pointer, print well, and load nothing.

Matplotlib's drawings, in `figures`, are pictures; these are text that a page can hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

from pipelines.statistics import mean_interval

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 56  # margins, where the axes are written
# Okabe & Ito's palette, told apart by colour-blind eyes; the families have the same colours everywhere.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A7A7A", "#B8A900")
FAMILIES = {"conv": 0, "dense": 1, "hybrid": 2}
MARKERS = ("circle", "square", "diamond", "triangle")
DASHES = ("", "6 4", "2 3")
TICKS = 6


@dataclass(frozen=True)
class Series:
    """One line. x: [P]. y: [P, R], the values of R seeds or rounds at each place; their mean and interval are drawn.

    family: whose colour it has; "" for one of its own. dash: 0 to 2, which tells lines of one colour apart.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Sequence[float] | NDArray[np.float64]]
    family: str = ""
    dash: int = 0

    def points(self) -> list[tuple[float, float, float, float]]:
        """(x, mean, low, high) of each place; low and high are the mean where there is one value."""
        found = []
        for x, values in zip(self.x, self.y, strict=True):
            mean = float(np.mean(values))
            low, high = mean_interval(values) if len(values) > 1 else (mean, mean)
            found.append((float(x), mean, low, high))
        return found


@dataclass(frozen=True)
class Chart:
    """Lines over a common x. names: of the places 0, 1, 2, … where x is no number. log_x, log_y: powers of ten."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    names: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False

    def rows(self) -> list[list[str]]:
        """The same as a table, for who can't see it: a head, then a row for each point."""
        head = ["", self.x, self.y, "95 % interval"]
        body = [
            [line.name, self._place(x), _number(mean), f"{_number(low)} to {_number(high)}" if low < high else ""]
            for line in self.series
            for x, mean, low, high in line.points()
        ]
        return [head, *body]

    def _place(self, x: float) -> str:
        return self.names[round(x)] if self.names else _number(x)

    def svg(self) -> str:
        """The drawing, with a number under the pointer at each point."""
        points = [point for line in self.series for point in line.points()]
        across = _Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, self.log_x, whole=bool(self.names))
        spans = [value for p in points for value in (p[1], p[2], p[3]) if not self.log_y or value > 0]
        down = _Axis(spans, HEIGHT - BOTTOM, TOP, self.log_y)
        legend_rows = math.ceil(len(self.series) / 3)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT + 22 * legend_rows}" role="img" '
            f'aria-label="{escape(self.title)}" font-family="system-ui, sans-serif" font-size="13">',
            f"<style>{_STYLE}</style>",
        ]
        for value in down.ticks():
            y = down.at(value)
            parts.append(f'<path class="rule" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            parts.append(
                f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
            )
        places = sorted({p[0] for p in points}) if self.names or len({p[0] for p in points}) <= 9 else across.ticks()
        for value in places:
            name = escape(self._place(value))
            parts.append(
                f'<text class="quiet" x="{across.at(value):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">'
                f"{name}</text>"
            )
        parts.append(
            f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(self.x)}</text>'
        )
        middle = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text transform="translate(15 {middle}) rotate(-90)" text-anchor="middle">{escape(self.y)}</text>'
        )
        colours = self._colours()
        for place, (line, colour) in enumerate(zip(self.series, colours, strict=True)):
            parts += self._line(line, colour, MARKERS[place % len(MARKERS)], across, down)
            column, row = place % 3, place // 3
            x, y = LEFT + column * (WIDTH - LEFT - RIGHT) / 3, HEIGHT + 14 + 22 * row
            parts.append(
                f'<path d="M{x} {y - 4}h24" stroke="{colour}" stroke-width="2" stroke-dasharray="{DASHES[line.dash]}"/>'
                f"{_marker(MARKERS[place % len(MARKERS)], x + 12, y - 4, colour, '')}"
                f'<text x="{x + 30}" y="{y}">{escape(line.name)}</text>'
            )
        return "\n".join([*parts, "</svg>"])

    def _colours(self) -> list[str]:
        free = [c for k, c in enumerate(COLOURS) if not any(FAMILIES.get(s.family) == k for s in self.series)]
        own = iter(free + list(COLOURS) * 3)
        return [COLOURS[FAMILIES[line.family]] if line.family in FAMILIES else next(own) for line in self.series]

    def _line(self, line: Series, colour: str, marker: str, across: _Axis, down: _Axis) -> list[str]:
        points = [p for p in line.points() if not self.log_y or p[1] > 0]
        path = "L".join(f"{across.at(x):.1f} {down.at(mean):.1f}" for x, mean, _, _ in points)
        dash = f' stroke-dasharray="{DASHES[line.dash]}"' if line.dash else ""
        parts = [f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>']
        for x, mean, low, high in points:
            told = f"{line.name}, {self._place(x)}: {_number(mean)}"
            if low < high:
                told += f" (95 %: {_number(low)} to {_number(high)})"
                bottom = max(low, down.low) if self.log_y else low
                parts.append(
                    f'<path d="M{across.at(x):.1f} {down.at(bottom):.1f}V{down.at(high):.1f}" stroke="{colour}" '
                    'stroke-width="1.2"/>'
                )
            parts.append(_marker(marker, across.at(x), down.at(mean), colour, told))
        return parts


_STYLE = (
    "text{fill:#1b1f24}.quiet{fill:#6b7280}.rule{stroke:#e5e7eb}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e8eb}.quiet{fill:#9aa3af}.rule{stroke:#374151}}"
    "@media print{text{fill:#000}.quiet{fill:#444}}"
)


class _Axis:
    """From values to pixels, linear or by powers of ten."""

    def __init__(self, values: Sequence[float], start: float, end: float, log: bool, *, whole: bool = False) -> None:
        self._log = log
        low, high = min(values), max(values)
        if log:
            self.low, self._high = low / 1.15, high * 1.15
        else:
            margin = 0.5 if whole else (high - low or abs(high) or 1.0) * 0.05
            self.low, self._high = low - margin, high + margin
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self._log else v for v in (self.low, self._high, value))
        return self._start + (value - low) / (high - low) * (self._end - self._start)

    def ticks(self) -> list[float]:
        """Round numbers within."""
        if self._log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self._high))
            steps = (1, 2, 5) if last - first <= 3 else (1,)
            found = [m * 10.0**e for e in range(first, last + 1) for m in steps]
        else:
            rough = (self._high - self.low) / TICKS
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
            found = [k * step for k in range(math.ceil(self.low / step), math.floor(self._high / step) + 1)]
        return [value for value in found if self.low <= value <= self._high]


def _marker(kind: str, x: float, y: float, colour: str, told: str) -> str:
    title = f"<title>{escape(told)}</title>" if told else ""
    if kind == "circle":
        shape = f'circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"'
    else:
        corners = {
            "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
            "diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
            "triangle": ((0, -5.5), (5, 4), (-5, 4)),
        }[kind]
        shape = f'polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"'
    return f'<{shape} fill="{colour}">{title}</{shape.partition(" ")[0]}>'


def _number(value: float) -> str:
    """Three digits and a unit for large ones, so that it can be read."""
    if value == 0:
        return "0"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}".removesuffix(".0")
