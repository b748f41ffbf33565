"""The record of every training, kept by MLflow. Nothing else in the project imports MLflow.

A data set is an experiment, a training a run of it. Runs are written through a client on a store that is named: no
function here depends on a global "active run", and a finished run can be added to without being opened again.
"""

from pipelines.tracking.describing import ENDED_BY, ENDED_EARLY, OBSERVER, SMALL, WEIGHTS_KEPT, shown
from pipelines.tracking.first_page import ui_application
from pipelines.tracking.models.adopting import adopt
from pipelines.tracking.models.loading import KERAS_MODEL, ONNX_MODEL, load_keras_model
from pipelines.tracking.models.logging import log_export, log_keras_model
from pipelines.tracking.models.registry import (
    Version,
    check_alias,
    find_holder,
    find_version,
    log_promotion,
    move_alias,
    move_alias_back,
    register,
    registered_data_set,
    registered_name,
)
from pipelines.tracking.outbox.sender import beating, last_seen, outbox_of, send_all, unsent
from pipelines.tracking.resuming import SWEEP, TRAINED_ON, TRIAL, resumed_by
from pipelines.tracking.runs.damage import DamagedRunError, left_out
from pipelines.tracking.runs.deletion import DeletedRun, artifacts_folder, deleted_runs, forget, statuses
from pipelines.tracking.runs.environments import environment_of
from pipelines.tracking.runs.lifecycle import end_at, finish, reopen, start_run
from pipelines.tracking.runs.listing import results_pages
from pipelines.tracking.runs.logging import log_epoch, log_folder, log_metrics, log_tags, sync_log
from pipelines.tracking.runs.reading import (
    AVERAGED_HISTORY,
    HISTORY,
    TrackedRun,
    accuracies_by_seed,
    fetch_folder,
    find_finished,
    find_interrupted,
    find_maker,
    find_planned,
    find_run,
    is_trained_on,
    labels_of,
    latest_by_model,
    load_run,
    search,
    trained_elsewhere,
)
from pipelines.tracking.runs.seed_spread import log_seeds
from pipelines.tracking.runs.studies import find_training, log_training, start_study
from pipelines.tracking.runs.sweeps import (
    PARENT,
    TrackedSweep,
    find_sweep,
    log_sweep,
    log_winners,
    start_sweep,
)
from pipelines.tracking.runs.system_metrics import watch_machine
from pipelines.tracking.store import (
    OUTBOX_FOLDER,
    RUN_ID,
    STORE_FOLDER,
    check_store,
    existing_store,
    open_client,
    store_exists,
    store_uri,
    without_secrets,
)

__all__ = [
    "AVERAGED_HISTORY",
    "ENDED_BY",
    "ENDED_EARLY",
    "HISTORY",
    "KERAS_MODEL",
    "OBSERVER",
    "ONNX_MODEL",
    "OUTBOX_FOLDER",
    "PARENT",
    "RUN_ID",
    "SMALL",
    "STORE_FOLDER",
    "SWEEP",
    "TRAINED_ON",
    "TRIAL",
    "WEIGHTS_KEPT",
    "DamagedRunError",
    "DeletedRun",
    "TrackedRun",
    "TrackedSweep",
    "Version",
    "accuracies_by_seed",
    "adopt",
    "artifacts_folder",
    "beating",
    "check_alias",
    "check_store",
    "deleted_runs",
    "end_at",
    "environment_of",
    "existing_store",
    "fetch_folder",
    "find_finished",
    "find_holder",
    "find_interrupted",
    "find_maker",
    "find_planned",
    "find_run",
    "find_sweep",
    "find_training",
    "find_version",
    "finish",
    "forget",
    "is_trained_on",
    "labels_of",
    "last_seen",
    "latest_by_model",
    "left_out",
    "load_keras_model",
    "load_run",
    "log_epoch",
    "log_export",
    "log_folder",
    "log_keras_model",
    "log_metrics",
    "log_promotion",
    "log_seeds",
    "log_sweep",
    "log_tags",
    "log_training",
    "log_winners",
    "move_alias",
    "move_alias_back",
    "open_client",
    "outbox_of",
    "register",
    "registered_data_set",
    "registered_name",
    "reopen",
    "results_pages",
    "resumed_by",
    "search",
    "send_all",
    "shown",
    "start_run",
    "start_study",
    "start_sweep",
    "statuses",
    "store_exists",
    "store_uri",
    "sync_log",
    "trained_elsewhere",
    "ui_application",
    "unsent",
    "watch_machine",
    "without_secrets",
]
