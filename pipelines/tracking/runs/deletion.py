"""What deleted runs have left in the local store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tracking.artifacts import local_folder
from pipelines.tracking.store import database_file, import_mlflow, open_client, store_uri


@dataclass(frozen=True)
class DeletedRun:
    """A run that was deleted in the UI, and still lies in the store.

    folders: its artifacts' and its models', as the store names them. models: their ids. used_by: the version of a
    registered model that is one of them, as NAME/VERSION; "" where none is.
    """

    run_id: str
    name: str
    folders: tuple[Path, ...]
    models: tuple[str, ...]
    used_by: str


def deleted_runs(run_id: str = "") -> list[DeletedRun]:
    """Those of a SQLite store, whose artifacts are folders of this machine; a server sees to its own.

    run_id: of the only one that is asked for.
    """
    if database_file(store_uri()) is None:
        return []
    import_mlflow()
    from mlflow.entities import ViewType

    found = []
    with open_client() as client:
        experiments = [each.experiment_id for each in client.search_experiments(view_type=ViewType.ALL)]
        which = f"attributes.run_id = '{run_id}'" if run_id else ""
        runs = (
            _pages(client.search_runs, experiments, which, run_view_type=ViewType.DELETED_ONLY) if experiments else []
        )
        versions = _pages(client.search_model_versions) if runs else []
        for run in runs:
            run_id = run.info.run_id
            models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
            ids = tuple(model.model_id for model in models)
            uses = (f"{v.name}/{v.version}" for v in versions if v.run_id == run_id or _model_of(v.source) in ids)
            places = [run.info.artifact_uri, *(model.artifact_location for model in models)]
            folders = tuple(folder for folder in map(_folder, places) if folder is not None)
            found.append(DeletedRun(run_id, run.info.run_name, folders, ids, next(uses, "")))
    return found


def artifacts_folder() -> Path | None:
    """Where a SQLite store keeps its artifacts; None for a server."""
    path = database_file(store_uri())
    return path.parent / "artifacts" if path else None


def statuses(run_ids: Iterable[str]) -> dict[str, str]:
    """RUNNING, FINISHED, FAILED or KILLED for each; "" for a run that the store doesn't have."""
    found = dict.fromkeys(run_ids, "")
    with open_client() as client:
        experiments = [each.experiment_id for each in client.search_experiments()]
        for run_id in found:
            if set(run_id) <= set("0123456789abcdef"):
                runs = client.search_runs(experiments, f"run_id = '{run_id}'", max_results=1)
                found[run_id] = next((str(run.info.status) for run in runs), "")
    return found


def forget(runs: Sequence[DeletedRun]) -> None:
    """Remove runs and their models from the database, for good. Their artifacts are gone by then.

    By what `mlflow gc` calls, and not by that command: whatever runs it is given, it removes all those of experiments
    that were deleted, with their artifacts, too.
    """
    with open_client() as client:
        store = client._tracking_client.store
        for run in runs:
            for model in run.models:
                store._hard_delete_logged_model(model)
            store._hard_delete_run(run.run_id)


def _folder(location: str) -> Path | None:
    """The folder of a run or a model, above its artifacts; None for a place that isn't a folder of this machine."""
    path = local_folder(location)
    return path.parent if path is not None and path.name == "artifacts" else path


def _model_of(source: str) -> str:
    return source.removeprefix("models:/").partition("/")[0]


def _pages(search: Any, *arguments: Any, **options: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(*arguments, **options, page_token=token)
        found += page
        if not (token := page.token):
            return found
