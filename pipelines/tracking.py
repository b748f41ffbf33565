"""The record of every training, kept by MLflow. Nothing else in the project imports MLflow.

A data set is an experiment, a training a run of it. Runs are written through a client that is told where the store is:
no function here depends on a global "active run", and a finished run can be added to without being opened again.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipelines.machine import commit, versions
from pipelines.plan import PLAN_FILE, Plan, fingerprint, parse_plan
from zoo.contract import ACTIVATION_MAP, FEATURES, INPUT, LOGITS, PROBABILITIES
from zoo.data import DataSet
from zoo.errors import MissingExtraError, RecipeError, TrackingError
from zoo.models import definition

STORE_FOLDER = Path("mlruns")
STORE_FILE = "mlflow.db"
LOCK_PATIENCE = 5.0  # seconds that a store may be locked: a commit takes milliseconds, MLflow would wait for minutes

# What is measured after each epoch; everything else that a run measures is a figure.
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds")

KERAS_MODEL, ONNX_MODEL = "keras", "onnx"  # runs:/RUN/keras and runs:/RUN/onnx


@dataclass(frozen=True)
class TrackedRun:
    """What the store knows of a run.

    status: RUNNING, FINISHED, FAILED or KILLED. figures: numbers by name, such as test_accuracy. history: for each name
    in HISTORY one value for each time that it was measured, and "epoch", after which that was; a run that held no
    pictures out has no validation_loss and no validation_accuracy. commit: of the code that trained.
    data_digest: of the pictures. fingerprint: of all that decides the weights.
    """

    run_id: str
    status: str
    plan: Plan
    data_set: str
    data_digest: str
    fingerprint: str
    commit: str
    figures: Mapping[str, float]
    history: Mapping[str, tuple[float, ...]]

    def model(self) -> Any:
        """The trained `keras.Model`, float32, as `build` makes it. Raises TrackingError where the run has none."""
        return _load_keras_model(self.run_id)


# --- the store -----------------------------------------------------------------------------------------------------


def store() -> str:
    """The URI of the store: MLFLOW_TRACKING_URI, else a database in mlruns/ of the working folder."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return given or f"sqlite:///{(STORE_FOLDER / STORE_FILE).absolute()}"


def existing_store() -> str:
    """The same, for commands that only read: TrackingError where nothing was written yet."""
    uri = store()
    path = _database(uri)
    if path is not None and not os.path.isfile(path):  # noqa: PTH113 (it never raises)
        raise TrackingError(f"there are no runs yet: {path} doesn't exist; `zoo train` writes it")
    return uri


