"""How a loss answers to the learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from pipelines.plotting.palette import CORRECT, INK, QUIET
from pipelines.plotting.style import dot, drawing, short_names


@drawing
def rate_curve(
    figure: Figure, name: str, rates: Sequence[float], losses: Sequence[float], lowest: float, suggested: float
) -> str:
    """The smoothed loss over the rate, with the rate of the lowest loss and the one that is suggested.

    name: of the model and its data. rates, losses: of each step. lowest, suggested: rates between the first and the
    last of them.
    """
    figure.set_size_inches(6, 3.6)
    ax = figure.subplots()
    ax.plot(rates, losses, color=QUIET)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    at = {rate: float(np.interp(np.log(rate), np.log(rates), losses)) for rate in (lowest, suggested)}
    ax.axvline(suggested, color=CORRECT, linewidth=1)
    ax.plot(lowest, at[lowest], **dot(INK))
    ax.plot(suggested, at[suggested], **dot(CORRECT))
    ax.annotate(f"suggested: {suggested:g}", (suggested, at[suggested]), (8, 6), textcoords="offset points")
    ax.annotate(f"lowest loss: {lowest:.2g}", (lowest, at[lowest]), (0, -16), textcoords="offset points", ha="center")
    worst = max(losses[: max(1, int(np.argmin(losses)))])
    room = 0.2 * (worst - min(losses))
    ax.set_ylim(min(losses) - 1.5 * room, worst + 2 * room)  # where it diverged may leave the plot
    ax.set(xlabel="learning rate", ylabel="loss, smoothed")
    ax.set_title(f"Learning rate range test: {short_names([name], 50)[0]}")
    ax.grid(visible=False, axis="x")
    return (
        f"Smoothed loss of {name} at learning rates from {rates[0]:.2g} to {rates[-1]:.2g}: lowest at {lowest:.2g}; "
        f"suggested is {suggested:g}."
    )
