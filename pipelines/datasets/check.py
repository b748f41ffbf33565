"""`zoo data check DATA`: what lies there, whether one can learn from it, and what to do about it."""

from __future__ import annotations

from pathlib import Path

from pipelines.core.support.progress import progress
from pipelines.datasets.report import EXAMPLES, write_page
from zoo.data.folders.reading import check_images
from zoo.data.registry import holds_values, list_data
from zoo.data.report import Report, TableReport
from zoo.data.tables.report import check_table
from zoo.errors import DataError


def data_check(
    data: str | Path,
    *,
    folder: Path | None = None,
    label: str | None = None,
    groups: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    page: Path | None = None,
) -> Report | TableReport:
    """Check every image of a folder, a table of files, arrays, shards or a catalog, or every row of a table of values.

    data: a path, tfds:NAME or hf:USER/NAME. folder: where TensorFlow Datasets prepared it.
    label: of a table or a catalog, the column that holds the class. groups, images, follow_links: as `train` takes
    them. page: where to write the report on images as HTML, too.
    Raises DataError where nothing can be listed, or the page can't be written.
    """
    if holds_values(str(data), label, images):
        if groups is not None or page is not None or follow_links or folder is not None:
            option = "--data-folder" if folder is not None else "--follow-links"
            raise DataError(f"{data} is a table of values: --groups and --html require images, and so does {option}")
        return check_table(Path(data), label)
    if page is not None and (not page.name or page.is_dir()):
        raise DataError(f"{page} can't be written (it is a folder): name a file by --html")
    if page is not None and not page.parent.is_dir():  # told before all images are read
        raise DataError(f"{page} can't be written (there is no folder {page.parent}): name another file by --html")
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
        report, examples = check_images(listing, examples=EXAMPLES if page else 0, on_progress=on_progress)
    if page is not None:
        try:
            write_page(page, report, examples)
        except OSError as error:
            raise DataError(f"{page} can't be written ({error.strerror}): name another file by --html") from None
    return report
