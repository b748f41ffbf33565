"""Where runs are kept, and how it is opened: whatever the store refuses is a TrackingError."""

from __future__ import annotations

import logging
import os
import re
import shlex
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from pipelines.core.support.durable import make_folder, sync
from pipelines.tracking.schema import check_schema
from zoo.errors import MissingExtraError, TrackingError

STORE_FOLDER = Path("mlruns")
STORE_FILE = "mlflow.db"
OUTBOX_FOLDER = STORE_FOLDER / "outbox"  # a folder for each run that the store hasn't all of yet
RUN_ID = re.compile("[0-9a-f]{32}")
LOCK_PATIENCE = 5.0  # seconds that a store may be locked: a commit takes milliseconds, MLflow would wait for minutes
ANSWER_PATIENCE = 5.0  # seconds that a server may take to say that it is there: MLflow would ask for minutes
PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}

# What SQLite says -> what to do.
_ADVICE = {
    "disk is full": "free some space",
    "readonly database": "choose another with MLFLOW_TRACKING_URI",
    "disk I/O error": "look whether its disk is full or away",
}

_reached: set[str] = set()  # servers that have answered, and haven't failed since


def store_uri() -> str:
    """The URI of the store: MLFLOW_TRACKING_URI, else a database in mlruns/ of the working folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{(STORE_FOLDER / STORE_FILE).absolute()}"


def store_exists() -> bool:
    """Whether anything was written yet; of a server that is for it to say."""
    path = database_file(store_uri())
    return path is None or os.path.isfile(path)  # noqa: PTH113 (it never raises)


def existing_store() -> str:
    """The same URI, for commands that only read: TrackingError where nothing was written yet."""
    uri = store_uri()
    if not store_exists():
        raise TrackingError(f"there are no runs yet: {database_file(uri)} doesn't exist; `zoo train` writes it")
    return uri


def serving_command(model: str) -> str:
    """What serves a model of the store, by its address there, from any folder."""
    return _here(f"mlflow models serve -m {model} --env-manager local")


def _here(command: str) -> str:
    """A command of MLflow for this store."""
    return f"MLFLOW_TRACKING_URI={shlex.quote(without_secrets(store_uri()))} {command}"


def without_secrets(uri: str) -> str:
    """A store's URI without the user and the password that it may hold, also as parameters after a question mark."""
    parts = _split(uri)
    if not parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


def hide_secrets(text: str, uri: str) -> str:
    """A text without the secrets of a store's URI, where somebody else's error repeats them."""
    parts = _split(uri)
    text = text.replace(uri, without_secrets(uri))
    if parts.netloc:
        given = [parts.password or "", *(value for _, value in parse_qsl(parts.query))]
        for secret in {form for value in given if value for form in (value, unquote(value), quote(value, safe=""))}:
            text = text.replace(secret, "***")
    return text


def _split(uri: str) -> SplitResult:
    """A store's URI in its parts. A password may hold / ? # @: SQLAlchemy takes them so, `urlsplit` would end there."""
    given = re.fullmatch(r"([\w+.-]+://)([^/:?#]*:(?!\d+[/?]).*)@([^@]*)", uri)
    try:
        return urlsplit(f"{given[1]}{quote(given[2], safe=':%')}@{given[3]}" if given else uri)
    except ValueError:  # its text may repeat a password
        raise TrackingError(
            "MLFLOW_TRACKING_URI isn't an address: expected one such as http://127.0.0.1:5000"
        ) from None


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
    _check_reachable(uri)
    _create(uri)
    _check_writable(uri)
    path = database_file(uri)
    if path is not None:
        check_schema(path)
    try:
        yield mlflow.MlflowClient(tracking_uri=uri)
    except (mlflow.MlflowException, SQLAlchemyError, requests.RequestException, OSError, ImportError) as error:
        # ImportError: the driver of another database isn't installed.
        reason = _reason(error)
        _reached.discard(uri)
        _check_reachable(uri)  # where nobody answers any more, that is the thing to report
        raise TrackingError(f"the tracking store {without_secrets(uri)} failed: {hide_secrets(reason, uri)}") from error


def _reason(error: Exception) -> str:
    """What a database's own driver said, which SQLAlchemy wraps in lines of its own; a silence; else the first line."""
    text = str(error)
    said = re.search(r"^\((?:\w+\.)+\w+\) (.+)$", text, re.MULTILINE)
    if said:
        advice = next((f": {what}" for sign, what in _ADVICE.items() if sign in said[1]), "")
        return f"{said[1]}{advice}"
    if hung := re.search(r"Read timed out\. \(read timeout=([\d.]+)\)", text):
        return f"it took a request, and gave no answer within {hung[1]} s: look what keeps it"
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def check_store() -> None:
    """Say at once, by a TrackingError, if a training had nowhere to write to: before it reads images."""
    uri = store_uri()
    _check_reachable(uri)
    path = database_file(uri)
    if path is not None and path.exists():
        _check_writable(uri)


