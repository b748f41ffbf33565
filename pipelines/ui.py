"""`zoo ui`: the MLflow UI, on the store that the trainings write to."""

from __future__ import annotations

import os
import subprocess
import sys

from pipelines import tracking
from zoo.errors import TrackingError


def ui(*, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serve the MLflow UI until interrupted. Raises TrackingError where there is no store yet, or no free port."""
    store = tracking.existing_store()
    if store.startswith(("http://", "https://")):
        print(f"the runs are on a server, which has the MLflow UI: {tracking.without_secrets(store)}", flush=True)
        return
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port)]
    # Not as an argument: a store's password would be there for everyone who lists the processes.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": store}
    print(f"MLflow UI: http://{host}:{port}  (store: {tracking.without_secrets(store)}; Ctrl-C ends it)", flush=True)
    code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
    if code:
        raise TrackingError(f"the MLflow UI ended with code {code}: is port {port} taken? take another with --port")
