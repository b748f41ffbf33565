"""An export in the store: as a logged model of the run that made it or, where no run here did, of one made for it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.core.support.copies import copy_export
from pipelines.tracking.artifacts import log_files
from pipelines.tracking.models.logging import find_export, log_export
from pipelines.tracking.store import experiment_id, open_client
from zoo.contract import MODEL_FILE, Manifest, Metadata, check_file
from zoo.samples import read_samples

ADOPTED_TAG = "adopted"  # of a run that was made for an export: the SHA-256 of the export's file


def adopt(folder: Path, manifest: Manifest) -> tuple[str, str]:
    """The ids of the run and of the logged model that hold an export's file, which are made where there are none."""
    import onnx

    metadata = manifest.metadata
    model = onnx.load(folder / MODEL_FILE)
    digest = next(file.sha256 for file in manifest.files if file.path == MODEL_FILE)
    run_id = _run_of(metadata) or _adopted(digest) or _new_run(folder, manifest, digest)
    if find_export(run_id, model) is None:
        image = read_samples(folder, manifest)[0].file
        log_export(run_id, model, {}, check_file(folder, manifest, image).read_bytes() if image else None)
    return run_id, str(find_export(run_id, model))


def _run_of(metadata: Metadata) -> str | None:
    """The run that made the export, if the store has it. A file may name any: model and images have to be its."""
    from mlflow import MlflowException

    with open_client() as client:
        try:
            run = client.get_run(metadata.run_id)
        except MlflowException as error:
            if error.error_code in (
                "RESOURCE_DOES_NOT_EXIST",
                "INVALID_PARAMETER_VALUE",
            ):  # none, or no run's id at all
                return None
            raise
        tags = run.data.tags
        own = tags.get("model") == metadata.model and tags.get("data_digest") == metadata.data_digest
        return metadata.run_id if own and run.info.lifecycle_stage == "active" else None


def _adopted(digest: str) -> str | None:
    with open_client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = client.search_runs(
            experiments, f"tags.{ADOPTED_TAG} = '{digest}' AND status = 'FINISHED'", max_results=1
        )
        return str(found[0].info.run_id) if found else None


def _new_run(folder: Path, manifest: Manifest, digest: str) -> str:
    from mlflow.entities import Metric, Param

    metadata = manifest.metadata
    tags = {
        "model": metadata.model,
        "family": metadata.family,
        "data_set": metadata.data_set,
        "data_digest": metadata.data_digest,
        "commit": metadata.commit,
        "trained_as": metadata.run_id,  # in another store
        "mlflow.source.name": "zoo promote",
        ADOPTED_TAG: digest,
    }
    params: Mapping[str, Any] = {"model": metadata.model, "data": metadata.data_set, **metadata.recipe}
    now = int(time.time() * 1000)
    with open_client() as client:
        experiment = experiment_id(client, metadata.data_set)
        run_id = str(client.create_run(experiment, run_name=metadata.model, tags=tags).info.run_id)
        try:
            client.log_batch(
                run_id,
                metrics=[Metric(name, float(value), now, 0) for name, value in manifest.metrics.items()],
                params=[Param(name, str(value)) for name, value in params.items()],
            )
            with tempfile.TemporaryDirectory() as temporary:
                log_files(client, run_id, copy_export(folder, manifest, Path(temporary) / "export"), "export")
            client.set_terminated(run_id, "FINISHED")
        except BaseException:  # or it would count as running for ever
            client.set_terminated(run_id, "FAILED")
            raise
    return run_id
