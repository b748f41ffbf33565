"""All images of a listing, decoded once to one size: into memory, or where they don't fit into a file."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from zoo.contract import LARGEST_SIDE, RESIZINGS, WHITE
from zoo.data.cache import cache_folder
from zoo.data.folders import inspection as inspecting
from zoo.data.folders.inspection import AHEAD, Inspection, Progress, inspect
from zoo.data.listing import Listing
from zoo.data.pixels import Images, PixelFile, PixelWriter
from zoo.errors import DataError, ImageError
from zoo.images import Decoded, resize

USUAL_SIZE = (64, 64)  # height and width in pixels, where the images have several sizes
MEMORY = "ZOO_MEMORY"  # environment: GiB of images that are kept in memory; above it they are read from a file
USUAL_MEMORY = 4.0
PIXELS_FILE, INSPECTION_FILE = "pixels.u8", "inspection.npz"
PROBES = 16  # images that are looked at to see whether all have one size
BYTES_AHEAD = 2**28  # of images that are decoded before the first of them is kept
LEFT_AFTER = 24 * 3600  # seconds: no decoding goes on for longer, and hardly a training
KEPT_FOR = 30 * 24 * 3600  # seconds, of images that nobody uses: a change in their folder makes new ones
FORM = 2  # of those files: another number leaves older ones alone


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
    needed = len(listing) * size[0] * size[1] * 3
    if needed <= _memory():
        return _gathered(listing, size, resizing, PixelWriter(len(listing), *size), on_progress, white)
    kept = cache_folder() / "images" / _key(listing, size, resizing, white)
    with suppress(OSError):  # the folder's name before; nothing happens where there is one of the new name
        (cache_folder() / "pictures").rename(kept.parent)
    try:
        if not kept.is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            _sweep(kept.parent, needed)
            _check_disk(listing, kept.parent, needed, size)
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=kept.parent))
            try:
                writer = PixelWriter(len(listing), *size, new / PIXELS_FILE)
                _, found = _gathered(listing, size, resizing, writer, on_progress, white)
                inspecting.save(found, new / INSPECTION_FILE)
                with suppress(OSError):  # another training may have been faster, whose images are as good
                    new.rename(kept)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        with suppress(OSError):  # it may be somebody else's
            os.utime(kept)  # when it was used last
        found = inspecting.read(kept / INSPECTION_FILE)
        shape = (int(found.readable.sum()), *size, 3 if found.colored else 1)
        if (kept / PIXELS_FILE).stat().st_size != math.prod(shape):
            raise DataError(f"{kept / PIXELS_FILE} was cut short: remove {kept}, and it is made anew")
        return PixelFile(kept / PIXELS_FILE, shape), found
    except OSError as error:
        reason = f"{error.filename or kept.parent} can't be used ({error.strerror or error})"
        raise DataError(
            f"{reason}: images that don't fit into memory are kept there; name another place by XDG_CACHE_HOME, or "
            f"allow more memory by {MEMORY}"
        ) from None


def _sweep(folder: Path, needed: int) -> None:
    """Remove what nobody has used for a month, and more of the oldest where the disk hasn't room for what is needed.

    What trainings that were killed have left half-written goes after a day, and nothing before: it may be in use.
    """
    stores = sorted((store.stat().st_mtime, store) for store in folder.iterdir())
    for used, store in stores:
        half_written, short = store.name.startswith(".new-"), shutil.disk_usage(folder).free < needed
        if time.time() - used > (LEFT_AFTER if half_written or short else KEPT_FOR):
            shutil.rmtree(store, ignore_errors=True)  # another one may be faster


def _gathered(
    listing: Listing,
    size: tuple[int, int],
    resizing: str | None,
    writer: PixelWriter,
    on_progress: Progress,
    white: int,
) -> tuple[Images, Inspection]:
    def take_one(place: int, decoded: Decoded) -> Callable[[], None]:  # noqa: ARG001
        if resizing is None and decoded.pixels.shape[:2] != size:
            raise _OtherSizeError
        pixels = resize(decoded.pixels, *size, resizing or RESIZINGS[0])
        return lambda: writer.add(pixels)

    ahead_of = max(8, min(AHEAD, BYTES_AHEAD // (size[0] * size[1] * 3)))
    inspection = inspect(listing, take_one, on_progress, ahead_of, white)
    return writer.finish(), inspection


def _memory() -> float:
    """Bytes of images that may be kept in memory."""
    given = os.environ.get(MEMORY, str(USUAL_MEMORY))
    try:
        gibibytes = float(given)
    except ValueError:
        gibibytes = -1.0
    if not gibibytes >= 0:
        raise DataError(f"{MEMORY} must be a number of GiB, 0 or more, received {given!r}")
    return gibibytes * 2**30


def _check_disk(listing: Listing, folder: Path, needed: int, size: tuple[int, int]) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{listing.root} holds {len(listing):,} images, which at {size[0]}x{size[1]} pixels take "
            f"{needed / 2**30:,.1f} GiB, more than {MEMORY} allows ({_memory() / 2**30:g}), and than is free on the "
            f"disk of {folder} ({free / 2**30:,.1f}): ask for a smaller size"
        )


def _key(listing: Listing, size: tuple[int, int], resizing: str | None, white: int) -> str:
    """The same for the same files, untouched since: by path, length and times of change."""
    import PIL

    root = os.path.realpath(listing.root)
    of_all = (FORM, PIL.__version__, root, size, resizing, white, _touched(Path(root)) if Path(root).is_file() else "")
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
