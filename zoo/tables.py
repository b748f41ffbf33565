"""A CSV file -> cells of text, and the values of a row -> float32 [F]: the one reader, for training and for apps."""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from numbers import Real
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo.checked import LONGEST_NAME
from zoo.contract import Column
from zoo.errors import DataError, InputError, unknown

Value: TypeAlias = "str | float | None"  # a category, a number, or nothing where it is missing
Row: TypeAlias = Mapping[str, Value]

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ROWS_COMPARED = 20  # that have to agree on a delimiter
UTF8 = "UTF-8"
SPLIT_COLUMN = "split"  # says of each row what it is for, where a table has it: no feature
LARGEST_FILE = 512 * 2**20  # bytes: as cells of text they take some ten times as much memory
LONGEST_LINE = 2**24  # letters of a line, where they are read one by one
LARGEST_NUMBER = float(np.finfo(np.float32).max)
# What programs write for a number that isn't there. In a column of text they may be words: NA is Namibia, too.
NO_NUMBER = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})


@dataclass(frozen=True)
class TextTable:
    """The cells of a file as they stand there, but for spaces around them.

    header: the names of the columns. rows: [N][F]. lines: [N], where each row begins, from 1. delimiter, encoding: how
    they were found to be written.
    """

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    delimiter: str = ","
    encoding: str = UTF8
    header_line: int = 1

    def written(self) -> str:
        """How it is written, in words; "" where that is as CSV is."""
        found = [] if self.delimiter == "," else [f"cells separated by {DELIMITERS[self.delimiter]}"]
        if self.encoding != UTF8:
            found.append(f"text as {self.encoding} (save it in UTF-8 if letters come out wrong)")
        return f"read {self.path}: {', '.join(found)}" if found else ""


def read_text_table(path: str | os.PathLike[str]) -> TextTable:
    """Read a table of values as `read_cells` does. Raises DataError, too, where a column has no name of its own."""
    table = read_cells(path)
    _check_header(table)
    return table


def read_cells(path: str | os.PathLike[str], *, most: int | None = None) -> TextTable:
    """Read a CSV whose first line names the columns, separated by commas, semicolons, tabs or vertical bars.

    It is in UTF-8, with or without a byte order mark, in UTF-16 with one, or else in Windows-1252. most: bytes to read,
    of which the last line is left out.
    Raises DataError, with the line, for a file that isn't there, isn't text, is cut short, or has rows of another
    length than the first.
    """
    path = Path(path)
    text, encoding = _read(path, most)
    delimiter = _delimiter(text)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for line, cells in _rows(path, StringIO(text, newline=""), delimiter):
            rows.append(cells)
            lines.append(line)
    except _CutShort as error:
        if most is None:
            raise DataError(*error.args) from None
    if not rows:
        raise DataError(f"{path} is empty: expected a line with the names of the columns, and a line for each row")
    return TextTable(path, tuple(rows[0]), rows[1:], lines[1:], delimiter, encoding, lines[0])


def stream_cells(head: TextTable) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table of any size, one after the other: the line that each begins on, from 1, and its cells.

    head: the beginning of the table, as `read_cells` read it. Raises DataError as that does.
    """
    encoding = {UTF8: "utf-8-sig", "UTF-16": "utf-16"}.get(head.encoding, "cp1252")
    line = 0
    try:
        with head.path.open(encoding=encoding, newline="") as text:
            rows = _rows(head.path, bounded_lines(text, head.path), head.delimiter)
            for line, cells in itertools.islice(rows, 1, None):
                yield line, cells
    except UnicodeDecodeError:
        raise DataError(f"{head.path} isn't text in {head.encoding} (behind line {line}): save it in UTF-8") from None
    except OSError as error:
        raise DataError(f"{head.path} can't be read ({error.strerror}): name another table") from None


def bounded_lines(text: IO[str], path: Path) -> Iterator[str]:
    """The lines of an open file. Raises DataError for one of more than LONGEST_LINE letters, before it is read."""
    for number in itertools.count(1):
        line = text.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}, line {number}, is longer than {LONGEST_LINE:,} letters: shorten it")
        if not line:
            return
        yield line


class _CutShort(DataError):  # noqa: N818 (what is read in part alone ends like this, too)
    """A row that is damaged."""


def _rows(path: Path, text: Iterable[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The line that each row begins on, and its cells, the names of the columns first."""
    # Spaces behind a delimiter: a quote behind them begins a cell all the same.
    _allow_long_cells()
    reader = csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)
    first: tuple[int, int] | None = None  # the line with the names of the columns, and how many there are
    end = 0  # the line that the row before ends on: quoted cells may hold several
    try:
        for cells in reader:
            line, end = end + 1, reader.line_num
            if not cells:  # an empty line
                continue
            first = first or (line, len(cells))
            if len(cells) != first[1]:
                raise DataError(
                    f"{path} has {len(cells)} values in line {line}, expected {first[1]}, one for each column that "
                    f"line {first[0]} names: quote a value that holds the delimiter"
                )
            yield line, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise _CutShort(f"{path} is damaged in line {end + 1} ({error}): save it as CSV again") from None


