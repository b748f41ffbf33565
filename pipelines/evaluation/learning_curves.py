"""How a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.plotting.palette import CORRECT, QUIET
from pipelines.plotting.style import PERCENT, dot, drawing


@drawing
def curves(figure: Figure, history: Mapping[str, Sequence[float]], best_epoch: int, kind: str = "images") -> str:
    """Loss and accuracy by epoch, from when learning has settled.

    history: epoch (from 1), train_loss and train_accuracy, and validation_loss and validation_accuracy where images
    were held out to validate on. best_epoch: one of them, whose weights were kept. kind: of what there are
    many.
    """
    figure.set_size_inches(9, 3.3)
    epochs = np.asarray(history["epoch"])
    kept = int(np.flatnonzero(epochs == best_epoch)[0])
    validated = "validation_accuracy" in history
    losses, accuracies = figure.subplots(1, 2)
    for ax, name in ((losses, "loss"), (accuracies, "accuracy")):
        parts = {"training": (history[f"train_{name}"], QUIET)}
        if validated:
            parts["validation"] = (history[f"validation_{name}"], CORRECT)
        for label, (values, color) in parts.items():
            lone = "o" if label == "training" and len(epochs) == 1 else None
            ax.plot(epochs, values, color=color, label=label, marker=lone)
        values, color = parts["validation" if validated else "training"]
        ax.plot(best_epoch, values[kept], **dot(color))
        ax.set_title(f"{name.capitalize()} by epoch")
        ax.set_xlim(0.5, epochs[-1] + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(visible=False, axis="x")
        # The first fifth would press all that follows against the edge: it may leave the panel.
        settled = np.concatenate([values[len(epochs) // 5 :] for values, _ in parts.values()])
        room = 0.08 * float(np.ptp(settled)) or 0.05
        ax.set_ylim(settled.min() - room, settled.max() + room)
    accuracies.yaxis.set_major_formatter(PERCENT)
    losses.legend(loc="upper right")
    best = f", {history['validation_accuracy'][kept]:.2%}" if validated else ", none held out"
    beside: dict[str, Any] = {"loc": "right", "fontsize": 9.5, "fontweight": "normal"}
    accuracies.set_title(f"kept: epoch {best_epoch}{best}", color=CORRECT if validated else QUIET, **beside)
    if not validated:
        return (
            f"Loss and accuracy over {epochs[-1]:.0f} epochs of training on all {kind} but those of the test: none "
            f"was held out to validate on, and the weights of epoch {best_epoch} were kept."
        )
    return (
        f"Loss and accuracy over {epochs[-1]:.0f} epochs of training, and on the validation {kind}; "
        f"kept were the weights of epoch {best_epoch}, with an accuracy of {history['validation_accuracy'][kept]:.2%}."
    )
