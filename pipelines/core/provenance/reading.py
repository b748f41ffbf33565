"""The images, or the table, of a plan or of an export, read once in a process."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from pipelines.core.provenance.code import known_by_content
from pipelines.core.support.progress import progress
from zoo.contract import RESIZINGS, Metadata
from zoo.data import DataSet, Split, data_sets, load
from zoo.errors import VerificationError

logger = logging.getLogger("zoo.data")

MOST_FINDINGS = 6
MOST_LISTED = 20  # sentences about files that were left out; `zoo data check` lists all


@dataclass(frozen=True)
class Located:
    """Where a data set lies whose path alone doesn't say it. The fields are those of a Plan."""

    data: str
    label: str | None = None
    images: str | Path | None = None
    follow_links: bool = False
    data_folder: str | Path | None = None


@known_by_content
@lru_cache(maxsize=2)
def read_data(
    data: str,
    folder: str | None = None,
    size: tuple[int, int] | None = None,
    resizing: str = RESIZINGS[0],
    groups: str | None = None,
    on_bad: str = "skip",
    label: str | None = None,
    images: str | None = None,
    follow_links: bool = False,
    name: str | None = None,
) -> DataSet:
    """A data set as `zoo.data.load` reads it, with progress; what was found in it, and left out of it, is a
    warning of `zoo.data`: whoever learns from it is to see what the check knows.

    Raises what that raises.
    """
    with progress(f"reading {Path(data).name}") as advance:
        found = load(
            data,
            folder=Path(folder) if folder else None,
            size=size,
            resizing=resizing,
            groups=groups,
            on_bad=on_bad,
            label=label,
            images=Path(images) if images else None,
            follow_links=follow_links,
            on_progress=lambda done, in_all: advance(done, in_all, f"{done:,} of {in_all:,}"),
        )
    found = found if name is None else replace(found, name=name)
    for sentence in found.report.understood if found.report else ():
        logger.info("%s", sentence)
    findings = found.findings
    for sentence in findings[:MOST_FINDINGS]:
        logger.warning("%s: %s", found.name, sentence)
    if len(findings) > MOST_FINDINGS:
        logger.warning("%s: %d findings more, which `zoo data check` lists", found.name, len(findings) - MOST_FINDINGS)
    for sentence in found.skipped[:MOST_LISTED]:
        logger.warning("left out: %s", sentence)
    if len(found.skipped) > MOST_LISTED:
        logger.warning("and %s more: `zoo data check` lists them all", f"{len(found.skipped) - MOST_LISTED:,}")
    return found


def find_test_set(metadata: Metadata, data: str | Located | DataSet | None) -> Split | None:
    """The images that an export was tested on; None where nobody says which they are. As `find_data_set`."""
    data_set = find_data_set(metadata, data)
    return data_set.test if data_set else None


def find_data_set(metadata: Metadata, data: str | Located | DataSet | None) -> DataSet | None:
    """The images that an export was made with, in their splits; None where nobody says which they are.

    data: the data set, its name or its path, or where it lies; by default the one that the export names, if it is a
    known one.
    Raises DataError where they can't be loaded, VerificationError where they aren't the same any more.
    """
    if data is None and metadata.data_set not in data_sets():
        return None
    data_set = read_as(metadata, metadata.data_set if data is None else data)
    if data_set.digest != metadata.data_digest:
        raise VerificationError(
            f"the {data_set.kind} of {data_set.name} aren't those that {metadata.data_set}/{metadata.model} was made "
            f"with (digest {data_set.digest[:12]}, expected {metadata.data_digest[:12]}): give the same ones with "
            "--data"
        )
    return data_set


def read_as(metadata: Metadata, data: str | Located | DataSet) -> DataSet:
    """A data set in the size and the splits that an export says, whether or not they are those that it was made with.

    Raises DataError where it can't be loaded.
    """
    if isinstance(data, DataSet):
        return data
    at = data if isinstance(data, Located) else Located(data)
    if metadata.columns:
        return load(at.data, label=metadata.label_column)
    # What is remembered of a folder may have changed since.
    read = read_data if at.data in data_sets() else read_data.__wrapped__
    images, folder = (str(path) if path else None for path in (at.images, at.data_folder))
    how = {"size": (metadata.height, metadata.width), "resizing": metadata.resizing, "groups": metadata.groups or None}
    return read(at.data, folder, label=at.label, images=images, follow_links=at.follow_links, **how)
