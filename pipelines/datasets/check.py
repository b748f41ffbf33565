"""`zoo data check DATA`: what lies there, whether one can learn from it, and what to do about it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from pipelines.core.support.progress import progress
from pipelines.core.support.workers import in_workers, usable_cores
from pipelines.datasets.plots import CLASSES_DRAWN
from pipelines.datasets.report import EXAMPLES, write_page
from zoo.data.folders.checking import PART, check_images
from zoo.data.registry import holds_values, list_data
from zoo.data.report import Report, TableReport
from zoo.data.tables.report import check_table
from zoo.errors import DataError, InputError

WORTH_A_PROCESS = 5_000  # images: with fewer of them its start takes longer than it saves


def data_check(
    data: str | Path,
    *,
    folder: Path | None = None,
    label: str | None = None,
    groups: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    page: Path | None = None,
    processes: int | None = None,
) -> Report | TableReport:
    """Check every image of a folder, table of files, array file, set of shards, or catalog, or every row of a table.

    data: a path, tfds:NAME, or hf:USER/NAME. folder: where TensorFlow Datasets prepared it.
    label: the column with the class, in a table or a catalog. groups, images, follow_links: as in `train`. page: where
    to write the report on images as HTML. processes: how many look at images, by default one per core if there are
    5,000 images for each; the report doesn't depend on their number.
    Raises DataError if nothing can be listed or the page can't be written, and InputError if one of several processes
    doesn't start or is killed.
    """
    if processes is not None and processes < 1:
        raise InputError(f"processes must be 1 or more, received {processes}")
    if holds_values(str(data), label, images):
        if groups is not None or page is not None or follow_links or folder is not None:
            option = "--data-folder" if folder is not None else "--follow-links"
            raise DataError(f"{data} is a table of values: --groups and --html require images, and so does {option}")
        return check_table(Path(data), label)
    if page is not None and (not page.name or page.is_dir()):
        raise DataError(f"{page} can't be written (it is a folder): name a file with --html")
    if page is not None and not page.parent.is_dir():  # told before all images are read
        raise DataError(f"{page} can't be written (there is no folder {page.parent}): choose another file with --html")
    with progress(f"reading {Path(data).name}") as advance:

        def on_progress(done: int, in_all: int) -> None:
            advance(done, in_all, f"{done:,} of {in_all:,}")

        listing = list_data(
            str(data),
            folder=folder,
            groups=groups,
            label=label,
            images=images,
            follow_links=follow_links,
            on_progress=on_progress,
        )
        several = min(processes or usable_cores(), len(listing) // (PART if processes else WORTH_A_PROCESS))
        mapping = partial(in_workers, processes=several) if several > 1 else None
        examples = EXAMPLES if page else 0
        report, shown = check_images(
            listing, examples=examples, of_classes=CLASSES_DRAWN, on_progress=on_progress, mapping=mapping
        )
    if page is not None:
        try:
            write_page(page, report, shown)
        except OSError as error:
            raise DataError(f"{page} can't be written ({error.strerror}): choose another file with --html") from None
    return report
