"""A table: a CSV whose columns are numbers or categories, one of them the label, split in train, validation, test."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zoo.checked import LONGEST_NAME
from zoo.contract import Column
from zoo.data.dataset import DataSet, Split
from zoo.data.listing import SPLITS
from zoo.data.names import columns_for, split_of
from zoo.data.splits import fill_splits
from zoo.errors import DataError, unknown
from zoo.tables import NO_NUMBER, SPLIT_COLUMN, TextTable, column_called, parse_number

ENDINGS = (".csv", ".tsv", ".txt")  # of files that are read as tables, whether or not a label is named
LEAST_NAMES = 20  # rows: where a text differs in each of so many, it names them
MOST_CATEGORIES = 100  # of a column: one of more is a name or a number of its rows, rather than a kind
# Different numbers in a column with text: of more, the text is a slip. Fewer may be categories, such as 0, 1, 2, 3+.
MOST_NUMBERS_AMONG_TEXT = 20
# Deviation of a column as a share of its largest value: below it, float32 has fewer than a hundred steps in it.
LEAST_DEVIATION = 1e-5
SMALLEST_DEVIATION = 1e-30  # numbers are multiplied by 1 / deviation, which has to be a float32


@dataclass(frozen=True)
class Roles:
    """Which column of a table is what.

    label, features: places among the columns. classes: names. labels: [N] int64, indices into them. splits: [N], what
    each row is for; train where the table doesn't say. given: the splits that it says. copies: [N], the same number for
    rows of the same values.
    """

    label: int
    features: tuple[int, ...]
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    given: tuple[str, ...]
    copies: NDArray[np.int64]


def roles_of(table: TextTable, label: str | None) -> Roles:
    """Find the columns. label: the name of the one with the class. Raises DataError where it holds no classes."""
    place = _label_place(table, label)
    labels, classes = _classes(table, place)
    split = column_called(SPLIT_COLUMN, table.header)
    split = None if split == place else split
    features = tuple(k for k in range(len(table.header)) if k not in (place, split))
    if not features:
        raise DataError(
            f"{table.path} has no column but {table.header[place]!r}: expected others from which to predict the class"
        )
    _check_no_names(table, features)
    splits = _given_splits(table, split)
    given = tuple(name for name in SPLITS if name in splits)
    return Roles(place, features, classes, labels, splits, given, _copies(table, split))


def data_set_of(table: TextTable, roles: Roles) -> DataSet:
    """The data set of a table, as `zoo.data.tables.report.read_table` says."""
    path, labels, classes = table.path, roles.labels, roles.classes
    numeric = {k: is_numeric(table, k) for k in roles.features}
    splits = _splits(table, roles)

    columns, values = [], []
    for k in roles.features:
        cells = [row[k] for row in table.rows]
        if numeric[k]:
            columns.append(Column(table.header[k]))
            values.append(_numbers(table, k))
        else:
            categories = tuple(sorted({cells[i] for i in splits["train"]}))
            columns.append(Column(table.header[k], categories))
            values.append(np.array([columns[-1].codes.get(cell, -1) for cell in cells], np.float64))
    rows = np.stack(values, axis=1).astype(np.float32)  # [N, F]
    for column, numbers in zip(columns, rows[splits["train"]].T, strict=True):
        if np.isnan(numbers).all() or column.categories == ("",):
            raise DataError(f"{path} has no value in column {column.name!r} for any training row: remove the column")
    everything = Split(rows, labels, tuple(f"line {line}" for line in table.lines))
    return DataSet(
        name=path.resolve().stem or "table",
        labels=classes,
        train=everything.take(splits["train"]),
        validation=everything.take(splits["validation"]),
        test=everything.take(splits["test"]),
        mirrored=False,
        origin=str(path.resolve()),
        columns=tuple(columns),
        label_column=table.header[roles.label],
        repeated=len(np.unique(roles.copies[splits["validation"]])) < len(splits["validation"]),
    )


def scales(table: DataSet) -> list[tuple[float, float, float] | int]:
    """Of each column what its training rows say: (median, mean, deviation), or how many categories there are.

    The deviation of a column that is the same everywhere is 1.
    """
    found: list[tuple[float, float, float] | int] = []
    for column, values in zip(table.columns, table.train.inputs.T.astype(np.float64), strict=True):
        if column.categories is None:
            deviation = float(np.nanstd(values)) or 1.0
            found.append((float(np.nanmedian(values)), float(np.nanmean(values)), deviation))
        else:
            found.append(len(column.categories))
    return found


# --- the label -----------------------------------------------------------------------------------------------------


def _label_place(table: TextTable, label: str | None) -> int:
    """Where the label's column is among the others."""
    if label is None:
        raise DataError(
            f"{table.path} is a table: name the column that holds the class with --label, one of "
            f"{', '.join(table.header[:20])}{', ...' if len(table.header) > 20 else ''}; a table of images has the "
            "columns path and label, or its images named with --images"
        )
    place = column_called(label, table.header)
    if place is None:
        raise DataError(f"{table.path}: {unknown('column', label, table.header)}")
    return place


