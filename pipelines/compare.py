"""`zoo compare EXPORT…`: exports side by side, by what their manifests say and by the clock."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pipelines.answers import made_up
from pipelines.pairs import Pair, pair_up
from pipelines.seeds import Spread, spread
from zoo.contract import MODEL_FILE, read_manifest
from zoo.data import DataSet
from zoo.errors import ExportError
from zoo.runtime import Classifier, load
from zoo.runtime.loading import find_export

THREADS = (
    1  # a small model gains nothing from more on one picture, and several sessions' threads get in each other's way
)
WARM_UP, ROUNDS = 20, 300  # calls
PATIENCE = 10.0  # seconds for all rounds, of which large models get fewer


@dataclass(frozen=True)
class Row:
    """One export.

    name: DATA SET/MODEL. accuracy, low, high: on the test set, with the 95% interval, 0..1. size: of model.onnx, bytes.
    latency: milliseconds for one picture of the model's own size, the median. parity: largest difference of a
    probability from Keras. spread: of the accuracy over seeds, where several were trained.
    """

    name: str
    family: str
    parameters: int
    accuracy: float
    low: float
    high: float
    size: int
    latency: float
    parity: float
    spread: Spread | None = None


@dataclass(frozen=True)
class Comparison:
    """Exports in the order in which they were named.

    picture: where the comparison was drawn. pairs: of each data set the best export with each other one, on the same
    pictures. notes: a sentence about what couldn't be paired.
    """

    rows: tuple[Row, ...]
    picture: Path | None
    pairs: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()


def compare(
    exports: Sequence[str | os.PathLike[str]], picture: Path | None = None, *, data: str | DataSet | None = None
) -> Comparison:
    """Put exports side by side; draw them to `picture` (a PNG) where one is named.

    exports: folders, or names such as digits/lenet5. Their latencies are measured in turns, so that what else the
    machine does hits all of them alike. Those of one data set are run over its test pictures.
    data: the data set with these, as `verify` takes it.
    Raises ExportError for one that isn't there, is damaged or holds no test figures, and where the picture can't be
    written.
    """
    folders = [find_export(export) for export in exports]
    for file in filter(Path.is_file, folders):
        raise ExportError(f"{file} is a file, expected an export's folder: its manifest holds what is compared")
    latencies = measure_latencies([load(folder, provider="cpu", threads=THREADS) for folder in folders])
    rows = tuple(_row(folder, latency) for folder, latency in zip(folders, latencies, strict=True))
    if picture is not None:
        from pipelines import figures

        try:
            figures.comparison(picture, rows)
        except OSError as error:
            raise ExportError(f"{picture} can't be written ({error.strerror}): name another file") from None
    pairs, notes = pair_up(folders, data)
    return Comparison(rows, picture, pairs, notes)


def measure_latencies(classifiers: Sequence[Classifier], seconds: float = PATIENCE) -> list[float]:
    """The median milliseconds that each needs for one picture or row, taken in turns, for so many seconds at most."""
    inputs = [made_up(classifier.metadata, 1) for classifier in classifiers]
    times: list[list[float]] = [[] for _ in classifiers]
    began = time.perf_counter()
    for turn in range(WARM_UP + ROUNDS):
        for classifier, one, taken in zip(classifiers, inputs, times, strict=True):
            start = time.perf_counter()
            classifier.probabilities(one)
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - start)
        if turn >= WARM_UP and time.perf_counter() - began > seconds:
            break
    return [1000 * median(taken) for taken in times]


def _row(folder: Path, latency: float) -> Row:
    manifest = read_manifest(folder)
    metadata, figures = manifest.metadata, manifest.figures
    try:
        return Row(
            name=f"{metadata.data_set}/{metadata.model}",
            family=metadata.family,
            parameters=int(figures["parameters"]),
            accuracy=figures["test_accuracy"],
            low=figures["test_accuracy_low"],
            high=figures["test_accuracy_high"],
            size=(folder / MODEL_FILE).stat().st_size,
            latency=latency,
            parity=metadata.parity["largest_difference"],
            spread=spread(figures),
        )
    except KeyError as error:
        raise ExportError(f"{folder} lacks the figure {error}, there is nothing to compare: export it again") from None
