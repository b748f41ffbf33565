"""The one quiet style that every plot has: its fonts, how it is written, and shared parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from pipelines.core.support.atomic import atomic_file
from pipelines.plotting.palette import FAMILY_MARKERS, INK, PAPER, QUIET, RULE, TINT

_SHAPES = {"square": "s", "circle": "o", "diamond": "D"}  # as Matplotlib calls them
MARKERS = {family: _SHAPES[shape] for family, shape in FAMILY_MARKERS.items()}

# Beside Matplotlib's own DejaVu Sans: fonts for scripts that it lacks, taken where they are installed.
_WIDER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Arial Unicode MS", "Hiragino Sans", "Yu Gothic")

DPI = 160

_STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "font.size": 9.5,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$5 to $10"
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}

PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")

_Rest = ParamSpec("_Rest")


def drawing(draw: Callable[Concatenate[Figure, _Rest], str]) -> Callable[Concatenate[Path, _Rest], str]:
    """Make a function that fills a figure into one that writes it to a path, in our style."""

    def write(path: Path, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> str:
        # From the defaults, so that a matplotlibrc on the machine changes nothing.
        style: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE, "font.family": list(_fonts())}
        with mpl.rc_context(style):
            figure = Figure()
            canvas: Any = FigureCanvasAgg(figure)  # it measures text; without it, each would have a renderer made
            text = draw(figure, *args, **kwargs)
            figure.set_dpi(DPI)
            if (engine := figure.get_layout_engine()) is not None:
                engine.execute(figure)
                figure.set_layout_engine("none")
            with atomic_file(path) as partial:  # not by `savefig`, which draws all of it twice, once for the layout
                canvas.print_png(partial, metadata={"Software": None})  # it would name the version
        return text

    write.__name__, write.__doc__ = draw.__name__, draw.__doc__
    return write


def dot(color: str, marker: str = "o", size: float = 7) -> dict[str, Any]:
    """How `plot` draws one point of a color, with a rim that keeps it apart from what lies below."""
    rim = {"markeredgecolor": PAPER, "markeredgewidth": 1.2}
    return {"marker": marker, "markersize": size, "color": color, "linestyle": "none", **rim}


def tints(strength: NDArray[np.floating], color: str) -> NDArray[np.float64]:
    """From paper (0) to the color (1): [...] -> [..., 3]."""
    paper, full = np.array(to_rgb(TINT)), np.array(to_rgb(color))
    mixed: NDArray[np.float64] = paper + strength[..., np.newaxis] * (full - paper)
    return mixed


def short_names(labels: Sequence[str], longest: int) -> list[str]:
    """Class names as they can be drawn: one line, shortened in the middle, a number where no font has the script."""
    names = []
    for k, label in enumerate(labels):
        line = " ".join(label.split())
        if not line or not all(_has_glyph(letter) for letter in line):
            line = f"class {k}"
        if len(line) > longest:
            head = (longest - 1) // 2
            line = f"{line[:head].rstrip()}…{line[head + 1 - longest :].lstrip()}"
        names.append(line)
    return names


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    installed = {font.name for font in fontManager.ttflist}
    return ("DejaVu Sans", *(name for name in _WIDER_FONTS if name in installed))


@lru_cache(maxsize=4096)
def _has_glyph(letter: str) -> bool:
    return any(get_font(findfont(FontProperties(family=name))).get_char_index(ord(letter)) for name in _fonts())
