"""A sweep drawn: how it went on, which fields mattered, how values go together, and the front of several objectives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.plotting.palette import BLUE, GRAY, INK, QUIET, RULE, VERMILION
from pipelines.plotting.points import large
from pipelines.plotting.style import PERCENT, dot, drawing, short_names, tints
from pipelines.search.objective import OBJECTIVES
from pipelines.search.space import Dimension, Range
from pipelines.search.trials import Trial


@drawing
def history(figure: Figure, trials: Sequence[Trial]) -> str:
    """The validation accuracy of each finished trial, in their order, and the best by then."""
    figure.set_size_inches(7, 3.6)
    ax = figure.subplots()
    accuracies = [trial.accuracy or 0.0 for trial in trials]
    numbers, best = [trial.number for trial in trials], np.maximum.accumulate(accuracies)
    ax.step(numbers, best, where="post", color=VERMILION, label="best by then")
    ax.plot(numbers, accuracies, **dot(BLUE), label="trial")
    ax.yaxis.set_major_formatter(PERCENT)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="trial", title="Validation accuracy of the trials")
    ax.legend(loc="lower right")
    return f"Validation accuracy of {len(trials)} trials: the best came to {best[-1]:.2%}."


@drawing
def importance(figure: Figure, shares: Mapping[str, float]) -> str:
    """How much of the variation of the accuracy comes from each field: shares of 1."""
    figure.set_size_inches(7, 1.4 + 0.32 * len(shares))
    ax = figure.subplots()
    fields = sorted(shares, key=lambda name: shares[name])
    ax.barh(fields, [shares[name] for name in fields], color=BLUE, height=0.6)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.tick_params(axis="y", colors=INK)
    ax.grid(visible=False, axis="y")
    ax.set_title("Importance of the fields (PED-ANOVA)")
    return "; ".join(f"{name}: {shares[name]:.0%}" for name in reversed(fields))


@drawing
def parallel(figure: Figure, trials: Sequence[Trial], dimensions: Sequence[Dimension]) -> str:
    """A line for each finished trial through its values, the darker the more accurate; an axis for each field."""
    figure.set_size_inches(max(5, 1.7 * (len(dimensions) + 1)), 4)
    ax = figure.subplots()
    places = [_places(dimension, trials) for dimension in dimensions]
    accuracies = np.array([trial.accuracy or 0.0 for trial in trials])
    low, high = accuracies.min(), accuracies.max()
    strength = (accuracies - low) / (high - low or 1.0)
    columns = [*(column for column, _ in places), strength]
    for rank, k in enumerate(np.argsort(accuracies, kind="stable")):  # by rank: most lie close together
        color = tints(np.asarray(0.1 + 0.9 * (rank + 1) / len(trials)), BLUE)
        ax.plot(range(len(columns)), [column[k] for column in columns], color=color, linewidth=1.4)
    ends = [*(marks for _, marks in places), ((0.0, f"{low:.1%}"), (1.0, f"{high:.1%}"))]
    for x, marks in enumerate(ends):
        ax.axvline(x, color=RULE, linewidth=1)
        for y, text in marks:
            ax.annotate(text, (x, y), (4, 0), textcoords="offset points", va="center", color=INK, fontsize=8)
    names = [*(dimension.field for dimension in dimensions), "accuracy"]
    ax.set_xticks(range(len(names)), short_names(names, 18), color=INK)
    ax.set(xlim=(-0.1, len(names) - 0.6), ylim=(-0.08, 1.08), yticks=[], title="Values of the trials")
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)
    best = trials[int(accuracies.argmax())]
    return f"The best of {len(trials)} trials has " + ", ".join(f"{k}={v}" for k, v in best.values.items()) + "."


def _places(dimension: Dimension, trials: Sequence[Trial]) -> tuple[list[float], tuple[tuple[float, str], ...]]:
    """Where on its axis, 0..1, each trial lies, in the middle where it has no value; and what is written beside it."""
    values = [trial.values.get(dimension.field) for trial in trials]
    if isinstance(dimension, Range):
        scale = math.log if dimension.log else float
        low, high = scale(dimension.low), scale(dimension.high)
        ends = ((0.0, f"{dimension.low:g}"), (1.0, f"{dimension.high:g}"))
        return [0.5 if value is None else (scale(value) - low) / (high - low) for value in values], ends
    of: dict[Any, float] = {value: k / (len(dimension.values) - 1) for k, value in enumerate(dimension.values)}
    names = short_names([str(value) for value in dimension.values], 14)
    return [of.get(value, 0.5) for value in values], tuple(zip(of.values(), names, strict=True))


@drawing
def front(figure: Figure, trials: Sequence[Trial], chosen: Sequence[int], x: str, y: str) -> str:
    """Two objectives against each other; the trials that no other beats in all are joined."""
    figure.set_size_inches(6.4, 4.2)
    ax = figure.subplots()
    others = [trial for trial in trials if trial.number not in chosen]
    best = sorted((trial for trial in trials if trial.number in chosen), key=lambda trial: trial.measured[x])
    ax.plot([t.measured[x] for t in others], [t.measured[y] for t in others], **dot(GRAY, size=5))
    ax.plot([t.measured[x] for t in best], [t.measured[y] for t in best], color=QUIET, linewidth=1)
    ax.plot([t.measured[x] for t in best], [t.measured[y] for t in best], **dot(VERMILION))
    for trial in best:
        at = (trial.measured[x], trial.measured[y])
        ax.annotate(str(trial.number), at, (6, 6), textcoords="offset points", color=INK, fontsize=8)
    for axis, name in ((ax.xaxis, x), (ax.yaxis, y)):
        axis.set_major_formatter(PERCENT if name == "accuracy" else large)
    ax.set(xlabel=OBJECTIVES[x][1], ylabel=OBJECTIVES[y][1], title="Trials that no other beats in all objectives")
    ax.margins(0.12)
    return "; ".join(f"trial {t.number}: {x} {t.measured[x]:g}, {y} {t.measured[y]:g}" for t in best)