def without_secrets(uri: str) -> str:
    """A store's URI without the user and the password that it may hold."""
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _database(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None


@contextmanager
def _client() -> Iterator[Any]:
    """An `MlflowClient` on the store. Whatever the store refuses inside of the block is a TrackingError."""
    mlflow = _mlflow()
    import requests
    from sqlalchemy.exc import SQLAlchemyError

    uri = store()
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
def _mlflow() -> Any:
    """The module `mlflow`, without telemetry, without chatter, and with an end to its patience."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # its 7, with pauses that double, take four minutes
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "mlflow", "train") from None
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return mlflow


def _create(uri: str) -> None:
    """A new database appears whole: MLflow would let another training in while it still lays out the tables."""
    path = _database(uri)
    if path is None or os.path.exists(path):  # noqa: PTH110 (it never raises)
        return
    with suppress(OSError):  # a folder that can't be written is told of when the database is asked for
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-store-", dir=path.parent) as folder:
            new = Path(folder) / path.name
            _mlflow().MlflowClient(tracking_uri=f"sqlite:///{new}").search_experiments(max_results=1)
            path.hardlink_to(new)  # fails where another training was faster, whose database is as good


def _check_writable(uri: str) -> None:
    """Ask SQLite for its write lock and give it back. MLflow would try an unusable file ten times in a row."""
    path = _database(uri)
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


# --- writing a run -------------------------------------------------------------------------------------------------


def start_run(plan: Plan, data_set: DataSet, facts: Mapping[str, str | int | float]) -> str:
    """Open a run of a plan and write down all that is known beforehand. Returns its id, 32 hexadecimal digits.

    facts: what the machine decided or the model turned out to have (precision, parameters), logged beside the recipe.
    """
    tags = {
        "model": plan.model,
        "family": definition(plan.model).family,
        "data_set": data_set.name,
        "data_digest": data_set.digest,
        "fingerprint": fingerprint(plan),
        "commit": commit(),
        "mlflow.source.git.commit": commit(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": "zoo train",
    }
    if plan.source is not None:
        tags |= {"source": plan.source.name, "source_digest": plan.source.digest}
    size = f"{data_set.height}x{data_set.width}x{data_set.channels}"
    of_inputs = {"label": plan.label, "columns": len(data_set.columns)} if data_set.columns else {"size": size}
    known = {"model": plan.model, "data": plan.data, **of_inputs, "classes": data_set.classes}
    params = {**known, **plan.recipe.to_json(), **facts}
    with _client() as client:
        from mlflow.entities import Param

        run_id = str(client.create_run(_experiment(client, data_set.name), run_name=plan.model, tags=tags).info.run_id)
        try:
            client.log_batch(run_id, params=[Param(name, str(value)) for name, value in params.items()])
            client.log_text(run_id, plan.to_json(), PLAN_FILE)
            client.log_dict(run_id, versions(), "versions.json")
            client.log_inputs(run_id, datasets=_inputs(data_set))
        except BaseException:  # or it would count as running for ever
            client.set_terminated(run_id, "FAILED")
            raise
    return run_id


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    path = _database(store())
    # A server decides by itself where artifacts go; beside our own database they go into a folder of it.
    artifacts = (path.parent / "artifacts").absolute().as_uri() if path else None
    # The tag opens the pages of model training in the UI, rather than those of language models.
    tags = {"mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(name, artifacts, tags))


def _inputs(data_set: DataSet) -> Sequence[Any]:
    """The three splits as MLflow's data sets, each with its shape, and the digest of the whole."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    def of_split(context: str, split: Any) -> Any:
        what, schema = (
            ("rows", {"features": "float32 [N, F]"})
            if data_set.columns
            else ("pictures", {"images": "uint8 [N, H, W, C]"})
        )
        profile = {what: len(split), "shape": list(split.inputs.shape), "labels": list(data_set.labels)}
        found = Dataset(
            name=f"{data_set.name}-{context}",
            digest=data_set.digest[:32],  # the column takes 36 characters; the whole is the tag data_digest
            source_type="local",
            source=json.dumps({"uri": data_set.origin}),
            schema=json.dumps({**schema, "labels": "int64 [N]"}),
            profile=json.dumps(profile),
        )
        return DatasetInput(found, [InputTag("mlflow.data.context", context)])

    splits = {"train": data_set.train, "validation": data_set.validation, "test": data_set.test}
    return [of_split(context, split) for context, split in splits.items()]


def log_epoch(run_id: str, epoch: int, figures: Mapping[str, float]) -> None:
    """Write what an epoch measured; the first is 1. names: those in HISTORY."""
    _log_metrics(run_id, figures, epoch)


def log_figures(run_id: str, figures: Mapping[str, float]) -> None:
    """Write numbers about the run as a whole, such as test_accuracy; one written before is replaced."""
    _log_metrics(run_id, figures, 0)


def _log_metrics(run_id: str, figures: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    with _client() as client:
        client.log_batch(run_id, metrics=[Metric(name, float(value), now, step) for name, value in figures.items()])


def log_folder(run_id: str, folder: Path, artifact_path: str | None = None) -> None:
    """Add a folder's files to the run's artifacts, under that path; pictures show in the MLflow UI."""
    with _client() as client:
        client.log_artifacts(run_id, str(folder), artifact_path)


def log_keras_model(run_id: str, model: Any) -> None:
    """Add the trained `keras.Model` to the run, in Keras' own format, which holds no pickle."""
    _mlflow()
    import mlflow.keras

    requirements = [f"{name}=={versions()[name]}" for name in ("keras", "tensorflow")]
    shape = tuple(-1 if side is None else side for side in model.input_shape)
    signature = _signature(shape, int(model.get_layer(LOGITS).output.shape[-1]))

    def save(folder: Path, description: Any) -> None:
        mlflow.keras.save_model(
            model, str(folder), mlflow_model=description, signature=signature, pip_requirements=requirements
        )

    _log_model(run_id, KERAS_MODEL, save)


def log_export(run_id: str, model: Any, figures: Mapping[str, float]) -> None:
    """Add an `onnx.ModelProto` to the run, whole in one file, and figures about it (size, parity)."""
    _mlflow()
    import mlflow.onnx

    requirements = [f"{name}=={versions()[name]}" for name in ("onnx", "onnxruntime", "numpy")]
    last, classes = (
        values[0].type.tensor_type.shape.dim[-1].dim_value for values in (model.graph.input, model.graph.output)
    )
    maps = [  # rows and columns of the activation map, where there is one
        tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[2:])
        for value in model.graph.output
        if value.name == ACTIVATION_MAP
    ]
    signature = _signature((-1, -1, -1, last) if model.graph.input[0].name == INPUT else (-1, last), classes, *maps)

    def save(folder: Path, description: Any) -> None:
        mlflow.onnx.save_model(
            model,
            str(folder),
            mlflow_model=description,
            signature=signature,
            pip_requirements=requirements,
            onnx_execution_providers=["CPUExecutionProvider"],  # the default asks for CUDA
            save_as_external_data=False,  # the default splits even a small model into files that are broken alone
        )

    _log_model(run_id, ONNX_MODEL, save)
    log_figures(run_id, figures)


def _signature(inputs: tuple[int, ...], classes: int, positions: tuple[int, ...] = ()) -> Any:
    """Raw pixels [N, H, W, C], or rows [N, F], in, probabilities and logits out, as MLflow writes it down.

    positions: rows and columns of the activation map, where that comes out, too.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    outputs = [TensorSpec(np.dtype(np.float32), (-1, classes), name) for name in (PROBABILITIES, LOGITS)]
    if positions:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1, classes, *positions), ACTIVATION_MAP))
    kind, name = (np.uint8, INPUT) if len(inputs) == 4 else (np.float32, FEATURES)
    return ModelSignature(Schema([TensorSpec(np.dtype(kind), inputs, name)]), Schema(outputs))


def _log_model(run_id: str, name: str, save: Any) -> None:
    """Write a model to a folder, hand that to the store, and only then call it ready."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    with _client() as client, tempfile.TemporaryDirectory() as temporary:
        run = client.get_run(run_id)
        logged = client.create_logged_model(run.info.experiment_id, name, source_run_id=run_id)
        folder = Path(temporary) / name
        save(folder, Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id))
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def reopen(run_id: str) -> None:
    """Mark a run as running again: it is gone on with."""
    with _client() as client:
        client.update_run(run_id, status="RUNNING")


