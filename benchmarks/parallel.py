"""Several devices, and several workers, against one: how far their weights differ, and what time they take.

    python benchmarks/parallel.py               # the table of differences
    python benchmarks/parallel.py --time        # one worker on two cores against two on one each; the machine idle

Devices are two halves of the processor, workers two processes on loopback. Each training is of digits, in float32, from
the same seed. A difference is the largest of a weight, relative to the largest weight of its array. How much of it is
rounding is shown by a plain training without oneDNN, whose kernels add in another order.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

MODELS = {
    "mlp-small": "dense with dropout",
    "conv-small": "conv with norms",
    "separable-small": "separable",
    "resnet20": "residual",
    "conv-mlp-small": "hybrid",
}
OPTIMIZERS = ("adamw", "muon")
SETTINGS = {"epochs": 2, "batch_size": 250, "precision": "float32"}  # 10 steps; the last validation batch is uneven
TIMED = {"epochs": 10, "batch_size": 125, "precision": "float32", "optimizer": "adamw"}
LIMIT = 3600  # seconds
Cell = Mapping[str, Any]  # model, and settings of its recipe
Weights = Sequence[np.ndarray]


@dataclass(frozen=True)
class Result:
    """Of a cell. weights: in Keras' order. seconds: of the loop. loss, accuracy: on the validation images."""

    weights: Weights
    seconds: float
    loss: float
    accuracy: float


def cells(models: Sequence[str], optimizers: Sequence[str] = OPTIMIZERS, **settings: object) -> list[Cell]:
    return [{"model": m, "settings": {**SETTINGS, **settings, "optimizer": o}} for m in models for o in optimizers]


def largest_difference(some: Weights, others: Weights) -> float:
    pairs = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in zip(some, others, strict=True)]
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-12)) for a, b in pairs)


# --- in a process of its own, since TensorFlow's devices are chosen once -------------------------------------------


def train(work: Sequence[Cell], devices: int, workers: str, worker: int | None, out: Path) -> None:
    """Each cell on one device, in the plain way, and on several; or as one of several workers."""
    import tensorflow as tf

    from pipelines.training.parallel.team import team_of
    from pipelines.training.parallel.workers import cluster_of

    found: dict[str, np.ndarray] = {}
    if workers:
        with team_of(None, cluster_of(workers, worker)) as team:
            for number, cell in enumerate(work):
                found |= trained(cell, team, f"workers {number}")
    else:
        if devices > 1:
            parts = [tf.config.LogicalDeviceConfiguration()] * devices
            tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], parts)
        for number, cell in enumerate(work):
            found |= trained(cell, None, f"one {number}")
            if devices:
                with team_of(devices, None) as team:
                    found |= trained(cell, team, f"devices {number}")
    np.savez(out, allow_pickle=False, **found)


class Silent:
    """Whoever follows a training, and keeps where it ended."""

    state: Any
    metrics: Mapping[str, float]

    def on_step(self, epochs: float, best: object) -> None:
        """Nothing to do."""

    def on_validation(self, state: Any, metrics: Mapping[str, float]) -> str:
        """Keep it."""
        self.state, self.metrics = state, metrics
        return str(state.stopped)


def trained(cell: Cell, team: Any, name: str) -> dict[str, np.ndarray]:
    """The weights at the end, and seconds, validation loss and accuracy."""
    from pipelines.core.provenance.plan import make_plan
    from pipelines.training.loop.checkpoint import Checkpoint
    from pipelines.training.loop.fit import fit, state_of
    from pipelines.training.preparing import prepare

    plan = make_plan(cell["model"], "digits", settings=cell["settings"])
    ready, silent = prepare(plan, "float32", team), Silent()
    begin = Checkpoint(0, "float32", state_of(ready.learner), None)
    started = monotonic()
    fit(ready.learner, plan, ready.learned, ready.teacher, ready.schedule, ready.stages, begin, silent)
    measured = [monotonic() - started, *(silent.metrics[f"validation_{each}"] for each in ("loss", "accuracy"))]
    found = {f"{name} weight {place:04}": value for place, value in enumerate(ready.learner.get_weights())}
    return {**found, f"{name} measured": np.array(measured)}


