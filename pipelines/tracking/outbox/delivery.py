"""Records, and how each is handed to the store such that handing it over twice leaves what once would.

A server may receive a record and die before it says so. What may have been received is sent again, after a look at what
is there: a metric is known by its name and step, a model by the number that its record gave it, a file by its path.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pipelines.tracking.artifacts import log_files, sync_model
from pipelines.tracking.describing import update_description
from pipelines.tracking.outbox.journal import Entry, Record
from zoo.errors import TrackingError

METRICS_AT_ONCE = 1000  # that MLflow takes
RECORD_TAG = "zoo.record"  # on a model: the record that it came by
# The tags that a model shares with its run: the UI's list of models has columns of these, and of the parameters.
_SHARED_TAGS = ("model", "family", "data_set", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def metrics(metrics: Mapping[str, float], step: int, model: str | None = None, split: str | None = None) -> Record:
    """Numbers, and when they were measured. model, split: of what, and on which part of the data set."""
    now = int(time.time() * 1000)
    measured = [[name, float(value), now, step] for name, value in metrics.items()]
    return {"kind": "metrics", "metrics": measured, "model": model, "split": split}


def folder(artifact_path: str | None) -> Record:
    """The files that go with the record, to a place among the run's artifacts."""
    return {"kind": "folder", "path": artifact_path}


def model(name: str, number: str, tags: Mapping[str, str]) -> Record:
    """The model that goes with the record, as MLflow saves one. number: of this record, another for each."""
    return {"kind": "model", "name": name, "number": number, "tags": dict(tags)}


def tags(values: Mapping[str, str]) -> Record:
    """Tags of the run; one that is there is replaced."""
    return {"kind": "tags", "tags": dict(values)}


def status(name: str) -> Record:
    """How the run ended: FINISHED, FAILED or KILLED."""
    return {"kind": "status", "status": name, "time": int(time.time() * 1000)}


def description() -> Record:
    """The run's description is to say what the store knows of it by then."""
    return {"kind": "description"}


def batches(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The same in order, metrics that follow each other together: they go in one request."""
    kinds = groupby(entries, lambda entry: entry.record["kind"])
    return [part for kind, group in kinds for part in ([list(group)] if kind == "metrics" else [[e] for e in group])]


def deliver(client: Any, run_id: str, batch: Sequence[Entry], *, again: bool) -> None:
    """Hand one batch over. again: the store may have some of it already."""
    first = batch[0]
    record, files = first.record, first.files
    match record["kind"]:
        case "metrics":
            _deliver_metrics(client, run_id, [entry.record for entry in batch], again)
        case "folder":
            log_files(client, run_id, _there(files), record["path"])
        case "model":
            _deliver_model(client, run_id, record, _there(files))
        case "tags":
            from mlflow.entities import RunTag

            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in record["tags"].items()])
        case "status":
            client.set_terminated(run_id, record["status"], record["time"])
        case "description":
            update_description(client, run_id)
        case other:
            raise TrackingError(f"a record of kind {other!r} can't be sent: it is of another version of this project")


def measured(client: Any, run_id: str, names: Iterable[str]) -> set[tuple[str, int]]:
    """Which metrics a run has: name and step."""
    return {(name, metric.step) for name in set(names) for metric in client.get_metric_history(run_id, name)}


def ready_models(client: Any, run_id: str, name: str = "") -> list[Any]:
    """The logged models of a run that are whole, of that name or of any, the latest first."""
    found = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id],
        f"source_run_id = '{run_id}'" + (f" AND name = '{name}'" if name else ""),
        order_by=[{"field_name": "creation_timestamp", "ascending": False}],
    )
    return [model for model in found if str(model.status) == "READY"]


def _deliver_metrics(client: Any, run_id: str, records: Sequence[Record], again: bool) -> None:
    from mlflow.entities import Metric

    found = []
    for record in records:
        links = _links(client, run_id, record["model"], record["split"]) if record.get("model") else {}
        found += [(metric, links) for metric in record["metrics"]]
    known = measured(client, run_id, (metric[0] for metric, _ in found)) if again else set()
    new = [Metric(*metric, **links) for metric, links in found if (metric[0], metric[3]) not in known]
    for begin in range(0, len(new), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=new[begin : begin + METRICS_AT_ONCE])


def _links(client: Any, run_id: str, model: str, split: str | None) -> dict[str, str]:
    """What a metric names to belong to a model and to a split of the data set."""
    run = client.get_run(run_id)
    ready = ready_models(client, run_id, model)
    links = {"model_id": ready[0].model_id} if ready else {}
    for each in run.inputs.dataset_inputs:
        if any(tag.key == "mlflow.data.context" and tag.value == split for tag in each.tags):
            links |= {"dataset_name": each.dataset.name, "dataset_digest": each.dataset.digest}
    return links


def _deliver_model(client: Any, run_id: str, record: Record, files: Path) -> None:
    """Hand a model's files to the store, and only then call it ready."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run = client.get_run(run_id)
    experiment = run.info.experiment_id
    wanted = f"source_run_id = '{run_id}' AND tags.`{RECORD_TAG}` = '{record['number']}'"
    known = client.search_logged_models([experiment], wanted)
    shared = {name: run.data.tags[name] for name in _SHARED_TAGS if name in run.data.tags}
    tags = {**shared, **record["tags"], RECORD_TAG: record["number"]}
    logged = (
        known[0]
        if known
        else client.create_logged_model(experiment, record["name"], run_id, tags=tags, params=run.data.params)
    )
    if str(logged.status) != "READY":
        described = Model.load(str(files / "MLmodel"))
        described.run_id, described.model_id, described.artifact_path = (
            run_id,
            logged.model_id,
            logged.artifact_location,
        )
        described.save(str(files / "MLmodel"))
        client.log_model_artifacts(logged.model_id, str(files))
        sync_model(logged.artifact_location, files)
        client.finalize_logged_model(logged.model_id, "READY")
    outputs = run.outputs.model_outputs if run.outputs else []
    if logged.model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def _there(files: Path | None) -> Path:
    if files is None:
        raise TrackingError("the files of a record are gone from the outbox: what follows it is not sent")
    return files
