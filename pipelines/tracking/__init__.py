"""The record of every training, kept by MLflow. Nothing else in the project imports MLflow.

A data set is an experiment, a training a run of it. Runs are written through a client that is told where the store is:
no function here depends on a global "active run", and a finished run can be added to without being opened again.
"""

from pipelines.tracking.models import KERAS_MODEL, ONNX_MODEL, log_export, log_keras_model
from pipelines.tracking.outbox import last_seen, outbox_of, send_all, unsent
from pipelines.tracking.reading import (
    HISTORY,
    TrackedRun,
    accuracies_by_seed,
    fetch_folder,
    find_finished,
    find_run,
    labels_of,
    load_run,
    search,
)
from pipelines.tracking.store import OUTBOX_FOLDER, check_store, existing_store, open_client, store_uri, without_secrets
from pipelines.tracking.studies import find_training, log_training, start_study
from pipelines.tracking.upkeep import DeletedRun, artifacts_folder, deleted_runs, forget, statuses
from pipelines.tracking.writing import end_at, finish, log_epoch, log_figures, log_folder, reopen, start_run

__all__ = [
    "HISTORY",
    "KERAS_MODEL",
    "ONNX_MODEL",
    "OUTBOX_FOLDER",
    "DeletedRun",
    "TrackedRun",
    "accuracies_by_seed",
    "artifacts_folder",
    "check_store",
    "deleted_runs",
    "end_at",
    "existing_store",
    "fetch_folder",
    "find_finished",
    "find_run",
    "find_training",
    "finish",
    "forget",
    "labels_of",
    "last_seen",
    "load_run",
    "log_epoch",
    "log_export",
    "log_figures",
    "log_folder",
    "log_keras_model",
    "log_training",
    "open_client",
    "outbox_of",
    "reopen",
    "search",
    "send_all",
    "start_run",
    "start_study",
    "statuses",
    "store_uri",
    "unsent",
    "without_secrets",
]
