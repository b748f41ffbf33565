"""Runs that are killed at any moment: found, marked, and gone on with to the weights and curves of a whole one."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from dataclasses import replace

import pytest
from mlflow.entities import RunTag
from nothing_lost import KILLED, epoch_of, killed_again_and_again, status, undisturbed
from processes import die_at, end, resume_or_tell, start

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.support.process import this_process
from pipelines.maintenance.stale import stale
from pipelines.run import run
from pipelines.training.loop import checkpoint
from zoo.contract import read_manifest


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def expected(folder):
    return undisturbed(folder)


@pytest.mark.slow  # one kill is in test_streaming
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_three_times_comes_to_the_same_weights_and_curves(folder, expected):
    killed_again_and_again(folder, expected, kills=3, seed=1)


@pytest.mark.slow  # in test_stopping and test_averaging the same happens within a process
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "changes",
    [
        {"average": "ema", "patience": 9},
        {"augmentation": "photo", "average": "last"},
        {"augmentation": "randaugment", "cutmix": 0.5, "mixup": 0.2, "average": "ema", "patience": 20},
        {"augmentation": "strong", "degrade": 0.5, "normalize": "image"},
        {"augmentation": "photo", "rotation": 10, "scale": 0.1, "cutmix": 1},
    ],
    ids=lambda changes: " ".join(f"{name}={value}" for name, value in changes.items()),
)
def test_a_run_of_each_kind_is_killed_with_the_same_end(folder, changes):
    settings = {**KILLED["settings"], **changes}
    asked = {**KILLED, "settings": settings}
    killed_again_and_again(folder, undisturbed(folder, asked), kills=3, seed=2, asked=asked)


@pytest.mark.slow  # a process that starts TensorFlow; that a run has one writer is in test_outbox
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
    assert [(each.host, each.resume, round(each.seen - last)) for each in found] == [("elsewhere", "", 0)] * (
        expected == "KILLED"
    )
    tracking.finish(run, "KILLED")


def test_run_goes_on_with_a_training_that_was_killed_and_logs_that(folder, caplog):
    caplog.set_level("INFO", "zoo")
    settings = {"epochs": 12, "least_updates": 0, "precision": "float32"}
    process = start(folder, die_at, epoch=8, model="softmax", data="digits", settings=settings)
    assert end(process) == -signal.SIGKILL
    (killed,) = (path.name for path in checkpoint.FOLDER.glob("*"))
    epoch = epoch_of(killed)
    assert epoch == 8
    assert status(killed) == "RUNNING", "nobody has looked after it"
    compared = run(["softmax"], "digits", settings=settings)
    (step,) = [step for step in caplog.messages if "continuing interrupted run" in step]
    assert f"run {killed[:8]} from epoch {epoch};" in step
    assert not any("training on" in step for step in caplog.messages)
    tracked = tracking.load_run(killed)
    assert (tracked.status, tracked.metrics["test_accuracy"]) == ("FINISHED", compared.rows[0].accuracy)
    assert read_manifest(folder / "exports/digits/softmax").metadata.run_id == killed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(10, 15))
def test_twenty_kills_at_random_moments_change_nothing(folder, expected, seed):
    killed_again_and_again(folder, expected, kills=4, seed=seed)
