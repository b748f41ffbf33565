"""The models of a study as exports, for the demo page and for apps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.core.provenance.machine import commit, versions
from pipelines.core.provenance.weights import weights_sha256
from pipelines.exporting.export import write_export
from zoo.contract import Metadata
from zoo.data import DataSet
from zoo.recipe import Recipe

MODELS_FOLDER = "models"  # beside the report


def keep(folder: Path, family: str, model: Any, data_set: DataSet, recipe: Recipe, accuracy: float) -> None:
    """Write a trained `keras.Model` as a verified export into the folder, named as the folder is.

    accuracy: on the whole test set, 0..1. Raises VerificationError or ExportError, and leaves the folder as it was.
    """
    metadata = Metadata(
        model=folder.name,
        family=family,
        data_set=data_set.name,
        data_digest=data_set.digest,
        labels=data_set.labels,
        height=data_set.height,
        width=data_set.width,
        channels=data_set.channels,
        recipe=recipe.to_json(),
        run_id="",  # a training of a study is a child run with its metrics, and holds no model
        commit=commit(),
        weights_sha256=weights_sha256(model),
        test_accuracy=accuracy,
        versions=versions(),
        resizing=data_set.resizing,
    )
    write_export(folder, model, data_set, metadata, {"test_accuracy": accuracy})
