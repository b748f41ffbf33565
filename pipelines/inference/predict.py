"""`zoo predict EXPORT IMAGE…`: classify images, folders of them, or a table's rows. Needs the app's part alone."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.support.atomic import atomic_file
from zoo.contract import FLOAT32
from zoo.errors import ImageError, InputError, printable
from zoo.files import image_files
from zoo.formats import IMAGE_ENDINGS
from zoo.images import Pixels
from zoo.runtime import Classifier, load
from zoo.tables import SPLIT_COLUMN, column_called, encode, read_text_table, row_of

ON_BAD = ("skip", "fail")
LONGEST_STEM = 180  # bytes of a name, which a disk allows 255, of what a file of an explanation is called by


@dataclass(frozen=True)
class PredictedImage:
    """One image and its answer. probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first.

    explanation: the file that shows what speaks for the label; None where none was asked for. labels: the set for the
    coverage that was asked for, likeliest first; empty where none was. familiarity, known: as of a `Prediction`.
    """

    image: Path
    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    explanation: Path | None = None
    labels: tuple[str, ...] = ()
    familiarity: float | None = None
    known: bool | None = None

    def __str__(self) -> str:
        return str(self.image)


@dataclass(frozen=True)
class BadImage:
    """An image that can't be read, and why, in a sentence that names it."""

    image: Path
    error: str

    def __str__(self) -> str:
        return str(self.image)


@dataclass(frozen=True)
class PredictedRow:
    """One row of a table, by the line that it begins on, and its answer, as of an image."""

    table: Path
    line: int
    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    familiarity: float | None = None
    known: bool | None = None

    def __str__(self) -> str:
        return f"{self.table}:{self.line}"


@dataclass(frozen=True)
class BadRow:
    """A row of a table that the classifier doesn't take, and why, in a sentence that names its line."""

    table: Path
    line: int
    error: str

    def __str__(self) -> str:
        return f"{self.table}:{self.line}"


def predict(
    export: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    *,
    provider: str = "auto",
    threads: int | None = None,
    precision: str = FLOAT32,
    on_bad: str = ON_BAD[0],
    explain: Path | None = None,
    coverage: float | None = None,
    by_class: bool = False,
) -> list[PredictedImage | BadImage] | list[PredictedRow | BadRow]:
    """Predict the label of each image, or of each row of the tables, in their order.

    export, provider, threads, precision: as in `zoo.load`. paths: images, and folders, whose images are found at any
    depth, in natural order. A table's columns may be in any order, and may include its label and its splits.
    on_bad: "skip" returns a BadImage for an image that can't be read, and a BadRow for a row that the classifier can't
    accept; "fail" raises an ImageError or InputError for the first.
    explain: a folder for PNGs, NAME.explained.png for each image, that show which regions support the prediction.
    coverage, by_class: for the sets of labels, as in `Classifier.predict`.
    Raises what `zoo.load` raises, DataError for a table that can't be read, InputError for a folder without images, a
    table without a row that can be read, or an `explain` that isn't a writable folder, and ExportError if the model
    can't explain its predictions; in these cases, nothing has been written.
    """
    if on_bad not in ON_BAD:
        raise InputError(f"on_bad is one of {', '.join(ON_BAD)}, received {on_bad!r}")
    classifier = load(export, provider, threads, precision)
    if explain is not None:
        classifier.check_explains()
    sets: Mapping[str, Any] = {"coverage": coverage, "by_class": by_class}
    if classifier.columns:
        return [row for path in paths for row in _rows(classifier, Path(path), on_bad, sets)]
    images = [image for path in paths for image in _images(Path(path))]
    bad: dict[int, str] = {}
    answers = iter(classifier.predict_batch(_read(classifier, images, bad, on_bad), **sets))
    read = [image for place, image in enumerate(images) if place not in bad]
    files = iter([None] * len(read) if explain is None else _explained(classifier, read, explain))
    results: list[PredictedImage | BadImage] = []
    for place, image in enumerate(images):
        if place in bad:
            results.append(BadImage(image, bad[place]))
        else:
            found = next(answers)
            answer = (found.label, found.probability, found.ranking)
            more = (found.labels, found.familiarity, found.known)
            results.append(PredictedImage(image, *answer, next(files), *more))
    return results


def _images(path: Path) -> Iterable[Path]:
    try:
        is_folder = path.is_dir()
    except OSError:  # a name too long, or no permission: an image that can't be read
        is_folder = False
    if not is_folder:
        return (path,)
    found = list(image_files(path))
    if not found:
        raise InputError(
            f"{printable(str(path))} holds no images: expected files that end in {' '.join(IMAGE_ENDINGS)}"
        )
    return found


def _read(classifier: Classifier, images: Iterable[Path], bad: dict[int, str], on_bad: str) -> Iterator[Pixels]:
    """The images that can be read, one after the other; of the others, the reason by their place is put into `bad`."""
    for place, image in enumerate(images):
        try:
            pixels = classifier.read(image)
        except ImageError as error:
            if on_bad == "fail":
                raise
            bad[place] = str(error)
        else:
            yield pixels


def _explained(classifier: Classifier, paths: Sequence[str | os.PathLike[str]], folder: Path) -> Sequence[Path | None]:
    """Draw each image's explanation into the folder; images of the same name are counted."""
    files: dict[Path, None] = {}  # in their order
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in map(Path, paths):
            stem = path.stem
            while len(os.fsencode(stem)) > LONGEST_STEM:
                stem = stem[:-1]
            names = (f"{stem}{'' if count == 1 else f'-{count}'}.explained.png" for count in itertools.count(1))
            file = next(folder / name for name in names if folder / name not in files)
            files[file] = None
            with atomic_file(file) as partial:
                classifier.explain(path).draw().save(partial, "PNG")
    except OSError as error:
        raise InputError(
            f"{folder} can't take explanations ({error.strerror or error}): name a folder that can be written to"
        ) from None
    return list(files)


def _rows(classifier: Classifier, path: Path, on_bad: str, sets: Mapping[str, Any]) -> Iterator[PredictedRow | BadRow]:
    table = read_text_table(path)
    if not table.rows:
        raise InputError(f"{path} has no rows: expected one below the names of the columns")
    names = [column.name for column in classifier.columns]
    places = {column_called(name, table.header): name for name in names}  # in whatever case the table has them
    header = [places.get(k, name) for k, name in enumerate(table.header)]
    beside = {name.casefold() for name in (classifier.metadata.label_column, SPLIT_COLUMN)}
    used = [k for k, name in enumerate(header) if name in names or name.casefold() not in beside]
    features: list[NDArray[np.float32]] = []
    bad: dict[int, str] = {}  # line -> why it has no answer
    for cells, line in zip(table.rows, table.lines, strict=True):
        row = {header[k]: cells[k] for k in used}
        try:
            features.append(encode(row_of(row, classifier.columns), classifier.columns))
        except InputError as error:
            bad[line] = f"{path}, line {line}: {error}"
            if on_bad == "fail":
                raise InputError(bad[line]) from None
    if bad and not features:  # such as a column that isn't there
        raise InputError(next(iter(bad.values())))
    answers = iter(classifier.predict_batch(np.array(features, np.float32).reshape(-1, len(names)), **sets))
    for line in table.lines:
        if line in bad:
            yield BadRow(path, line, bad[line])
        else:
            found = next(answers)
            answer = (found.label, found.probability, found.ranking, found.labels)
            yield PredictedRow(path, line, *answer, found.familiarity, found.known)
