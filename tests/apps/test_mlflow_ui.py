"""`zoo ui` in a browser: the pages of a database in a file."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow_pages import *  # noqa: F403 (the tests)
from mlflow_pages import Ui, make_runs

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(tmp_path_factory.mktemp("browsed"))
        make_runs()
        yield Path.cwd()


@pytest.fixture(scope="module")
def ui(place):
    """A running `zoo ui`, which names the results of digits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = place / "told.txt"
    with (
        told.open("wb") as out,
        subprocess.Popen(command, cwd=place, env=environment, stdout=out, stderr=out) as zoo_ui,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
                time.sleep(0.5)
            said = told.read_text(encoding="utf-8")
            (results,) = re.findall(rf"^results of digits: {address}/(\S+)$", said, re.MULTILINE)
            yield Ui(address, results)
        finally:
            zoo_ui.send_signal(signal.SIGINT)
            zoo_ui.wait(timeout=30)