def _check_reachable(uri: str) -> None:
    """Ask the server of a store whether it is there. Asked again only after it has failed."""
    parts = _split(uri)
    scheme = parts.scheme.partition("+")[0]
    if uri in _reached or not parts.hostname or scheme not in PORTS:
        return
    try:
        if scheme in ("http", "https"):
            _ask(urlunsplit((scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/") + "/health", "", "")))
        else:
            address = (parts.hostname, parts.port or PORTS[scheme])
            socket.create_connection(address, timeout=ANSWER_PATIENCE).close()
    except (OSError, ValueError) as error:
        left = any(OUTBOX_FOLDER.glob("*/journal.jsonl"))
        sends = "; what trainings have for it is kept, and `zoo sync` sends it once it is back" if left else ""
        raise TrackingError(
            f"the tracking server {without_secrets(uri)} doesn't answer ({_silence(error)}): start it, "
            f"or unset MLFLOW_TRACKING_URI to keep runs in {STORE_FOLDER}/ of this folder{sends}"
        ) from None
    _reached.add(uri)


def _ask(address: str) -> None:
    """Any answer will do, but for that of a gateway whose server is away."""
    import requests

    with suppress(requests.exceptions.SSLError):  # whether its certificate is trusted is MLflow's to say
        answer = requests.get(address, timeout=ANSWER_PATIENCE, allow_redirects=False)
        if answer.status_code in (502, 503, 504):
            raise OSError(f"its gateway says {answer.status_code}")


def _silence(error: Exception) -> str:
    text = str(error)
    if "refused" in text:
        return "connection refused"
    if "timed out" in text:
        return f"nothing within {ANSWER_PATIENCE:g} s"
    if "resol" in text.lower() or "getaddrinfo" in text or "not known" in text:
        return "no machine has its name"
    return "connection failed" if "Max retries" in text or "Connection aborted" in text else text


@cache
def import_mlflow() -> Any:
    """The module `mlflow`, without telemetry, without chatter, and with an end to its patience."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A command that waits for a server says so within half a minute: MLflow's own seven times 120 seconds take longer.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # It would print a run's address among our results, with the password that the store's may hold.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Nor bars of a file each, among our sentences.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mlflow", "train") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What its database refuses it raises, too: beside our sentence its log would be a traceback, with the URI in it.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    return mlflow


def _create(uri: str) -> None:
    """A new database appears whole: MLflow would let another training in while it still lays out the tables."""
    path = database_file(uri)
    if path is None or os.path.exists(path):  # noqa: PTH110 (it never raises)
        return
    with suppress(OSError):  # a folder that can't be written is reported when the database is asked for
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
            new = Path(folder) / path.name
            import_mlflow().MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            path.hardlink_to(new)  # fails where another training was faster, whose database is as good
            sync(path.parent)


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
        advice = "close what holds it" if "locked" in str(error) else "choose another with MLFLOW_TRACKING_URI"
        raise TrackingError(f"the tracking store {path} can't be written ({reason}): {advice}") from None


def sync_database() -> None:
    """Sync the names beside a SQLite store: a commit counts once its journal is gone, which SQLite itself leaves."""
    path = database_file(store_uri())
    if path is not None:
        sync(path.parent)


def checked_run_id(run: Any) -> str:
    """The id of a run as MLflow gives it. Folders are named by it: TrackingError for one that might lead elsewhere."""
    run_id = str(run.info.run_id)
    if not RUN_ID.fullmatch(run_id):
        raise TrackingError(
            f"the tracking store {without_secrets(store_uri())} gives a run the id {run_id!r}: not used"
        )
    return run_id


def experiment_id(client: Any, name: str) -> str:
    """The id of an experiment in the store, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return _usable(found)
    path = database_file(store_uri())
    # A server decides by itself where artifacts go; beside our own database they go into a folder of it.
    artifacts = (path.parent / "artifacts").absolute().as_uri() if path else None
    # The tag opens the pages of model training in the UI, rather than those of language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    try:
        return str(client.create_experiment(name, artifacts, tags))
    except import_mlflow().MlflowException:
        found = client.get_experiment_by_name(name)  # another training may have been faster
        if found is None:
            raise
        return _usable(found)


def _usable(experiment: Any) -> str:
    """Its id. Raises TrackingError where it was deleted: the store keeps its name."""
    if experiment.lifecycle_stage == "deleted":
        from zoo.data import data_sets

        restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
        other = "" if experiment.name in data_sets() else "; or give the data another name with --name"
        raise TrackingError(
            f"the experiment {experiment.name!r} was deleted: `{_here(restore)}` restores it with its runs{other}"
        )
    return str(experiment.experiment_id)


def is_run(name: str) -> bool:
    """Whether a name means a run: it looks like an id, and nothing of that name is there. An export's has a slash."""
    return name.startswith("runs:/") or (not set(name.lower()) - set("0123456789abcdef") and not os.path.exists(name))  # noqa: PTH110
