"""From the address of a model in a tracking store to a file on this machine.

`zoo.load("models:/fashion-mnist@champion")` comes here, by the entry point `zoo.resolvers` of pyproject.toml: what runs
an export imports neither MLflow nor the pipelines.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from pathlib import Path
from typing import Any

from pipelines.core.support.atomic import atomic_file
from pipelines.tracking.models.loading import ONNX_MODEL
from pipelines.tracking.models.logging import DIGEST_TAG
from pipelines.tracking.models.registry import find_version
from pipelines.tracking.outbox.delivery import ready_models
from pipelines.tracking.runs.reading import find_run
from pipelines.tracking.store import existing_store, import_mlflow, open_client, store_uri, without_secrets
from zoo.contract import MODEL_FILE, sha256
from zoo.data.cache import cache_folder
from zoo.errors import ExportError, TrackingError

_LOGGED = re.compile("models:/m-[^/@]+")  # a logged model by its id; models:/m-nist@champion is of a data set


def fetch(address: str) -> Path:
    """The ONNX file of a model in the store, fetched anew each time.

    address: models:/NAME@ALIAS, models:/NAME/VERSION, models:/ID of a logged model, runs:/RUN or runs:/RUN/onnx.
    It lies in the cache, a folder for each logged model. Nothing but the one file is asked for, by our name for it:
    what else a store calls its files, and where it would like them to be written, doesn't matter.
    Raises TrackingError where the store has no such model, ExportError where its file isn't the one that was logged.
    """
    mlflow = import_mlflow()  # first: who hasn't installed it learns that, and not that there is no store
    existing_store()
    with open_client() as client, tempfile.TemporaryDirectory() as temporary:
        location, logged_digest = _located(client, address)
        mlflow.artifacts.download_artifacts(
            artifact_uri=f"{location}/{MODEL_FILE}", dst_path=temporary, tracking_uri=store_uri()
        )
        fetched = Path(temporary) / MODEL_FILE
        if not fetched.is_file() or fetched.is_symlink():
            raise TrackingError(f"{address} holds no {MODEL_FILE}: export the run again, and promote that")
        if logged_digest is not None and sha256(fetched) != logged_digest:
            raise ExportError(f"{address} isn't the file that was logged (its SHA-256 differs): don't use it")
        where = hashlib.sha256(f"{without_secrets(store_uri())} {location}".encode()).hexdigest()[:32]
        kept = cache_folder() / "models" / where / MODEL_FILE
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(kept) as partial:
                partial.write_bytes(fetched.read_bytes())
        except OSError as error:
            raise TrackingError(
                f"{kept.parent} can't be written ({error.strerror}): choose another cache with XDG_CACHE_HOME"
            ) from None
        return kept


def _located(client: Any, address: str) -> tuple[str, str | None]:
    """The folder of the logged model that is meant, in the store's terms, and the SHA-256 that its file had."""
    if _LOGGED.fullmatch(address):
        model_id = address.removeprefix("models:/")
    elif address.startswith("models:/"):
        version = find_version(address)
        if not _LOGGED.fullmatch(version.source):
            return version.source.rstrip("/"), version.tags.get(DIGEST_TAG)
        model_id = version.source.removeprefix("models:/")  # as MLflow's own registration writes it
    else:
        run, _, name = address.removeprefix("runs:/").partition("/")
        if name not in ("", ONNX_MODEL):
            raise TrackingError(f"{address!r} doesn't name an exported model: expected runs:/RUN/{ONNX_MODEL}")
        run_id = find_run(run)
        ready = ready_models(client, run_id, ONNX_MODEL)
        if not ready:
            raise TrackingError(f"run {run_id} holds no exported model: `zoo export {run_id[:8]}` makes one")
        model_id = str(ready[0].model_id)
    logged = client.get_logged_model(model_id)
    return str(logged.artifact_location).rstrip("/"), logged.tags.get(DIGEST_TAG)
