"""All images of a listing, decoded once to one size: into memory, or where they don't fit into a file."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from zoo.contract import LARGEST_SIDE, RESIZINGS, WHITE
from zoo.data.folders import inspection as inspecting
from zoo.data.folders.inspection import AHEAD, Inspection, Progress, inspect
from zoo.data.listing import Listing
from zoo.data.pixels import Images, PixelFile, PixelWriter
from zoo.data.storing import PIXELS_FILE, bytes_in_memory, check_whole, stored
from zoo.errors import ImageError
from zoo.formats import plugin_versions
from zoo.images import Decoded, resize

USUAL_SIZE = (64, 64)  # height and width in pixels, where the images have several sizes
INSPECTION_FILE = "inspection.npz"
PROBES = 16  # images that are looked at to see whether all have one size
BYTES_AHEAD = 2**28  # of images that are decoded before the first of them is kept
FORM = 5  # of those files: another number leaves older ones alone


class _OtherSizeError(Exception):
    """An image that doesn't have the size of those before it."""


def decode_all(
    listing: Listing, size: tuple[int, int] | None, resizing: str, on_progress: Progress
) -> tuple[Images, Inspection]:
    """The readable images, [N, H, W, C] in the order of the listing, and what was found in each file.

    size: (height, width); by default the one that all images share, else 64x64. resizing: how others come to it.
    Where all that have 16 bits use fewer of them, they are decoded again, with the white that the inspection says.
    Raises DataError where there is no room for them, neither in memory nor on the disk.
    """
    images, found = _at_a_size(listing, size, resizing, on_progress, WHITE)
    return (images, found) if found.white == WHITE else _at_a_size(listing, size, resizing, on_progress, found.white)


def _at_a_size(
    listing: Listing, size: tuple[int, int] | None, resizing: str, on_progress: Progress, white: int
) -> tuple[Images, Inspection]:
    if size is not None:
        return _stored(listing, size, resizing, on_progress, white)
    shared = _likely_size(listing)
    if shared is not None and max(shared) <= LARGEST_SIDE:
        # Most data sets have one size, which a few images show: looking at all headers first is a second pass.
        with suppress(_OtherSizeError):
            return _stored(listing, shared, None, on_progress, white)
    return _stored(listing, USUAL_SIZE, resizing, on_progress, white)


def _likely_size(listing: Listing) -> tuple[int, int] | None:
    """(height, width) that some images, from the first to the last, have in common; None where they differ."""
    sizes: set[tuple[int, int]] = set()
    for place in np.unique(np.linspace(0, len(listing) - 1, PROBES).astype(np.int64)).tolist():
        with suppress(ImageError), listing.decoding(place) as decoded:
            sizes.add(decoded.pixels.shape[:2])
    return sizes.pop() if len(sizes) == 1 else None


def _stored(
    listing: Listing, size: tuple[int, int], resizing: str | None, on_progress: Progress, white: int
) -> tuple[Images, Inspection]:
    """Decoded and resized, in memory where they fit, else in a file. resizing: None refuses other sizes."""
    if len(listing) * size[0] * size[1] * 3 <= bytes_in_memory():
        return _gathered(listing, size, resizing, PixelWriter(len(listing), *size), on_progress, white)

    def write(folder: Path) -> None:
        writer = PixelWriter(len(listing), *size, folder / PIXELS_FILE)
        _, found = _gathered(listing, size, resizing, writer, on_progress, white, thumbs_in=folder)
        inspecting.save(found, folder / INSPECTION_FILE)

    with stored(_key(listing, size, resizing, white), str(listing.root), len(listing), size, write) as kept:
        found = inspecting.read(kept / INSPECTION_FILE)
        shape = (int(found.readable.sum()), *size, 3 if found.colored else 1)
        check_whole(kept, math.prod(shape))
        return PixelFile(kept / PIXELS_FILE, shape), found


def _gathered(
    listing: Listing,
    size: tuple[int, int],
    resizing: str | None,
    writer: PixelWriter,
    on_progress: Progress,
    white: int,
    thumbs_in: Path | None = None,
) -> tuple[Images, Inspection]:
    def take_one(place: int, decoded: Decoded) -> Callable[[], None]:  # noqa: ARG001
        if resizing is None and decoded.pixels.shape[:2] != size:
            raise _OtherSizeError
        pixels = resize(decoded.pixels, *size, resizing or RESIZINGS[0])
        return lambda: writer.add(pixels)

    ahead_of = max(8, min(AHEAD, BYTES_AHEAD // (size[0] * size[1] * 3)))
    inspection = inspect(listing, take_one, on_progress, ahead_of, white, thumbs_in)
    return writer.finish(), inspection


def _key(listing: Listing, size: tuple[int, int], resizing: str | None, white: int) -> str:
    """The same for the same files, untouched since: by path, length and times of change."""
    import PIL

    root = os.path.realpath(listing.root)
    reading = (FORM, PIL.__version__, plugin_versions())  # what can't be read is kept, too
    of_all = (*reading, root, size, resizing, white, _touched(Path(root)) if Path(root).is_file() else "")
    digest = hashlib.sha256(repr(of_all).encode(errors="surrogateescape"))
    for place, file in enumerate(listing.files):
        digest.update(f"{file}\0{_touched(listing.holder(place))}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _touched(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:  # it isn't there, or is a place in an array
        return ""
    return f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"  # the last: permissions, too
