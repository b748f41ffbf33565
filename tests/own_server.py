"""examples/server/server.py as a process of its own: MLflow with accounts, PostgreSQL and an S3 store."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

SERVER = Path(__file__).parents[1] / "examples" / "server" / "server.py"


def start(folder: Path, port: int) -> subprocess.Popen[str]:
    """The server, once it says that it is ready."""
    command = [sys.executable, SERVER, "--folder", folder, "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    told = ""
    while "for clients" not in told:
        line = process.stdout.readline()
        assert line, told + "".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
        told += line
    assert not re.search("[0-9a-f]{40}", told)  # no password
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """End it as Ctrl-C does."""
    process.terminate()
    process.communicate(timeout=120)


def secrets_of(folder: Path) -> dict[str, str]:
    return json.loads((folder / "secrets.json").read_text())


def address(folder: Path, port: int) -> str:
    """For clients, with user and password."""
    return f"http://admin:{secrets_of(folder)['admin']}@127.0.0.1:{port}"
