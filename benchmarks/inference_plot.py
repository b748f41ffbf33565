"""How near engines come to the machine's own peak: ours, and the others', model by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from pipelines.plotting.palette import FAMILY_COLORS, QUIET
from pipelines.plotting.style import MARKERS, PERCENT, dot, drawing

OTHERS = {"tf2onnx": "^", "OpenVINO": "D", "LiteRT": "s"}  # markers, hollow; ours have their family's
FAMILIES = ("dense", "conv", "hybrid")
AGAINST = "float32 against "


@drawing
def roof(figure: Figure, rows: Sequence[Mapping[str, Any]], batch: int) -> str:
    """Multiply-accumulates a second in float32, as a share of a matrix product's measured beside them.

    rows: of `benchmarks/inference.py`; of these, those with so many images in a batch are drawn.
    """
    drawn = [row for row in rows if row["batch"] == batch and row["share"] and row["against"].startswith(AGAINST)]
    ours = {row["export"]: (row["family"], row["share"]) for row in drawn}
    names = sorted(ours, key=lambda name: (FAMILIES.index(ours[name][0]), ours[name][1]), reverse=True)
    figure.set_size_inches(6.4, 0.27 * len(names) + 1.5)
    ax = figure.subplots()
    for other, marker in OTHERS.items():
        shares = {
            row["export"]: row["share"] * row["ms"] / row["other_ms"]
            for row in drawn
            if row["against"] == AGAINST + other
        }
        places = [names.index(name) for name in shares]
        hollow: dict[str, Any] = {
            "marker": marker,
            "markersize": 5.5,
            "markerfacecolor": "none",
            "markeredgecolor": QUIET,
        }
        ax.plot(list(shares.values()), places, linestyle="none", label=other, **hollow)
    for family in FAMILIES:
        mine = [name for name in names if ours[name][0] == family]
        style = dot(FAMILY_COLORS[family], MARKERS[family])
        ax.plot(
            [ours[name][1] for name in mine], [names.index(name) for name in mine], label=f"ours, {family}", **style
        )
    ax.axvline(1.0, color=QUIET, linewidth=1.2)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_yticks(range(len(names)), [name.rpartition("/")[2] for name in names])
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="speed relative to a matrix product of NumPy", title=f"float32, {batch} images at once")
    figure.legend(loc="outside lower center", ncols=3)
    return f"Speed relative to a matrix product of NumPy, {batch} images at once: " + "; ".join(
        f"{name.rpartition('/')[2]} {ours[name][1]:.1%}" for name in reversed(names)
    )
