"""What was found in a table of values, whether one can learn from it, and what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.dataset import DataSet
from zoo.data.folders.findings import LARGEST_IMBALANCE, LOOK, UNUSABLE, USABLE, obstacle
from zoo.data.names import alike, alike_sentence, split_of
from zoo.data.report import ClassRows, ColumnFound, Finding, TableReport
from zoo.data.tables.reading import Roles, data_set_of, is_numeric, roles_of
from zoo.errors import DataError
from zoo.tables import NO_NUMBER, TextTable, parse_number, read_text_table

MOST_SHOWN = 3  # of a column's categories, the commonest


def check_table(path: Path, label: str | None) -> TableReport:
    """All that `zoo data check` reports of a table, read as `read_table` reads it.

    Raises DataError for a file that is no table, without the label's column, or without classes in it.
    """
    table = read_text_table(path)
    roles = roles_of(table, label)
    return _report(table, roles, _obstacles(table, roles))


def read_table(path: Path, label: str | None) -> DataSet:
    """Read a CSV into a data set of the file's name, with its report.

    label: the column that holds the class. A column is numeric where every value in it is a finite number or missing,
    else categorical; its categories are those of the training rows. Rows of the same values are kept together, and
    splits that no column `split` gives are drawn from the training rows: 70/10/20 where there is none.
    Raises DataError for a file that is no table, a column that can't be learned from, one class, or a class with too
    few rows for the splits.
    """
    table = read_text_table(path)
    roles = roles_of(table, label)
    return replace(data_set_of(table, roles), report=_report(table, roles, ()))


def _obstacles(table: TextTable, roles: Roles) -> list[str]:
    """Why nothing can be learned from it, column by column, or of the whole."""
    problems = [reason for place in roles.features if (reason := _kind(table, place)[1])]
    if not problems:
        try:
            data_set_of(table, roles)
        except DataError as error:
            problems.append(str(error))
    return problems


def _report(table: TextTable, roles: Roles, obstacles: Sequence[str]) -> TableReport:
    columns = [_column(table, place, _kind(table, place)[0]) for place in roles.features]
    rows = [tuple(row[place] for place in roles.features) for row in table.rows]
    found = (*(Finding(True, reason) for reason in obstacles), *_findings(roles, columns, rows))
    return TableReport(
        path=str(table.path),
        rows=len(rows),
        label=table.header[roles.label],
        splits=roles.given,
        classes=tuple(_classes(roles)),
        columns=tuple(columns),
        copies=len(rows) - len(set(zip(rows, roles.labels.tolist(), strict=True))),
        verdict=UNUSABLE if obstacle(found) else LOOK if found else USABLE,
        findings=found,
        understood=(table.written(),) if table.written() else (),
    )


def _kind(table: TextTable, place: int) -> tuple[str, str]:
    """What a column is, and why it can't be learned from; "" where it can."""
    try:
        return ("numeric" if is_numeric(table, place) else "categorical"), ""
    except DataError as error:
        return "unusable", str(error)


def _column(table: TextTable, place: int, kind: str) -> ColumnFound:
    cells = [row[place] for row in table.rows]
    no_value = NO_NUMBER if kind == "numeric" else {""}
    there = [cell for cell in cells if cell.lower() not in no_value]
    numbers = [number for cell in there if (number := parse_number(cell)) is not None] if kind == "numeric" else []
    counts = Counter(numbers or there)
    shown: Sequence[str] = [cell for cell, _ in Counter(there).most_common(MOST_SHOWN)]
    if numbers:
        shown = [f"{value:g}" for value in (min(numbers), float(np.median(numbers)), max(numbers))]
    return ColumnFound(table.header[place], kind, len(cells) - len(there), len(counts), tuple(shown))


def _classes(roles: Roles) -> Iterator[ClassRows]:
    for code, label in enumerate(roles.classes):
        splits = Counter(roles.splits[roles.labels == code].tolist())
        yield ClassRows(label, sum(splits.values()), {split: splits[split] for split in roles.given})


# --- what to do ----------------------------------------------------------------------------------------------------


def _findings(roles: Roles, columns: Sequence[ColumnFound], rows: Sequence[tuple[str, ...]]) -> Iterator[Finding]:
    """What to look at, the most important first."""
    across, between = _shared(rows, roles.splits), _shared(rows, roles.labels)
    if across:
        yield Finding(
            False,
            f"{_rows(across)} can be found in more than one of {', '.join(roles.given)}: the test is on "
            "training rows; keep each in one",
        )
    if between:
        yield Finding(
            False, f"{_rows(between)} have the same values as rows of another class: no model can distinguish them"
        )
    for column in columns:
        named, filled = f"column {column.name!r}", len(rows) - column.missing
        if filled and column.different == 1 and not column.missing:
            yield Finding(False, f"{named} is {column.values[0]!r} in every row: it carries no information, remove it")
        if column.kind == "numeric" and column.different == filled == len(rows) > 1 and _counts_rows(column):
            yield Finding(False, f"{named} numbers the rows: remove it, or the model learns their order")
        names_splits = column.different <= len(column.values) and all(split_of(value) for value in column.values)
        if column.kind == "categorical" and filled and names_splits and roles.given == ("train",):
            yield Finding(False, f"{named} names splits, but the model would learn from it: rename it to split")
        if column.missing:
            instead = "the median is used" if column.kind == "numeric" else "it is treated as a category"
            yield Finding(False, f"{named} has no value in {_rows(column.missing)} of {len(rows):,}: {instead}")
    for names in alike(roles.classes):
        yield Finding(False, alike_sentence(names))
    counts = np.bincount(roles.labels)
    if counts.max() > LARGEST_IMBALANCE * counts.min():
        largest, smallest = roles.classes[int(counts.argmax())], roles.classes[int(counts.argmin())]
        yield Finding(
            False,
            f"class {largest!r} has {counts.max() / counts.min():.1f} times the rows of {smallest!r}: add some, or "
            "sample classes equally with --set balance=classes",
        )


def _counts_rows(column: ColumnFound) -> bool:
    """Whether numbers that all differ are whole and without a gap."""
    first, _, last = map(float, column.values)
    return first in (0, 1) and last - first == column.different - 1


def _shared(rows: Sequence[tuple[str, ...]], values: NDArray[np.generic]) -> int:
    """How many rows have the features of another row, and another value [N]."""
    seen: dict[tuple[str, ...], set[object]] = {}
    for row, value in zip(rows, values.tolist(), strict=True):
        seen.setdefault(row, set()).add(value)
    return sum(len(seen[row]) > 1 for row in rows)


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"
