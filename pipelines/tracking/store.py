"""Where runs are kept, and how it is opened: whatever the store refuses is a TrackingError."""

from __future__ import annotations

import logging
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from zoo.errors import MissingExtraError, TrackingError

STORE_FOLDER = Path("mlruns")
STORE_FILE = "mlflow.db"
LOCK_PATIENCE = 5.0  # seconds that a store may be locked: a commit takes milliseconds, MLflow would wait for minutes


def store_uri() -> str:
    """The URI of the store: MLFLOW_TRACKING_URI, else a database in mlruns/ of the working folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{(STORE_FOLDER / STORE_FILE).absolute()}"


def existing_store() -> str:
    """The same, for commands that only read: TrackingError where nothing was written yet."""
    uri = store_uri()
    path = database_file(uri)
    if path is not None and not os.path.isfile(path):  # noqa: PTH113 (it never raises)
        raise TrackingError(f"there are no runs yet: {path} doesn't exist; `zoo train` writes it")
    return uri


def without_secrets(uri: str) -> str:
    """A store's URI without the user and the password that it may hold."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def database_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other."""
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


@contextmanager
def open_client() -> Iterator[Any]:
    """An `MlflowClient` on the store. Whatever the store refuses inside of the block is a TrackingError."""
    mlflow = import_mlflow()
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    uri = store_uri()
    _create(uri)
    _check_writable(uri)
    try:
        yield mlflow.MlflowClient(tracking_uri=uri)
    except (mlflow.MlflowException, SQLAlchemyError, requests.RequestException, OSError, ImportError) as error:
        # ImportError: the driver of another database isn't installed.
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        reason = reason.replace(uri, without_secrets(uri))
        raise TrackingError(f"the tracking store {without_secrets(uri)} failed: {reason}") from error


@cache
def import_mlflow() -> Any:
    """The module `mlflow`, without telemetry, without chatter, and with an end to its patience."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7, with pauses that double, take four minutes
    # It would print a run's address among our results, with the password that the store's may hold.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mlflow", "train") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _create(uri: str) -> None:
    """A new database appears whole: MLflow would let another training in while it still lays out the tables."""
    path = database_file(uri)
    if path is None or os.path.exists(path):  # noqa: PTH110 (it never raises)
        return
    with suppress(OSError):  # a folder that can't be written is told of when the database is asked for
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
            new = Path(folder) / path.name
            import_mlflow().MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            path.hardlink_to(new)  # fails where another training was faster, whose database is as good


def _check_writable(uri: str) -> None:
    """Ask SQLite for its write lock and give it back. MLflow would try an unusable file ten times in a row."""
    path = database_file(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=LOCK_PATIENCE, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except (OSError, sqlite3.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        advice = "close what holds it" if "locked" in str(error) else "choose another by MLFLOW_TRACKING_URI"
        raise TrackingError(f"the tracking store {path} can't be written ({reason}): {advice}") from None


def experiment_id(client: Any, name: str) -> str:
    """The id of an experiment in the store, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    path = database_file(store_uri())
    # A server decides by itself where artifacts go; beside our own database they go into a folder of it.
    artifacts = (path.parent / "artifacts").absolute().as_uri() if path else None
    # The tag opens the pages of model training in the UI, rather than those of language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifacts, tags))
