"""Models side by side, each a point with its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from pipelines.figures.style import FAMILY_COLOURS, FAMILY_MARKERS, INK, PERCENT, dot, drawing, short_names

if TYPE_CHECKING:
    from pipelines.compare import Row


@drawing
def comparison(figure: Figure, rows: Sequence[Row]) -> str:
    """Accuracy with its 95 % interval against parameters, and the latency of one picture; a colour for each family."""
    figure.set_size_inches(10, max(3.6, 0.36 * len(rows) + 1.6))
    scatter, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    names = short_names(_told_apart(rows), 26)

    for row in rows:
        colour = FAMILY_COLOURS[row.family]
        scatter.vlines(row.parameters, row.low, row.high, color=colour, linewidth=1.6, alpha=0.5)
        scatter.plot(row.parameters, row.accuracy, **dot(colour, FAMILY_MARKERS[row.family], 8))
    scatter.set(xscale="log", xlabel="parameters", title="Test accuracy, with 95% intervals")
    least, most = (f(row.parameters for row in rows) for f in (min, max))
    scatter.set_xlim(least / 1.6, most * 1.6 * (most / least) ** 0.3)  # room for names at the right
    scatter.margins(y=0.12)
    scatter.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scatter.xaxis.set_major_formatter(FuncFormatter(_large))
    scatter.xaxis.set_minor_formatter(NullFormatter())
    scatter.yaxis.set_major_formatter(PERCENT)

    fastest = sorted(range(len(rows)), key=lambda k: rows[k].latency)
    places = np.arange(len(rows))
    latencies = [rows[k].latency * 1e3 for k in fastest]
    colours = [FAMILY_COLOURS[rows[k].family] for k in fastest]
    bars.hlines(places, 0, latencies, color=colours, linewidth=2.5)
    for place, k in zip(places, fastest, strict=True):
        colour, marker = FAMILY_COLOURS[rows[k].family], FAMILY_MARKERS[rows[k].family]
        bars.plot(latencies[place], place, **dot(colour, marker, 8))
        told = f"{latencies[place]:,.0f} µs"
        bars.annotate(told, (latencies[place], place), (9, 0), textcoords="offset points", va="center")
    bars.set_title("Latency of one picture, one thread")
    bars.set_yticks(places, [names[k] for k in fastest], color=INK)
    bars.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1.25 * max(latencies)), xlabel="microseconds, median")
    bars.grid(visible=False, axis="y")
    bars.spines["left"].set_visible(False)

    keys = [
        Line2D([], [], **dot(colour, FAMILY_MARKERS[family], 8), label=family)
        for family, colour in FAMILY_COLOURS.items()
        if any(row.family == family for row in rows)
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=3, handletextpad=0.2)
    label_points(figure, scatter, rows, names)
    return "; ".join(
        f"{row.name} ({row.family}): {row.accuracy:.2%} ({row.low:.2%} to {row.high:.2%}) with {row.parameters:,} "
        f"parameters, {row.latency * 1e3:,.0f} µs a picture"
        for row in rows
    )


def _told_apart(rows: Sequence[Row]) -> list[str]:
    """Names without the data set where all share one."""
    shared = len({row.name.rpartition("/")[0] for row in rows}) == 1
    return [row.name.rpartition("/")[2] if shared else row.name for row in rows]


def label_points(figure: Figure, ax: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Write each name beside its point, at the first place where it covers neither a point nor another name."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the names would move what they were placed beside
    frame = ax.get_window_extent()
    taken = []
    for row in rows:
        (x, low), (_, y), (_, high) = ax.transData.transform(
            [(row.parameters, accuracy) for accuracy in (row.low, row.accuracy, row.high)]
        )
        taken += [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6), Bbox.from_extents(x - 2, low, x + 2, high)]

    def clashes(label: Annotation) -> int:
        box = label.get_window_extent()
        return int(box.count_overlaps(taken)) + int(box.x0 < frame.x0) + int(box.x1 > frame.x1)

    for row, name in zip(rows, names, strict=True):
        labels = [
            ax.annotate(
                name,
                (row.parameters, row.accuracy),
                offset,
                textcoords="offset points",
                ha=ha,
                va=va,
                color=FAMILY_COLOURS[row.family],
            )
            for offset, ha, va in _BESIDE
        ]
        chosen = min(labels, key=clashes)  # the first of the best
        taken.append(chosen.get_window_extent())
        for label in labels:
            if label is not chosen:
                label.remove()


# Offsets in points from a point to its name, the most pleasing first.
_BESIDE = (
    ((9, 0), "left", "center"),
    ((-9, 0), "right", "center"),
    ((8, 9), "left", "bottom"),
    ((8, -9), "left", "top"),
    ((-8, 9), "right", "bottom"),
    ((-8, -9), "right", "top"),
    ((0, 18), "center", "bottom"),
    ((0, -18), "center", "top"),
)


def _large(number: float, _: object = None) -> str:
    """1,000,000 as 1 M."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:g} {name}"
    return f"{number:g}"
