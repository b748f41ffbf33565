"""Where sweeps are kept: a database that Optuna writes, one for all sweeps, so that workers find each other in it."""

from __future__ import annotations

import os
import re
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.core.support.durable import make_folder, sync
from pipelines.tracking import without_secrets
from pipelines.tracking.store import STORE_FOLDER, database_file, hide_secrets
from zoo.errors import MissingExtraError, SweepError

FILE = "sweeps.db"  # beside the tracking store's, unless another is named
SCHEMES = ("sqlite", "postgresql", "mysql")
PATIENCE = 60  # seconds that a worker waits for others to let go of a SQLite file
ANSWER = 5  # seconds that a server may take to say that it is there
ATTEMPTS, PAUSE = 20, 0.5  # to lay out the tables of a server's database, and seconds between two
HEARTBEAT, GRACE = 15, 90  # seconds between two signs of life of a trial, and without one until it counts as lost
HISTORY = "retry_history"  # of a trial, in Optuna's words: the numbers of those that it repeats
RETRIES = 3  # of a trial whose worker is gone: one that kills its worker each time isn't tried for ever


@cache
def import_optuna() -> Any:
    """The module `optuna`, which says nothing by itself. MissingExtraError where it isn't installed."""
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "optuna", "sweep") from None
    # What it would log of a failed trial is a traceback beside our sentence.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def default_storage() -> str:
    """A SQLite file in mlruns/ of the working folder: for one machine."""
    return f"sqlite:///{(STORE_FOLDER / FILE).absolute()}"


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """Optuna's storage at a URL, with the heartbeat by which a lost trial is known.

    Raises SweepError where it can't be reached, is of another version or no such database, or fails in the block.
    """
    optuna = import_optuna()
    import sqlalchemy.exc

    scheme = re.match(r"(\w+)(\+\w+)?://", url)
    path = database_file(url)
    if scheme is None or scheme[1] not in SCHEMES or (scheme[1] == "sqlite" and (path is None or ":" in path.name)):
        raise SweepError(
            f"a sweep can't be kept in {without_secrets(url)!r}: expected sqlite:///FILE, or for several machines "
            "postgresql://USER@HOST/DATABASE"
        )
    patience = {"timeout": PATIENCE} if path is not None else {"connect_timeout": ANSWER}
    storage = None
    try:
        if path is not None:
            _create(path)
        # A server may have closed a connection that nothing went through while an epoch was trained.
        storage = _storage(url, {"connect_args": patience, "pool_pre_ping": path is None})
        yield storage
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        raise SweepError(f"the storage {without_secrets(url)} can't be used: {_reason(cause or error, url)}") from None
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()


def _storage(url: str, engine: dict[str, Any]) -> Any:
    optuna = import_optuna()
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for left in reversed(range(ATTEMPTS)):
            try:
                return optuna.storages.RDBStorage(
                    url,
                    engine_kwargs=engine,
                    heartbeat_interval=HEARTBEAT,
                    grace_period=GRACE,
                    heartbeat_stale_trial_callback=repeat,
                )
            except (IntegrityError, ProgrammingError):  # of a server: another worker lays out the tables just now
                if not left:
                    raise
                time.sleep(PAUSE)
            except ImportError as error:  # the driver of a database
                raise SweepError(
                    f"the storage {without_secrets(url)} needs a driver that isn't installed "
                    f"({error.__cause__ or error}): for PostgreSQL pip install 'psycopg[binary]'"
                ) from None
            except RuntimeError as error:  # of Optuna's check of the tables
                raise SweepError(
                    f"the storage {without_secrets(url)} was written by another version of Optuna "
                    f"({hide_secrets(str(error).splitlines()[0], url)}): name another one, or upgrade it by "
                    "`optuna storage upgrade --storage URL`"
                ) from None


def repeat(study: Any, lost: Any) -> None:
    """Put a lost trial in the queue again, so often at most.

    As Optuna's RetryHeartbeatStaleTrialCallback does, in whose words; but that copies what its worker wrote down of
    itself, too, by which whoever takes the new trial would be taken for gone.
    """
    optuna = import_optuna()
    history = [*lost.system_attrs.get(HISTORY, ()), lost.number]
    if len(history) <= RETRIES:
        study.add_trial(
            optuna.create_trial(
                state=optuna.trial.TrialState.WAITING,
                params=lost.params,
                distributions=lost.distributions,
                system_attrs={**lost.system_attrs, "failed_trial": history[0], HISTORY: history},
            )
        )


def _create(path: Path) -> None:
    """A new file appears with its tables: of workers that all lay them out at once, one would die."""
    if os.path.exists(path):  # noqa: PTH110 (it never raises)
        return
    with suppress(OSError):  # a folder that can't be written is reported when the file is asked for
        make_folder(path.parent)
        with tempfile.TemporaryDirectory(prefix=".new-sweeps-", dir=path.parent) as folder:
            new = Path(folder) / path.name
            made = import_optuna().storages.RDBStorage(f"sqlite:///{new}")
            made.remove_session()
            made.engine.dispose()
            path.hardlink_to(new)  # fails where another worker was faster, whose file is as good
            sync(path.parent)


def _reason(error: BaseException, url: str) -> str:
    """What the database's own driver said, on one line, without a password."""
    text = str(error)
    said = re.search(r"^\((?:\w+\.)+\w+\) (.+)$", text, re.MULTILINE)
    first = (
        said[1] if said else next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    )
    return f"{hide_secrets(first, url)}; check that it is there, or choose another with --storage"
