"""`zoo ui` as a process of its own: what a browser gets from it, and that nothing of it stays, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from processes import begin_run, stop, until
from servers import ask, free_port

from pipelines import tracking
from pipelines.maintenance.ui import ui
from pipelines.tracking.runs.listing import _results_by_mlflow, _results_by_sql
from zoo.errors import TrackingError

ROOT = Path(__file__).parents[1]
ACCURACY = 0.7771587743732591


@pytest.fixture
def trained(store):
    """A store with a run that has a metric of many digits."""
    begin_run()
    (run,) = tracking.search("")
    tracking.log_metrics(run.info.run_id, {"test_accuracy": ACCURACY, "parameters": 9946.0})
    return run.info


@contextmanager
def serving(folder):
    """The process and its address, once it answers."""
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", str(port := free_port())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = folder / "told.txt"
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # who was started by nohup ignores it, and so would its child
    try:
        with log.open("wb") as told:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=told, stderr=told)
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        until(lambda: process.poll() is not None or _answers(port), every=0.1)
        assert process.poll() is None, log.read_text()
        yield process, f"http://127.0.0.1:{port}"
    finally:
        stop(process)


def _answers(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def first_page(address):
    with urllib.request.urlopen(f"{address}/", timeout=60) as answer:
        return answer.read().decode()


def accuracy_of(run, address, interface):
    found = ask(f"{address}/{interface}/2.0/mlflow/runs/search", {"experiment_ids": [run.experiment_id]})
    return {each["key"]: each["value"] for each in found["runs"][0]["data"]["metrics"]}


def ended(process, ending):
    """End it by a signal: it goes, and so does all that it had started."""
    everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    process.send_signal(ending)
    process.wait(timeout=240)
    _, left = psutil.wait_procs(everyone, timeout=240)
    return not left


def test_it_opens_on_the_results_with_rounded_numbers_and_ends_with_its_terminal(trained):
    with serving(Path.cwd()) as (process, address):
        (_, results), *_ = tracking.results_pages()
        page = first_page(address)
        assert json.dumps(results) in page and results.startswith(f"#/experiments/{trained.experiment_id}/runs?")
        assert re.search(r'name="viewport" content="width=1100', page)
        assert accuracy_of(trained, address, "ajax-api") == {"test_accuracy": 0.7772, "parameters": 9946}
        assert accuracy_of(trained, address, "api")["test_accuracy"] == ACCURACY
        assert ended(process, signal.SIGHUP)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_of_it_stays_however_it_ends(trained, ending):
    """Slow: each case starts MLflow's server."""
    with serving(Path.cwd()) as (process, address):
        first_page(address)
        assert ended(process, ending)


def test_results_are_found_on_any_store(trained):
    with tracking.open_client() as client:
        client.create_experiment("somebody else's")
    assert [(str(experiment), name) for experiment, name in _results_by_sql(Path("mlruns/mlflow.db"))] == [
        (trained.experiment_id, "digits")
    ]
    assert _results_by_mlflow() == [(trained.experiment_id, "digits")]


def test_a_port_that_is_taken_and_a_host_that_is_not_here_are_named(trained):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(TrackingError, match=rf"^port {port} is taken: take another with --port$"):
            ui(port=port)
    with pytest.raises(TrackingError, match=r"^can't listen at 192\.0\.2\.1:\d+ \(.+\): name another --host$"):
        ui(host="192.0.2.1", port=port)
