"""A database whose schema MLflow has moved on from."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.locks import FileLock
from zoo.errors import TrackingError

logger = logging.getLogger("zoo.tracking")


def check_schema(path: Path) -> None:
    """Bring a SQLite store to the schema of the MLflow that is installed, after a copy of it as it was.

    Raises TrackingError where its schema is newer, or can't be changed.
    """
    if _revision(path) in (None, _newest()):
        return
    with FileLock(path.with_name(f"{path.name}.upgrading"), wait=True) as lock:
        try:
            found = _revision(path)
            if found not in (None, _newest()):  # nobody else has seen to it meanwhile
                _upgrade(path, str(found))
        finally:
            lock.path.unlink(missing_ok=True)


def _upgrade(path: Path, found: str) -> None:
    if found not in _revisions():
        raise TrackingError(
            f"the tracking store {path} was written by a newer MLflow (its schema is {found}): "
            "pip install --upgrade mlflow, or choose another store with MLFLOW_TRACKING_URI"
        )
    # Never in place of one that is there: the store may be what an interrupted upgrade left.
    names = (f"{path.name}.before-{_newest()}{more}" for more in ("", *(f"-{k}" for k in range(2, 1000))))
    copy = next(beside for beside in map(path.with_name, names) if not beside.exists())
    try:
        with (
            atomic_file(copy) as partial,
            closing(sqlite3.connect(path)) as database,
            closing(sqlite3.connect(partial)) as backup,
        ):
            database.backup(backup)
    except (sqlite3.Error, OSError) as error:
        raise TrackingError(f"the tracking store {path} can't be copied to {copy} ({error})") from None
    logger.warning(
        "the tracking store %s is upgraded to the schema of this MLflow; the old version is kept as %s", path, copy
    )
    try:
        run_mlflow("db", "upgrade", f"sqlite:///{path}")
    except TrackingError as error:
        raise TrackingError(f"{error}: the old store is kept as {copy}") from None


def _revision(path: Path) -> str | None:
    """The schema of a database; None where it has none, or can't be read: MLflow, or SQLite, say what is wrong."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def _newest() -> str:
    return _revisions()[0]


@cache
def _revisions() -> tuple[str, ...]:
    """The schemas that this MLflow knows, the newest first."""
    from alembic.script import ScriptDirectory

    package = find_spec("mlflow")
    folder = Path(str(package.origin if package else "")).parent / "store" / "db_migrations"
    return tuple(script.revision for script in ScriptDirectory(str(folder)).walk_revisions())


def run_mlflow(*arguments: str) -> None:
    """A command of MLflow's own, on a store that is a file: its URI has no password that others could see."""
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise TrackingError(f"`mlflow {' '.join(arguments[:2])}` failed ({lines[-1] if lines else 'no reason'})")
