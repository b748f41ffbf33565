"""Logging to a run: metrics, tags, files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipelines.tracking.outbox import delivery
from pipelines.tracking.outbox.journal import Entry, Record
from pipelines.tracking.outbox.sender import trained_here
from pipelines.tracking.store import open_client


def log_epoch(run_id: str, epoch: int, metrics: Mapping[str, float]) -> None:
    """Write what an epoch measured; the first is 1. metrics: by the names in HISTORY.

    A power cut may take it until `sync_log`: without a checkpoint that is later, it is measured again.
    """
    write(run_id, delivery.metrics(metrics, epoch), synced=False)


def sync_log(run_id: str) -> None:
    """Return when all that this process has logged to the run it trains is on disk."""
    outbox = trained_here(run_id)
    if outbox is not None:
        outbox.sync()


def log_metrics(
    run_id: str, metrics: Mapping[str, float], *, model: str | None = None, split: str | None = None
) -> None:
    """Write numbers about the run as a whole, such as test_accuracy; one written before is replaced.

    model: of which of the run's models they are, KERAS_MODEL or ONNX_MODEL. split: of the data set, on which they were
    measured. With both, the UI shows them on the pages of that model and of that data, too.
    """
    write(run_id, delivery.metrics(metrics, 0, model, split))
    write(run_id, delivery.description())


def log_machine(run_id: str, metrics: Mapping[str, float], seconds: int) -> None:
    """Write what the machine did, so many seconds after the run began."""
    write(run_id, delivery.metrics(metrics, seconds))


def log_tags(run_id: str, tags: Mapping[str, str]) -> None:
    """Write words about the run as a whole, such as the digest of its weights; one written before is replaced."""
    write(run_id, delivery.tags(tags))


def log_folder(run_id: str, folder: Path, artifact_path: str | None = None) -> None:
    """Add a folder's files to the run's artifacts, under that path; images show in the MLflow UI."""
    write(run_id, delivery.folder(artifact_path), folder)


def write(run_id: str, record: Record, files: Path | None = None, *, synced: bool = True) -> None:
    """Write a record, and the folder that goes with it: by way of the outbox while this process trains the run."""
    outbox = trained_here(run_id)
    if outbox is not None:
        outbox.put(record, files, synced=synced)
        return
    with open_client() as client:
        delivery.deliver(client, run_id, [Entry(record, 0, files)], again=False)
