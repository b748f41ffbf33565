"""How a training went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipelines.figures.style import PERCENT, QUIET, RIGHT, dot, drawing


@drawing
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
        ax.plot(best_epoch, validation[kept], **dot(RIGHT))
        ax.set_title(f"{name.capitalize()} by epoch")
        ax.set_xlim(0.5, epochs[-1] + 0.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        ax.grid(visible=False, axis="x")
        # The first fifth would press all that follows against the edge: it may leave the panel.
        settled = np.concatenate([training[len(epochs) // 5 :], validation[len(epochs) // 5 :]])
        room = 0.08 * float(np.ptp(settled)) or 0.05
        ax.set_ylim(settled.min() - room, settled.max() + room)
    accuracies.yaxis.set_major_formatter(PERCENT)
    losses.legend(loc="upper right")
    best = history["validation_accuracy"][kept]
    accuracies.set_title(
        f"kept: epoch {best_epoch}, {best:.2%}", loc="right", color=RIGHT, fontsize=9.5, fontweight="normal"
    )
    return (
        f"Loss and accuracy over {epochs[-1]:.0f} epochs of training, and on the validation pictures; "
        f"kept were the weights of epoch {best_epoch}, with {best:.2%} of these right."
    )
