"""The page that shows what was found in a folder of images: one file, safe to open whatever the files are called."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import tracking
from pipelines.core.support.atomic import atomic_file
from pipelines.datasets.plots import CLASSES_DRAWN, class_counts, contact_sheet, image_sizes
from pipelines.plotting.html import data_uri, render
from zoo.data import DataSet
from zoo.data.folders.findings import USABLE, obstacle
from zoo.data.listing import SPLITS
from zoo.data.report import Report
from zoo.images import Pixels

EXAMPLES = 10  # images of each class
LISTED = 500  # files of each kind that the page names
PAGE_FILE, TABLE_FILE = "data.html", "splits.csv"


def write_page(path: Path, report: Report, examples: Mapping[str, Sequence[Pixels]]) -> None:
    """Write the page, whole or not at all. examples: class name -> images [H, W, C] uint8."""
    page = render_page(report, examples)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_page(report: Report, examples: Mapping[str, Sequence[Pixels]]) -> str:
    """The text of the page."""
    tables = []
    if len(report.classes) > CLASSES_DRAWN:
        by_size = sorted(report.classes, key=lambda each: each.images)
        rows = [
            (each.label, f"{each.images:,}", *map("{:,}".format, each.splits.values())) for each in by_size[:LISTED]
        ]
        heads = ("class", ">images", *(f">{split}" for split in report.splits))
        tables.append(
            Listed(f"Classes ({len(by_size):,}), those with the fewest images first", heads, rows, len(by_size))
        )
    if report.same:
        counts = f"{report.surplus['equal']:,} exact"
        counts += f", {report.surplus['near']:,} near" if "near" in report.surplus else ", near ones not searched for"
        same = [
            (same.kind, f"{same.images:,}", ", ".join(same.labels), ", ".join(same.splits), " = ".join(same.files))
            for same in report.same[:LISTED]
        ]
        columns = ("kind", ">images", "classes", "splits", "files")
        tables.append(Listed(f"Duplicates ({counts})", columns, same, report.all_same))
    for title, problems in (
        ("Files that can't be read", report.unreadable),
        ("Files that aren't usable images", report.left_out),
        ("Images with the file extension of another format", report.wrongly_named),
    ):
        if problems:
            rows = [(problem.file, problem.kind, problem.sentence) for problem in problems[:LISTED]]
            title = f"{title} ({len(problems):,})"
            tables.append(Listed(title, ("file", "kind", "problem"), rows, len(problems)))
    return render(
        "datasets/report.html.j2",
        report=report,
        grade="good" if report.verdict == USABLE else "bad" if obstacle(report.findings) else "fair",
        plots=list(_plots(report, examples)),
        counts=[(name, f"{count:,}") for kind in (report.formats, report.modes) for name, count in kind.items()],
        tables=tables,
        listed=LISTED,
    )


@dataclass(frozen=True)
class Listed:
    """A table of the page, of which the first `LISTED` rows are shown. count: of all rows."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    count: int


def _plots(report: Report, examples: Mapping[str, Sequence[Pixels]]) -> Iterator[tuple[str, str]]:
    """What each plot shows, in words, and the plot as an address."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plot.png"
        if report.classes:
            yield class_counts(path, report.classes), data_uri(path.read_bytes())
        if any(examples.values()):
            yield contact_sheet(path, examples), data_uri(path.read_bytes())
        if len(report.sizes) > 1:
            yield image_sizes(path, report.sizes, report.all_sizes), data_uri(path.read_bytes())


# --- with a run ----------------------------------------------------------------------------------------------------


def log_data(run_id: str, data_set: DataSet) -> None:
    """Add to a run's artifacts which file is in which split, and the page; nothing for a table or a known data set."""
    if not isinstance(data_set.report, Report):
        return
    examples = {
        label: list(data_set.train.inputs[np.flatnonzero(data_set.train.labels == k)[:EXAMPLES]])
        if k < CLASSES_DRAWN
        else []  # of more classes the names alone count
        for k, label in enumerate(data_set.labels)
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_page(folder / PAGE_FILE, data_set.report, examples)
        write_splits(folder / TABLE_FILE, data_set)
        tracking.log_folder(run_id, folder)


def write_splits(path: Path, data_set: DataSet) -> None:
    """A row for each image: path, label, split. Put beside the files of a folder, `--data` takes it as it is."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        table.writerow(("path", "label", "split"))
        for name in SPLITS:
            split = getattr(data_set, name)
            for image, label in zip(split.names, split.labels, strict=True):
                table.writerow((image, data_set.labels[label], name))
