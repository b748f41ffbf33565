"""What trainings go through without a loss, whichever store they write to; what is left has to be complete.

The store is that of the environment, the working folder the one that trainings run in.
"""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from processes import end, start, stop, until

from pipelines import tracking
from pipelines.core.provenance.weights import weights_sha256
from pipelines.maintenance.stale import stale
from pipelines.maintenance.sync import sync
from pipelines.training.loop import checkpoint
from pipelines.training.train import train

# Dropout, augmentation and the schedule take part; 9 steps an epoch, 4 epochs a validation, 12 validations.
EPOCHS = 48
KILLED = {
    "model": "mlp-small",
    "data": "digits",
    "settings": {"epochs": EPOCHS, "augmentation": "light", "precision": "float32"},
}
SETTINGS = {"epochs": 400, "precision": "float32", "augmentation": "none"}  # 100 validations
TRAINING = {"model": "softmax", "data": "digits", "settings": SETTINGS}


def told(folder: Path) -> str:
    return (folder / "told.txt").read_text(encoding="utf-8")


def run_ids() -> set[str]:
    return {str(run.info.run_id) for run in tracking.search("")}


# --- killed, and gone on with --------------------------------------------------------------------------------------


def undisturbed(folder: Path, asked: Mapping[str, Any] = KILLED) -> dict[str, Any]:
    """What a training leaves that nobody kills."""
    before = run_ids()
    assert end(start(folder, train, **asked)) == 0, told(folder)
    (run,) = run_ids() - before
    return left_by(run)


def killed_again_and_again(
    folder: Path,
    expected: dict[str, Any],
    kills: int,
    seed: int,
    *,
    later: float = 0.2,
    asked: Mapping[str, Any] = KILLED,
) -> None:
    """Trainings that are killed so often in all, at random moments from the first checkpoint to the end of each.

    expected: of `undisturbed`. later: seconds, at most, from the writing of a checkpoint to a kill.
    """
    moments, done, run_id = random.Random(seed), 0, ""
    while done < kills:
        if not run_id:
            process, run_id = begun(folder, asked)
        epoch = moments.uniform(epoch_of(run_id), EPOCHS + 8)
        killed = kill(process, run_id, epoch, moments.uniform(0, later))
        done += killed
        found = [each for each in stale() if each.run == run_id]
        if found:
            assert killed
            assert found[0].resume.startswith("zoo train --resume ")
            assert status(run_id) == "KILLED"
            assert stale() == ()
            process = start(folder, train, resume=run_id)
        else:  # all was done, and on its way to the store at least
            assert left_by(run_id) == expected
            run_id = ""
    if run_id:
        assert end(process) == 0, told(folder)
        assert left_by(run_id) == expected
        assert not tracking.unsent(run_id)
        assert not checkpoint.exists(run_id)


def begun(folder: Path, asked: Mapping[str, Any]) -> tuple[Any, str]:
    """A process that trains, and its run, which has a checkpoint by now."""
    known = {path.name for path in checkpoint.FOLDER.glob("*")}
    process = start(folder, train, **asked)
    (state,) = until(lambda: [path for path in checkpoint.FOLDER.glob("*/*.npz") if path.parent.name not in known])
    return process, state.parent.name