def finish(run_id: str, status: str) -> None:
    """End a run as FINISHED, FAILED or KILLED."""
    with _client() as client:
        client.set_terminated(run_id, status)


# --- reading runs --------------------------------------------------------------------------------------------------


def find_run(run: str) -> str:
    """The id of a run that is named by it, by its first digits, or as runs:/ID. TrackingError for none, or several."""
    prefix = run.removeprefix("runs:/").strip("/").lower()
    existing_store()
    found = [] if not prefix or set(prefix) - set("0123456789abcdef") else _search(f"run_id LIKE '{prefix}%'")
    if len(found) == 1:
        return str(found[0].info.run_id)
    if found:
        names = ", ".join(each.info.run_id[: len(prefix) + 4] for each in found[:5])
        raise TrackingError(f"{len(found)} runs begin with {prefix!r} ({names}): give more digits")
    recent = ", ".join(f"{each.info.run_id[:8]} ({each.info.run_name})" for each in _search("", 3))
    there_are = f"the latest are {recent}" if recent else "there is none yet"
    raise TrackingError(f"no run in {without_secrets(store())} begins with {run!r}: {there_are}")


def find_finished(plan: Plan) -> str | None:
    """The id of the latest run of a plan that was trained to its end, with this code on these pictures; None if none.

    A run of the same pictures in another place isn't meant: its own plan may lead nowhere by now.
    """
    path = _database(store())
    if path is not None and not path.is_file():
        return None
    found = _search(f"status = 'FINISHED' AND tags.fingerprint = '{fingerprint(plan)}'")
    ids = (str(each.info.run_id) for each in found)
    return next((run_id for run_id in ids if load_run(run_id).plan == plan), None)


