"""How accuracy grows with the number of images, for several ways of learning from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from pipelines.plotting.palette import FAMILY_COLORS
from pipelines.plotting.style import MARKERS, PERCENT, dot, drawing

Estimate = tuple[float, float, float]  # mean, and the ends of its interval, 0..1


@drawing
def few_images(figure: Figure, images: Sequence[int], ways: Mapping[str, Sequence[Estimate]], title: str) -> str:
    """Test accuracy against images a class, a line for each way, with 95 % intervals over seeds.

    ways: by their name, an estimate for each of `images`; three of them at most. title: of one or two lines.
    """
    figure.set_size_inches(6.4, 3.9)
    ax = figure.subplots()
    places = [float(number) for number in images]
    for (name, estimates), family in zip(ways.items(), ("hybrid", "conv", "dense"), strict=False):
        color = FAMILY_COLORS[family]
        means, lows, highs = zip(*estimates, strict=True)
        ax.vlines(places, lows, highs, color=color, linewidth=1.6, alpha=0.5)
        ax.plot(places, means, color=color)
        ax.plot(places, means, **dot(color, MARKERS[family]), label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PERCENT)
    ax.margins(x=0.08)
    ax.set(xlabel="images a class, for training", title=title)
    ax.legend(loc="lower right")
    return f"{' '.join(title.split())}: " + "; ".join(
        f"{name} "
        + ", ".join(
            f"{mean:.1%} ({low:.1%} to {high:.1%}) with {number}"
            for number, (mean, low, high) in zip(images, estimates, strict=True)
        )
        for name, estimates in ways.items()
    )