def kill(process: Any, run_id: str, epoch: float, later: float) -> bool:
    """Kill a training some time after an epoch, or amid what follows the last. False where it was faster."""
    until(lambda: status(run_id) == "RUNNING" or not process.is_alive())
    until(lambda: epoch_of(run_id) >= min(epoch, EPOCHS) // 4 * 4 or not process.is_alive())
    time.sleep(later)
    process.kill()
    return end(process) == -signal.SIGKILL


def epoch_of(run_id: str) -> int:
    """Of the checkpoint; the last where that is gone."""
    if not checkpoint.exists(run_id):
        return EPOCHS
    with np.load(checkpoint.FOLDER / run_id / checkpoint.FILE) as found:
        return int(json.loads(found["known"].tobytes())["epoch"])


def status(run_id: str) -> str:
    with tracking.open_client() as client:
        return str(client.get_run(run_id).info.status)


def left_by(run_id: str) -> dict[str, Any]:
    """Weights, and each metric as often as it was written: name, step and value, but for those of the clock."""
    with tracking.open_client() as client:
        run = client.get_run(run_id)
        metrics = [
            (name, metric.step, 0 if name == "seconds" else "none" if math.isnan(metric.value) else metric.value)
            for name in sorted(run.data.metrics)
            if not name.startswith("system/") and name != "input_share"
            for metric in client.get_metric_history(run_id, name)
        ]
        artifacts = [file.path for file in client.list_artifacts(run_id)]
        models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "status": run.info.status,
        "weights": weights_sha256(tracking.load_keras_model(run_id)),
        "metrics": sorted(metrics),
        "models": [(model.name, str(model.status)) for model in models],
        "artifacts": sorted(artifacts),
        "outputs": len(run.outputs.model_outputs),
    }


# --- a server that goes, many at once ------------------------------------------------------------------------------


def server_is_killed(
    folder: Path, server: Callable[[], AbstractContextManager[subprocess.Popen[Any]]], epochs: int
) -> None:
    """A store without runs, whose server is killed in the midst of a training and, when it is back, amid what comes."""
    with server() as first:
        process = start(folder, train, **{**TRAINING, "settings": {**SETTINGS, "epochs": epochs}})
        (run,) = until(run_ids, every=0.2)
        until(lambda: len(counted(run).get("train_loss", ())) > 5, every=0.2)
        stop(first)
        until(lambda: tracking.unsent(run) > 20)
    for _ in range(2):  # at moments when requests are under way
        with server() as again:
            until(lambda: len(counted(run)["train_loss"]) > 30)
            time.sleep(0.3)
            stop(again)
    with server():
        assert end(process) == 0, told(folder)
        for synced in sync():
            assert not synced.waiting, synced
        whole(run, epochs)
    assert "continues without the store" in told(folder)


def ten_at_once(folder: Path) -> None:
    """Ten trainings, each in a process of its own."""
    before = run_ids()
    begun = [start(folder, train, **TRAINING) for _ in range(10)]
    assert [end(process, 900) for process in begun] == [0] * 10, told(folder)
    runs = run_ids() - before
    assert len(runs) == 10
    for run in runs:
        assert not tracking.unsent(run)
        whole(run)


def counted(run_id: str) -> dict[str, Counter[int]]:
    """How often each metric of a run was written, by step."""
    with tracking.open_client() as client:
        names = client.get_run(run_id).data.metrics
        return {name: Counter(metric.step for metric in client.get_metric_history(run_id, name)) for name in names}


def whole(run_id: str, epochs: int = 400) -> None:
    """A run of TRAINING, or of more epochs, with nothing missing, and nothing there twice."""
    found = counted(run_id)
    for name in tracking.HISTORY:
        assert found[name] == dict.fromkeys(range(4, epochs + 1, 4), 1), name
    assert {name: dict(found[name]) for name in ("best_epoch", "parameters")} == {
        "best_epoch": {0: 1},
        "parameters": {0: 1},
    }
    assert {name: times for name, steps in found.items() if (times := max(steps.values())) > 1} == {}
    run = tracking.load_run(run_id)
    assert run.status == "FINISHED"
    assert tracking.load_keras_model(run.run_id).count_params() == 650
    with tracking.open_client() as client:
        stored = client.get_run(run_id)
        assert {file.path for file in client.list_artifacts(run_id)} >= {"plan.json", "versions.json"}
        models = client.search_logged_models([stored.info.experiment_id], f"source_run_id = '{run_id}'")
    assert [str(model.status) for model in models] == ["READY"]
    assert [output.model_id for output in stored.outputs.model_outputs] == [models[0].model_id]
