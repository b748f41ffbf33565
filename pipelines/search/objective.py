"""What trials are judged by: the accuracy on the validation images, and what a model costs."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from pipelines import tracking
from pipelines.core.provenance.plan import load_data
from pipelines.core.support.conditions import parse_condition
from pipelines.evaluation.latency import measure_latencies
from pipelines.exporting.convert import convert
from pipelines.exporting.export import metadata_of
from pipelines.exporting.familiarity.output import give_familiarity
from pipelines.training.train import Trained
from zoo.contract import CONTRACT, MODEL_FILE
from zoo.runtime import load

MEASURED = "measured"  # of an Optuna trial: what it came to, by name

# By name: whether more of it is better, and what it is.
OBJECTIVES: Mapping[str, tuple[bool, str]] = {
    "accuracy": (True, "validation accuracy"),
    "parameters": (False, "parameters"),
    "multiply_accumulates": (False, "multiply-accumulates"),
    "size": (False, "bytes of the ONNX file"),
    "latency": (False, "milliseconds for one image"),
}


def measure(trained: Trained, names: Sequence[str]) -> dict[str, float]:
    """What a training came to, by name."""
    assert trained.validation_accuracy is not None  # noqa: S101 (a sweep begins with validation images alone)
    found = {"accuracy": trained.validation_accuracy}
    if "parameters" in names:
        found["parameters"] = float(trained.parameters)
    if "multiply_accumulates" in names:
        found["multiply_accumulates"] = tracking.load_run(trained.run).metrics["multiply_accumulates"]
    if {"size", "latency"} & set(names):
        found |= _of_file(trained.run, timed="latency" in names)
    return found


def _of_file(run: str, *, timed: bool) -> dict[str, float]:
    """What the ONNX file of a run would be: its size, and how fast one thread of this machine runs it.

    Without what the evaluation adds, a few numbers in its metadata.
    """
    tracked = tracking.load_run(run)
    data_set, model = load_data(tracked.plan), tracking.load_keras_model(run)
    metadata = metadata_of(tracked, data_set, model)
    converted = convert(model, metadata.resizing)
    if said := give_familiarity(converted, metadata, data_set):
        metadata = replace(metadata, familiarity=said, contract=CONTRACT)
    onnx.helper.set_model_props(converted, metadata.to_properties())
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / MODEL_FILE
        file.write_bytes(converted.SerializeToString())
        found = {"size": float(file.stat().st_size)}
        if timed:
            (latency,) = measure_latencies([load(file, provider="cpu", threads=1)], seconds=1)
            found["latency"] = latency
    return found


def fulfills(measured: Mapping[str, float], where: Sequence[str]) -> bool:
    """Whether all conditions hold for what was measured."""
    return all(each.holds(measured.get(each.field)) for each in map(parse_condition, where))


def constrain(trial: Any, measured: Mapping[str, float], where: Sequence[str]) -> None:
    """Tell Optuna's samplers which conditions a trial doesn't fulfill: by each one's text, above 0."""
    for each in where:
        trial.set_constraint(each, 0.0 if fulfills(measured, [each]) else 1.0)