def _check_no_names(table: TextTable, features: Sequence[int]) -> None:
    """Refuse a column that names the rows, as the images that they are about: it would be learned by heart."""
    called = columns_for("path", table.header)
    for place in features:
        cells = [row[place] for row in table.rows]
        if len(set(cells)) < len(cells):
            continue
        numbers = sum(parse_number(cell.replace(",", "")) is not None for cell in cells)
        # Numbers of rows beside other columns are a finding of the check: they may be measurements.
        by_name = place in called and len(cells) > 1 and (numbers < len(cells) or len(features) == 1)
        if by_name or (not numbers and LEAST_NAMES <= len(cells) <= MOST_CATEGORIES):
            raise DataError(
                f"{table.path} names each row in column {table.header[place]!r}, such as {cells[0]!r}: if these are "
                "images, say with --images which folder they are in; if not, remove the column"
            )


def _classes(table: TextTable, place: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each row [N], and the names of the classes: numbers by their value, else by the alphabet."""
    cells = [row[place] for row in table.rows]
    for cell, line in zip(cells, table.lines, strict=True):
        if not cell or not cell.isprintable() or len(cell) > LONGEST_NAME:
            what = "no class" if not cell else f"a class {cell!r} that can't be printed"
            what = what if len(cell) <= LONGEST_NAME else f"a class of {len(cell):,} letters"
            raise DataError(
                f"{table.path} has {what} in line {line}, column {table.header[place]!r}: expected its name"
            )
    names = set(cells)
    if len(names) < 2:
        found = f"one class, {cells[0]!r}," if names else "no rows"
        raise DataError(f"{table.path} holds {found} in column {table.header[place]!r}: expected 2 classes or more")
    are_numbers = all(parse_number(name) is not None for name in names)
    classes = tuple(sorted(names, key=lambda name: (float(name) if are_numbers else 0, name)))
    codes = {name: code for code, name in enumerate(classes)}
    return np.array([codes[cell] for cell in cells], np.int64), classes


# --- columns -------------------------------------------------------------------------------------------------------


def is_numeric(table: TextTable, place: int) -> bool:
    """Whether a column holds numbers. DataError where that is a guess, or where it is text without end."""
    name = table.header[place]
    first: dict[str, int] = {}  # value -> the first line with it
    for row, line in zip(table.rows, table.lines, strict=True):
        first.setdefault(row[place], line)
    numbers = [value for value in first if parse_number(value) is not None]
    texts = [value for value in first if parse_number(value) is None]
    if numbers and all(value.lower() in NO_NUMBER for value in texts):
        return True
    for value in texts:
        if not value.isprintable():
            raise DataError(f"{table.path} has {value!r} in line {first[value]}, column {name!r}: it can't be printed")
        if len(value) > LONGEST_NAME:
            raise DataError(
                f"{table.path} has a text of {len(value):,} letters in line {first[value]}, column {name!r}, expected "
                f"at most {LONGEST_NAME:,}: remove the column, or shorten it"
            )
        thousands = re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", value)
        comma = "," in value and parse_number(value.replace(",", ".")) is not None
        if value and (thousands or comma or len(numbers) > MOST_NUMBERS_AMONG_TEXT):
            expected = "a point for the comma" if comma else "a finite number as in other lines, or nothing"
            expected = "nothing between thousands, and a point for a decimal comma" if thousands else expected
            raise DataError(f"{table.path} has {value!r} in line {first[value]}, column {name!r}: expected {expected}")
    if len(first) > MOST_CATEGORIES:
        raise DataError(
            f"{table.path} has {len(first)} different texts in column {name!r}, expected at most {MOST_CATEGORIES} "
            "categories: remove the column, or merge categories"
        )
    return False


def _numbers(table: TextTable, place: int) -> NDArray[np.float64]:
    """A numeric column [N], NaN where a value is missing. DataError where float32 would lose what differs in it."""
    found = [parse_number(row[place]) for row in table.rows]
    numbers = np.array([math.nan if number is None else number for number in found])
    largest, deviation = np.nanmax(np.abs(numbers)), np.nanstd(numbers)
    if 0 < deviation < max(LEAST_DEVIATION * largest, SMALLEST_DEVIATION):
        raise DataError(
            f"{table.path} has numbers up to {largest:g} in column {table.header[place]!r} that differ by "
            f"{deviation:g} alone, which float32 can't distinguish: subtract their common offset"
        )
    return numbers


# --- splits --------------------------------------------------------------------------------------------------------


def _splits(table: TextTable, roles: Roles) -> dict[str, NDArray[np.int64]]:
    """For train, validation and test the rows, ascending: by the column `split`, or drawn from the training rows."""
    labels, classes, copies = roles.labels, roles.classes, roles.copies
    splits = {name: np.flatnonzero(roles.splits == name) for name in roles.given}
    if "train" not in splits:
        raise DataError(f"{table.path} has no row that is train in column {SPLIT_COLUMN!r}, to train on")
    drawn = len(SPLITS) - len(splits)
    for name, rows in splits.items():
        different = Counter(labels[rows[np.unique(copies[rows], return_index=True)[1]]].tolist())
        for code, label in enumerate(classes):
            expected = 1 + drawn if name == "train" else 1
            if different[code] < expected:
                where = f"{name} of {table.path}" if len(splits) > 1 else str(table.path)
                raise DataError(
                    f"class {label!r} in {where} has {different[code]} different rows, expected at least {expected}, "
                    "so that train, validation and test have one each: add some, or remove the class"
                )
    # Copies of one row are drawn as one: a model has learned what it is tested on otherwise.
    return fill_splits(splits, labels, copies)


def _given_splits(table: TextTable, place: int | None) -> NDArray[np.str_]:
    """What each row is for [N]: train, where the table doesn't say."""
    if place is None:
        return np.full(len(table.rows), "train")
    cells = [row[place] for row in table.rows]
    for cell, line in zip(cells, table.lines, strict=True):
        if split_of(cell) is None:
            raise DataError(
                f"{table.path} has {cell!r} in line {line}, column {SPLIT_COLUMN!r}: expected one of "
                f"{', '.join(SPLITS)}, or another name for the column"
            )
    return np.array([split_of(cell) for cell in cells])


def _copies(table: TextTable, place: int | None) -> NDArray[np.int64]:
    """A number for each row [N], the same for rows of the same values.

    Where half of the rows or more are repetitions, and no more combinations of values are possible than there are rows,
    as in a table of a few categories, they are no copies: many people are alike in all that it holds of them. Each has
    a number of its own then.
    """
    apart = [k for k in range(len(table.header)) if k != place]
    numbers: dict[tuple[str, ...], int] = {}
    found = [numbers.setdefault(tuple(row[k] for k in apart), len(numbers)) for row in table.rows]
    possible = math.prod(len({row[k] for row in table.rows}) for k in apart)
    alike = 2 * len(numbers) <= len(found) and possible <= len(found)
    return np.array(range(len(found)) if alike else found, np.int64)
