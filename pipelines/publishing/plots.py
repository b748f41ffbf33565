"""What accuracy costs: a data set's exports by parameters and multiply-accumulates, beside what is published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator
from numpy.typing import NDArray

from pipelines.plotting.palette import FAMILY_COLORS, QUIET
from pipelines.plotting.points import Point, cost_axis, family_keys, label_points, plot_points
from pipelines.plotting.style import MARKERS, PERCENT, dot, drawing, short_names

if TYPE_CHECKING:
    from pipelines.publishing.catalog import Shipped
    from pipelines.publishing.literature import Published

_TICKS = (
    0.5,
    0.6,
    0.7,
    0.8,
    0.85,
    0.88,
    0.9,
    0.91,
    0.92,
    0.93,
    0.94,
    0.95,
    0.96,
    0.97,
    0.98,
    0.99,
    0.995,
    0.998,
    0.999,
)
_LEAST_ERROR = 1e-4  # an accuracy of 1 has to be drawn somewhere


@drawing
def costs(figure: Figure, shipped: Sequence[Shipped], published: Sequence[Published]) -> str:
    """Test accuracy with its 95 % interval against parameters, and against multiply-accumulates; log scales.

    Published results are gray: a point where their parameters are known, a line for those who have none (people).
    """
    figure.set_size_inches(13, 6.4)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(6, 5))
    known = [result for result in published if result.parameters]
    sized = [
        *((_published(result), result.name) for result in known),
        *((_point(export, export.parameters), _label(export)) for export in shipped if export.parameters),
    ]
    counted = [
        (_point(export, export.multiply_accumulates), _label(export))
        for export in shipped
        if export.multiply_accumulates
    ]
    for ax, points in ((left, sized), (right, counted)):
        plot_points(ax, [point for point, _ in points])
        cost_axis(ax, steps=(1,))
        ax.margins(x=0.1)
        for people in (result for result in published if result.parameters == 0):
            ax.axhline(people.accuracy, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
            text, place = f"{people.name} {people.accuracy:.1%}", (1, people.accuracy)
            beside: dict[str, Any] = {"textcoords": "offset points", "ha": "right", "color": QUIET, "fontsize": 8}
            ax.annotate(text, place, (0, 4), ("axes fraction", "data"), **beside)
    drawn = [point for points in (sized, counted) for point, _ in points]
    _accuracy_axis(left, [*(a for point in drawn for a in (point.low, point.high)), *(r.accuracy for r in published)])
    left.set(xlabel="parameters", title="Test accuracy, with 95% intervals; errors on a log scale")
    right.set(xlabel="multiply-accumulates per image")
    right.tick_params(labelleft=True)
    keys = family_keys({export.family for export in shipped})
    if published:
        keys += [Line2D([], [], **dot(QUIET, "o", 5), label="published")]
    figure.legend(handles=keys, loc="outside upper left", ncols=4, handletextpad=0.2)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # or the names would move what they are placed beside
    for ax, points in ((left, sized), (right, counted)):
        label_points(ax, [point for point, _ in points], short_names([name for _, name in points], 28), fontsize=8)
    return _words(shipped, known)


def _point(export: Shipped, cost: int) -> Point:
    low, high = export.low or export.accuracy, export.high or export.accuracy
    return Point(cost, export.accuracy, low, high, FAMILY_COLORS[export.family], MARKERS[export.family])


def _published(result: Published) -> Point:
    return Point(result.parameters or 0, result.accuracy, result.accuracy, result.accuracy, QUIET, "o", 5)


def _label(export: Shipped) -> str:
    return f"{export.model}, distilled" if export.teacher else export.model


def _accuracy_axis(ax: Axes, accuracies: Sequence[float]) -> None:
    """From 95 to 96 % is a fifth of the errors, and from 85 to 86 % a fifteenth: drawn as they weigh."""
    ax.set_yscale("function", functions=(_weight, _accuracy))
    low, high = _weight(np.array([min(accuracies, default=0.9), max(accuracies, default=0.9)]))
    room = max(0.07 * (high - low), 0.05)
    ax.set_ylim(*_accuracy(np.array([low - room, high + room])))
    ax.yaxis.set_major_locator(FixedLocator(_apart(_TICKS, 0.025 * (high - low + 2 * room))))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(PERCENT)


def _apart(ticks: Sequence[float], least: float) -> list[float]:
    """Those that leave room for each other's words, the highest first. least: of their weights."""
    kept: list[float] = []
    for tick in sorted(ticks, reverse=True):
        if not kept or float(_weight(np.array(kept[-1])) - _weight(np.array(tick))) >= least:
            kept.append(tick)
    return kept


def _weight(accuracy: NDArray[np.floating]) -> NDArray[np.floating]:
    weight: NDArray[np.floating] = -np.log10(np.maximum(1 - accuracy, _LEAST_ERROR))
    return weight


def _accuracy(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    accuracy: NDArray[np.floating] = 1 - np.power(10.0, -weight)
    return accuracy


def _words(shipped: Sequence[Shipped], known: Sequence[Published]) -> str:
    """The smallest and the best model of each family, in numbers."""
    parts = []
    for family in FAMILY_COLORS:
        ours = [export for export in shipped if export.family == family and export.parameters]
        if ours:
            smallest = min(ours, key=lambda export: export.parameters or 0)
            best = max(ours, key=lambda export: export.accuracy)
            ends = dict.fromkeys(
                f"{e.model} {e.accuracy:.2%} with {e.parameters:,} parameters" for e in (smallest, best)
            )
            parts.append(f"{family} from {' to '.join(ends)}" if len(ends) > 1 else f"{family}: {next(iter(ends))}")
    models = f"{len(shipped)} model{'s' * (len(shipped) > 1)}"
    beside = f", with {len(known)} published results" if known else ""
    axes = "against parameters and against multiply-accumulates"
    return f"Test accuracy of {models} {axes}{beside}; {'; '.join(parts)}."
