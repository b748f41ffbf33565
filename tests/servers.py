"""MLflow's servers as processes of their own, and requests to them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines import tracking


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(arguments: list[str], health: str) -> Iterator[str]:
    """The address of a process of `python -m mlflow ARGUMENTS --port …`, once it answers at the path `health`."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", *arguments, "--port", str(port)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn there
    environment = {"PATH": path, "MLFLOW_TRACKING_URI": tracking.store_uri(), "MLFLOW_DISABLE_TELEMETRY": "true"}
    with subprocess.Popen(command, env={**os.environ, **environment}, start_new_session=True) as process:
        try:
            for _ in range(1400):
                assert process.poll() is None, "the server ended"
                try:
                    urllib.request.urlopen(url + health, timeout=5).close()
                    break
                except OSError:
                    time.sleep(0.2)
            yield url
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, 15)  # with the workers that it started


def ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def ask_for_refusal(url: str, body: dict[str, Any]) -> tuple[int, str]:
    """Status and text of an answer that isn't 200."""
    try:
        ask(url, body)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    raise AssertionError(f"{url} answered, expected a refusal")
