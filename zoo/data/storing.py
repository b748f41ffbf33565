"""Where images are kept that don't fit into memory: in the cache, a folder for what was made of one source."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from zoo.data.cache import KEPT_FOR, LEFT_AFTER, NEW, cache_folder, remove_left
from zoo.errors import DataError

MEMORY = "ZOO_MEMORY"  # environment: GiB of images that are kept in memory; above it they are read from a file
USUAL_MEMORY = 4.0
PIXELS_FILE = "pixels.u8"


def bytes_in_memory() -> float:
    """Bytes of images that may be kept in memory. DataError where the environment says no number."""
    given = os.environ.get(MEMORY, str(USUAL_MEMORY))
    try:
        gibibytes = float(given)
    except ValueError:
        gibibytes = -1.0
    if not gibibytes >= 0:
        raise DataError(f"{MEMORY} must be a number of GiB, 0 or more, received {given!r}")
    return gibibytes * 2**30


@contextmanager
def stored(key: str, where: str, images: int, size: tuple[int, int], write: Callable[[Path], None]) -> Iterator[Path]:
    """The folder of a key in the cache, in a block that reads what `write` has put into it, now or before.

    where: what holds so many images, which take the size (height, width) in three channels, in words.
    Raises DataError where the disk has no room for them, or can't be used.
    """
    kept, needed = cache_folder() / "images" / key, images * size[0] * size[1] * 3
    with suppress(OSError):  # the folder's name before; nothing happens where there is one of the new name
        (cache_folder() / "pictures").rename(kept.parent)
    try:
        if not kept.is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            remove_left(kept.parent)
            _sweep(kept.parent, needed)
            _check_disk(kept.parent, needed, f"{where} holds {images:,} images, which at {size[0]}x{size[1]} pixels")
            new = Path(tempfile.mkdtemp(prefix=NEW, dir=kept.parent))
            try:
                write(new)
                try:
                    new.rename(kept)
                except OSError:
                    if not kept.is_dir():  # else another training was faster, whose images are as good
                        raise
            finally:
                shutil.rmtree(new, ignore_errors=True)
        with suppress(OSError):  # it may be somebody else's
            os.utime(kept)  # when it was used last
        yield kept
    except OSError as error:
        reason = f"{error.filename or kept.parent} can't be used ({error.strerror or error})"
        raise DataError(
            f"{reason}: images that don't fit into memory are kept there; choose another place with XDG_CACHE_HOME, or "
            f"allow more memory with {MEMORY}"
        ) from None


def check_whole(kept: Path, expected: int) -> None:
    """Raise DataError where the file of pixels in a folder doesn't have that many bytes."""
    if (kept / PIXELS_FILE).stat().st_size != expected:
        raise DataError(f"{kept / PIXELS_FILE} was cut short: remove {kept}, and it will be created again")


def _sweep(folder: Path, needed: int) -> None:
    """Remove what nobody has used for a month, and more of the oldest where the disk hasn't room for what is needed.

    Nothing goes within a day: it may be in use.
    """
    stores: list[tuple[float, Path]] = []
    for store in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has finished or removed it just now
            stores.append((store.stat().st_mtime, store))
    for used, store in sorted(stores):
        short = shutil.disk_usage(folder).free < needed
        if time.time() - used > (LEFT_AFTER if short else KEPT_FOR) and not store.name.startswith(NEW):
            shutil.rmtree(store, ignore_errors=True)  # another one may be faster


def _check_disk(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{what} take {needed / 2**30:,.1f} GiB, more than {MEMORY} allows ({bytes_in_memory() / 2**30:g}), and "
            f"than is free on the disk of {folder} ({free / 2**30:,.1f}): ask for a smaller size"
        )
