"""A folder or a table of images becomes a data set: listed, decoded, looked through for duplicates, divided."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo.contract import RESIZINGS
from zoo.data.dataset import DataSet, Split
from zoo.data.folders.decoding import decode_all
from zoo.data.folders.duplicates import Duplicates, find_duplicates
from zoo.data.folders.findings import kept_together, make_report, obstacle, together, why_unusable
from zoo.data.folders.inspection import Inspection, Progress
from zoo.data.folders.layouts import list_images
from zoo.data.freed import give_back
from zoo.data.listing import SPLITS, Listing, Problem
from zoo.data.pixels import Images, take_apart
from zoo.data.splits import fill_splits
from zoo.errors import DataError

ON_BAD = ("skip", "fail")


def read_images(
    path: Path,
    *,
    size: tuple[int, int] | None = None,
    resizing: str = RESIZINGS[0],
    groups: str | None = None,
    on_bad: str = ON_BAD[0],
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    on_progress: Progress,
) -> DataSet:
    """Read every image of a folder or a table into a data set of its name.

    size: (height, width); by default the one that all images share, else 64x64. One channel where every image is
    gray, else three. Splits that the source doesn't have are drawn from its train images, 70/10/20 where it has none:
    the same share of each class, duplicates and groups together.
    groups, label, images, follow_links: as in `list_images`. on_bad: skip leaves out what can't be read, up to 5 % of
    it; fail takes none.
    Raises DataError for what isn't there, one class, a class with too few images for the splits, or too many images
    that can't be read.
    """
    listing = list_images(path, groups, label=label, images=images, follow_links=follow_links)
    return read_listing(
        listing, size=size, resizing=resizing, on_bad=on_bad, origin=str(path.resolve()), on_progress=on_progress
    )


def read_listing(
    listing: Listing,
    *,
    size: tuple[int, int] | None = None,
    resizing: str = RESIZINGS[0],
    on_bad: str = ON_BAD[0],
    origin: str,
    on_progress: Progress,
) -> DataSet:
    """The same from what is listed already. origin: where it was found."""
    found = _read(listing, size, resizing, on_bad, origin, on_progress)
    give_back()
    return found


def _read(
    listing: Listing, size: tuple[int, int] | None, resizing: str, on_bad: str, origin: str, on_progress: Progress
) -> DataSet:
    _refuse(why_unusable(listing))
    decoded, inspection = decode_all(listing, size, resizing, on_progress)
    duplicates = find_duplicates(inspection)
    kept = kept_together(listing, inspection, duplicates)
    report = make_report(listing, inspection, duplicates, kept)
    _refuse(obstacle(report.findings))
    if on_bad == "fail" and inspection.problems:
        raise DataError(
            f"{len(inspection.problems)} of {len(listing)} images in {listing.root} can't be read: "
            f"{inspection.problems[0].sentence} is the first"
        )
    splits, leaked, repeated = _divided(listing, inspection, kept, decoded)
    return DataSet(
        name=listing.name,
        labels=listing.labels,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        mirrored=listing.mirrored,
        origin=origin,
        skipped=(*leaked, *_left_out(listing), *(problem.sentence for problem in inspection.problems)),
        resizing=resizing,
        report=report,
        white=inspection.white,
        grouped=bool((listing.groups >= 0).any()),
        repeated=repeated,
    )


def _left_out(listing: Listing) -> Iterator[str]:
    """A sentence for each kind of thing that is no image: there may be as many as there are images."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in listing.left_out:
        by_kind.setdefault(problem.kind, []).append(problem)
    for problems in by_kind.values():
        others = f" (as are {len(problems) - 1:,} others)" if len(problems) > 1 else ""
        yield problems[0].sentence + others


def _refuse(reason: str) -> None:
    if reason:
        raise DataError(reason)


# --- splits --------------------------------------------------------------------------------------------------------


def _divided(
    listing: Listing, inspection: Inspection, duplicates: Duplicates, images: Images
) -> tuple[dict[str, Split], list[str], bool]:
    """train, validation and test, a sentence for what had to be left out of one, and `DataSet.repeated`."""
    readable = inspection.readable
    rows = np.cumsum(readable) - 1  # [N] in the listing -> in the images
    places = {split: np.flatnonzero(readable & (listing.splits == SPLITS.index(split))) for split in listing.given}
    leaked: list[str] = []
    same = together(listing, Duplicates(duplicates.equal, None))
    for judge, learner in (("test", "train"), ("test", "validation"), ("validation", "train")):
        if judge in places and learner in places:
            known = np.isin(same[places[learner]], same[places[judge]])
            if known.any():
                first = listing.where(int(places[learner][known][0]))
                leaked.append(
                    f"{known.sum():,} {learner} images are among those of {judge}, pixel by pixel or by their group, "
                    f"and are left out of {learner}: {first} is the first"
                )
                places[learner] = places[learner][~known]
    units = together(listing, duplicates)
    places = fill_splits(places, listing.classes, units)
    repeated = len(np.unique(units[places["validation"]])) < len(places["validation"])
    because = leaked[0] if leaked else "its groups or its duplicates went elsewhere"
    for name in SPLITS:
        present = np.isin(np.arange(len(listing.labels)), listing.classes[places[name]])
        if not present.all():
            label = listing.labels[int(present.argmin())]
            raise DataError(f"class {label!r} has no image of its own in {name} of {listing.root}: {because}")
    parts = take_apart(images, [rows[places[name]] for name in SPLITS])
    splits = {
        name: Split(
            part,
            listing.classes[places[name]].astype(np.int64),
            listing.files.take(places[name]),
        )
        for name, part in zip(SPLITS, parts, strict=True)
    }
    return splits, leaked, repeated
