"""All that is known of the models that are compared: by their exports, by their runs, and by what was just measured."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import tracking
from pipelines.evaluation.comparison.candidates import Candidate, run_of
from pipelines.evaluation.comparison.paired import Tested
from pipelines.evaluation.comparison.rows import Comparison, Reliability, Row, Unexported
from pipelines.evaluation.evaluate import EVALUATION_FOLDER, read_evaluation
from pipelines.tracking import TrackedRun
from zoo.contract import Metadata
from zoo.errors import TrackingError


@dataclass(frozen=True)
class Model:
    """What a page can show of one model; what isn't known isn't in it.

    known: whether the store knows its run. metrics: accuracy, low, high and validation_accuracy, 0..1; parameters;
    multiply_accumulates; latency of an image, microseconds; size of the file, bytes. history: as a run has it. classes:
    label -> (test images, recall 0..1). recipe: fields, and how the data were read. environment: as
    `pipelines.core.provenance.environment` has it. reliability: as the comparison has it. spread: over seeds, as text.
    """

    name: str
    family: str
    run: str
    known: bool
    metrics: Mapping[str, float]
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    classes: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    recipe: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    reliability: Reliability = field(default_factory=Reliability)
    spread: str = ""


def gather(candidates: Sequence[Candidate], comparison: Comparison, tested: Sequence[Tested]) -> list[Model]:
    """A Model for each candidate. What the runs of exports logged is looked for in the store.

    Raises TrackingError where the store fails, and ExportError where an evaluation in it is damaged.
    """
    return [_model(each, run_of(each), comparison, tested) for each in candidates]


def _model(candidate: Candidate, run: TrackedRun | None, comparison: Comparison, tested: Sequence[Tested]) -> Model:
    metadata = candidate.manifest.metadata if candidate.manifest else None
    if run is not None:
        recipe, environment = _recipe_of_run(run), dict(tracking.environment_of(run))
        environment["arithmetic"] = run.facts.get("arithmetic", "")
    elif metadata is not None:
        recipe, environment = _recipe_of_export(metadata), {**metadata.versions, "commit": metadata.commit}
    else:
        recipe, environment = {}, {}
    return Model(
        name=candidate.name,
        family=metadata.family if metadata else run.tags.get("family", "") if run else "",
        run=candidate.run_id,
        known=run is not None,
        metrics={name: value for name, value in _metrics(candidate, comparison).items() if value is not None},
        history=run.history if run else {},
        classes=_recalls(candidate.name, run, tested),
        recipe={name: _text(value) for name, value in recipe.items()},
        environment={name: _text(value) for name, value in environment.items()},
        reliability=_line(candidate, comparison).reliability,
        spread=str(_line(candidate, comparison).spread or ""),
    )


def _line(candidate: Candidate, comparison: Comparison) -> Row | Unexported:
    """The one that a comparison has of it."""
    lines: list[Row | Unexported] = [*comparison.rows, *comparison.unexported]
    return next(each for each in lines if each.name == candidate.name)


def _metrics(candidate: Candidate, comparison: Comparison) -> dict[str, float | None]:
    line = _line(candidate, comparison)
    found = {"accuracy": line.accuracy, "low": line.low, "high": line.high, "parameters": line.parameters}
    if isinstance(line, Unexported) and line.accuracy is None:
        found["validation_accuracy"] = line.validation_accuracy
    if isinstance(line, Row) and candidate.manifest is not None:
        found |= {"latency": 1000 * line.latency, "size": line.size}
        found["multiply_accumulates"] = candidate.manifest.metrics.get("multiply_accumulates")
    return found


def _recipe_of_run(run: TrackedRun) -> dict[str, Any]:
    """With what else decides what is learned."""
    plan = run.plan
    reading = {"data digest": run.data_digest[:12], "size": run.facts.get("size", ""), "resizing": plan.resizing}
    return {**plan.recipe.to_json(), **reading, "source": plan.source.title if plan.source else ""}


def _recipe_of_export(metadata: Metadata) -> dict[str, Any]:
    size = "" if metadata.columns else f"{metadata.height}x{metadata.width}x{metadata.channels}"
    reading = {"data digest": metadata.data_digest[:12], "size": size, "resizing": metadata.resizing}
    return {**metadata.recipe, **reading, "source": metadata.source.get("name", "")}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _recalls(name: str, run: TrackedRun | None, tested: Sequence[Tested]) -> dict[str, tuple[int, float]]:
    """Label -> (test images, recall), as just measured, or as the run's evaluation recorded."""
    for group in tested:
        if name in group.answers:
            truth, correct = group.data_set.test.labels, group.correct(name)
            counts = np.bincount(truth, minlength=group.data_set.classes)
            found = np.bincount(truth[correct], minlength=group.data_set.classes)
            shares = (found / np.maximum(counts, 1)).tolist()
            return dict(zip(group.data_set.labels, zip(counts.tolist(), shares, strict=True), strict=True))
    if run is None or "test_accuracy" not in run.metrics:
        return {}
    with tempfile.TemporaryDirectory() as temporary:
        try:
            evaluation = read_evaluation(tracking.fetch_folder(run.run_id, EVALUATION_FOLDER, Path(temporary)))
        except TrackingError:  # it was measured, and its images have been cleared away
            return {}
    return {each.label: (each.images, each.recall) for each in evaluation.classes}
