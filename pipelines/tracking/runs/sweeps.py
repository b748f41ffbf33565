"""Sweeps: a run above those of its trials, with the space, the best recipe and what came of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.core.provenance.machine import commit
from pipelines.core.support.process import this_process
from pipelines.tracking.describing import NOTE, shown, update_experiment
from pipelines.tracking.outbox.sender import sign_of_life
from pipelines.tracking.runs.logging import log_folder, log_metrics
from pipelines.tracking.store import checked_run_id, experiment_id, open_client
from zoo.data import DataSet

PARENT = "mlflow.parentRunId"  # a tag of a run: the one above it


def start_sweep(name: str, data_set: DataSet, models: Sequence[str], searched: Mapping[str, str]) -> str:
    """Open the run of a sweep, in the experiment of its data set. Returns its id.

    searched: the range or the choices of each field. It is no training: it has no plan, and `zoo runs` doesn't list it.
    """
    tags = {
        "sweep": name,
        "model": ", ".join(models),
        "data_set": data_set.name,
        "data_digest": data_set.digest,
        "commit": commit(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "zoo sweep",
        NOTE: f"Sweep **{shown(name)}** of {shown(', '.join(models))}: its trials are the runs below it.",
        **this_process().to_tags(),
        **sign_of_life(),
    }
    with open_client() as client:
        from mlflow.entities import Param

        experiment = experiment_id(client, data_set.name)
        update_experiment(client, experiment, data_set)
        run_id = checked_run_id(client.create_run(experiment, run_name=f"sweep {name}", tags=tags))
        params = [Param("models", ", ".join(models)), *(Param(f"search.{k}", v) for k, v in searched.items())]
        client.log_batch(run_id, params=params)
    return run_id


def log_sweep(run_id: str, counts: Mapping[str, int], metrics: Mapping[str, float], files: Sequence[Path]) -> None:
    """Write how many trials came to what, the metrics, and the files of a sweep."""
    log_metrics(run_id, {**{f"trials_{state}": float(count) for state, count in counts.items()}, **metrics})
    with tempfile.TemporaryDirectory() as temporary:
        for each in files:
            shutil.copy(each, temporary)
        log_folder(run_id, Path(temporary), "sweep")