def accuracies_by_seed(run: TrackedRun) -> dict[int, float]:
    """Seed -> test accuracy, ascending: of this run, and of each other finished one that differs in its seed alone.

    The same model, pictures and recipe; the code may have changed between them, or three seeds would have to be trained
    again for a comment. Of several runs of one seed the latest counts, but for the seed of this one. Raises
    TrackingError where the store fails.
    """
    own = run.plan.recipe
    of_the_same = f"tags.model = '{run.plan.model}' AND tags.data_digest = '{run.data_digest}'"  # size is in the digest
    found = {own.seed: run.figures["test_accuracy"]}
    for other in _search(f"status = 'FINISHED' AND metrics.test_accuracy >= 0 AND {of_the_same}", most=1000):
        with _client() as client:
            text = _read_text(client, other.info.run_id, PLAN_FILE)
        try:
            plan = parse_plan(text, PLAN_FILE)
        except RecipeError:  # of a version whose recipes had other fields: not the same recipe
            continue
        recipe = plan.recipe
        if replace(recipe, seed=own.seed) == own and plan.source == run.plan.source:
            found.setdefault(recipe.seed, other.data.metrics["test_accuracy"])
    return dict(sorted(found.items()))


def _search(filters: str, most: int = 100) -> Sequence[Any]:
    """Runs of all experiments that fit, the latest first."""
    with _client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, filters, max_results=most, order_by=["start_time DESC"]))


def load_run(run: str) -> TrackedRun:
    """What the store knows of a run, named as `find_run` takes it. Raises TrackingError where it isn't one of ours."""
    run_id = find_run(run)
    with _client() as client:
        found = client.get_run(run_id)
        if "fingerprint" not in found.data.tags:
            raise TrackingError(f"run {run_id} was not made by `zoo train`: choose another")
        plan = parse_plan(_read_text(client, run_id, PLAN_FILE), f"{PLAN_FILE} of run {run_id}")
        by_epoch = {name: _by_epoch(client, run_id, name) for name in HISTORY if name in found.data.metrics}
    # What was never a number was not measured: who draws a history asks for the names that are in it.
    history = {
        name: tuple(values.values()) for name, values in by_epoch.items() if not all(map(isnan, values.values()))
    }
    history["epoch"] = tuple(by_epoch.get(HISTORY[0], {}))
    tags = found.data.tags
    return TrackedRun(
        run_id=run_id,
        status=found.info.status,
        plan=plan,
        data_set=tags["data_set"],
        data_digest=tags["data_digest"],
        fingerprint=tags["fingerprint"],
        commit=tags["commit"],
        figures={name: value for name, value in found.data.metrics.items() if name not in HISTORY},
        history=history,
    )


def labels_of(run_id: str) -> tuple[str, ...]:
    """The class names that a run learned, as `start_run` wrote them down; none where it is older than that."""
    with _client() as client:
        profiles = [json.loads(each.dataset.profile or "{}") for each in client.get_run(run_id).inputs.dataset_inputs]
    return tuple(str(label) for label in next((p["labels"] for p in profiles if "labels" in p), ()))


