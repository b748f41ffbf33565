"""`zoo ui`: the MLflow UI, on the store that the trainings write to."""

from __future__ import annotations

import errno
import socket

from pipelines import tracking
from zoo.errors import TrackingError, printable

LAST_PATIENCE = 3  # seconds for requests that are under way when it is ended


def ui(*, host: str = "127.0.0.1", port: int = 5000) -> None:
    """Serve the MLflow UI until it is interrupted. Raises TrackingError if there is no store yet, or no free port.

    It runs in this one process: however that ends, nothing of it keeps running.
    """
    store = tracking.existing_store()
    shown = printable(tracking.without_secrets(store))
    if store.startswith(("http://", "https://")):
        where = shown.rstrip("/")
        print(f"the runs are on a server, which has the MLflow UI: {where}", flush=True)
        _print_results(where)
        return
    with _listening(host, port) as listening:
        import uvicorn

        server = uvicorn.Server(
            uvicorn.Config(tracking.ui_application(store), log_level="warning", timeout_graceful_shutdown=LAST_PATIENCE)
        )
        where = f"http://{host}:{port}"
        print(f"MLflow UI: {where}  (store: {shown}; Ctrl-C ends it)", flush=True)
        _print_results(where)
        server.run([listening])


def _print_results(where: str) -> None:
    for name, page in tracking.results_pages():
        print(f"results of {printable(name)}: {where}/{page}", flush=True)


def _listening(host: str, port: int) -> socket.socket:
    """A socket at that address, before seconds pass until MLflow is imported."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise TrackingError(f"port {port} is taken: take another with --port") from None
        raise TrackingError(f"can't listen at {host}:{port} ({error.strerror}): name another --host") from None
    return listening
