"""How fast exports answer, and beside them other libraries: latency and throughput by batch size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from pipelines.plotting.palette import INK, SERIES_COLORS
from pipelines.plotting.style import dot, drawing

if TYPE_CHECKING:
    from pipelines.inference.harness import Measured
    from pipelines.inference.results import Benchmarked

COLORS = (*SERIES_COLORS[:7], INK)  # of entries, which are of no family
MARKERS = ("o", "s", "D", "^", "v", "p", "X", "h")
LINES = {"float32": "-", "int8": "--", "float16": ":"}


@drawing
def speeds(figure: Figure, exports: Sequence[Benchmarked]) -> str:
    """A row for each export: latency of a batch, up to its 99th percentile, and throughput, both by batch size."""
    figure.set_size_inches(9.6, 0.5 + 3.3 * len(exports))
    names = list(dict.fromkeys(each.name for export in exports for each in export.entries))
    looks = {name: (COLORS[k % len(COLORS)], MARKERS[k % len(MARKERS)]) for k, name in enumerate(names)}
    drawn: dict[str, Any] = {}
    for export, (left, right) in zip(exports, figure.subplots(len(exports), 2, squeeze=False), strict=True):
        for each in export.entries:
            color, marker = looks[each.name]
            batches = [float(timing.batch) for timing in each.timings]
            medians = [timing.median for timing in each.timings]
            left.vlines(batches, medians, [timing.p99 for timing in each.timings], color=color, linewidth=1, alpha=0.5)
            for ax, values in ((left, medians), (right, [timing.throughput for timing in each.timings])):
                ax.plot(batches, values, color=color, linestyle=LINES[each.precision])
                ax.plot(batches, values, **dot(color, marker, 6))
            label = each.name if each.precision == "float32" else f"{each.name}, {each.precision}"
            style = {**dot(color, marker, 6), "linestyle": LINES[each.precision]}
            drawn.setdefault(label, left.plot([], [], **style)[0])
        for ax, what in ((left, "milliseconds a batch, median to p99"), (right, "images or rows a second")):
            ax.set(xscale="log", yscale="log", xlabel="batch size", ylabel=what)
            ax.xaxis.set_major_locator(FixedLocator([float(timing.batch) for timing in export.entries[0].timings]))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            ax.yaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        left.set_title(export.name)
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=min(4, len(drawn)))
    return "Milliseconds a batch and answers a second by batch size: " + "; ".join(
        f"{export.name} {_timing_text(each)}" for export in exports for each in export.entries
    )


def _timing_text(each: Measured) -> str:
    first, last = each.timings[0], each.timings[-1]
    return (
        f"in {each.name} ({each.precision}) {first.median:.3g} ms at batch {first.batch}, "
        f"{last.throughput:,.0f} a second at batch {last.batch}"
    )
