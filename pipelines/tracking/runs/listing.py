"""All runs at once, for lists. A store in SQLite is read by SQL: to import MLflow alone takes longer than that."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipelines.tracking.describing import RESULTS, results_page
from pipelines.tracking.store import database_file, existing_store, open_client
from zoo.contract import OLD_NAMES, renamed
from zoo.errors import TrackingError

# Schemas, by the revision that MLflow writes into the store, whose tables are read here as they are. A store of any
# other is read through MLflow, which knows it or says what to do.
SCHEMAS = frozenset({"dc11669786a5"})  # MLflow 3.17
TAGS = ("model", "family", "data_set", "fingerprint", "mlflow.parentRunId")
PAGE = 1000  # runs that MLflow is asked for at a time


@dataclass(frozen=True)
class RunRecord:
    """A training, as a list needs it.

    status: RUNNING, FINISHED, FAILED or KILLED. started, ended: milliseconds since 1970; ended is None while it runs.
    tags: of those in TAGS, which it has. metrics, params: of those that were asked for.
    """

    run: str
    name: str
    status: str
    started: int
    ended: int | None
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    params: Mapping[str, str]


def read_runs(metrics: Sequence[str], params: Sequence[str] = ()) -> list[RunRecord]:
    """Every run that `zoo train` wrote and nobody deleted, the latest first, with the metrics and parameters named.

    Raises TrackingError where there is no store, or it can't be read.
    """
    path = database_file(existing_store())
    metrics, params = (
        [*names, *(old for old, new in OLD_NAMES.items() if new in names)] for names in (metrics, params)
    )
    found = _by_sql(path, metrics, params) if path is not None else None
    if found is None:
        found = _by_mlflow(metrics, params)
    of_training = (run for run in found if "fingerprint" in run.tags)
    return [replace(run, metrics=renamed(run.metrics), params=renamed(run.params)) for run in of_training]


def _by_sql(path: Path, metrics: Sequence[str], params: Sequence[str]) -> list[RunRecord] | None:
    """The same out of the tables; None for a schema that isn't known here."""
    with _opened(path) as database:
        if not _known(database):
            return None
        database.execute("BEGIN")  # one state of the store for all that follows
        runs = database.execute(
            "SELECT run_uuid, runs.name, status, start_time, end_time FROM runs JOIN experiments USING (experiment_id)"
            " WHERE runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'"
            " ORDER BY start_time DESC, run_uuid"
        ).fetchall()
        tags = _by_run(_values(database, "tags", TAGS))
        known = _by_run(_values(database, "latest_metrics", metrics, "AND NOT is_nan"))
        given = _by_run(_values(database, "params", params))
    none: dict[str, Any] = {}
    return [
        RunRecord(run, name, state, began, ended, tags.get(run, none), known.get(run, none), given.get(run, none))
        for run, name, state, began, ended in runs
    ]


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The store, read-only and beside whatever is writing. Raises TrackingError where it can't be read."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as database:
            yield database
    except sqlite3.Error as error:
        raise TrackingError(f"the tracking store {path} can't be read as MLflow's ({error})") from None


def _known(database: sqlite3.Connection) -> bool:
    """Whether the tables are those that are read here."""
    return {revision for (revision,) in database.execute("SELECT version_num FROM alembic_version")} <= SCHEMAS


def results_pages() -> list[tuple[str, str]]:
    """(name, address relative to that of the UI) of each data set's table of results, the latest trained first."""
    path = database_file(existing_store())
    found: Sequence[tuple[int | str, str]] | None = _results_by_sql(path) if path is not None else None
    if found is None:
        found = _results_by_mlflow()
    return [(name, results_page(str(experiment))) for experiment, name in found]


def _results_by_sql(path: Path) -> list[tuple[int, str]] | None:
    """(id, name) of the experiments that have one; None for a schema that isn't known here."""
    with _opened(path) as database:
        if not _known(database):
            return None
        return database.execute(
            "SELECT experiment_id, experiments.name FROM experiments"
            " JOIN experiment_tags USING (experiment_id) JOIN runs USING (experiment_id)"
            " WHERE key = ? AND experiments.lifecycle_stage = 'active'"
            " GROUP BY experiment_id ORDER BY max(start_time) DESC",
            (RESULTS,),
        ).fetchall()


def _results_by_mlflow() -> list[tuple[str, str]]:
    """The same by the interface that every store has."""
    with open_client() as client:
        ours = client.search_experiments(filter_string=f"tags.`{RESULTS}` LIKE '%'")
        begun = []
        for each in ours:
            newest = client.search_runs([each.experiment_id], max_results=1, order_by=["attributes.start_time DESC"])
            begun += [(run.info.start_time, each.experiment_id, each.name) for run in newest]
    return [(experiment, name) for _, experiment, name in sorted(begun, reverse=True)]


def _values(database: sqlite3.Connection, table: str, keys: Sequence[str], condition: str = "") -> Iterable[Any]:
    marks = ", ".join("?" * len(keys))
    return database.execute(
        f"SELECT run_uuid, key, value FROM {table} WHERE key IN ({marks}) {condition}",  # noqa: S608 (all our own text)
        tuple(keys),
    )


def _by_run(rows: Iterable[tuple[str, str, Any]]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for run, key, value in rows:
        found.setdefault(run, {})[key] = value
    return found


def _by_mlflow(metrics: Sequence[str], params: Sequence[str]) -> list[RunRecord]:
    """The same by the interface that every store has."""
    found: list[RunRecord] = []
    with open_client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        token = None
        while True:
            page = client.search_runs(
                experiments, max_results=PAGE, order_by=["attributes.start_time DESC"], page_token=token
            )
            found += [_record(run, metrics, params) for run in page]
            token = page.token
            if not token:
                return found


def _record(run: Any, metrics: Sequence[str], params: Sequence[str]) -> RunRecord:
    def chosen(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        return {name: values[name] for name in names if name in values and values[name] == values[name]}  # no NaN

    return RunRecord(
        run=run.info.run_id,
        name=run.info.run_name,
        status=run.info.status,
        started=run.info.start_time,
        ended=run.info.end_time,
        tags=chosen(run.data.tags, TAGS),
        metrics=chosen(run.data.metrics, metrics),
        params=chosen(run.data.params, params),
    )
