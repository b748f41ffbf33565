"""Points with names that cover neither each other nor a point."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from pipelines.plotting.palette import FAMILY_COLORS
from pipelines.plotting.style import MARKERS, dot


@dataclass(frozen=True)
class Point:
    """A model in a chart of accuracy against a cost. low, high: ends of the interval around the accuracy, 0..1."""

    cost: float
    accuracy: float
    low: float
    high: float
    color: str
    marker: str
    size: float = 8  # of the marker, in points


def plot_points(ax: Axes, points: Sequence[Point]) -> None:
    """Draw them with their intervals."""
    for point in points:
        ax.vlines(point.cost, point.low, point.high, color=point.color, linewidth=1.6, alpha=0.5)
        ax.plot(point.cost, point.accuracy, **dot(point.color, point.marker, point.size))


def label_points(ax: Axes, points: Sequence[Point], names: Sequence[str], fontsize: float | None = None) -> None:
    """Write each name beside its point, at the first place where it covers neither a point nor another name.

    What is further away than beside it has a line that leads there. The axes must have been laid out, and stay so.
    """
    frame = ax.get_window_extent()
    taken = []
    for point in points:
        (x, low), (_, y), (_, high) = ax.transData.transform(
            [(point.cost, accuracy) for accuracy in (point.low, point.accuracy, point.high)]
        )
        taken += [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6), Bbox.from_extents(x - 2, low, x + 2, high)]

    def extent(label: Annotation) -> Bbox:
        label.get_window_extent()  # puts it into its place
        return Text.get_window_extent(label)  # without the line that leads there

    def clashes(label: Annotation) -> int:
        box = extent(label)
        outside = (box.x0 < frame.x0) + (box.x1 > frame.x1) + (box.y0 < frame.y0) + (box.y1 > frame.y1)
        return int(box.count_overlaps(taken)) + int(outside)

    for point, name in zip(points, names, strict=True):
        tried = []
        for offset, ha, va in (*_BESIDE, *_FURTHER):
            line = {
                "arrowstyle": "-",
                "color": point.color,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 4,
            }
            label = ax.annotate(
                name,
                (point.cost, point.accuracy),
                offset,
                textcoords="offset points",
                ha=ha,
                va=va,
                color=point.color,
                fontsize=fontsize,
                arrowprops=line if max(map(abs, offset)) > _NEAR else None,
            )
            tried.append(label)
            if not clashes(label):
                break
        chosen = min(tried, key=clashes)  # the first of the best
        taken.append(extent(chosen))
        for label in tried:
            if label is not chosen:
                label.remove()


_NEAR = 18

# Offsets in points from a point to its name, the most pleasing first.
_BESIDE: tuple[tuple[tuple[int, int], str, str], ...] = (
    ((9, 0), "left", "center"),
    ((-9, 0), "right", "center"),
    ((8, 9), "left", "bottom"),
    ((8, -9), "left", "top"),
    ((-8, 9), "right", "bottom"),
    ((-8, -9), "right", "top"),
    ((0, _NEAR), "center", "bottom"),
    ((0, -_NEAR), "center", "top"),
)
_FURTHER = tuple(
    ((x, y), "left" if x > 0 else "right", "center")
    for reach in (24, 36, 50, 66)
    for x in (reach, -reach, reach // 2, -reach // 2)
    for y in (reach // 2, -reach // 2, reach, -reach)
)


def family_keys(families: Collection[str]) -> list[Line2D]:
    """What the legend shows for these families, in the order of all."""
    return [
        Line2D([], [], **dot(color, MARKERS[family], 8), label=family)
        for family, color in FAMILY_COLORS.items()
        if family in families
    ]


def large(number: float, _: object = None) -> str:
    """1,000,000 as 1 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g} {name}"
    return f"{number:g}"


def cost_axis(ax: Axes, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """The axis across: logarithmic, with numbers at these steps of each decade, in k, M and G."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=steps))
    ax.xaxis.set_major_formatter(FuncFormatter(large))
    ax.xaxis.set_minor_formatter(NullFormatter())
