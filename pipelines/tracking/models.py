"""The models of a run: the trained one in Keras' format and the exported one in ONNX. Neither holds a pickle."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.machine import versions
from pipelines.tracking.store import import_mlflow, open_client, store_uri
from pipelines.tracking.writing import latest_model, log_figures
from zoo.contract import ACTIVATION_MAP, FEATURES, INPUT, LOGITS, PROBABILITIES
from zoo.errors import TrackingError

KERAS_MODEL, ONNX_MODEL = "keras", "onnx"  # runs:/RUN/keras and runs:/RUN/onnx
# What a model is told to be, as its run is: the UI's list of models has columns of these, and of the parameters.
_TAGS = ("model", "family", "data_set", "mlflow.source.name", "mlflow.source.type", "mlflow.source.git.commit")


def log_keras_model(run_id: str, model: Any) -> None:
    """Add the trained `keras.Model` to the run, in Keras' own format, which holds no pickle."""
    import_mlflow()
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
    """Add an `onnx.ModelProto` to the run, whole in one file, and figures about it on the test set (size, parity)."""
    import_mlflow()
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
    log_figures(run_id, figures, model=ONNX_MODEL, split="test")


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

    with open_client() as client, tempfile.TemporaryDirectory() as temporary:
        run = client.get_run(run_id)
        tags = {name: run.data.tags[name] for name in _TAGS if name in run.data.tags}
        logged = client.create_logged_model(
            run.info.experiment_id, name, source_run_id=run_id, tags=tags, params=run.data.params
        )
        folder = Path(temporary) / name
        save(folder, Model(artifact_path=logged.artifact_location, run_id=run_id, model_id=logged.model_id))
        client.log_model_artifacts(logged.model_id, str(folder))
        client.finalize_logged_model(logged.model_id, "READY")
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])


def load_keras_model(run_id: str) -> Any:
    """The trained `keras.Model` of a run. Raises TrackingError where it has none, or a damaged one."""
    from zoo.models.backend import start_keras

    keras = start_keras()
    import zoo.models.columns  # noqa: F401  (Keras has to know its layer before it reads a model of a table)

    with open_client() as client, tempfile.TemporaryDirectory() as temporary:
        run = client.get_run(run_id)
        logged = latest_model(client, run.info, KERAS_MODEL)
        if logged is None:
            raise TrackingError(
                f"run {run_id} holds no trained model (it is {run.info.status}): "
                f"`zoo train --resume {run_id[:8]}` goes on with it"
            )
        folder = import_mlflow().artifacts.download_artifacts(
            artifact_uri=logged.artifact_location, dst_path=temporary, tracking_uri=store_uri()
        )
        try:
            return keras.saving.load_model(Path(folder) / "data" / "model.keras", compile=False)
        except Exception as error:  # Keras, ZIP and HDF5 fail in types of their own
            raise TrackingError(f"the Keras model of run {run_id} is damaged ({error}): train it anew") from error