# --- the process that compares -------------------------------------------------------------------------------------


def start(
    work: Sequence[Cell], out: Path, *more: str, cores: Collection[int] = (), onednn: bool = True
) -> subprocess.Popen[str]:
    """A process that trains. cores: those that it is held to; none for any, one of which adds up each sum."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1]), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= {"TF_NUM_INTRAOP_THREADS": str(len(cores) or 1), "TF_ENABLE_ONEDNN_OPTS": str(int(onednn))}
    command = [sys.executable, __file__, "--cells", json.dumps(work), "--out", str(out), *more]
    found = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if cores:
        os.sched_setaffinity(found.pid, cores)  # before it has threads
    return found


def finish(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        _, errors = process.communicate(timeout=LIMIT)
        if process.returncode:
            raise SystemExit(errors)


def results(out: Path, kind: str, work: Sequence[Cell]) -> list[Result]:
    with np.load(out) as found:
        names = sorted(found.files)
        return [
            Result(
                [found[name] for name in names if name.startswith(f"{kind} {number} weight")],
                *map(float, found[f"{kind} {number} measured"]),
            )
            for number in range(len(work))
        ]


def on_one(work: Sequence[Cell], folder: Path, cores: Collection[int] = (), *, onednn: bool = True) -> list[Result]:
    finish(start(work, folder / "one.npz", cores=cores, onednn=onednn))
    return results(folder / "one.npz", "one", work)


def on_one_and_on_devices(work: Sequence[Cell], folder: Path, devices: int = 2) -> tuple[list[Result], list[Result]]:
    out = folder / "devices.npz"
    finish(start(work, out, "--devices", str(devices)))
    return results(out, "one", work), results(out, "devices", work)


def on_workers(work: Sequence[Cell], folder: Path, count: int = 2, *, pinned: bool = False) -> list[Result]:
    """As the chief has them; the others have the same, bit for bit. pinned: each is held to a core of its own."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in free_ports(count))
    outs = [folder / f"worker{worker}.npz" for worker in range(count)]
    places = [("--workers", addresses, "--worker", str(worker)) for worker in range(count)]
    finish(*(start(work, outs[k], *place, cores={k} if pinned else ()) for k, place in enumerate(places)))
    chief, *others = (results(out, "workers", work) for out in outs)
    for other in others:
        assert all(largest_difference(a.weights, b.weights) == 0 for a, b in zip(chief, other, strict=True))
    return chief


def free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cells", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--devices", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--workers", default="", help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.cells:
        train(options.cells, options.devices, options.workers, options.worker, options.out)
        return
    models = options.models.split(",")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.time:
            work: list[Mapping[str, Any]] = [{"model": model, "settings": TIMED} for model in models]
            print("| model | one, two cores (s) | two workers, a core each (s) | times as fast |\n|---|---|---|---|")
            ones, twos = on_one(work, folder, {0, 1}), on_workers(work, folder, pinned=True)
            for model, one, two in zip(models, ones, twos, strict=True):
                print(f"| {model} | {one.seconds:.1f} | {two.seconds:.1f} | {one.seconds / two.seconds:.2f} |")
            return
        work = cells(models)
        ones, devices = on_one_and_on_devices(work, folder)
        workers, rounded = on_workers(work, folder), on_one(work, folder, onednn=False)
        print("| model | | optimizer | two devices | two workers | one, without oneDNN |\n|---|---|---|---|---|---|")
        for cell, plain, *several in zip(work, ones, devices, workers, rounded, strict=True):
            model, optimizer = cell["model"], cell["settings"]["optimizer"]
            found = " | ".join(f"{largest_difference(plain.weights, each.weights):.1e}" for each in several)
            print(f"| {model} | {MODELS.get(model, '')} | {optimizer} | {found} |")


if __name__ == "__main__":
    main()
