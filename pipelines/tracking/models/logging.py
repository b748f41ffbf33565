"""The models of a run: the trained one in Keras' format and the exported one in ONNX. Neither holds a pickle."""

from __future__ import annotations

import base64
import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from pipelines.core.provenance.machine import versions
from pipelines.tracking.models.loading import KERAS_MODEL, ONNX_MODEL
from pipelines.tracking.outbox import delivery
from pipelines.tracking.outbox.delivery import ready_models
from pipelines.tracking.runs.logging import log_metrics, write
from pipelines.tracking.store import import_mlflow, open_client
from zoo.contract import ACTIVATION_MAP, FAMILIARITY, FEATURES, INPUT, LOGITS, PROBABILITIES

DIGEST_TAG = "sha256"  # of a logged ONNX model: that of the export's file


def log_keras_model(run_id: str, model: Any) -> None:
    """Add the trained `keras.Model` to the run, in Keras' own format, which holds no pickle."""
    import_mlflow()
    import mlflow.keras
    import numpy as np

    requirements = [f"{name}=={versions()[name]}" for name in ("keras", "tensorflow")]
    shape = tuple(-1 if side is None else side for side in model.input_shape)
    name, kind = (INPUT, np.uint8) if len(shape) == 4 else (FEATURES, np.float32)
    signature = _signature(name, kind, shape, int(model.get_layer(LOGITS).output.shape[-1]))

    def save(folder: Path, description: Any) -> None:
        mlflow.keras.save_model(
            model, str(folder), mlflow_model=description, signature=signature, pip_requirements=requirements
        )

    _log_model(run_id, KERAS_MODEL, save)


def log_export(run_id: str, model: Any, metrics: Mapping[str, float], example: bytes | None = None) -> None:
    """Add an `onnx.ModelProto` to the run, whole in one file, and metrics about it on the test set (size, parity).

    example: an image, which shows how a request looks.
    """
    import_mlflow()
    import mlflow.onnx
    import numpy as np

    from pipelines.tracking import serving

    # Not this package, which is in no registry: whoever put another one there by its name would be installed.
    requirements = [f"{name}=={versions()[name]}" for name in ("onnx", "onnxruntime", "numpy", "pillow")]
    last, classes = (
        values[0].type.tensor_type.shape.dim[-1].dim_value for values in (model.graph.input, model.graph.output)
    )
    maps = [  # rows and columns of the activation map, where there is one
        tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim[2:])
        for value in model.graph.output
        if value.name == ACTIVATION_MAP
    ]
    familiar = any(value.name == FAMILIARITY for value in model.graph.output)
    outputs: Mapping[str, Any] = {"label": serving.LABEL, "familiar": familiar}
    if model.graph.input[0].name == INPUT:  # object: pixels and base64 alike, as `serving` takes them
        signature = _signature(INPUT, object, (-1,), classes, *maps, **outputs)
        encoded = None if example is None else {INPUT: np.array([base64.b64encode(example).decode()], object)}
    else:
        signature = _signature(FEATURES, np.float32, (-1, last), classes, **outputs)
        encoded = {FEATURES: np.zeros((1, last), np.float32)}

    def save(folder: Path, description: Any) -> None:
        mlflow.onnx.save_model(
            model,
            str(folder),
            mlflow_model=description,
            signature=signature,
            input_example=encoded,
            pip_requirements=requirements,
            onnx_execution_providers=["CPUExecutionProvider"],  # the default asks for CUDA
            save_as_external_data=False,  # the default splits even a small model into files that are broken alone
        )
        description.flavors["python_function"]["loader_module"] = serving.__name__
        description.save(str(folder / "MLmodel"))

    _log_model(run_id, ONNX_MODEL, save, {DIGEST_TAG: _digest(model)})
    log_metrics(run_id, metrics, model=ONNX_MODEL, split="test")


def find_export(run_id: str, model: Any) -> str | None:
    """The id of the logged model of a run that holds just this `onnx.ModelProto`, the latest; None where none does."""
    with open_client() as client:
        found = ready_models(client, run_id, ONNX_MODEL)
        return next((str(each.model_id) for each in found if each.tags.get(DIGEST_TAG) == _digest(model)), None)


def _digest(model: Any) -> str:
    """SHA-256, in hex, of an export's file."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def _signature(
    name: str,
    kind: type,
    shape: tuple[int, ...],
    classes: int,
    positions: tuple[int, ...] = (),
    *,
    label: str = "",
    familiar: bool = False,
) -> Any:
    """What goes in under that name, and probabilities and logits out, as MLflow writes it down.

    positions: rows and columns of the activation map, where that comes out, too. label: the name of the likeliest
    class among the outputs, where that is one. familiar: whether FAMILIARITY is among them.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    outputs = [TensorSpec(np.dtype(np.float32), (-1, classes), output) for output in (PROBABILITIES, LOGITS)]
    if positions:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1, classes, *positions), ACTIVATION_MAP))
    if familiar:
        outputs.append(TensorSpec(np.dtype(np.float32), (-1,), FAMILIARITY))
    if label:
        outputs.insert(0, TensorSpec(np.dtype(object), (-1,), label))
    return ModelSignature(Schema([TensorSpec(np.dtype(kind), shape, name)]), Schema(outputs))


def _log_model(run_id: str, name: str, save: Any, tags: Mapping[str, str] | None = None) -> None:
    """Write a model to a folder, and hand that over; the store gives it its id on arrival."""
    from mlflow.models import Model

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / name
        save(folder, Model(run_id=run_id))
        write(run_id, delivery.model(name, uuid4().hex, tags or {}), folder)
