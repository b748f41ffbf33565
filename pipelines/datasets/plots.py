"""A folder of images at a glance: some of each class, how many there are, and of what sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from pipelines.plotting.palette import BLUE, QUIET, SKY, VERMILION
from pipelines.plotting.style import drawing, short_names
from pipelines.plotting.tiles import show_image
from zoo.data.report import ClassCount, SizeCount
from zoo.images import Pixels

CLASSES_DRAWN = 40
SPLIT_COLORS = {"train": BLUE, "validation": SKY, "test": VERMILION}


@drawing
def contact_sheet(figure: Figure, examples: Mapping[str, Sequence[Pixels]]) -> str:
    """Some images of each class in a row. examples: class name -> images [H, W, C] uint8 of any sizes."""
    shown = list(examples.items())[:CLASSES_DRAWN]
    names = short_names([label for label, _ in shown], 22)
    columns = max([len(images) for _, images in shown], default=1)
    side, gap, left, head = 0.62, 0.06, 1.75, 0.5
    width, height = left + columns * (side + gap) + 0.15, head + len(shown) * (side + gap) + 0.1
    figure.set_layout_engine("none")
    figure.set_size_inches(width, height)
    more = f", the first {len(shown)} of {len(examples)}" if len(examples) > len(shown) else ""
    figure.text(0.15 / width, 1 - 0.15 / height, f"Examples of each class{more}", va="top", fontweight="bold")
    for row, ((_, images), name) in enumerate(zip(shown, names, strict=True)):
        bottom = height - head - (row + 1) * (side + gap) + gap
        figure.text((left - 0.1) / width, (bottom + side / 2) / height, name, ha="right", va="center", color=QUIET)
        for k, image in enumerate(images):
            box = ((left + k * (side + gap)) / width, bottom / height, side / width, side / height)
            ax = figure.add_axes(box)
            ax.set_axis_off()
            show_image(ax, image)
    return f"Up to {columns} images of each of {len(shown)} classes{more}, a row for each class."


@drawing
def class_counts(figure: Figure, classes: Sequence[ClassCount]) -> str:
    """Images of each class, split by split where the source has splits itself."""
    shown = sorted(classes, key=lambda found: -found.images)[:CLASSES_DRAWN]
    figure.set_size_inches(6.4, 0.9 + 0.22 * len(shown))
    ax = figure.add_subplot()
    names = short_names([found.label for found in shown], 22)
    begun = np.zeros(len(shown))
    splits = list(shown[0].splits) if shown else []
    for split in splits:
        counts = np.array([found.splits[split] for found in shown])
        ax.barh(range(len(shown)), counts, left=begun, color=SPLIT_COLORS[split], label=split, height=0.7)
        begun += counts
    for place, found in enumerate(shown):
        ax.annotate(f" {found.images:,}", (begun[place], place), va="center", color=QUIET, fontsize=8)
    ax.set_yticks(range(len(shown)), names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    more = f", the {len(shown)} largest of {len(classes):,}" if len(classes) > len(shown) else ""
    ax.set_title(f"Images of each class{more}")
    if len(splits) > 1:
        ax.legend(loc="lower right")
    return f"Images of each class{more}: " + ", ".join(f"{found.label} {found.images:,}" for found in shown) + "."


@drawing
def image_sizes(figure: Figure, sizes: Sequence[SizeCount], count: int) -> str:
    """Width and height of the images; the area of a dot is how many have them. count: of sizes, if these aren't all."""
    figure.set_size_inches(4.6, 4.2)
    ax = figure.add_subplot()
    counts = np.array([size.images for size in sizes], float)
    area = 12 + 300 * counts / counts.max()
    widths, heights = [size.width for size in sizes], [size.height for size in sizes]
    ax.scatter(widths, heights, area, color=BLUE, alpha=0.5, linewidth=0)
    if max(*widths, *heights) > 20 * min(*widths, *heights):
        ax.set_xscale("log")
        ax.set_yscale("log")
    ax.set_xlabel("width in pixels")
    ax.set_ylabel("height in pixels")
    what = f"{len(sizes):,} image size{'s' if len(sizes) > 1 else ''}"
    what = f"The {len(sizes):,} most common of {count:,} image sizes" if count > len(sizes) else what
    ax.set_title(what)
    most = sizes[0]
    return (
        f"{what}, from {min(widths)} to {max(widths)} pixels wide and from {min(heights)} to "
        f"{max(heights)} high; the most common is {most.width} wide and {most.height} high ({most.images:,} images)."
    )
