"""How a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.plotting.palette import CORRECT, INK, QUIET
from pipelines.plotting.style import PERCENT, dot, drawing


@drawing
def curves(
    figure: Figure,
    history: Mapping[str, Sequence[float]],
    best_epoch: int,
    kind: str = "images",
    *,
    averaged: bool = False,
) -> str:
    """Loss and accuracy by epoch, from when learning has settled.

    history: epoch (from 1, or 0 for a head that learned before), train_loss and train_accuracy, and validation_loss and
    validation_accuracy where images were held out to validate on; averaged_validation_loss and
    averaged_validation_accuracy of a run that averages. What wasn't measured after an epoch is not a number.
    best_epoch: one of them, whose weights were kept; without a validation, the last. kind: of what there are many.
    averaged: whether those weights are an average.
    """
    figure.set_size_inches(9, 3.3)
    epochs = np.asarray(history["epoch"])
    kept = int(np.flatnonzero(epochs == best_epoch)[0])
    validated = "validation_accuracy" in history
    of_kept = "training" if not validated else "averaged weights" if averaged else "validation"
    losses, accuracies = figure.subplots(1, 2)
    for ax, name in ((losses, "loss"), (accuracies, "accuracy")):
        parts = {"training": (history[f"train_{name}"], QUIET)}
        if validated:
            parts["validation"] = (history[f"validation_{name}"], CORRECT)
        if f"averaged_validation_{name}" in history:
            parts["averaged weights"] = (history[f"averaged_validation_{name}"], INK)
        for label, (values, color) in parts.items():
            lone = "o" if label == "training" and len(epochs) == 1 else None
            ax.plot(epochs, values, color=color, label=label, marker=lone)
        values, color = parts[of_kept]
        ax.plot(best_epoch, values[kept], **dot(color))
        ax.set_title(f"{name.capitalize()} by epoch")
        ax.set_xlim(min(epochs[0], 1) - 0.5, epochs[-1] + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(visible=False, axis="x")
        # The first fifth would press all that follows against the edge: it may leave the panel.
        settled = np.concatenate([values[len(epochs) // 5 :] for values, _ in parts.values()])
        settled = settled[np.isfinite(settled)]
        room = 0.08 * float(np.ptp(settled)) or 0.05
        ax.set_ylim(settled.min() - room, settled.max() + room)
    accuracies.yaxis.set_major_formatter(PERCENT)
    losses.legend(loc="upper right")
    accuracy = history["averaged_validation_accuracy" if averaged else "validation_accuracy"][kept] if validated else 0
    best = f", {accuracy:.2%}" if validated else ", none held out"
    beside: dict[str, Any] = {"loc": "right", "fontsize": 9.5, "fontweight": "normal"}
    accuracies.set_title(f"kept: epoch {best_epoch}{best}", color=CORRECT if validated else QUIET, **beside)
    if not validated:
        return (
            f"Loss and accuracy over {epochs[-1]:.0f} epochs of training on all {kind} but those of the test: none "
            f"was held out to validate on, and the weights of epoch {best_epoch} were kept."
        )
    return (
        f"Loss and accuracy over {epochs[-1]:.0f} epochs of training, and on the validation {kind}; "
        f"kept were the {'averaged ' if averaged else ''}weights of epoch {best_epoch}, with an accuracy of "
        f"{accuracy:.2%}."
    )
