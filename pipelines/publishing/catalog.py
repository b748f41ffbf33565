"""What each export in a folder records, flat: one row a manifest. Nothing is measured, no model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.core.metrics.seed_spread import Spread, by_seed, spread_of
from zoo.contract import CARD_FILE, FLOAT32, MANIFEST_FILE, MODEL_FILE, MODEL_FILES, Manifest, read_manifest
from zoo.errors import ExportError


@dataclass(frozen=True)
class Quantized:
    """An export's file of another precision, by the manifest; None for a metric that it doesn't hold.

    accuracy: on the whole test set, 0..1. difference: of it from the float32 file's, on the same images; low, high:
    its 95% interval. same: share of the test images with the same answer. size: bytes. speedups: how many times as
    fast as the float32 file, for one image and for 64 at once, on one thread of the processor that made it.
    """

    precision: str
    size: int
    accuracy: float | None
    difference: float | None
    low: float | None
    high: float | None
    same: float | None
    speedups: tuple[float | None, float | None]


@dataclass(frozen=True)
class Reliability:
    """How far an export's answers can be relied on, on the test images, 0..1; None for what the manifest doesn't hold.

    before, after: expected calibration error in 15 bins of equal mass, without the temperature and with it; low, high:
    the 95% interval of `after`. coverage: share of the sets for 0.95 that hold the true label; mean_set: labels in one.
    known: share of the test images that the file takes for images of its classes.
    """

    before: float | None
    after: float
    low: float | None
    high: float | None
    coverage: float | None
    mean_set: float | None
    known: float | None


@dataclass(frozen=True)
class Shipped:
    """An export by its manifest; None for a metric that the manifest doesn't hold.

    folder: where it lies. receptive_field: of one feature, the side in pixels, 0 for the whole image. accuracy:
    of the shipped file on the whole test set, 0..1; low, high: its 95% interval. seeds: accuracy by seed, where several
    were trained. robust_accuracy: mean over corrupted test images, 0..1, of the suite that exports were measured on
    first; robust_mean, robust_seen, robust_unseen: of today's, see `evaluation.robustness`. size: of model.onnx,
    bytes. teacher: the model that it was distilled from. card: whether there is one in the folder. label_column: of a
    table, the column that held the class. reading: by which options the data were read. source: the trained model that
    it started from, "" for none. quantized: its files of other precisions.
    reliability: None where it wasn't measured.
    """

    folder: Path
    model: str
    family: str
    data_set: str
    parameters: int | None
    multiply_accumulates: int | None
    receptive_field: int | None
    accuracy: float
    low: float | None
    high: float | None
    seeds: Mapping[int, float]
    robust_accuracy: float | None
    calibration_error: float | None
    size: int
    teacher: str | None
    recipe: Mapping[str, object]
    card: bool
    label_column: str = ""
    reading: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    quantized: tuple[Quantized, ...] = ()
    robust_mean: float | None = None
    robust_seen: float | None = None
    robust_unseen: float | None = None
    reliability: Reliability | None = None

    @property
    def name(self) -> str:
        """DATA SET/MODEL."""
        return f"{self.data_set}/{self.model}"

    @property
    def spread(self) -> Spread | None:
        """Of the accuracy over the seeds; None where one alone was trained."""
        return spread_of(self.seeds)


def read_shipped(
    exports: Path, *, on_damaged: Callable[[Path, ExportError], None] | None = None
) -> tuple[Shipped, ...]:
    """All exports below a folder, DATA SET/MODEL, in the order of these names.

    on_damaged: is given each folder whose manifest is damaged, and why; without it, that ExportError is raised.
    """
    found = []
    for folder in sorted(path.parent for path in exports.glob(f"*/*/{MANIFEST_FILE}")):
        try:
            found.append(_shipped(folder, read_manifest(folder)))
        except ExportError as error:
            if on_damaged is None:
                raise
            on_damaged(folder, error)
    return tuple(found)


def _shipped(folder: Path, manifest: Manifest) -> Shipped:
    metadata, metrics = manifest.metadata, manifest.metrics
    file = manifest.file(MODEL_FILE)
    teacher = metadata.recipe.get("teacher")
    return Shipped(
        folder=folder,
        model=metadata.model,
        family=metadata.family,
        data_set=metadata.data_set,
        parameters=_whole(metrics.get("parameters")),
        multiply_accumulates=_whole(metrics.get("multiply_accumulates")),
        receptive_field=_whole(metrics.get("receptive_field")),
        accuracy=metadata.test_accuracy,
        low=metrics.get("test_accuracy_low"),
        high=metrics.get("test_accuracy_high"),
        seeds=by_seed(metrics),
        robust_accuracy=metrics.get("test_robust_accuracy"),
        robust_mean=metrics.get("test_robust_mean"),
        robust_seen=metrics.get("test_robust_seen"),
        robust_unseen=metrics.get("test_robust_unseen"),
        calibration_error=metrics.get("test_calibration_error"),
        reliability=_reliability(metrics),
        size=file.size if file else 0,
        teacher=str(teacher) if teacher else None,
        recipe=metadata.recipe,
        card=manifest.file(CARD_FILE) is not None,
        label_column=metadata.label_column,
        reading=manifest.reading,
        source=str(metadata.source.get("name", "")),
        quantized=tuple(_quantized(manifest, precision) for precision in manifest.precisions if precision != FLOAT32),
    )


def _reliability(metrics: Mapping[str, float]) -> Reliability | None:
    after = metrics.get("test_mass_calibration_error")
    if after is None:
        return None
    return Reliability(
        before=metrics.get("test_uncalibrated_mass_calibration_error"),
        after=after,
        low=metrics.get("test_mass_calibration_error_low"),
        high=metrics.get("test_mass_calibration_error_high"),
        coverage=metrics.get("test_coverage_95"),
        mean_set=metrics.get("test_mean_set_95"),
        known=metrics.get("familiarity_accepted"),
    )


def _quantized(manifest: Manifest, precision: str) -> Quantized:
    file = manifest.file(MODEL_FILES[precision])

    def metric(name: str) -> float | None:
        return manifest.metrics.get(f"{precision}_{name}")

    return Quantized(
        precision=precision,
        size=file.size if file else 0,
        accuracy=metric("accuracy"),
        difference=metric("accuracy_difference"),
        low=metric("accuracy_difference_low"),
        high=metric("accuracy_difference_high"),
        same=metric("same_top_class"),
        speedups=(metric("speedup_1"), metric("speedup_64")),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
