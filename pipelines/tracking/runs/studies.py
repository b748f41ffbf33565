"""Trainings of a study: each a child of its experiment's run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pipelines.core.provenance.machine import commit
from pipelines.tracking.store import experiment_id, open_client, store_exists


def start_study(name: str, tags: Mapping[str, str]) -> str:
    """Open the run that an experiment's trainings are children of; its experiment in the store is study/NAME."""
    with open_client() as client:
        experiment = experiment_id(client, f"study/{name}")
        known = {**tags, "commit": commit(), "mlflow.source.name": "zoo study"}
        return str(client.create_run(experiment, run_name=name, tags=known).info.run_id)


def log_training(parent: str, name: str, key: str, recipe: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
    """A finished training of a study, as a child of its run. key: of all that decided it."""
    with open_client() as client:
        from mlflow.entities import Metric, Param

        experiment = client.get_run(parent).info.experiment_id
        tags = {"mlflow.parentRunId": parent, "study_key": key}
        run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        try:
            client.log_batch(
                run_id,
                params=[Param(field, str(value)) for field, value in recipe.items()],
                metrics=[Metric(name, float(value), now, 0) for name, value in metrics.items()],
            )
        except BaseException:  # or it would count as running for ever
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id, "FINISHED")


def find_training(key: str) -> dict[str, float] | None:
    """The metrics of a training of that key, of whichever study; None where there is none."""
    if not store_exists():
        return None
    with open_client() as client:
        studies = [each.experiment_id for each in client.search_experiments(filter_string="name LIKE 'study/%'")]
        wanted = f"status = 'FINISHED' AND tags.study_key = '{key}'"
        found = client.search_runs(studies, wanted, max_results=1) if studies else []
    return dict(found[0].data.metrics) if found else None
