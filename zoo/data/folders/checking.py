"""Every image of a listing, looked at and not kept: by this process, or part by part by several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.data.folders.duplicates import find_duplicates
from zoo.data.folders.findings import kept_together, make_report
from zoo.data.folders.inspection import LARGEST_WITH_THUMBS, Inspection, Progress, inspect
from zoo.data.folders.thumbs import THUMB, thumb_of, writing_thumbs
from zoo.data.listing import Listing, Problem
from zoo.data.report import Report
from zoo.images import Decoded, Pixels, resize

EXAMPLE_SIDE = 96  # pixels, of the images that a report shows
PART = 64  # images that one of several processes looks at before it says what it found: little, in one write to a pipe


@dataclass(frozen=True, eq=False)
class Part:
    """Some images of a listing, for whatever process.

    wanted: places in it of those that are shown. with_thumbs: whether there are few enough in all to keep theirs.
    """

    listing: Listing
    wanted: frozenset[int]
    white: int
    with_thumbs: bool


@dataclass(frozen=True, eq=False)
class Found:
    """What was found in a part, or in all. examples: those that are shown, by their places in it."""

    inspection: Inspection
    examples: dict[int, Pixels]


Look: TypeAlias = Callable[[Part], Found]
Mapping: TypeAlias = Callable[[Look, Iterable[Part]], Generator[Found]]


def check_images(
    listing: Listing,
    *,
    examples: int = 0,
    of_classes: int | None = None,
    on_progress: Progress,
    mapping: Mapping | None = None,
) -> tuple[Report, dict[str, list[Pixels]]]:
    """Look at every image as `read_listing` does, and keep none but `examples` of each class, by its name.

    of_classes: of so many classes, the first ones; by default of all. mapping: as `map`, in several processes; by
    default it is this one that looks at all of them, in its threads.
    """
    shown_classes = range(len(listing.labels))[:of_classes]
    wanted = {int(place) for k in shown_classes for place in _spread(listing.classes == k, examples)}

    def found(white: int) -> Found:
        if mapping is not None:
            with closing(mapping(look, _parts(listing, wanted, white))) as parts:
                return _joined(parts, listing, on_progress)
        kept = _Examples(wanted)
        return Found(inspect(listing, kept.take, on_progress, white=white), kept.taken)

    all_of_them = found(WHITE)
    if all_of_them.inspection.white != WHITE:
        all_of_them = found(all_of_them.inspection.white)
    inspection = all_of_them.inspection
    shown: dict[str, list[Pixels]] = {label: [] for label in listing.labels}
    for place, pixels in sorted(all_of_them.examples.items()):
        shown[listing.labels[listing.classes[place]]].append(pixels)
    duplicates = find_duplicates(inspection)
    return make_report(listing, inspection, duplicates, kept_together(listing, inspection, duplicates)), shown


# --- parts -----------------------------------------------------------------------------------------------------------


def look(part: Part) -> Found:
    """At each image of a part, one after the other. The thumbs, where they are kept, are in memory."""
    thumbs = np.zeros((len(part.listing), THUMB, THUMB, 1), np.uint8) if part.with_thumbs else None
    shown = _Examples(part.wanted)

    def take(place: int, decoded: Decoded) -> Callable[[], None]:
        if thumbs is not None:
            thumbs[place, ..., 0] = thumb_of(decoded)
        return shown.take(place, decoded)

    found = inspect(part.listing, take, _nothing, white=part.white, with_thumbs=False, threads=1)
    return Found(replace(found, thumbs=thumbs), shown.taken)


def _parts(listing: Listing, wanted: set[int], white: int) -> Iterator[Part]:
    with_thumbs = len(listing) <= LARGEST_WITH_THUMBS
    for begin in range(0, len(listing), PART):
        mine = frozenset(place - begin for place in wanted.intersection(range(begin, begin + PART)))
        yield Part(listing.excerpt(begin, begin + PART), mine, white, with_thumbs)


def _joined(parts: Iterable[Found], listing: Listing, on_progress: Progress) -> Found:
    """What was found in all parts, which come in their order, as if they were one."""
    count, done = len(listing), 0
    arrays: dict[str, NDArray[Any]] = {}
    modes, problems, examples = Counter[str](), list[Problem](), dict[int, Pixels]()
    with writing_thumbs(count, None) if count <= LARGEST_WITH_THUMBS else nullcontext() as writer:
        for part in parts:
            fields = dict(vars(part.inspection))
            modes.update(fields.pop("modes"))
            problems += fields.pop("problems")
            thumbs = fields.pop("thumbs")
            if writer is not None:
                writer.put(done, thumbs)
            for name, found in fields.items():
                arrays.setdefault(name, np.zeros(count, found.dtype))[done : done + len(found)] = found
            examples |= {done + place: pixels for place, pixels in part.examples.items()}
            done += len(part.inspection.formats)
            on_progress(done, count)
        kept = writer.finish() if writer is not None else None
    return Found(Inspection(modes=modes, problems=tuple(problems), thumbs=kept, **arrays), examples)


# --- examples --------------------------------------------------------------------------------------------------------


class _Examples:
    """Small copies of the wanted images, in `taken`."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted, self.taken = wanted, dict[int, Pixels]()

    def take(self, place: int, decoded: Decoded) -> Callable[[], None]:
        """As `inspect` calls it."""
        if place in self._wanted:
            height, width = _within(decoded.pixels.shape[0], decoded.pixels.shape[1], EXAMPLE_SIDE)
            self.taken[place] = resize(decoded.pixels, height, width)
        return _nothing


def _spread(mine: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """`count` of the places that are mine, from the first to the last."""
    places = np.flatnonzero(mine)
    return places[np.unique(np.linspace(0, len(places) - 1, min(count, len(places))).astype(np.int64))]


def _within(height: int, width: int, most: int) -> tuple[int, int]:
    """The same proportions with no side above `most` pixels."""
    shrink = min(1.0, most / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def _nothing(*_: int) -> None:
    pass
