"""`zoo predict EXPORT PICTURE…`: classify pictures, or a table's rows. The app's part is all that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.contract import FLOAT32
from zoo.errors import InputError
from zoo.runtime import Classifier, load
from zoo.tables import SPLIT_COLUMN, encode, read_text_table, row_of


@dataclass(frozen=True)
class PredictedPicture:
    """One picture and its answer. probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first."""

    picture: Path
    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return str(self.picture)


@dataclass(frozen=True)
class PredictedRow:
    """One row of a table, by the line that it begins on, and its answer, as of a picture."""

    table: Path
    line: int
    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]

    def __str__(self) -> str:
        return f"{self.table}:{self.line}"


def predict(
    export: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    provider: str = "auto",
    threads: int | None = None,
    precision: str = FLOAT32,
) -> list[PredictedPicture] | list[PredictedRow]:
    """The answer for each of the picture files, or for each row of the tables, in their order.

    export, provider, threads, precision: as `zoo.load` takes them. A table's columns may be in any order, with its
    label and its splits among them.
    Raises what `zoo.load` raises, PictureError for the first picture that can't be read, DataError for a table that
    can't, and InputError, with the line, for a row that the classifier doesn't take.
    """
    classifier = load(export, provider, threads, precision)
    if classifier.columns:
        return [row for path in paths for row in _rows(classifier, Path(path))]
    predictions = classifier.predict_batch(paths)
    return [
        PredictedPicture(Path(path), found.label, found.probability, found.ranking)
        for path, found in zip(paths, predictions, strict=True)
    ]


def _rows(classifier: Classifier, path: Path) -> Iterator[PredictedRow]:
    table = read_text_table(path)
    names = {column.name for column in classifier.columns}
    beside = {classifier.metadata.label_column, SPLIT_COLUMN} - names
    features = np.empty((len(table.rows), len(names)), np.float32)
    for place, (cells, line) in enumerate(zip(table.rows, table.lines, strict=True)):
        row = {name: cell for name, cell in zip(table.header, cells, strict=True) if name not in beside}
        try:
            features[place] = encode(row_of(row, classifier.columns), classifier.columns)
        except InputError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
    for line, found in zip(table.lines, classifier.predict_batch(features), strict=True):
        yield PredictedRow(path, line, found.label, found.probability, found.ranking)
