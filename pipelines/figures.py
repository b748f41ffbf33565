"""Every picture that the project draws, in one quiet style. The only importer of Matplotlib.

Each function writes a PNG, whole or not at all, and returns its alternative text. Same numbers, same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pipelines.statistics import CalibrationBin, Counts, calibration_error, wilson_interval
from zoo.pictures import Pixels

if TYPE_CHECKING:
    from pipelines.compare import Row

# Okabe & Ito's palette, told apart by colour-blind eyes, and a marker each for those who print in grey.
FAMILY_COLOURS = {"dense": "#D55E00", "conv": "#0072B2", "hybrid": "#009E73"}
FAMILY_MARKERS = {"dense": "s", "conv": "o", "hybrid": "D"}

INK, QUIET, RULE, PAPER = "#1B1F24", "#6B7280", "#E5E7EB", "#FFFFFF"
RIGHT, WRONG = FAMILY_COLOURS["conv"], FAMILY_COLOURS["dense"]

MISTAKES_DRAWN = 24
TILES_DRAWN = 64
NUMBERED_CLASSES = 20  # of more than these, the counts in a confusion matrix are too small to read
NAMED_CLASSES = 50  # of more than these, the names are

# Beside Matplotlib's own DejaVu Sans: fonts for scripts that it lacks, taken where they are installed.
_WIDER_FONTS = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans", "Arial Unicode MS", "Hiragino Sans", "Yu Gothic")

_STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "savefig.dpi": 160,
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

_Rest = ParamSpec("_Rest")


def _drawn(draw: Callable[Concatenate[Figure, _Rest], str]) -> Callable[Concatenate[Path, _Rest], str]:
    """Make a function that fills a figure into one that writes it to a path, in our style."""

    def write(path: Path, /, *args: _Rest.args, **kwargs: _Rest.kwargs) -> str:
        # From the defaults, so that a matplotlibrc on the machine changes nothing.
        style: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE, "font.family": list(_fonts())}
        with mpl.rc_context(style):
            figure = Figure()
            text = draw(figure, *args, **kwargs)
            partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
            try:
                figure.savefig(partial, format="png", metadata={"Software": None})  # it would name the version
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
        return text

    write.__name__, write.__doc__ = draw.__name__, draw.__doc__
    return write


@_drawn
def curves(figure: Figure, history: Mapping[str, Sequence[float]], best_epoch: int) -> str:
    """Loss and accuracy by epoch, from when learning has settled.

    history: epoch (from 1), and for each of these train_loss, train_accuracy, validation_loss, validation_accuracy.
    best_epoch: one of them, whose weights were kept.
    """
    figure.set_size_inches(9, 3.3)
    epochs = np.asarray(history["epoch"])
    kept = int(np.flatnonzero(epochs == best_epoch)[0])
    losses, accuracies = figure.subplots(1, 2)
    for ax, name in ((losses, "loss"), (accuracies, "accuracy")):
        training, validation = (np.asarray(history[f"{part}_{name}"]) for part in ("train", "validation"))
        ax.plot(epochs, training, color=QUIET, label="training", marker="o" if len(epochs) == 1 else None)
        ax.plot(epochs, validation, color=RIGHT, label="validation")
        ax.plot(best_epoch, validation[kept], **_dot(RIGHT))
        ax.set_title(f"{name.capitalize()} by epoch")
        ax.set_xlim(0.5, epochs[-1] + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(visible=False, axis="x")
        # The first fifth would press all that follows against the edge: it may leave the panel.
        settled = np.concatenate([training[len(epochs) // 5 :], validation[len(epochs) // 5 :]])
        room = 0.08 * float(np.ptp(settled)) or 0.05
        ax.set_ylim(settled.min() - room, settled.max() + room)
    accuracies.yaxis.set_major_formatter(_PERCENT)
    losses.legend(loc="upper right")
    best = history["validation_accuracy"][kept]
    accuracies.set_title(
        f"kept: epoch {best_epoch}, {best:.2%}", loc="right", color=RIGHT, fontsize=9.5, fontweight="normal"
    )
    return (
        f"Loss and accuracy over {epochs[-1]:.0f} epochs of training, and on the validation pictures; "
        f"kept were the weights of epoch {best_epoch}, with {best:.2%} of these right."
    )


@_drawn
def confusion(figure: Figure, matrix: Counts, labels: Sequence[str]) -> str:
    """A row for each class, a column for each answer, and at the right the share of the row that is right.

    matrix: [K, K] counts. Up to 20 classes have their numbers written, up to 50 their names.
    """
    classes = len(labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # [K, K], of the row
    mistakes = np.where(np.eye(classes, dtype=bool), 0, shares)
    # The root, so that rare mistakes are seen beside common ones; full colour from one picture in ten.
    heat = np.sqrt(mistakes / max(mistakes.max(), 0.1))
    colours = _tints(heat, WRONG)
    colours[np.diag_indices(classes)] = _tints(0.55 * np.diag(shares), RIGHT)

    side = float(np.clip(0.44 * classes, 2.6, 9))
    figure.set_size_inches(side + 2.2, side + 1.6)
    ax = figure.subplots()
    ax.imshow(colours, interpolation="nearest")
    ax.set(xlabel="answer", ylabel="class")
    ax.set_title("What is taken for what" if mistakes.any() else "Every picture is recognised")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if classes <= NAMED_CLASSES:
        names = _names(labels, 18)
        upright = max(map(len, names)) <= 2
        turn: dict[str, Any] = {} if upright else {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
        ax.set_xticks(range(classes), names, color=INK, **turn)
        ax.set_yticks(range(classes), names, color=INK)
    if classes <= NUMBERED_CLASSES:
        ax.set_xticks(np.arange(classes - 1) + 0.5, minor=True)
        ax.set_yticks(np.arange(classes - 1) + 0.5, minor=True)
        ax.grid(visible=True, which="minor", color=PAPER, linewidth=2)
        for row, column in zip(*np.nonzero(matrix), strict=True):
            shade = PAPER if row != column and heat[row, column] > 0.75 else INK
            ax.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=shade, fontsize=8)
        beside: dict[str, Any] = {"textcoords": "offset points", "color": QUIET, "fontsize": 8.5}
        ax.annotate("right", (1, 1), (8, 10), xycoords="axes fraction", **beside)
        for row, recall in enumerate(np.diag(shares)):
            ax.annotate(f"{recall:.1%}", (1, row), (8, 0), xycoords=("axes fraction", "data"), va="center", **beside)
    return _confusion_text(matrix, labels)


def _confusion_text(matrix: Counts, labels: Sequence[str]) -> str:
    wrong = matrix - np.diag(np.diag(matrix))
    told = f"Confusion matrix of {len(labels)} classes, {wrong.sum():,} of {matrix.sum():,} test pictures wrong"
    if not wrong.any():
        return f"{told}."
    row, column = divmod(int(wrong.argmax()), len(labels))
    return f"{told}; the most frequent mistake: {wrong[row, column]:,} of {labels[row]!r} taken for {labels[column]!r}."


@_drawn
def mistakes(
    figure: Figure,
    images: Pixels,
    labels: Sequence[str],
    truth: Counts,
    answer: Counts,
    confidence: NDArray[np.floating],
) -> str:
    """The wrong answers that were most sure of themselves, surest first.

    images: [N, H, W, C] uint8, all of the test. truth, answer: [N]. confidence: [N], the probability of the answer.
    """
    wrong = np.flatnonzero(truth != answer)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES_DRAWN]
    tall = min(images.shape[1] / images.shape[2], 2)
    tiles = _tiles(
        figure, len(worst), 8, (1.0, tall), above=0.42, title=_mistakes_title(len(worst), len(wrong), len(truth))
    )
    if not len(worst):
        return f"None of the {len(truth):,} test pictures was taken for another class."

    names = _names(labels, 11)
    for ax, picture in zip(tiles, worst, strict=True):
        _show(ax, images[picture])
        told = f"→ {names[answer[picture]]}  {_percent(confidence[picture])}"
        for text, height, colour in ((names[truth[picture]], 19, INK), (told, 6, WRONG)):
            ax.annotate(
                text, (0, 1), (0, height), "axes fraction", "offset points", color=colour, fontsize=7.5, va="baseline"
            )
    first = worst[0]
    taken = f"{labels[truth[first]]!r} taken for {labels[answer[first]]!r} with probability {confidence[first]:.3f}"
    return f"The {len(worst)} most confident of {len(wrong):,} mistakes in {len(truth):,} test pictures; first {taken}."


def _mistakes_title(drawn: int, wrong: int, pictures: int) -> str:
    if not wrong:
        return f"No mistake in {pictures:,} test pictures"
    if wrong == 1:
        return f"The only mistake in {pictures:,} test pictures: class → answer"
    if drawn == wrong:
        return f"All {wrong:,} mistakes in {pictures:,} test pictures: class → answer"
    return f"The {drawn} surest of {wrong:,} mistakes in {pictures:,} test pictures: class → answer"


@_drawn
def first_layer(figure: Figure, weights: NDArray[np.floating], unit: str, labels: Sequence[str] | None = None) -> str:
    """What the first layer looks for: the weights of each filter of a convolution, or of each neuron, as a picture.

    weights: [H, W, C, F]. One channel: on one scale for all. Three: each on its own, around grey.
    unit: "filter" or "neuron". labels: F names, where the first layer is the last one too.
    """
    height, width, channels, units = weights.shape
    strength = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=(0, 1, 2)))
    shown = np.sort(np.argsort(-strength, kind="stable")[:TILES_DRAWN])
    all_of_them = len(shown) == units
    title = f"The {'' if all_of_them else f'{len(shown)} strongest of the '}first layer's {units} {unit}s"
    named = labels is not None and all_of_them
    side = 1.2 if named else 0.62
    columns = 5 if named else 8 if units <= 32 else 16
    tiles = _tiles(
        figure, len(shown), columns, (side, side * height / width), above=0.24 if named else 0.0, title=title
    )
    told = "orange raises the output, blue lowers it" if channels == 1 else "grey: no weight"
    figure.text(0.99, figure.texts[0].get_position()[1], told, ha="right", va="top", color=QUIET)

    scale = float(np.quantile(np.abs(weights), 0.995)) or 1.0  # a few extremes would pale all others
    for k, (ax, values) in enumerate(zip(tiles, np.moveaxis(weights, -1, 0)[shown], strict=True)):
        if channels == 1:
            ax.imshow(values[..., 0], cmap=_SIGNED, vmin=-scale, vmax=scale, interpolation="nearest")
        else:
            ax.imshow(0.5 + values / (2 * (np.abs(values).max() or 1)), interpolation="nearest")
        if labels is not None and named:
            ax.set_title(_names(labels, 16)[k], fontsize=8.5, fontweight="normal", pad=4)
    return f"{title}: their weights, as pictures of {height}x{width} pixels."


@_drawn
def reliability(figure: Figure, bins: Sequence[CalibrationBin]) -> str:
    """How often answers of one confidence are right, with 95 % intervals, over how many answers have it."""
    figure.set_size_inches(4.6, 4.9)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    confidence = np.array([b.confidence for b in bins])
    accuracy = np.array([b.accuracy for b in bins])
    intervals = np.array([wilson_interval(b.correct, b.pictures) for b in bins]).T  # [2, bins]
    ax.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    ax.vlines(confidence, *intervals, color=RIGHT, linewidth=1.4, alpha=0.55)
    ax.plot(confidence, accuracy, **_dot(RIGHT))
    error = calibration_error(list(bins))
    ax.set(ylabel="share of right answers", ylim=(-0.02, 1.02), title="How far a probability can be believed")
    ax.text(0.97, 0.12, f"calibration error {error:.2%}", transform=ax.transAxes, ha="right", color=RIGHT)
    ax.text(0.97, 0.05, "below the line: too sure", transform=ax.transAxes, ha="right", color=QUIET)
    below.bar(confidence, [b.pictures for b in bins], width=0.035, color=QUIET)
    below.set(yscale="log", ylabel="pictures", xlabel="probability of the answer", xlim=(-0.02, 1.03))
    below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    below.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(_PERCENT)
    figure.align_ylabels()
    surest = bins[-1]
    return (
        f"Reliability diagram, expected calibration error {error:.2%}: of the {surest.pictures:,} surest answers, "
        f"with a mean probability of {surest.confidence:.1%}, {surest.accuracy:.1%} are right."
    )


@_drawn
def comparison(figure: Figure, rows: Sequence[Row]) -> str:
    """Accuracy with its 95 % interval against parameters, and the latency of one picture; a colour for each family."""
    figure.set_size_inches(10, max(3.6, 0.36 * len(rows) + 1.6))
    scatter, bars = figure.subplots(1, 2, width_ratios=(3, 2))
    names = _names(_told_apart(rows), 26)

    for row in rows:
        colour = FAMILY_COLOURS[row.family]
        scatter.vlines(row.parameters, row.low, row.high, color=colour, linewidth=1.6, alpha=0.5)
        scatter.plot(row.parameters, row.accuracy, **_dot(colour, FAMILY_MARKERS[row.family], 8))
    scatter.set(xscale="log", xlabel="parameters", title="Test accuracy, with 95% intervals")
    least, most = (f(row.parameters for row in rows) for f in (min, max))
    scatter.set_xlim(least / 1.6, most * 1.6 * (most / least) ** 0.3)  # room for names at the right
    scatter.margins(y=0.12)
    scatter.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    scatter.xaxis.set_major_formatter(FuncFormatter(_large))
    scatter.xaxis.set_minor_formatter(NullFormatter())
    scatter.yaxis.set_major_formatter(_PERCENT)

    fastest = sorted(range(len(rows)), key=lambda k: rows[k].latency)
    places = np.arange(len(rows))
    latencies = [rows[k].latency * 1e3 for k in fastest]
    colours = [FAMILY_COLOURS[rows[k].family] for k in fastest]
    bars.hlines(places, 0, latencies, color=colours, linewidth=2.5)
    for place, k in zip(places, fastest, strict=True):
        colour, marker = FAMILY_COLOURS[rows[k].family], FAMILY_MARKERS[rows[k].family]
        bars.plot(latencies[place], place, **_dot(colour, marker, 8))
        told = f"{latencies[place]:,.0f} µs"
        bars.annotate(told, (latencies[place], place), (9, 0), textcoords="offset points", va="center")
    bars.set_title("Latency of one picture, one thread")
    bars.set_yticks(places, [names[k] for k in fastest], color=INK)
    bars.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1.25 * max(latencies)), xlabel="microseconds, median")
    bars.grid(visible=False, axis="y")
    bars.spines["left"].set_visible(False)

    keys = [
        Line2D([], [], **_dot(colour, FAMILY_MARKERS[family], 8), label=family)
        for family, colour in FAMILY_COLOURS.items()
        if any(row.family == family for row in rows)
    ]
    figure.legend(handles=keys, loc="outside upper left", ncols=3, handletextpad=0.2)
    _label_points(figure, scatter, rows, names)
    return "; ".join(
        f"{row.name} ({row.family}): {row.accuracy:.2%} ({row.low:.2%} to {row.high:.2%}) with {row.parameters:,} "
        f"parameters, {row.latency * 1e3:,.0f} µs a picture"
        for row in rows
    )


def _told_apart(rows: Sequence[Row]) -> list[str]:
    """Names without the data set where all share one."""
    shared = len({row.name.rpartition("/")[0] for row in rows}) == 1
    return [row.name.rpartition("/")[2] if shared else row.name for row in rows]


def _label_points(figure: Figure, ax: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
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


# --- parts ------------------------------------------------------------------------------------------------------------

_PERCENT = FuncFormatter(lambda share, _: f"{round(100 * share, 6):g}%")
_SIGNED = LinearSegmentedColormap.from_list("signed", [RIGHT, "#F7F7F7", WRONG])


def _dot(colour: str, marker: str = "o", size: float = 7) -> dict[str, Any]:
    rim = {"markeredgecolor": PAPER, "markeredgewidth": 1.2}
    return {"marker": marker, "markersize": size, "color": colour, "linestyle": "none", **rim}


def _tints(strength: NDArray[np.floating], colour: str) -> NDArray[np.float64]:
    """From paper (0) to the colour (1): [...] -> [..., 3]."""
    paper, full = np.array(to_rgb("#F7F8FA")), np.array(to_rgb(colour))
    tints: NDArray[np.float64] = paper + strength[..., np.newaxis] * (full - paper)
    return tints


def _tiles(
    figure: Figure, count: int, columns: int, size: tuple[float, float], *, above: float, title: str
) -> list[Axes]:
    """Axes for so many pictures, in rows under a title. size: (width, height) of each; above: room over it; inches."""
    gap, edge, head = 0.12 if size[0] < 1 else 0.28, 0.15, 0.5
    across, down = min(columns, count), ceil(count / columns)
    inches = (max(across * (size[0] + gap) - gap, 5.2) + 2 * edge, head + down * (size[1] + above + gap) + edge / 2)
    figure.set_layout_engine("none")
    figure.set_size_inches(inches)
    figure.text(edge / inches[0], 1 - edge / inches[1], title, va="top", fontsize=10.5, fontweight="bold")
    tiles = []
    for k in range(count):
        left = edge + (k % columns) * (size[0] + gap)
        bottom = inches[1] - head - (k // columns + 1) * (size[1] + above + gap) + gap
        ax = figure.add_axes((left / inches[0], bottom / inches[1], size[0] / inches[0], size[1] / inches[1]))
        ax.set_axis_off()
        tiles.append(ax)
    return tiles


def _show(ax: Axes, image: Pixels) -> None:
    """A picture [H, W, C]; pixels stay square-edged where there are few of them."""
    grey = image.shape[2] == 1
    smooth = "antialiased" if max(image.shape) > 96 else "nearest"
    ax.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=255, interpolation=smooth)


def _percent(probability: float) -> str:
    """Without rounding up to a certainty that no probability has."""
    return f"{min(float(probability), 0.999):.1%}" if probability > 0.99 else f"{probability:.0%}"


def _names(labels: Sequence[str], longest: int) -> list[str]:
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
