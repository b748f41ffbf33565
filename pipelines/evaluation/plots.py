"""Plots of a model's predictions: confusion matrix, reliability of its probabilities, accuracy on corrupted images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from pipelines.core.metrics.calibration import CalibrationBin, accuracy_by_share, calibration_error
from pipelines.core.metrics.classification import Counts
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.evaluation.robustness import CorruptedMetrics
from pipelines.plotting.palette import CORRECT, INK, PAPER, QUIET, WRONG
from pipelines.plotting.style import PERCENT, dot, drawing, short_names, tints

NUMBERED_CLASSES = 20  # of more than these, the counts in a confusion matrix are too small to read
LEAST_SHARE = 0.02
NAMED_CLASSES = 50  # of more than these, the names are


@drawing
def confusion(figure: Figure, matrix: Counts, labels: Sequence[str], kind: str = "images") -> str:
    """A row per class, a column per predicted class, and at the right the share of the row that is correct.

    matrix: [K, K] counts. kind: of what. Up to 20 classes have their numbers written, up to 50 their names.
    """
    classes = len(labels)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # [K, K], of the row
    errors = np.where(np.eye(classes, dtype=bool), 0, shares)
    # The root, so that rare errors are seen beside common ones; full color from one image in ten.
    heat = np.sqrt(errors / max(errors.max(), 0.1))
    colors = tints(heat, WRONG)
    colors[np.diag_indices(classes)] = tints(0.55 * np.diag(shares), CORRECT)

    side = float(np.clip(0.44 * classes, 2.6, 9))
    figure.set_size_inches(side + 2.2, side + 1.6)
    ax = figure.subplots()
    ax.imshow(colors, interpolation="nearest")
    ax.set(xlabel="prediction", ylabel="class")
    ax.set_title("Confusion matrix" if errors.any() else f"Every {kind[:-1]} is classified correctly")
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    if classes <= NAMED_CLASSES:
        names = short_names(labels, 18)
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
        ax.annotate("correct", (1, 1), (8, 10), xycoords="axes fraction", **beside)
        for row, recall in enumerate(np.diag(shares)):
            ax.annotate(f"{recall:.1%}", (1, row), (8, 0), xycoords=("axes fraction", "data"), va="center", **beside)
    return confusion_text(matrix, labels, kind)


def confusion_text(matrix: Counts, labels: Sequence[str], kind: str = "images") -> str:
    """What the plot shows, in words."""
    wrong = matrix - np.diag(np.diag(matrix))
    text = f"Confusion matrix of {len(labels)} classes, {wrong.sum():,} of {matrix.sum():,} test {kind} misclassified"
    if not wrong.any():
        return f"{text}."
    row, column = divmod(int(wrong.argmax()), len(labels))
    return (
        f"{text}; the most frequent error: {wrong[row, column]:,} of {labels[row]!r} classified as {labels[column]!r}."
    )


@drawing
def corruptions(figure: Figure, corrupted: Sequence[CorruptedMetrics], clean: float) -> str:
    """A row for each kind of corruption, a column for each strength: the accuracy, in a deeper color where it is lost.

    corrupted: in the order of the rows, and from mild to strong. clean: the accuracy on the images as they are, 0..1.
    """
    kinds = list(dict.fromkeys(each.kind for each in corrupted))
    columns = max(each.severity for each in corrupted)
    shares = np.full((len(kinds), columns), np.nan)
    for each in corrupted:
        shares[kinds.index(each.kind), each.severity - 1] = each.accuracy
    lost = np.clip((clean - shares) / max(clean, 0.01), 0, 1)

    figure.set_size_inches(0.62 * columns + 3.6, 0.34 * len(kinds) + 1.4)
    ax = figure.subplots()
    ax.imshow(tints(np.nan_to_num(lost), WRONG), interpolation="nearest", aspect="auto")
    seen = {each.kind for each in corrupted if each.seen}
    note = "\n* imitated by augmentation in training" if seen else ""
    ax.set(xlabel=f"strength{note}", title=f"Accuracy on corrupted images, {clean:.1%} on clean ones")
    ax.set_xticks(range(columns), [f"{column + 1}" for column in range(columns)], color=INK)
    ax.set_yticks(range(len(kinds)), [f"{kind} *" if kind in seen else kind for kind in kinds], color=INK)
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    ax.set_xticks(np.arange(columns - 1) + 0.5, minor=True)
    ax.set_yticks(np.arange(len(kinds) - 1) + 0.5, minor=True)
    ax.grid(visible=True, which="minor", color=PAPER, linewidth=2)
    for row, column in np.argwhere(~np.isnan(shares)):
        shade = PAPER if lost[row, column] > 0.6 else INK
        ax.text(column, row, f"{shares[row, column]:.0%}", ha="center", va="center", color=shade, fontsize=8)
    return corruptions_text(corrupted, clean)


def corruptions_text(corrupted: Sequence[CorruptedMetrics], clean: float) -> str:
    """What the plot shows, in words."""
    worst = min(corrupted, key=lambda each: each.accuracy)
    kinds = len({each.kind for each in corrupted})
    return (
        f"Accuracy by strength for {kinds} kinds of corrupted test images, {clean:.2%} on clean ones; the worst is "
        f"{worst.kind} of strength {worst.severity} with {worst.accuracy:.2%}."
    )


@drawing
def reliability(figure: Figure, bins: Sequence[CalibrationBin], kind: str = "images") -> str:
    """The accuracy of predictions by confidence, with 95% intervals, and the number of predictions."""
    figure.set_size_inches(4.6, 4.9)
    ax, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    confidence = np.array([b.confidence for b in bins])
    accuracy = np.array([b.accuracy for b in bins])
    intervals = np.array([wilson_interval(b.correct, b.images) for b in bins]).T  # [2, bins]
    ax.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
    ax.vlines(confidence, *intervals, color=CORRECT, linewidth=1.4, alpha=0.55)
    ax.plot(confidence, accuracy, **dot(CORRECT))
    error = calibration_error(list(bins))
    ax.set(ylabel="accuracy", ylim=(-0.02, 1.02), title="Reliability diagram")
    ax.text(0.97, 0.12, f"calibration error {error:.2%}", transform=ax.transAxes, ha="right", color=CORRECT)
    ax.text(0.97, 0.05, "below the line: overconfident", transform=ax.transAxes, ha="right", color=QUIET)
    below.bar(confidence, [b.images for b in bins], width=0.035, color=QUIET)
    below.set(yscale="log", ylabel=kind, xlabel="probability of the prediction", xlim=(-0.02, 1.03))
    below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
    below.yaxis.set_minor_formatter(NullFormatter())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PERCENT)
    figure.align_ylabels()
    return reliability_text(bins)


def reliability_text(bins: Sequence[CalibrationBin]) -> str:
    """What the plot shows, in words."""
    error, surest = calibration_error(list(bins)), bins[-1]
    return (
        f"Reliability diagram, expected calibration error {error:.2%}: of the {surest.images:,} most confident "
        f"predictions, with a mean probability of {surest.confidence:.1%}, {surest.accuracy:.1%} are correct."
    )


@drawing
def decision(figure: Figure, confidence: NDArray[np.floating], correct: NDArray[np.bool_], kind: str = "images") -> str:
    """The accuracy of the most confident predictions, over the share that is accepted; the rest is left to people.

    confidence, correct: [N], of the answers.
    """
    figure.set_size_inches(4.6, 3.6)
    ax = figure.subplots()
    answered, accuracy = accuracy_by_share(confidence, correct)
    shown = answered >= LEAST_SHARE  # of fewer the accuracy jumps with each of them
    right = np.round(accuracy[shown] * answered[shown] * len(correct)).astype(int)
    number = np.round(answered[shown] * len(correct)).astype(int)
    some = np.unique(np.linspace(0, shown.sum() - 1, 200).astype(int))
    intervals = np.array([wilson_interval(r, n) for r, n in zip(right[some], number[some], strict=True)])
    ax.fill_between(answered[shown][some], intervals[:, 0], intervals[:, 1], color=CORRECT, alpha=0.15, linewidth=0)
    ax.plot(answered[shown], accuracy[shown], color=CORRECT)
    ax.set(
        xlabel=f"share of the {kind} accepted, most confident first", ylabel="accuracy of these", title="Decision plot"
    )
    ax.set_xlim(0, 1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PERCENT)
    return decision_text(confidence, correct, kind)


def decision_text(confidence: NDArray[np.floating], correct: NDArray[np.bool_], kind: str = "images") -> str:
    """What the plot shows, in words."""
    answered, accuracy = accuracy_by_share(confidence, correct)
    half = int(np.searchsorted(answered, 0.5))
    return (
        f"Decision plot: the accuracy is {accuracy[half]:.1%} on the half of the test {kind} with the most confident "
        f"predictions, and {accuracy[-1]:.1%} on all of them."
    )
