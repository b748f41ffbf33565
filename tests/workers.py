"""Workers on loopback, as the commands that a user gives them; and one that dies at a stated moment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

LEARNED = {"epochs": 3, "batch_size": 250, "precision": "float32"}
MOMENTS = ("start", "step", "validation", "before checkpoint", "after checkpoint")


def addresses(count: int) -> str:
    """Free ports in a row, of which the one after the last is free, too: worker 0 listens there."""
    while True:
        with ExitStack() as held, suppress(OSError, OverflowError):
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for more in range(1, count + 1):
                held.enter_context(socket.create_server(("127.0.0.1", first + more)))
            return ",".join(f"127.0.0.1:{first + index}" for index in range(count))


def worker(
    folder: Path, where: str, index: int, *words: str, code: Path | None = None, dies: str = ""
) -> subprocess.Popen[bytes]:
    """A worker in a folder of its own, where told.txt has what it prints. code: where the project's is, if not here.

    dies: at which of MOMENTS it is killed, with the process that watches over it.
    """
    own = folder / f"worker{index}"
    own.mkdir(exist_ok=True)
    path = str(code or Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": path, "TF_NUM_INTRAOP_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    settings = [word for name, value in LEARNED.items() for word in ("--set", f"{name}={value}")]
    command = [__file__, dies] if dies else ["-m", "pipelines.cli"]
    command += ["train", "mlp-small", "--data", "digits", *settings, "--workers", where, "--worker", str(index), *words]
    with (own / "told.txt").open("w") as told:
        return subprocess.Popen([sys.executable, *command], cwd=own, env=environment, stdout=told, stderr=told)


def told(folder: Path, index: int) -> str:
    return " ".join((folder / f"worker{index}" / "told.txt").read_text(encoding="utf-8").split())


# --- in the process of one that dies -------------------------------------------------------------------------------


def _die(*_: Any) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _prepare_to_die(moment: str) -> None:
    from pipelines.training.loop import checkpoint
    from pipelines.training.parallel.agreement import Spokesman
    from pipelines.training.parallel.learner import _spread_model

    if moment == "start":  # where the others wait for its TensorFlow
        vars(import_module("pipelines.training.train"))["team_of"] = _die
    elif moment == "step":  # before the first validation, in which the others wait for it
        _die_at(1, Spokesman, "on_step")
    elif moment == "validation":
        _die_at(2, _spread_model(), "_validated")
    else:
        keep = checkpoint.save

        def save(state: checkpoint.Checkpoint, run_id: str) -> None:
            if state.epoch and moment == "before checkpoint":
                _die()
            keep(state, run_id)
            if state.epoch:
                _die()

        checkpoint.save = save


def _die_at(number: int, where: Any, name: str) -> None:
    """At that call of a function."""
    original, calls = getattr(where, name), []

    def counted(*arguments: Any) -> Any:
        calls.append(name)
        return _die() if len(calls) == number else original(*arguments)

    setattr(where, name, counted)


if __name__ == "__main__":
    from pipelines.cli import main
    from pipelines.cli.parser import make_parser
    from pipelines.core.support.watched import is_watched
    from pipelines.training.parallel.watching import watch
    from pipelines.training.parallel.workers import cluster_of

    moment, *words = sys.argv[1:]
    if is_watched():
        _prepare_to_die(moment)
        sys.exit(main(words))
    options = make_parser().parse_args(words)
    sys.exit(watch(cluster_of(options.workers, options.worker), [sys.executable, __file__, *sys.argv[1:]]))
