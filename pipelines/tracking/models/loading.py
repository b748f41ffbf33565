"""Reading a trained model back from the store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from pipelines.tracking.outbox.delivery import ready_models
from pipelines.tracking.outbox.sender import unsent
from pipelines.tracking.resuming import resumed_by
from pipelines.tracking.runs.damage import DamagedRunError
from pipelines.tracking.store import import_mlflow, open_client, store_uri
from zoo.errors import TrackingError


def load_keras_model(run_id: str) -> Any:
    """The trained `keras.Model` of a run. Raises TrackingError where it has none, or a damaged one."""
    from zoo.models.backend import start_keras

    keras = start_keras()
    import zoo.models.normalization
    import zoo.models.preprocessing  # noqa: F401  (Keras has to know our layers before it reads a model that has one)

    with open_client() as client, tempfile.TemporaryDirectory() as temporary:
        run = client.get_run(run_id)
        ready = ready_models(client, run_id, KERAS_MODEL)
        if not ready and unsent(run_id):
            raise TrackingError(
                f"the model of run {run_id} hasn't reached the store: `zoo sync` sends it where no training does"
            )
        if not ready:
            raise TrackingError(
                f"run {run_id} holds no trained model (it is {run.info.status}); "
                f"to continue it: {resumed_by(run_id, run.data.tags)}"
            )
        folder = import_mlflow().artifacts.download_artifacts(
            artifact_uri=ready[0].artifact_location, dst_path=temporary, tracking_uri=store_uri()
        )
        try:
            return keras.saving.load_model(Path(folder) / "data" / "model.keras", compile=False)
        except Exception as error:  # Keras, ZIP and HDF5 fail in types of their own
            raise DamagedRunError(f"the Keras model of run {run_id} is damaged ({error}): train it again") from error


KERAS_MODEL, ONNX_MODEL = "keras", "onnx"  # runs:/RUN/keras and runs:/RUN/onnx
