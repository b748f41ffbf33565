"""A folder or a table of pictures becomes a data set: listed, decoded once, divided, in memory or in a file."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.contract import LARGEST_SIDE, RESIZINGS
from zoo.data import inspection as inspecting
from zoo.data.cache import cache_folder
from zoo.data.dataset import DataSet, Split
from zoo.data.duplicates import Duplicates, find_duplicates
from zoo.data.inspection import Inspection, Progress, inspect
from zoo.data.layouts import list_pictures
from zoo.data.listing import SPLITS, Listing, Names, Problem
from zoo.data.pixels import Pictures, PixelFile, PixelWriter, take
from zoo.data.report import Report, make_report, together, why_unusable
from zoo.data.splits import TEST_SHARE, VALIDATION_SHARE_OF_REST, draw
from zoo.errors import DataError, PictureError
from zoo.pictures import Decoded, Pixels, resize

EXAMPLE_SIDE = 96  # pixels, of the pictures that a report shows
USUAL_SIZE = (64, 64)  # height and width in pixels, where the pictures have several sizes
MEMORY = "ZOO_MEMORY"  # environment: GiB of pictures that are kept in memory; above it they are read from a file
USUAL_MEMORY = 4.0
PIXELS_FILE, INSPECTION_FILE = "pixels.u8", "inspection.npz"
FORM = 1  # of those files: another number leaves older ones alone
ON_BAD = ("skip", "fail")


def read_pictures(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    resizing: str = RESIZINGS[0],
    groups: str | None = None,
    on_bad: str = ON_BAD[0],
    on_progress: Progress,
) -> DataSet:
    """Read every picture of a folder or a table into a data set of its name.

    size: (height, width); by default the one that all pictures share, else 64x64. One channel where every picture is
    grey, else three. Splits that the source doesn't have are drawn from its train pictures, 70/10/20 where it has none:
    the same share of each class, duplicates and groups together.
    groups: as in `list_pictures`. on_bad: skip leaves out what can't be read, up to 5 % of it; fail takes none.
    Raises DataError for what isn't there, one class, a class with too few pictures for the splits, or too many pictures
    that can't be read.
    """
    listing = list_pictures(path, groups)
    _refuse(why_unusable(listing))
    pictures, inspection = _decoded(listing, size, resizing, on_progress)
    duplicates = find_duplicates(inspection)
    _refuse(why_unusable(listing, inspection, duplicates))
    if on_bad == "fail" and inspection.problems:
        raise DataError(
            f"{len(inspection.problems)} of {len(listing)} pictures in {listing.root} can't be read: "
            f"{inspection.problems[0].sentence} is the first"
        )
    splits, leaked = _divided(listing, inspection, duplicates, pictures)
    return DataSet(
        name=listing.name,
        labels=listing.labels,
        **splits,
        mirrored=False,  # nobody knows: a mirrored 3 isn't one
        origin=str(path.resolve()),
        skipped=(*(problem.sentence for problem in inspection.problems), *_told(listing), *leaked),
        resizing=resizing,
        report=make_report(listing, inspection, duplicates),
    )


def check_pictures(
    path: Path, *, groups: str | None = None, examples: int = 0, on_progress: Progress
) -> tuple[Report, dict[str, list[Pixels]]]:
    """Look at every picture as `read_pictures` does, and keep none but `examples` of each class, by its name.

    Raises DataError where nothing can be listed.
    """
    listing = list_pictures(path, groups)
    kept: dict[str, list[Pixels]] = {label: [] for label in listing.labels}
    wanted = {int(place) for k in range(len(listing.labels)) for place in _spread(listing.classes == k, examples)}

    def look(place: int, decoded: Decoded) -> Callable[[], None]:
        if place not in wanted:
            return _nothing
        label = listing.labels[listing.classes[place]]
        height, width = _within(decoded.pixels.shape[0], decoded.pixels.shape[1], EXAMPLE_SIDE)
        pixels = resize(decoded.pixels, height, width)
        return lambda: kept[label].append(pixels)

    inspection = inspect(listing, look, on_progress)
    return make_report(listing, inspection, find_duplicates(inspection)), kept


def _spread(mine: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """`count` of the places that are mine, from the first to the last."""
    places = np.flatnonzero(mine)
    return places[np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64))]


def _within(height: int, width: int, most: int) -> tuple[int, int]:
    """The same proportions with no side above `most` pixels."""
    shrink = min(1.0, most / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _told(listing: Listing) -> Iterator[str]:
    """A sentence for each kind of thing that is no picture: there may be as many as there are pictures."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in listing.left_out:
        by_kind.setdefault(problem.kind, []).append(problem)
    for problems in by_kind.values():
        others = f" (as are {len(problems) - 1:,} others)" if len(problems) > 1 else ""
        yield problems[0].sentence + others


def _nothing() -> None:
    pass


def _refuse(reason: str) -> None:
    if reason:
        raise DataError(reason)


# --- pixels --------------------------------------------------------------------------------------------------------


class _OtherSizeError(Exception):
    """A picture that doesn't have the size of those before it."""


def _decoded(
    listing: Listing, size: tuple[int, int] | None, resizing: str, on_progress: Progress
) -> tuple[Pictures, Inspection]:
    """The readable pictures, [N, H, W, C] in the order of the listing."""
    if size is not None:
        return _stored(listing, size, resizing, on_progress)
    first = _first_size(listing)
    if first is not None and max(first) <= LARGEST_SIDE:
        # Most data sets have one size, which the first picture tells: looking at all headers first is a second pass.
        with suppress(_OtherSizeError):
            return _stored(listing, first, None, on_progress)
    return _stored(listing, USUAL_SIZE, resizing, on_progress)


