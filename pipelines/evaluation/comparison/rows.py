"""The results of a comparison, for its plot, its page and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.metrics.seed_spread import Spread
from pipelines.evaluation.comparison.paired import Pair


def short(names: Sequence[str]) -> list[str]:
    """DATA SET/MODEL without the data set, where all share one."""
    shared = len({name.partition("/")[0] for name in names}) == 1
    return [name.partition("/")[2] if shared else name for name in names]


@dataclass(frozen=True)
class Row:
    """One export.

    name: DATA SET/MODEL. accuracy, low, high: on the test set, with the 95% interval, 0..1. size: of model.onnx, bytes.
    latency: milliseconds for one image of the model's own size, the median. parity: largest difference of a
    probability from Keras. spread: of the accuracy over seeds, where several were trained. balanced_accuracy, macro_f1:
    0..1, where a class has many more test images than another.
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
    balanced_accuracy: float | None = None
    macro_f1: float | None = None


@dataclass(frozen=True)
class Unexported:
    """A run that has no export, by what it logged; None for what it didn't.

    name: DATA SET/MODEL. run: its id. status: RUNNING, FINISHED, FAILED or KILLED. accuracy, low, high: as in Row.
    validation_accuracy: 0..1.
    """

    name: str
    run: str
    status: str
    family: str
    parameters: int | None
    accuracy: float | None
    low: float | None
    high: float | None
    validation_accuracy: float | None


@dataclass(frozen=True)
class Comparison:
    """Exports in the order in which they were named, the exports of runs among them, and the runs that have none.

    plot, page: where the comparison was drawn. pairs: of each data set the best export with each other one, on the
    same images. notes: a sentence about what is missing, such as what couldn't be paired. logged: the run that the
    page was added to.
    """

    rows: tuple[Row, ...]
    plot: Path | None
    pairs: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()
    unexported: tuple[Unexported, ...] = ()
    page: Path | None = None
    logged: str | None = None
