"""`zoo runs`: the trainings in the store, chosen, sorted, and as a table. Neither Keras nor MLflow is imported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

from pipelines.core.support.conditions import Value, matching, parse_condition, sorted_by
from pipelines.tracking.runs.listing import RunRecord, read_runs
from zoo.errors import QueryError, unknown
from zoo.recipe import Recipe

STATES = ("running", "finished", "failed", "killed")
MOST = 50  # rows


@dataclass(frozen=True)
class ListedRun:
    """One training.

    name: its model, and what was decided otherwise than the recipe does. status: one of STATES. started: ISO 8601, UTC.
    seconds: from its start to its end, None while it runs. parent: the run that it is one seed of. test_accuracy,
    best_validation_accuracy: 0..1. latency: milliseconds for one image or row, the median on one thread of the
    machine that exported it. export_size: of the ONNX file, bytes. What isn't known yet is None.
    asked: other metrics and fields of the recipe that were asked for, by name.
    """

    run: str
    name: str
    model: str
    family: str
    data_set: str
    status: str
    started: str
    seconds: float | None
    parent: str | None
    parameters: int | None
    multiply_accumulates: int | None
    best_validation_accuracy: float | None
    test_accuracy: float | None
    latency: float | None
    export_size: int | None
    asked: dict[str, float | str]


@dataclass(frozen=True)
class Runs:
    """The runs to show, and how many were found in all."""

    runs: tuple[ListedRun, ...]
    found: int


TEXTS = ("run", "name", "model", "family", "data_set", "status", "started")
METRICS = (
    "parameters",
    "multiply_accumulates",
    "best_validation_accuracy",
    "test_accuracy",
    "latency",
    "export_size",
)
FIELDS = (*TEXTS, "seconds", *METRICS)
RECIPE = tuple(field.name for field in fields(Recipe))


def runs(
    *,
    model: str | None = None,
    data: str | None = None,
    status: str | None = None,
    where: Sequence[str] = (),
    sort: str | None = None,
    most: int | None = MOST,
) -> Runs:
    """List the runs in the store, latest first.

    model, data, status: only those. where: conditions that must all hold, such as "test_accuracy>90%", "seed=2", or
    "parameters<100k", on FIELDS, fields of the recipe, and any other metric of a run; a blank never holds. sort: one of
    these; accuracies and start times from high to low, other numbers from low to high, blanks last. most: the maximum
    number of rows, None for all.
    Raises TrackingError if there is no store, and QueryError for an unknown status or condition, or a name that no run
    has.
    """
    if status is not None and status not in STATES:
        raise QueryError(unknown("status", status, STATES))
    conditions = [parse_condition(condition) for condition in where]
    asked = [*(condition.field for condition in conditions), *([sort] if sort else [])]
    of_recipe = [name for name in asked if name in RECIPE]
    others = [name for name in asked if name not in FIELDS and name not in RECIPE]
    found = [_row(record) for record in read_runs((*METRICS, *others), of_recipe)]
    for name in (*others, *of_recipe):
        if not any(name in row.asked for row in found):
            raise QueryError(
                f"no run has {name!r}: there are {', '.join(FIELDS)}, the fields of the recipe, and other metrics"
            )
    exact = {"model": model, "data_set": data, "status": status}
    for field, value in exact.items():
        if value is not None:
            found = [row for row in found if getattr(row, field) == value]
    found = matching(found, conditions, _value)
    if sort is not None:
        found = sorted_by(found, sort, _value, descending="accuracy" in sort or sort == "started")
    return Runs(tuple(found[:most]), len(found))


def _row(record: RunRecord) -> ListedRun:
    def number(name: str) -> int | None:
        return int(record.metrics[name]) if name in record.metrics else None

    others = {name: value for name, value in record.metrics.items() if name not in METRICS}
    return ListedRun(
        run=record.run,
        name=record.name,
        model=record.tags.get("model", ""),
        family=record.tags.get("family", ""),
        data_set=record.tags.get("data_set", ""),
        status=record.status.lower(),
        started=datetime.fromtimestamp(record.started / 1000, UTC).isoformat(timespec="seconds"),
        # One that goes on has the time at which it was interrupted.
        seconds=(record.ended - record.started) / 1000 if record.ended and record.status != "RUNNING" else None,
        parent=record.tags.get("mlflow.parentRunId"),
        parameters=number("parameters"),
        multiply_accumulates=number("multiply_accumulates"),
        best_validation_accuracy=record.metrics.get("best_validation_accuracy"),
        test_accuracy=record.metrics.get("test_accuracy"),
        latency=record.metrics.get("latency"),
        export_size=number("export_size"),
        asked={**others, **{name: _read(value) for name, value in record.params.items()}},
    )


def _read(value: str) -> float | str:
    """A parameter, which every store keeps as text, as the number that it is."""
    try:
        return float(value)
    except ValueError:
        return value


def _value(row: ListedRun, field: str) -> Value:
    value: Value = getattr(row, field) if field in FIELDS else row.asked.get(field)
    return value