def _first_size(listing: Listing) -> tuple[int, int] | None:
    """(height, width) of the first picture that can be read; None where there is none."""
    for place in range(len(listing)):
        with suppress(PictureError):
            height, width, _ = listing.decode(place).pixels.shape
            return height, width
    return None


def _stored(
    listing: Listing, size: tuple[int, int], resizing: str | None, on_progress: Progress
) -> tuple[Pictures, Inspection]:
    """Decoded and resized, in memory where they fit, else in a file. resizing: None refuses other sizes."""
    needed = len(listing) * size[0] * size[1] * 3
    if needed <= _memory():
        return _gathered(listing, size, resizing, PixelWriter(len(listing), *size), on_progress)
    kept = cache_folder() / "pictures" / _key(listing, size, resizing)
    try:
        if not kept.is_dir():
            kept.parent.mkdir(parents=True, exist_ok=True)
            _check_disk(listing, kept.parent, needed, size)
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=kept.parent))
            try:
                writer = PixelWriter(len(listing), *size, new / PIXELS_FILE)
                _, found = _gathered(listing, size, resizing, writer, on_progress)
                inspecting.save(found, new / INSPECTION_FILE)
                with suppress(OSError):  # another training may have been faster, whose pictures are as good
                    new.rename(kept)
            finally:
                shutil.rmtree(new, ignore_errors=True)
        found = inspecting.read(kept / INSPECTION_FILE)
        count, pixels = int(found.readable.sum()), (kept / PIXELS_FILE).stat().st_size
        shape = (count, *size, pixels // max(1, count * size[0] * size[1]))
        return PixelFile(kept / PIXELS_FILE, shape), found
    except OSError as error:
        reason = f"{error.filename or kept.parent} can't be used ({error.strerror or error})"
        raise DataError(f"{reason}: pictures that don't fit into memory are kept there; make room") from None


def _gathered(
    listing: Listing, size: tuple[int, int], resizing: str | None, writer: PixelWriter, on_progress: Progress
) -> tuple[Pictures, Inspection]:
    def take_one(place: int, decoded: Decoded) -> Callable[[], None]:  # noqa: ARG001
        if resizing is None and decoded.pixels.shape[:2] != size:
            raise _OtherSizeError
        pixels = resize(decoded.pixels, *size, resizing or RESIZINGS[0])
        return lambda: writer.add(pixels)

    inspection = inspect(listing, take_one, on_progress)
    return writer.finish(), inspection


def _memory() -> float:
    """Bytes of pictures that may be kept in memory."""
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
            f"{listing.root} holds {len(listing):,} pictures, which at {size[0]}x{size[1]} pixels take "
            f"{needed / 2**30:,.1f} GiB, more than {MEMORY} allows ({_memory() / 2**30:g}), and than is free on the "
            f"disk of {folder} ({free / 2**30:,.1f}): ask for a smaller size"
        )


def _key(listing: Listing, size: tuple[int, int], resizing: str | None) -> str:
    """The same for the same files, untouched since: by path, length and time of change, as `make` has it."""
    root = os.path.realpath(listing.root)
    digest = hashlib.sha256(repr((FORM, root, Path(root).stat().st_mtime_ns, size, resizing)).encode())
    for file in listing.files:
        try:
            found = (listing.root / file).stat()
            digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
        except OSError:
            digest.update(f"{file}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


# --- splits --------------------------------------------------------------------------------------------------------


def _divided(
    listing: Listing, inspection: Inspection, duplicates: Duplicates, pictures: Pictures
) -> tuple[dict[str, Split], list[str]]:
    """train, validation and test, and a sentence for what had to be left out of one of them."""
    readable = inspection.readable
    rows = np.cumsum(readable) - 1  # [N] in the listing -> in the pictures
    places = {split: np.flatnonzero(readable & (listing.splits == SPLITS.index(split))) for split in listing.given}
    leaked: list[str] = []
    for judge, learner in (("test", "train"), ("test", "validation"), ("validation", "train")):
        if judge in places and learner in places:
            known = np.isin(duplicates.equal[places[learner]], duplicates.equal[places[judge]])
            if known.any():
                first = listing.where(int(places[learner][known][0]))
                leaked.append(
                    f"{known.sum():,} {learner} pictures are among those of {judge}, pixel by pixel, and are left out "
                    f"of {learner}: {first} is the first"
                )
                places[learner] = places[learner][~known]
    units = together(listing, duplicates)
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE_OF_REST)):
        if name not in places:
            train = places["train"]
            stays, drawn = draw(listing.classes[train], share, units[train])
            places |= {"train": train[stays], name: train[drawn]}
    missing = [listing.labels[k] for k in range(len(listing.labels)) if k not in listing.classes[places["train"]]]
    if missing:
        raise DataError(f"class {missing[0]!r} in train of {listing.root} has no pictures of its own ({leaked[0]})")
    return {
        name: Split(
            take(pictures, rows[places[name]]),
            listing.classes[places[name]].astype(np.int64),
            Names(listing.files[k] for k in places[name].tolist()),
        )
        for name in SPLITS
    }, leaked