def _allow_long_cells() -> None:
    """As long as a line may be: Python's own limit, which is one for all of a program, is 128 kB."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))


def column_called(name: str, header: Sequence[str]) -> int | None:
    """The place of a column by its name; in any case, where one alone is called so."""
    if name in header:
        return header.index(name)
    same = [place for place, other in enumerate(header) if other.casefold() == name.strip().casefold()]
    return same[0] if len(same) == 1 else None


def parse_number(text: str) -> float | None:
    """The finite number that a cell holds; None where it holds none."""
    try:
        number = float(text)
    except ValueError:
        return None
    # Python reads 1_000, which is no number anywhere else.
    return number if abs(number) <= LARGEST_NUMBER and "_" not in text else None


def row_of(cells: Mapping[str, str], columns: Sequence[Column]) -> Row:
    """The values of a row of text, as `encode` takes them. Raises InputError for text in a column of numbers."""
    row: dict[str, Value] = dict(cells)
    for column in columns:
        cell = cells.get(column.name)
        if cell is None:
            continue  # encode says that it is missing
        if column.categories is None:
            number = row[column.name] = parse_number(cell)
            if number is None and cell.lower() not in NO_NUMBER:
                raise InputError(f"column {column.name!r} takes a finite number, received {cell!r}")
        elif not cell:
            row[column.name] = None
    return row


def encode_all(rows: Any, columns: Sequence[Column]) -> NDArray[np.float32]:
    """Rows as `encode` takes them -> features [N, F]. Raises InputError as it does, with the row's place in front."""
    if isinstance(rows, (str, bytes, os.PathLike, Mapping)) or not isinstance(rows, Iterable):
        raise InputError(f"expected a list of rows, received one {type(rows).__name__}: predict takes a single row")
    encoded = []
    for place, row in enumerate(rows):
        try:
            encoded.append(encode(row, columns))
        except InputError as error:
            raise InputError(f"rows[{place}]: {error}") from None
    return np.array(encoded, np.float32).reshape(-1, len(columns))


def encode(row: Any, columns: Sequence[Column]) -> NDArray[np.float32]:
    """What an exported file is asked about: the values of a row, a `Row`, as `features` [F].

    Raises InputError for columns that are missing or unknown, and for values that the columns don't take.
    """
    if not isinstance(row, Mapping):
        raise InputError(f"expected a mapping of column to value, received {type(row).__name__}")
    names = {column.name for column in columns}
    if missing := [column.name for column in columns if column.name not in row]:
        raise InputError(f"the row lacks {_listed(missing)}: give None where a value isn't known")
    if others := [name for name in row if name not in names]:
        raise InputError(unknown("column", str(others[0]), names))
    return np.array([_encoded(column, row[column.name]) for column in columns], np.float32)


def decode(features: NDArray[np.float32], columns: Sequence[Column]) -> dict[str, Value]:
    """The row whose `features` [F] these are; a category that the columns don't have is None, as a missing value."""
    row: dict[str, Value] = {}
    for column, value in zip(columns, features.tolist(), strict=True):
        if column.categories is None:
            row[column.name] = None if math.isnan(value) else value
        else:
            row[column.name] = column.categories[int(value)] or None if value >= 0 else None
    return row


