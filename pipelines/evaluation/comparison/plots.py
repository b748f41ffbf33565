"""Models side by side, each a point with its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from pipelines.evaluation.comparison.rows import Row, short
from pipelines.plotting.palette import FAMILY_COLORS, INK
from pipelines.plotting.points import Point, cost_axis, family_keys, label_points, plot_points
from pipelines.plotting.style import MARKERS, PERCENT, dot, drawing, short_names


@drawing
def comparison(figure: Figure, rows: Sequence[Row]) -> str:
    """Accuracy with its 95 % interval against parameters, and the latency of one image; a color for each family."""
    figure.set_size_inches(10, max(3.6, 0.36 * len(rows) + 1.6))
    scatter, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    names = short_names(short([row.name for row in rows]), 26)

    points = [
        Point(row.parameters, row.accuracy, row.low, row.high, FAMILY_COLORS[row.family], MARKERS[row.family])
        for row in rows
    ]
    plot_points(scatter, points)
    cost_axis(scatter)
    scatter.set(xlabel="parameters", title="Test accuracy, with 95% intervals")
    least, most = (f(row.parameters for row in rows) for f in (min, max))
    scatter.set_xlim(least / 1.6, most * 1.6 * (most / least) ** 0.3)  # room for names at the right
    scatter.margins(y=0.12)
    scatter.yaxis.set_major_formatter(PERCENT)

    fastest = sorted(range(len(rows)), key=lambda k: rows[k].latency)
    places = np.arange(len(rows))
    latencies = [rows[k].latency * 1e3 for k in fastest]
    colors = [FAMILY_COLORS[rows[k].family] for k in fastest]
    bars.hlines(places, 0, latencies, color=colors, linewidth=2.5)
    for place, k in zip(places, fastest, strict=True):
        color, marker = FAMILY_COLORS[rows[k].family], MARKERS[rows[k].family]
        bars.plot(latencies[place], place, **dot(color, marker, 8))
        text = f"{latencies[place]:,.0f} µs"
        bars.annotate(text, (latencies[place], place), (9, 0), textcoords="offset points", va="center")
    bars.set_title("Latency of one image, one thread")
    bars.set_yticks(places, [names[k] for k in fastest], color=INK)
    bars.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1.25 * max(latencies)), xlabel="microseconds, median")
    bars.grid(visible=False, axis="y")
    bars.spines["left"].set_visible(False)

    keys = family_keys({row.family for row in rows})
    figure.legend(handles=keys, loc="outside upper left", ncols=3, handletextpad=0.2)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the names would move what they are placed beside
    label_points(scatter, points, names)
    return "; ".join(
        f"{row.name} ({row.family}): {row.accuracy:.2%} ({row.low:.2%} to {row.high:.2%}) with {row.parameters:,} "
        f"parameters, {row.latency * 1e3:,.0f} µs per image"
        for row in rows
    )
