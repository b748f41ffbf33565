"""How much memory a job takes by the number of its images."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from pipelines.plotting.palette import FAMILY_COLORS
from pipelines.plotting.style import MARKERS, dot, drawing


@drawing
def bulk_memory(figure: Figure, images: Sequence[int], writes: Sequence[float], reads: Sequence[float]) -> str:
    """The most memory, in MB, of the process that writes and of all that read, for jobs of so many images each."""
    figure.set_size_inches(6.4, 3.4)
    ax = figure.subplots()
    places = [float(number) for number in images]
    lines = {"the process that writes": ("dense", writes), "all that read and classify": ("conv", reads)}
    for name, (family, most) in lines.items():
        ax.plot(places, most, color=FAMILY_COLORS[family])
        ax.plot(places, most, **dot(FAMILY_COLORS[family], MARKERS[family]), label=name)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(places))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    ax.set_ylim(0, 1.35 * max(*writes, *reads))
    ax.margins(x=0.08)
    ax.set(xlabel="images in a job", ylabel="largest resident memory (MB)", title="Memory by the number of images")
    ax.legend(loc="upper left", ncols=2)
    return "Largest resident memory: " + "; ".join(
        f"{number:,} images, {own:.0f} MB in the process that writes and {others:.0f} MB in all that read"
        for number, own, others in zip(images, writes, reads, strict=True)
    )
