"""Runs that are killed at any moment: found, marked, and gone on with to the weights and curves of a whole one."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow.entities import RunTag
from processes import end, resume_or_tell, start, until

from pipelines import checkpoint, tracking
from pipelines.export import weights_sha256
from pipelines.plan import load_data, make_plan
from pipelines.process import this_process
from pipelines.stale import stale
from pipelines.train import train

# Dropout, augmentation and the schedule take part; 9 steps an epoch, 4 epochs a validation, 30 validations.
EPOCHS = 120
SETTINGS = {"epochs": EPOCHS, "augmentation": "light", "precision": "float32"}
TRAINING = {"model": "mlp-small", "data": "digits", "settings": SETTINGS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(tmp_path_factory.mktemp("interrupted"))
        yield Path.cwd()


@pytest.fixture(scope="module")
def undisturbed(folder) -> dict[str, Any]:
    """What an undisturbed training leaves."""
    assert end(start(folder, train, **TRAINING)) == 0, told(folder)
    (run,) = tracking.search("status = 'FINISHED'")
    return left_by(run.info.run_id)


def told(folder: Path) -> str:
    return (folder / "told.txt").read_text(encoding="utf-8")


def left_by(run_id: str) -> dict[str, Any]:
    """Weights, and each metric as often as it was written: name, step and value, but for those of the clock."""
    with tracking.open_client() as client:
        run = client.get_run(run_id)
        metrics = [
            (name, metric.step, metric.value if name != "seconds" else 0)
            for name in sorted(run.data.metrics)
            if not name.startswith("system/")
            for metric in client.get_metric_history(run_id, name)
        ]
        artifacts = [file.path for file in client.list_artifacts(run_id)]
        models = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run_id}'")
    return {
        "status": run.info.status,
        "weights": weights_sha256(tracking.load_run(run_id).model()),
        "metrics": sorted(metrics),
        "models": [(model.name, str(model.status)) for model in models],
        "artifacts": sorted(artifacts),
        "outputs": len(run.outputs.model_outputs),
    }


def killed_again_and_again(folder: Path, undisturbed: dict[str, Any], kills: int, seed: int) -> None:
    """Trainings that are killed so often in all, at random moments from the first checkpoint to the end of each."""
    moments, done, run_id = random.Random(seed), 0, ""
    while done < kills:
        if not run_id:
            process, run_id = begun(folder)
        epoch, later = moments.uniform(epoch_of(run_id), EPOCHS + 8), moments.uniform(0, 0.2)
        killed = kill(process, run_id, epoch, later)
        done += killed
        found = [each for each in stale() if each.run == run_id]
        if found:
            assert killed
            assert found[0].resumable
            assert status(run_id) == "KILLED"
            assert stale() == ()
            process = start(folder, train, resume=run_id)
        else:  # all was done, and on its way to the store at least
            assert left_by(run_id) == undisturbed
            run_id = ""
    if run_id:
        assert end(process) == 0, told(folder)
        assert left_by(run_id) == undisturbed
        assert not tracking.unsent(run_id)
        assert not checkpoint.exists(run_id)


def begun(folder: Path) -> tuple[Any, str]:
    """A process that trains, and its run, which has a checkpoint by now."""
    known = {path.name for path in checkpoint.FOLDER.glob("*")}
    process = start(folder, train, **TRAINING)
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


@pytest.mark.timeout(600)
def test_a_run_that_is_killed_three_times_comes_to_the_same_weights_and_curves(folder, undisturbed):
    killed_again_and_again(folder, undisturbed, kills=3, seed=1)


def test_a_run_is_not_resumed_twice_at_once(folder):
    from pipelines.tracking import outbox_of

    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    with outbox_of(run):
        process = start(folder, resume_or_tell, run=run)
        assert end(process) == 0
    assert f"run {run} is being trained by process {os.getpid()}" in (folder / "refusal.txt").read_text(
        encoding="utf-8"
    )


def test_a_run_whose_process_lives_is_not_stale(folder):
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    assert stale() == ()
    assert status(run) == "RUNNING"
    tracking.finish(run, "FINISHED")


@pytest.mark.parametrize(("silent", "expected"), [(60, "RUNNING"), (600, "KILLED")])
def test_a_run_on_another_machine_is_stale_when_it_falls_silent(folder, silent, expected):
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    elsewhere = replace(this_process(), host="elsewhere", space="another boot")
    last = time.time() - silent
    with tracking.open_client() as client:
        client.log_batch(run, tags=[RunTag(*tag) for tag in elsewhere.to_tags().items()])
        client.set_tag(run, "process.heartbeat", str(last))
        client.update_run(run, status="RUNNING")
        moved = client.get_run(run).info.start_time
    found = [each for each in stale() if each.run == run]
    # A run that has just begun has given a sign of life by that.
    assert moved / 1000 > last
    assert not found
    with sqlite3.connect(folder / "mlruns" / "mlflow.db") as database:
        database.execute("UPDATE runs SET start_time = ? WHERE run_uuid = ?", (int((last - 60) * 1000), run))
    database.close()
    found = [each for each in stale() if each.run == run]
    assert status(run) == expected
    assert [(each.host, each.resumable, round(each.seen - last)) for each in found] == [("elsewhere", False, 0)] * (
        expected == "KILLED"
    )
    tracking.finish(run, "KILLED")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 15))
def test_twenty_kills_at_random_moments_change_nothing(folder, undisturbed, seed):
    killed_again_and_again(folder, undisturbed, kills=4, seed=seed)