def _by_epoch(client: Any, run_id: str, name: str) -> dict[int, float]:
    """A metric by epoch, in order. What a resumed run measured again counts as it was measured last."""
    values = {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
    return dict(sorted(values.items()))


def fetch_folder(run_id: str, artifact_path: str, into: Path) -> Path:
    """Copy a folder of a run's artifacts below `into`, where it keeps its name. TrackingError where there is none."""
    with _client() as client:
        if not client.list_artifacts(run_id, artifact_path):
            raise TrackingError(f"run {run_id} holds no {artifact_path}: `zoo evaluate {run_id[:8]}` writes it")
        return Path(client.download_artifacts(run_id, artifact_path, str(into)))


def _read_text(client: Any, run_id: str, path: str) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        return Path(client.download_artifacts(run_id, path, temporary)).read_text(encoding="utf-8")


def _load_keras_model(run_id: str) -> Any:
    from zoo.models.backend import start_keras

    keras = start_keras()
    import zoo.models.columns  # noqa: F401  (Keras has to know its layer before it reads a model of a table)

    with _client() as client, tempfile.TemporaryDirectory() as temporary:
        run = client.get_run(run_id)
        logged = client.search_logged_models(
            [run.info.experiment_id],
            f"source_run_id = '{run_id}' AND name = '{KERAS_MODEL}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
        ready = [model for model in logged if str(model.status) == "READY"]
        if not ready:
            raise TrackingError(
                f"run {run_id} holds no trained model (it is {run.info.status}): "
                f"`zoo train --resume {run_id[:8]}` goes on with it"
            )
        folder = _mlflow().artifacts.download_artifacts(
            artifact_uri=ready[0].artifact_location, dst_path=temporary, tracking_uri=store()
        )
        try:
            return keras.saving.load_model(Path(folder) / "data" / "model.keras", compile=False)
        except Exception as error:  # Keras, ZIP and HDF5 fail in types of their own
            raise TrackingError(f"the Keras model of run {run_id} is damaged ({error}): train it anew") from error


# --- studies -------------------------------------------------------------------------------------------------------


def start_study(name: str, tags: Mapping[str, str]) -> str:
    """Open the run that an experiment's trainings are children of; its experiment in the store is study/NAME."""
    with _client() as client:
        experiment = _experiment(client, f"study/{name}")
        known = {**tags, "commit": commit(), "mlflow.source.name": "zoo study"}
        return str(client.create_run(experiment, run_name=name, tags=known).info.run_id)


def log_training(parent: str, name: str, key: str, recipe: Mapping[str, Any], figures: Mapping[str, float]) -> None:
    """A finished training of a study, as a child of its run. key: of all that decided it."""
    with _client() as client:
        from mlflow.entities import Metric, Param

        experiment = client.get_run(parent).info.experiment_id
        tags = {"mlflow.parentRunId": parent, "study_key": key}
        run_id = client.create_run(experiment, run_name=name, tags=tags).info.run_id
        now = int(time.time() * 1000)
        client.log_batch(
            run_id,
            params=[Param(field, str(value)) for field, value in recipe.items()],
            metrics=[Metric(figure, float(value), now, 0) for figure, value in figures.items()],
        )
        client.set_terminated(run_id, "FINISHED")


def find_training(study: str, key: str) -> dict[str, float] | None:
    """The figures of a training of that key in the store; None where there is none."""
    path = _database(store())
    if path is not None and not path.is_file():
        return None
    with _client() as client:
        experiment = client.get_experiment_by_name(f"study/{study}")
        if experiment is None:
            return None
        wanted = f"status = 'FINISHED' AND tags.study_key = '{key}'"
        found = client.search_runs([experiment.experiment_id], wanted, max_results=1)
    return dict(found[0].data.metrics) if found else None
