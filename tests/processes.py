"""Trainings in processes of their own, which tests can kill, and servers that they can stop and start."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(
    ["pipelines.training.train", "tensorflow", "keras", "mlflow"]
)  # seconds that each would take


def _settings() -> dict[str, str]:
    """What of the environment a test sets: which store, and who asks it; how much memory, and which cache."""
    names = ("MLFLOW_TRACKING_", "ZOO_", "XDG_")
    return {name: value for name, value in os.environ.items() if name.startswith(names)}


def _call(folder: str, environment: dict[str, str], function: Callable[..., Any], arguments: dict[str, Any]) -> None:
    os.chdir(folder)
    for name in _settings():
        del os.environ[name]
    os.environ.update(environment)
    told = os.open("told.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(told, 1)
    os.dup2(told, 2)
    function(**arguments)


def start(folder: Path, function: Callable[..., Any], **arguments: Any) -> Any:
    """A process that calls a function in a folder, on the store that is ours; what it prints is in told.txt there."""
    process = _forks.Process(target=_call, args=(str(folder), _settings(), function, arguments))
    process.start()
    return process


def end(process: Any, seconds: float = 240) -> int:
    """Wait for its end, and return its exit code."""
    process.join(seconds)
    assert process.exitcode is not None, "it goes on"
    return int(process.exitcode)


def until(condition: Callable[[], Any], seconds: float = 280, every: float = 0.02) -> Any:
    """What a condition answers as soon as that is true."""
    ends = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(every)
    return answer


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`mlflow server` on loopback, with its database and its artifacts in a folder."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # MLflow looks for uvicorn there
    environment = {**os.environ, "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, start_new_session=True, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _answers(port), every=0.1)
        assert process.poll() is None, (folder / "server.log").read_text()
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[Any]) -> None:
    """Kill a server with all that it started, whatever they are doing, and wait until they are gone."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        children = parent.children(recursive=True)
        for each in (parent, *children):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait()
        _, left = psutil.wait_procs(children, timeout=60)
        assert not left, "they don't end"
    process.wait()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
    except OSError:
        return False
    return True


def begin_run() -> None:
    """Begin a run in this folder, in a store that may be new."""
    from pipelines import tracking
    from pipelines.core.provenance.plan import load_data, make_plan

    plan = make_plan("softmax", "digits")
    tracking.start_run(plan, load_data(plan), {})


def die_at(epoch: int, **request: Any) -> None:
    """Train in this folder, and be killed as soon as the checkpoint of this epoch or a later one is there."""
    import pipelines.training.train
    from pipelines.training.loop import checkpoint

    keep = checkpoint.save

    def keep_and_die(state: checkpoint.Checkpoint, run_id: str) -> None:
        keep(state, run_id)
        if state.epoch >= epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.save = keep_and_die
    module = sys.modules[pipelines.training.train.__name__]
    module.SAVING = 1e9  # a checkpoint after each validation
    module.train(**request)


def resume_or_tell(run: str) -> None:
    """Resume a run in this folder; a refusal goes to refusal.txt. Here, where a process of its own finds it by name."""
    from pipelines.training.train import train
    from zoo.errors import TrackingError

    try:
        train(resume=run)
    except TrackingError as error:
        Path("refusal.txt").write_text(str(error), encoding="utf-8")
