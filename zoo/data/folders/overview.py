"""An overview of images that are listed: how many there are, of how many classes, and what some of them are like."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from zoo.data.folders.findings import why_unusable
from zoo.data.listing import SPLITS, Listing
from zoo.errors import DataError, ImageError

LOOKED_AT = 64  # images, from the first to the last


@dataclass(frozen=True)
class Overview:
    """images: in all splits. classes: how many. height, width: medians, in pixels. colored: whether any image is.

    tested: those of a test split that the source has itself; nothing is learned from them, however few the others are.
    """

    images: int
    classes: int
    height: int
    width: int
    colored: bool
    tested: int = 0

    @property
    def learned(self) -> int:
        """Images to learn from, if no more are put aside."""
        return self.images - self.tested

    def __str__(self) -> str:
        """In a few words."""
        kind = "color" if self.colored else "gray"
        return f"{self.images:,} {kind} images of about {self.height}x{self.width} in {self.classes} classes"


def overview(listing: Listing) -> Overview:
    """What is seen of some of the images. DataError where none of these can be read, or nothing learned from them."""
    if reason := why_unusable(listing):
        raise DataError(reason)
    sizes, colored = [], False
    for place in np.unique(np.linspace(0, len(listing) - 1, LOOKED_AT).astype(np.int64)).tolist():
        with suppress(ImageError), listing.decoding(place) as decoded:
            sizes.append(decoded.pixels.shape[:2])
            colored = colored or decoded.pixels.shape[2] == 3
    if not sizes:
        raise DataError(f"none of {LOOKED_AT} images of {listing.root} can be read: `zoo data check` says why")
    height, width = np.median(np.array(sizes), axis=0).astype(int).tolist()
    tested = int(np.count_nonzero(listing.splits == SPLITS.index("test")))
    return Overview(len(listing), len(listing.labels), height, width, colored, tested)
