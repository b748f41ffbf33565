"""`zoo ui`: the MLflow UI, on the store that the trainings write to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress

from pipelines import tracking
from zoo.errors import TrackingError, printable

# No usage data to MLflow's makers, no line for each step of the start, no workers for what language models alone need.
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def ui(*, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serve the MLflow UI until interrupted. Raises TrackingError where there is no store yet, or no free port."""
    store = tracking.existing_store()
    shown = printable(tracking.without_secrets(store))
    if store.startswith(("http://", "https://")):
        print(
            f"the runs are on a server, which has the MLflow UI: {shown}",
            flush=True,
        )
        return
    command = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port)]
    command += ["--uvicorn-opts", "--log-level warning"]  # a line for each request helps nobody
    # Not as an argument: a store's password would be there for everyone who lists the processes.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": store, "PYTHONWARNINGS": "ignore", **_QUIET}
    where = f"http://{host}:{port}"
    print(
        f"MLflow UI: {where}  in a few seconds (store: {shown}; Ctrl-C ends it)",
        flush=True,
    )
    for name, page in tracking.results_pages():
        print(f"results of {printable(name)}: {where}/{page}", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the workers would outlive us
    # In a session of its own: Ctrl-C reaches us alone, and we end the server's workers with it, quietly.
    server = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603
    try:
        code = server.wait()
    finally:
        _end(server)
    if code:
        raise TrackingError(f"the MLflow UI ended with code {code}: is port {port} taken? take another with --port")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, at once if they don't heed the first request."""
    for request in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, request) if hasattr(os, "killpg") else server.terminate()
        with suppress(subprocess.TimeoutExpired):
            server.wait(timeout=5)
