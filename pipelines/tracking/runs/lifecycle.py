"""A run's life: started, resumed, ended."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.provenance.machine import commit, versions
from pipelines.core.provenance.plan import PLAN_FILE, Plan
from pipelines.core.support.process import this_process
from pipelines.core.support.to_json import to_json
from pipelines.tracking.describing import run_name, update_description, update_experiment
from pipelines.tracking.outbox import delivery
from pipelines.tracking.outbox.journal import Entry
from pipelines.tracking.outbox.sender import sign_of_life
from pipelines.tracking.runs.logging import write
from pipelines.tracking.store import checked_run_id, experiment_id, open_client
from zoo.data import DataSet
from zoo.models import definition


def start_run(
    plan: Plan,
    data_set: DataSet,
    facts: Mapping[str, str | int | float],
    more_tags: Mapping[str, str] | None = None,
    *,
    fingerprint: str = "",
    code: str = "",
) -> str:
    """Open a run of a plan and write down all that is known beforehand. Returns its id, 32 hexadecimal digits.

    facts: what the machine decided or the model turned out to have (precision, parameters), logged beside the recipe.
    more_tags: what else it is to be found by. fingerprint: of all that decides the weights; code: of the code in it.
    """
    tags = {
        "model": plan.model,
        "family": definition(plan.model).family,
        "data_set": data_set.name,
        "data_digest": data_set.digest,
        "fingerprint": fingerprint,
        "commit": commit(),
        "code": code,
        "mlflow.source.git.commit": commit(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "zoo train",
        **this_process().to_tags(),
        **sign_of_life(),
        **(more_tags or {}),
    }
    if plan.source is not None:
        tags |= {"source": plan.source.name, "source_digest": plan.source.digest}
    size = f"{data_set.height}x{data_set.width}x{data_set.channels}"
    of_inputs = {"label": plan.label, "columns": len(data_set.columns)} if data_set.columns else {"size": size}
    known = {"model": plan.model, "data": plan.data, **of_inputs, "classes": data_set.classes}
    params = {**known, **plan.recipe.to_json(), **facts}
    with open_client() as client:
        from mlflow.entities import Param

        experiment = experiment_id(client, data_set.name)
        update_experiment(client, experiment, data_set)
        run_id = checked_run_id(client.create_run(experiment, run_name=run_name(plan), tags=tags))
        try:
            client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])
            with tempfile.TemporaryDirectory() as temporary:
                folder = Path(temporary)
                (folder / PLAN_FILE).write_text(plan.to_json(), encoding="utf-8")
                (folder / "versions.json").write_text(to_json(versions()) + "\n", encoding="utf-8")
                delivery.deliver(client, run_id, [Entry(delivery.folder(None), 0, folder)], again=False)
            _log_inputs(client, run_id, _inputs(data_set))
            update_description(client, run_id)
        except BaseException:  # or it would count as running for ever
            client.set_terminated(run_id, "FAILED")
            raise
    return run_id


def _log_inputs(client: Any, run_id: str, inputs: Sequence[Any]) -> None:
    """MLflow's own way, again where another run wrote the same data set down at the same moment: now it is there."""
    from mlflow import MlflowException

    for left in reversed(range(10)):
        try:
            client.log_inputs(run_id, datasets=inputs)
            return
        except MlflowException as error:
            if not left or "unique" not in str(error).lower():
                raise


def _inputs(data_set: DataSet) -> Sequence[Any]:
    """The three splits as MLflow's data sets, each with its shape, and the digest of the whole."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def of_split(context: str, split: Any) -> Any:
        what, schema = (
            ("rows", {"features": "float32 [N, F]"})
            if data_set.columns
            else ("images", {"images": "uint8 [N, H, W, C]"})
        )
        profile = {what: len(split), "shape": list(split.inputs.shape), "labels": list(data_set.labels)}
        found = Dataset(
            name=f"{data_set.name}-{context}",
            digest=data_set.digest[:32],  # the column takes 36 characters; the whole is the tag data_digest
            source_type="local",
            source=json.dumps({"uri": data_set.origin}),
            schema=json.dumps({**schema, "labels": "int64 [N]"}),
            profile=json.dumps(profile),
        )
        return DatasetInput(found, [InputTag("mlflow.data.context", context)])

    splits = {"train": data_set.train, "validation": data_set.validation, "test": data_set.test}
    return [of_split(context, split) for context, split in splits.items()]


def reopen(run_id: str) -> None:
    """Mark a run as running again, in this process, which resumes it."""
    tags = {**this_process().to_tags(), **sign_of_life()}
    with open_client() as client:
        delivery.deliver(client, run_id, [Entry(delivery.tags(tags), 0, None)], again=False)  # first: it would be stale
        client.update_run(run_id, status="RUNNING")
        update_description(client, run_id)


def finish(run_id: str, status: str) -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    write(run_id, delivery.status(status))
    write(run_id, delivery.description())


def end_at(run_id: str, status: str, seconds: float) -> None:
    """End a run as of a moment, in seconds since 1970."""
    with open_client() as client:
        client.set_terminated(run_id, status, int(seconds * 1000))
        update_description(client, run_id)
