"""Charts as SVG text: for pages that show a number under the pointer, print well, and load nothing.

Matplotlib's plots are images; these are text that a page can hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import mean_interval
from pipelines.plotting.palette import (
    DARK_INK,
    DARK_PAPER,
    DARK_QUIET,
    DARK_RULE,
    FAMILY_COLORS,
    FAMILY_MARKERS,
    GRAY,
    INK,
    PAPER,
    QUIET,
    RULE,
    SERIES_COLORS,
    shade,
)

WIDTH, HEIGHT = 480, 340  # so narrow that letters have 11 pixels on a phone that is 390 wide
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 14, 60  # margins, where the axes are written
SIZE = 15  # of letters, pixels
MARKERS = ("circle", "square", "diamond", "triangle")
DASHES = ("", "6 4", "2 3")
TICKS = 6
NAMED = 0.12  # margin, as a share, that leaves room for names beside points
BESIDE = 14  # pixels between points that lie side by side
MARKED = 24  # points of a line: with more of them, markers would hide it, and show under the pointer alone
LETTER = 7.6  # pixels
LEGEND, LONG_LEGEND = 20, 46  # letters of a name that there is room for where two are in a line, and one


@dataclass(frozen=True)
class Series:
    """One line. x: [P]. y: [P, R], the values of R seeds or rounds at each place; their mean and interval are drawn.

    family: whose color it has, which all lines of it share; "" for a color of its own. dash, shade: 0 to 2 each, which
    distinguish lines of one color, as hollow markers do. key: a class of its group in the drawing, for a page that
    hides some.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Sequence[float] | NDArray[np.float64]]
    family: str = ""
    dash: int = 0
    shade: int = 0
    key: str = ""

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
    """Lines over a common x. names: of the places 0, 1, 2, … where x is no number. log_x, log_y: powers of ten.

    most: that y can be; an interval goes no further. joined: False where nothing lies between two places; the points of
    one are then side by side, without lines.
    """

    title: str
    x: str
    y: str
    series: Sequence[Series]
    names: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False
    most: float = math.inf
    joined: bool = True

    def rows(self) -> list[list[str]]:
        """The same as a table, for those who can't see it: a head, then a row for each point."""
        head = ["", self.x, self.y, "95% interval"]
        body = [
            [line.name, self._place(x), _number(mean), f"{_number(low)} to {_number(high)}" if low < high else ""]
            for line in self.series
            for x, mean, low, high in self._points(line)
        ]
        return [head, *body]

    def _points(self, line: Series) -> list[tuple[float, float, float, float]]:
        return [(x, mean, low, min(high, self.most)) for x, mean, low, high in line.points()]

    def _place(self, x: float) -> str:
        return self.names[round(x)] if self.names else _number(x)

    def svg(self) -> str:
        """The drawing, with a number under the pointer at each point."""
        points = [point for line in self.series for point in self._points(line)]
        across = _Axis([p[0] for p in points], LEFT, WIDTH - RIGHT, self.log_x, whole=bool(self.names))
        spans = [value for p in points for value in (p[1], p[2], p[3]) if not self.log_y or value > 0]
        down = _Axis(spans, HEIGHT - BOTTOM, TOP, self.log_y)
        places = sorted({p[0] for p in points})
        few = self.names or len(places) <= 9
        texts = {value: self._place(value) for value in places} if few else across.ticks()
        named = [(across.at(value), text) for value, text in texts.items()]
        if not self.names:
            named = _apart(named)
        in_line = 2 if all(len(line.name) <= LEGEND for line in self.series) else 1
        parts = _frame(self.title, (self.x, self.y), named, down, HEIGHT + 24 * math.ceil(len(self.series) / in_line))
        colors = self._colors()
        for place, (line, color) in enumerate(zip(self.series, colors, strict=True)):
            parts.append(f'<g class="{" ".join(["line", *filter(None, [line.key])])}">')
            aside = 0.0 if self.joined else BESIDE * (place - (len(self.series) - 1) / 2)
            shape = FAMILY_MARKERS.get(line.family, MARKERS[place % len(MARKERS)])
            parts += self._line(line, color, shape, across, down, aside)
            row, column = divmod(place, in_line)
            x, y = LEFT + column * (WIDTH - LEFT - RIGHT) / in_line, HEIGHT + 14 + 24 * row
            stroke = f'stroke="{color}" stroke-width="2" stroke-dasharray="{DASHES[line.dash]}"'
            parts.append(
                (f'<path d="M{x} {y - 5}h24" {stroke}/>' if self.joined else "")
                + f"{marker(shape, x + 12, y - 5, color, hollow=line.dash > 0)}"
                f'<text x="{x + 30}" y="{y}">{_short(line.name, LEGEND if in_line == 2 else LONG_LEGEND)}</text></g>'
            )
        return "\n".join([*parts, "</svg>"])

    def _colors(self) -> list[str]:
        taken = dict(FAMILY_COLORS)
        families = any(line.family in FAMILY_COLORS for line in self.series)  # nothing else has their colors then
        own = cycle([c for c in SERIES_COLORS if not families or c not in FAMILY_COLORS.values()])
        found = []
        for line in self.series:
            color = taken.get(line.family) or next(own)
            if line.family:
                taken[line.family] = color
            found.append(shade(color, line.shade))
        return found

    def _line(self, line: Series, color: str, shape: str, across: _Axis, down: _Axis, aside: float) -> list[str]:
        points = [p for p in self._points(line) if not self.log_y or p[1] > 0]
        path = "L".join(f"{across.at(x):.1f} {down.at(mean):.1f}" for x, mean, _, _ in points)
        dash = f' stroke-dasharray="{DASHES[line.dash]}"' if line.dash else ""
        parts = [f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"{dash}/>'] if self.joined else []
        for x, mean, low, high in points:
            left, text = across.at(x) + aside, f"{line.name}, {self._place(x)}: {_number(mean)}"
            if low < high:
                text += f" (95%: {_number(low)} to {_number(high)})"
                bottom = max(low, down.low) if self.log_y else low
                parts.append(
                    f'<path d="M{left:.1f} {down.at(bottom):.1f}V{down.at(high):.1f}" stroke="{color}" '
                    'stroke-width="1.2"/>'
                )
            kind = shape if len(points) <= MARKED else "spot"
            parts.append(marker(kind, left, down.at(mean), color, text, hollow=line.dash > 0))
        return parts


@dataclass(frozen=True)
class Point:
    """A model in a Front. low, high: the interval of y."""

    name: str
    x: float
    y: float
    low: float
    high: float
    family: str = ""


@dataclass(frozen=True)
class Front:
    """Models of which less x and more y is better, with a line along those that no other beats in both (Pareto's)."""

    title: str
    x: str
    y: str
    points: Sequence[Point]

    def best(self) -> list[Point]:
        """Those on the line, by x. Of equals all."""
        return sorted(
            (p for p in self.points if not any(_beats(other, p) for other in self.points)), key=lambda p: (p.x, p.y)
        )

    def rows(self) -> list[list[str]]:
        """The same as a table, as `Chart.rows`."""
        best = self.best()
        head = ["", self.x, self.y, "95% interval", "on the front"]
        body = [
            [p.name, _number(p.x), f"{p.y:.2f}", f"{p.low:.2f} to {p.high:.2f}", "yes" if p in best else ""]
            for p in sorted(self.points, key=lambda p: p.x)
        ]
        return [head, *body]

    def svg(self) -> str:
        """The drawing, x in powers of ten, with names where there is room for them, and all under the pointer."""
        across = _Axis([p.x for p in self.points], LEFT, WIDTH - RIGHT, log=True, margin=NAMED)
        down = _Axis([v for p in self.points for v in (p.low, p.high)], HEIGHT - BOTTOM, TOP, log=False, margin=NAMED)
        named = [(across.at(value), text) for value, text in across.ticks().items()]
        parts = _frame(self.title, (self.x, self.y), named, down, HEIGHT)
        best = self.best()
        steps = "".join(f"H{across.at(p.x):.1f}V{down.at(p.y):.1f}" for p in best)
        start = f"M{across.at(best[0].x):.1f} {down.at(best[0].y):.1f}"
        parts.append(f'<path class="front" d="{start}{steps}H{WIDTH - RIGHT}"/>')
        places = [(across.at(p.x), down.at(p.y)) for p in self.points]
        for p, (x, y) in zip(self.points, places, strict=True):
            color, shape = FAMILY_COLORS.get(p.family, GRAY), FAMILY_MARKERS.get(p.family, "triangle")
            text = f"{p.name}: {p.y:.2f} (95%: {p.low:.2f} to {p.high:.2f}), {self.x} {_number(p.x)}"
            text += "; none is better in both" if p in best else ""
            ends = f"M{x:.1f} {down.at(p.low):.1f}V{down.at(p.high):.1f}"
            parts.append(f'<path d="{ends}" stroke="{color}" stroke-width="1.2"/>')
            parts.append(marker(shape, x, y, color, text))
        return "\n".join([*parts, *_names([p.name for p in self.points], places), "</svg>"])


Drawing: TypeAlias = Chart | Front  # what a report has: with a title, as svg() and as rows()


def _beats(one: Point, other: Point) -> bool:
    return one.x <= other.x and one.y >= other.y and (one.x, one.y) != (other.x, other.y)


def opening(title: str, height: float) -> list[str]:
    """The first lines of a drawing, which is WIDTH wide."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="{SIZE}">',
        f"<style>{STYLE}</style>",
    ]


def _frame(
    title: str, axes: tuple[str, str], places: Sequence[tuple[float, str]], down: _Axis, height: float
) -> list[str]:
    """The beginning of a drawing: rules, ticks and what the axes are. places: (pixel, name) of each tick across."""
    parts = opening(title, height)
    for value, text in down.ticks().items():
        y = down.at(value)
        parts.append(f'<path class="rule" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="quiet" x="{LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{text}</text>')
    for x, name in places:
        parts.append(
            f'<text class="quiet" x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{escape(name)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 14}" text-anchor="middle">{escape(axes[0])}</text>'
    )
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text transform="translate(15 {middle}) rotate(-90)" text-anchor="middle">{escape(axes[1])}</text>')
    return parts


def _apart(places: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """(pixel, name), from left to right, without those that would run into the one before."""
    kept: list[tuple[float, str]] = []
    for x, name in places:
        if not kept or x - kept[-1][0] > LETTER * (len(name) + len(kept[-1][1])) / 2 + 6:
            kept.append((x, name))
    return kept


def _names(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """A name beside each point, on the side that is free; none where no side is."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    parts = []
    for name, (x, y) in zip(names, places, strict=True):
        width, height = LETTER * min(len(name), LEGEND) + 4, 14
        sides = (
            ("start", x + 9, x + 9, y - 7),
            ("end", x - 9, x - 9 - width, y - 7),
            ("middle", x, x - width / 2, y - 22),
            ("middle", x, x - width / 2, y + 8),
        )
        for anchor, at, left, top in sides:
            box = (left, top, left + width, top + height)
            inside = box[0] >= LEFT and box[2] <= WIDTH and box[1] >= TOP - 10 and box[3] <= HEIGHT - BOTTOM + 4
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                parts.append(
                    f'<text class="name" x="{at:.1f}" y="{top + 11:.1f}" text-anchor="{anchor}">{_short(name)}</text>'
                )
                break
    return parts


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _short(name: str, letters: int = LEGEND) -> str:
    """A name as text of a drawing, cut where it would run into the next; the whole is under the pointer."""
    if len(name) <= letters:
        return escape(name)
    return f"{escape(name[: letters - 1])}…<title>{escape(name)}</title>"


# Public, since a page that allows its own styles alone has to name this one.
STYLE = (
    f"text{{fill:{INK}}}.quiet{{fill:{QUIET}}}.rule{{stroke:{RULE}}}"
    f".name{{paint-order:stroke;stroke:{PAPER};stroke-width:4px}}"
    f".front{{fill:none;stroke:{GRAY};stroke-width:1.5;stroke-dasharray:5 4}}.hollow{{fill:{PAPER};stroke-width:1.8}}"
    ".spot{fill-opacity:0}.spot:hover{fill-opacity:1}.line:hover>path{stroke-width:3.5}"
    f"@media(prefers-color-scheme:dark){{text{{fill:{DARK_INK}}}.quiet{{fill:{DARK_QUIET}}}.rule{{stroke:{DARK_RULE}}}"
    f".name{{stroke:{DARK_PAPER}}}.hollow{{fill:{DARK_PAPER}}}}}"
    f"@media print{{text{{fill:#000}}.quiet{{fill:#444}}.name{{stroke:{PAPER}}}}}"
)


class _Axis:
    """From values to pixels, linear or by powers of ten."""

    def __init__(
        self, values: Sequence[float], start: float, end: float, log: bool, *, whole: bool = False, margin: float = 0.05
    ) -> None:
        """margin: beside the values, as a share of what they span. whole: half a step, for places 0, 1, 2, …"""
        self._log = log
        low, high = min(values), max(values)
        if log:
            factor = max(1.15, (high / low) ** margin)
            self.low, self._high = low / factor, high * factor
        else:
            beside = 0.5 if whole else (high - low or abs(high) or 1.0) * margin
            self.low, self._high = low - beside, high + beside
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self._log else v for v in (self.low, self._high, value))
        return self._start + (value - low) / (high - low) * (self._end - self._start)

    def ticks(self) -> dict[float, str]:
        """Round numbers within, each with its text: with the decimals by which it differs from the next."""
        if self._log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self._high))
            steps = (1, 2, 5) if last - first <= 3 else (1,)
            found = [m * 10.0**e for e in range(first, last + 1) for m in steps]
            found = [value for value in found if self.low <= value <= self._high]
            if len(found) > 1:
                return {value: _number(value) for value in found}
        rough = (self._high - self.low) / TICKS
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
        found = [k * step for k in range(math.ceil(self.low / step), math.floor(self._high / step) + 1)]
        size, unit = _unit(max(map(abs, found), default=0))
        decimals = max(0, -math.floor(math.log10(step / size) + 1e-9))
        return {value: f"{value / size:.{decimals}f}{unit}" if value else "0" for value in found}


