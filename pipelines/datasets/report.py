"""The page that shows what was found in a folder of images: one file, safe to open whatever the files are called."""

from __future__ import annotations

import base64
import csv
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from io import StringIO
from pathlib import Path

import numpy as np

from pipelines import tracking
from pipelines.core.support.atomic import atomic_file
from pipelines.datasets.plots import CLASSES_DRAWN, class_counts, contact_sheet, image_sizes
from zoo.data import DataSet
from zoo.data.folders.findings import USABLE, obstacle
from zoo.data.listing import SPLITS
from zoo.data.report import Report
from zoo.errors import printable
from zoo.images import Pixels

EXAMPLES = 10  # images of each class
LISTED = 500  # files of each kind that the page names
PAGE_FILE, TABLE_FILE = "data.html", "splits.csv"

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --quiet: #6b7280; --rule: #e5e7eb; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.verdict { padding: .6rem 1rem; border-left: .4rem solid #009e73; background: #f7f8fa; }
.verdict.look { border-color: #e69f00; } .verdict.serious { border-color: #d55e00; }
img { max-width: 100%; height: auto; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--rule); }
td { overflow-wrap: anywhere; } .number { text-align: right; font-variant-numeric: tabular-nums; }
.quiet { color: var(--quiet); } summary { cursor: pointer; font-weight: 600; margin-top: 1rem; }
"""
# Nothing is loaded and nothing runs, even if something slipped through.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(path: Path, report: Report, examples: Mapping[str, Sequence[Pixels]]) -> None:
    """Write the page, whole or not at all. examples: class name -> images [H, W, C] uint8."""
    page = render_page(report, examples)
    with atomic_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def render_page(report: Report, examples: Mapping[str, Sequence[Pixels]]) -> str:
    """The text of the page."""
    look = "" if report.verdict == USABLE else "serious" if obstacle(report.findings) else "look"
    findings = "".join(f"<li>{_text(finding.sentence)}</li>" for finding in report.findings)
    readable = f"{report.readable:,} of {report.files:,} images can be read, in {len(report.classes):,} classes."
    kinds = ((name, f"{count:,}") for counts in (report.formats, report.modes) for name, count in counts.items())
    same = (
        (same.kind, f"{same.images:,}", ", ".join(same.labels), ", ".join(same.splits), " = ".join(same.files))
        for same in report.same[:LISTED]
    )
    parts = [
        f"<h1>{_text(report.path)}</h1>",
        f'<p class="verdict {look}"><strong>{_text(report.verdict)}</strong><br>{readable}</p>',
        f"<ul>{findings}</ul>" if findings else "",
        *_images(report, examples),
        "<h2>Formats and modes</h2>" + _table(("", ">images"), kinds),
    ]
    if report.same:
        counted = f"{report.surplus['equal']:,} equal"
        counted += f", {report.surplus['near']:,} near" if "near" in report.surplus else ", near ones not looked for"
        table = _table(("kind", ">images", "classes", "splits", "files"), same)
        parts.append(_details(f"Duplicates ({counted})", table, len(report.same)))
    for title, problems in (
        ("Files that can't be read", report.unreadable),
        ("Files that are no images to learn from", report.left_out),
        ("Images with the name of another format", report.wrongly_named),
    ):
        if problems:
            rows = ((problem.file, problem.kind, problem.sentence) for problem in problems[:LISTED])
            table = _table(("file", "kind", "what is wrong"), rows)
            parts.append(_details(f"{title} ({len(problems):,})", table, len(problems)))
    title = f"Data check: {_text(report.path)}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head>\n'
        f"<body>\n{chr(10).join(part for part in parts if part)}\n</body></html>\n"
    )


def _images(report: Report, examples: Mapping[str, Sequence[Pixels]]) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        if report.classes:
            yield _image(path, class_counts(path, report.classes))
        if any(examples.values()):
            yield _image(path, contact_sheet(path, examples))
        if len(report.sizes) > 1:
            yield _image(path, image_sizes(path, report.sizes))
        elif report.sizes:
            yield f"<p>All images are {report.sizes[0].width} wide and {report.sizes[0].height} high, in pixels.</p>"


def _image(path: Path, alternative: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{_text(alternative)}" src="data:image/png;base64,{data}"></p>'


def _details(title: str, table: str, count: int) -> str:
    more = f'<p class="quiet">The first {LISTED} are shown; --json has all.</p>' if count > LISTED else ""
    return f"<details><summary>{_text(title)}</summary>{table}{more}</details>"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    classes = [' class="number"' if column.startswith(">") else "" for column in columns]
    head = "".join(f"<th{kind}>{_text(name.lstrip('>'))}</th>" for kind, name in zip(classes, columns, strict=True))
    body = "".join(
        f"<tr>{''.join(f'<td{kind}>{_text(cell)}</td>' for kind, cell in zip(classes, row, strict=True))}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    """Names of files may hold anything, bytes that are no text and marks that turn a line around among them."""
    return escape(printable(text))


# --- with a run ----------------------------------------------------------------------------------------------------


def log_data(run_id: str, data_set: DataSet) -> None:
    """Add to a run's artifacts which file is in which split, and the page. Nothing for a known data set."""
    if data_set.report is None:
        return
    examples = {
        label: list(data_set.train.inputs[np.flatnonzero(data_set.train.labels == k)[:EXAMPLES]])
        for k, label in enumerate(data_set.labels[:CLASSES_DRAWN])
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_page(folder / PAGE_FILE, data_set.report, examples)
        (folder / TABLE_FILE).write_text(splits_table(data_set), encoding="utf-8", errors="surrogateescape")
        tracking.log_folder(run_id, folder)


def splits_table(data_set: DataSet) -> str:
    """A row for each image: path, label, split. Put beside the files of a folder, `--data` takes it as it is."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    table.writerow(("path", "label", "split"))
    for name in SPLITS:
        split = getattr(data_set, name)
        for file, label in zip(split.names, split.labels, strict=True):
            table.writerow((file, data_set.labels[label], name))
    return text.getvalue()
