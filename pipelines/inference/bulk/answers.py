"""What is written of each image, as a line; and the file that the lines become: CSV, JSON lines or Parquet."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeAlias

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.durable import sync
from zoo.contract import Metadata
from zoo.data.parquet import PARQUET_ENDING, pyarrow
from zoo.errors import InputError, printable
from zoo.runtime import Prediction

CSV, JSON_LINES = ".csv", ".jsonl"
KINDS = (CSV, JSON_LINES, PARQUET_ENDING)
ROW_GROUP = 16_384  # rows that become Parquet at once

Row: TypeAlias = Sequence[Any]  # a value for each column


def kind_of(out: Path) -> str:
    """One of KINDS, by the name. Raises InputError for another, MissingExtraError where what writes it is missing."""
    kind = out.suffix.lower()
    if kind not in KINDS:
        raise InputError(f"{printable(str(out))} ends in {kind or 'nothing'}, expected one of {', '.join(KINDS)}")
    if kind == PARQUET_ENDING:
        pyarrow()
    return kind


def columns_of(metadata: Metadata, coverage: float | None) -> tuple[str, ...]:
    """What is written of each image: familiarity where the file has it, sets of labels where they are asked for."""
    familiar = ("familiarity", "known") if metadata.familiarity else ()
    return ("path", "label", "probability", *familiar, *(("labels",) if coverage is not None else ()), "error")


def row_of(columns: Sequence[str], name: str, answer: Prediction | str) -> Row:
    """answer: or why there is none. What of a name is no text becomes an escape such as \\udce9."""
    error = answer if isinstance(answer, str) else None
    known = {"path": name, "error": error}
    values = [known[column] if column in known else getattr(answer, column, None) for column in columns]
    return [value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value for value in values]


def encoded(kind: str, columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Rows as lines of a file of the kind; those that become Parquet are JSON until then."""
    if kind == CSV:
        text = StringIO()
        # Text is quoted, whatever is in it, and numbers aren't.
        table = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        table.writerows([_cell(value) for value in row] for row in rows)
        return text.getvalue().encode()
    lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def heading(kind: str, columns: Sequence[str]) -> bytes:
    """What such a file begins with."""
    return encoded(kind, columns, [columns]) if kind == CSV else b""


def finish(kind: str, columns: Sequence[str], lines: Path, out: Path) -> None:
    """Make the file of its synced lines, which are gone afterwards. It appears whole, and is durable."""
    if kind == PARQUET_ENDING:
        with atomic_file(out) as partial:
            _write_parquet(columns, lines, partial)
        lines.unlink()
    else:
        lines.replace(out)
    sync(out.parent)


def _cell(value: Any) -> Any:
    """None is an empty cell; what CSV has no form for is written as in JSON."""
    if isinstance(value, (bool, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else value


def _write_parquet(columns: Sequence[str], lines: Path, goal: Path) -> None:
    arrow = pyarrow()
    kinds = {
        "probability": arrow.float32(),
        "familiarity": arrow.float32(),
        "known": arrow.bool_(),
        "labels": arrow.list_(arrow.string()),
    }
    schema = arrow.schema([(column, kinds.get(column, arrow.string())) for column in columns])
    with lines.open(encoding="utf-8", newline="\n") as text, arrow.parquet.ParquetWriter(goal, schema) as writer:
        while rows := [json.loads(line) for line in itertools.islice(text, ROW_GROUP)]:
            writer.write_table(arrow.Table.from_pylist(rows, schema))