def marker(kind: str, x: float, y: float, color: str, text: str = "", *, hollow: bool = False) -> str:
    """A shape. text: under the pointer."""
    title = f"<title>{escape(text)}</title>" if text else ""
    if kind in ("circle", "spot"):
        shape = f'circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"' + (' class="spot"' if kind == "spot" else "")
    else:
        corners = {
            "square": ((-4, -4), (4, -4), (4, 4), (-4, 4)),
            "diamond": ((0, -5.5), (5.5, 0), (0, 5.5), (-5.5, 0)),
            "triangle": ((0, -5.5), (5, 4), (-5, 4)),
        }[kind]
        shape = f'polygon points="{" ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)}"'
    inside = f'class="hollow" stroke="{color}"' if hollow and kind != "spot" else f'fill="{color}"'
    return f"<{shape} {inside}>{title}</{shape.partition(' ')[0]}>"


def _number(value: float) -> str:
    """Three digits and a unit for large ones, so that it can be read; two decimals, which percentages need."""
    size, unit = _unit(float(f"{value:.3g}"))
    if unit or abs(value) < 10:
        return f"{value / size:.3g}{unit}"
    return f"{value:.2f}".rstrip("0").removesuffix(".")


def _unit(value: float) -> tuple[float, str]:
    """What a number is written in, and its sign."""
    return next((each for each in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if abs(value) >= each[0]), (1.0, ""))
