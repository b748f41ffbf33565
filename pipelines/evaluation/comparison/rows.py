"""The results of a comparison, for its plot, its page and its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.core.metrics.seed_spread import Spread
from pipelines.evaluation.comparison.paired import Pair


def short(names: Sequence[str]) -> list[str]:
    """DATA SET/MODEL without the data set, where all share one."""
    shared = len({name.partition("/")[0] for name in names}) == 1
    return [name.partition("/")[2] if shared else name for name in names]


@dataclass(frozen=True)
class Reliability:
    """How far a model's answers can be relied on, by the test images; None for what wasn't measured.

    calibration_error: expected, in bins of equal mass, 0..1; uncalibrated_error: before calibration. mean_set: how many
    labels are in a set that holds the true one in 95 % of cases. robust_seen, robust_unseen: accuracy on corrupted
    images, 0..1, of kinds that training imitated, and of others. auroc: of familiarity, the share of pairs of a test
    image and one of other things of which the test image looks more familiar.
    """

    calibration_error: float | None = None
    uncalibrated_error: float | None = None
    mean_set: float | None = None
    robust_seen: float | None = None
    robust_unseen: float | None = None
    auroc: float | None = None

    @classmethod
    def of(cls, metrics: Mapping[str, float], auroc: float | None = None) -> Reliability:
        """By the metrics of a manifest or a run."""
        return cls(
            calibration_error=metrics.get("test_mass_calibration_error"),
            uncalibrated_error=metrics.get("test_uncalibrated_mass_calibration_error"),
            mean_set=metrics.get("test_mean_set_95"),
            robust_seen=metrics.get("test_robust_seen"),
            robust_unseen=metrics.get("test_robust_unseen"),
            auroc=auroc,
        )

    def cell(self, name: str) -> str:
        """The value of a field as people read it; blank where there is none."""
        value = getattr(self, name)
        return "" if value is None else format(value, RELIABILITY[name][1])


RELIABILITY: Mapping[str, tuple[str, str]] = {  # field -> the name of its column, and how its values are written
    "calibration_error": ("calibration error", ".2%"),
    "uncalibrated_error": ("uncalibrated", ".2%"),
    "mean_set": ("labels at 95%", ".2f"),
    "robust_seen": ("robust (seen)", ".1%"),
    "robust_unseen": ("robust (unseen)", ".1%"),
    "auroc": ("AUROC", ".3f"),
}


_EXPLAINED = {
    "calibration_error": "calibration error: the expected difference between a probability and the accuracy at it, "
    "in bins of equal mass",
    "uncalibrated_error": "uncalibrated: the calibration error before temperature scaling",
    "mean_set": "labels at 95%: the mean size of prediction sets that contain the true label in 95% of cases",
    "robust_seen": "robust (seen): accuracy on corrupted images of kinds that the training augmentation imitated",
    "robust_unseen": "robust (unseen): accuracy on corrupted images of all other kinds",
    "auroc": "AUROC: how often a test image is more familiar than an image of an unknown class",
}


def explained(fields: Sequence[str]) -> list[str]:
    """What the columns mean, a line each."""
    return [_EXPLAINED[name] for name in fields]


def fields_known(all_of_them: Iterable[Reliability]) -> list[str]:
    """The fields that at least one has, in the order of RELIABILITY: columns of a table."""
    found = list(all_of_them)
    return [name for name in RELIABILITY if any(getattr(each, name) is not None for each in found)]


@dataclass(frozen=True)
class Row:
    """One export.

    name: DATA SET/MODEL. accuracy, low, high: on the test set, with the 95% interval, 0..1. size: of model.onnx, bytes.
    latency: milliseconds for one image of the model's own size, the median. parity: largest difference of a
    probability from Keras. spread: of the accuracy over seeds, where several were trained. balanced_accuracy, macro_f1:
    0..1, where a class has many more test images than another. reliability: by its manifest. searched: of a sweep's
    trial, the fields that were searched, with their values.
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
    reliability: Reliability = field(default_factory=Reliability)
    searched: str = ""


@dataclass(frozen=True)
class Unexported:
    """A run that has no export, by what it logged; None for what it didn't.

    name: DATA SET/MODEL. run: its id. status: RUNNING, FINISHED, FAILED or KILLED. accuracy, low, high: as in Row.
    validation_accuracy: 0..1. reliability: by what it logged. searched: as in Row. spread: of the test accuracy over
    new seeds, of a trial of a sweep that was trained again. resume: the command that continues it, or which
    one does, in words; "" if it is finished.
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
    reliability: Reliability = field(default_factory=Reliability)
    searched: str = ""
    spread: Spread | None = None
    resume: str = ""


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
