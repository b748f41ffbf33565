"""`zoo list`: all models, with the metrics of the exports in a folder. Neither Keras nor MLflow is imported."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pipelines.core.support.conditions import Value, matching, parse_condition, sorted_by
from pipelines.publishing.catalog import Shipped, read_shipped
from zoo.contract import INT8
from zoo.errors import QueryError, unknown
from zoo.models import definitions, pretrained_definitions
from zoo.models.registry import Family, ModelDefinition, Published

logger = logging.getLogger("zoo.publishing")


@dataclass(frozen=True)
class ListedModel:
    """A registered model and one export of it; a model that isn't shipped has None for all that an export records.

    Of one whose features others have trained and that isn't shipped, parameters and multiply_accumulates are those of
    its features alone, at the image_size that they learned from: the head depends on the classes.

    receptive_field: of one feature, the side in pixels, 0 for the whole image. accuracy: of the shipped file on
    the whole test set, 0..1. mean_accuracy, spread: over so many seeds, where there are several. size: of the file in
    bytes. int8_accuracy, int8_size: of its int8 file, where there is one; int8_speedup: how many times as fast as
    float32 that one is for 64 images at once. imagenet_accuracy: of the published model, as those who trained it
    measured it, 0..1; image_size: of the images that it learned from, pixels a side. summary: what it is, empty for an
    export of a model that is defined elsewhere.
    """

    name: str
    family: str
    summary: str
    data_set: str | None = None
    parameters: int | None = None
    multiply_accumulates: int | None = None
    receptive_field: int | None = None
    accuracy: float | None = None
    mean_accuracy: float | None = None
    spread: float | None = None
    seeds: int | None = None
    robust_accuracy: float | None = None
    robust_mean: float | None = None
    robust_seen: float | None = None
    robust_unseen: float | None = None
    calibration_error: float | None = None
    size: int | None = None
    int8_accuracy: float | None = None
    int8_size: int | None = None
    int8_speedup: float | None = None
    imagenet_accuracy: float | None = None
    image_size: int | None = None


TEXTS = ("name", "family", "data_set")
COSTS = (
    "parameters",
    "multiply_accumulates",
    "receptive_field",
    "spread",
    "calibration_error",
    "size",
    "int8_size",
    "image_size",
)
QUALITIES = (
    "accuracy",
    "mean_accuracy",
    "robust_accuracy",
    "robust_mean",
    "robust_seen",
    "robust_unseen",
    "seeds",
    "int8_accuracy",
    "int8_speedup",
    "imagenet_accuracy",
)
FIELDS = (*TEXTS, *QUALITIES, *COSTS)  # to sort and to choose by


def list_models(
    exports: Path = Path("exports"),
    *,
    sort: str | None = None,
    family: str | None = None,
    data: str | None = None,
    where: Sequence[str] = (),
) -> tuple[ListedModel, ...]:
    """List all registered models, dense before conv before hybrid, with a row for each export of a model.

    sort: one of FIELDS; qualities from high to low, costs from low to high, blanks last. family, data: only
    those. where: conditions that must all hold, such as "parameters<100k" or "accuracy>=93%"; a blank never does.
    A damaged export is left out, and named in a warning of the logger `zoo.publishing`.
    Raises QueryError for an unknown field, family, data set, or condition.
    """
    rows = _all_rows(
        read_shipped(exports, on_damaged=lambda folder, error: logger.warning("%s is left out: %s", folder, error))
    )
    there = sorted({row.data_set for row in rows if row.data_set})
    if family is not None:
        if family not in get_args(Family):
            raise QueryError(unknown("family", family, get_args(Family)))
        rows = [row for row in rows if row.family == family]
    if data is not None:
        if data not in there:
            raise QueryError(
                f"no export in {exports} is of the data set {data!r}, there are those of {', '.join(there) or 'none'}"
            )
        rows = [row for row in rows if row.data_set == data]
    conditions = [parse_condition(condition) for condition in where]
    for field in (*(condition.field for condition in conditions), *([sort] if sort else [])):
        if field not in FIELDS:
            raise QueryError(f"a list has no field {field!r}: there are {', '.join(FIELDS)}")
    rows = matching(rows, conditions, _value)
    return tuple(rows if sort is None else sorted_by(rows, sort, _value, descending=sort in QUALITIES))


def _all_rows(shipped: Sequence[Shipped]) -> list[ListedModel]:
    known = (*definitions(), *pretrained_definitions())
    rows = []
    for model in known:
        exports = [export for export in shipped if export.model == model.name]
        rows += [_with_published(_row(export, model.family, model.summary), model.published) for export in exports]
        if not exports:
            rows.append(_unshipped(model))
    # Exports of models that somebody else's package defines, or that had another name then, are there all the same.
    names = {model.name for model in known}
    return rows + [_row(export, export.family, "") for export in shipped if export.model not in names]


def _unshipped(model: ModelDefinition) -> ListedModel:
    row = _with_published(ListedModel(model.name, model.family, model.summary), model.published)
    if model.published is None:
        return row
    return replace(
        row, parameters=model.published.parameters, multiply_accumulates=model.published.multiply_accumulates
    )


def _with_published(row: ListedModel, published: Published | None) -> ListedModel:
    if published is None:
        return row
    return replace(row, imagenet_accuracy=published.accuracy, image_size=published.size)


def _row(export: Shipped, family: str, summary: str) -> ListedModel:
    int8 = next((found for found in export.quantized if found.precision == INT8), None)
    return ListedModel(
        name=export.model,
        family=family,
        summary=summary,
        data_set=export.data_set,
        parameters=export.parameters,
        multiply_accumulates=export.multiply_accumulates,
        receptive_field=export.receptive_field,
        accuracy=export.accuracy,
        mean_accuracy=export.spread.mean if export.spread else None,
        spread=export.spread.deviation if export.spread else None,
        seeds=len(export.seeds) or None,
        robust_accuracy=export.robust_accuracy,
        robust_mean=export.robust_mean,
        robust_seen=export.robust_seen,
        robust_unseen=export.robust_unseen,
        calibration_error=export.calibration_error,
        size=export.size,
        int8_accuracy=int8.accuracy if int8 else None,
        int8_size=int8.size if int8 else None,
        int8_speedup=int8.speedups[1] if int8 else None,
    )


def _value(row: ListedModel, field: str) -> Value:
    value: Value = getattr(row, field)
    return math.inf if field == "receptive_field" and value == 0 else value  # the whole image, however large