def _is_missing(value: Value) -> bool:
    """None, or what pandas has where nothing is: NaN, or NA, which is neither equal to itself nor not."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):  # of NA; of an array, which no column takes
        return type(value).__name__ == "NAType"


def _encoded(column: Column, value: Value) -> float:
    if _is_missing(value):
        return math.nan if column.categories is None else column.codes.get("", -1)
    if column.categories is None:
        if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) <= LARGEST_NUMBER:
            raise InputError(
                f"column {column.name!r} takes a finite number, or None where it is missing, received {value!r}"
            )
        return float(value)
    if not isinstance(value, str):
        raise InputError(
            f"column {column.name!r} takes text such as {column.categories[-1]!r}, or None where it is missing, "
            f"received {value!r}"
        )
    if value not in column.codes:
        raise InputError(unknown(f"category of column {column.name!r}", value, filter(None, column.categories)))
    return column.codes[value]


def _listed(names: Sequence[str], most: int = 5) -> str:
    kind = "column" if len(names) == 1 else "columns"
    return f"{kind} {', '.join(map(repr, names[:most]))}{', ...' if len(names) > most else ''}"


def _read(path: Path, most: int | None) -> tuple[str, str]:
    """The text, and its encoding."""
    try:
        if not path.exists():
            raise DataError(f"there is no table at {path}")
        if not path.is_file():
            raise DataError(f"{path} is not a file: expected a table, as CSV")
        if most is None and path.stat().st_size > LARGEST_FILE:
            raise DataError(f"{path} is too large, expected at most {LARGEST_FILE // 2**20} MiB: take fewer rows")
        with path.open("rb") as file:
            found = file.read() if most is None else file.read(most)
    except (OSError, ValueError) as error:  # no permission, a name too long, a null byte
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path} can't be read ({reason}): name another table") from None
    cut = most is not None and len(found) == most
    if cut and not found.startswith(_UTF_16):  # of which the byte of a line's end may be half a letter
        found = found[: found.rfind(b"\n") + 1]
    text, encoding = _decoded(path, found)
    if cut:
        text = text[: text.rfind("\n") + 1]
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path} isn't text (line {line} holds a null character): save it as CSV in UTF-8")
    return text, encoding


_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def _decoded(path: Path, found: bytes) -> tuple[str, str]:
    if found.startswith(_UTF_16):  # as Excel saves "Unicode text"
        # A last letter may have been cut in two.
        return found.decode("utf-16", errors="replace"), "UTF-16"
    try:
        return found.decode("utf-8-sig"), UTF8
    except UnicodeDecodeError as error:
        place = error.start
    try:
        return found.decode("cp1252"), "Windows-1252"  # as Excel saves CSV in Western Europe
    except UnicodeDecodeError:
        line = found.count(b"\n", 0, place) + 1
        raise DataError(f"{path} isn't UTF-8 text (line {line}): save it as CSV in UTF-8") from None


def _delimiter(text: str) -> str:
    """The one by which the first rows have equally many columns, and of several the one that makes the most."""

    _allow_long_cells()

    def columns(delimiter: str) -> tuple[bool, int]:
        reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        try:
            counts = [len(cells) for cells in itertools.islice(reader, ROWS_COMPARED) if cells]
        except csv.Error:
            counts = []
        return len(set(counts)) == 1 and counts[0] > 1, counts[0] if counts else 0

    return max(DELIMITERS, key=columns)


def _check_header(table: TextTable) -> None:
    path, header, line = table.path, table.header, table.header_line
    for place, name in enumerate(header):
        if not name:
            raise DataError(
                f"{path} has no name for column {place + 1} in line {line}: give it one, or remove the column "
                "(pandas leaves its index out with index=False)"
            )
        if len(name) > LONGEST_NAME or not name.isprintable():
            what = "can't be printed" if len(name) <= LONGEST_NAME else f"has {len(name):,} letters"
            shown = name if len(name) <= LONGEST_NAME else f"{name[:20]}..."
            raise DataError(f"{path} names a column {shown!r} in line {line}, which {what}: rename it")
        if name in header[:place]:
            raise DataError(f"{path} names two columns {name!r} in line {line}: rename one of them")
