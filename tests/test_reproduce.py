"""`zoo reproduce`: the same weights on the same machine; each difference in environment is named, and its price."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image
from processes import until
from servers import free_port

from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.environment import environment
from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.machine import versions as installed
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.reading import read_data
from pipelines.maintenance.sync import sync
from pipelines.training.fingerprint import code_of
from pipelines.training.reproduce import reproduce
from pipelines.training.train import train
from zoo.errors import DataError, TrackingError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


def trained(model="softmax", **settings):
    return train(model, "digits", settings={"epochs": 2, "augmentation": "none", **settings}).run


@pytest.fixture(scope="module")
def run(folder):
    """A run of a model with dropout and augmentation, so that all random streams take part."""
    return trained("mlp-small", augmentation="strong")


def doctored(tags=None, versions=None, **settings):
    """A run that says something else of itself than what it was made with."""
    made = trained(**settings)
    with tracking.open_client() as client:
        tracking.log_tags(made, tags or {})
        if versions:
            client.log_dict(made, {**installed(), **versions}, "versions.json")
    return made


def test_on_one_machine_a_run_comes_out_the_same_bit_for_bit(run, capsys):
    assert main(["reproduce", run[:12], "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["run"], told["same"], told["differences"], told["unknown"], told["test"]) == (run, True, [], [], None)
    assert "warning" not in err
    first, again = (tracking.load_run(each) for each in (run, told["again"]))
    assert again.run_id != run
    assert again.tags["reproduces"] == run
    assert again.tags["reproduction"] == "the weights are the same, bit for bit"
    assert first.tags["weights_sha256"] == again.tags["weights_sha256"] == told["weights_sha256"][0]
    for one, other in zip(
        tracking.load_keras_model(first.run_id).get_weights(),
        tracking.load_keras_model(again.run_id).get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_says_what_machine_it_was_trained_on(run):
    found = tracking.environment_of(tracking.load_run(run))
    assert found == environment(code_of(tracking.load_run(run).plan))
    assert int(found["threads"]) >= 1
    assert found["processor"]


def test_each_difference_in_environment_is_a_warning_that_names_it(folder, capsys):
    made = doctored({"commit": "an older one"}, {"keras": "3.0.0", "flax": "1.0"})
    assert main(["reproduce", made]) == 0, "the weights are the same all the same"
    out, err = capsys.readouterr()
    now = environment(code_of(tracking.load_run(made).plan))
    warnings = [line for line in err.splitlines() if "warning: " in line]
    assert warnings == [
        f"zoo: warning: keras: 3.0.0 then, {now['keras']} now",
        "zoo: warning: flax: 1.0 then, none now",
        f"zoo: warning: commit: an older one then, {now['commit'] or 'none'} now",
    ]
    assert "the same, bit for bit" in out


@pytest.mark.slow
def test_another_number_of_threads_is_told(folder):
    run = trained()
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "TF_NUM_INTRAOP_THREADS": "7"}
    command = [sys.executable, "-m", "pipelines.cli", "reproduce", run]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    then = tracking.load_run(run).facts
    assert f"warning: threads: {then['threads']} then, 7 now" in done.stderr
    assert f"warning: settings: {then.get('settings') or 'none'} then, TF_NUM_INTRAOP_THREADS=7 now" in done.stderr


def test_other_weights_in_the_same_environment_are_told_and_are_a_failure(folder, capsys):
    made = doctored({"weights_sha256": "0" * 64})
    assert main(["reproduce", made]) == 1
    out, err = capsys.readouterr()
    assert "test accuracy changed by +0.00 points (95% interval -" in out
    assert "although the environment is the same" in out
    assert err.endswith(f"zoo: run {made[:8]} was not reproduced bit for bit\n")


@pytest.mark.slow  # three trainings; that others are told is tested above
def test_other_weights_are_measured_by_what_they_cost(folder):
    other = doctored({"code": "of another day"})
    recipe = tracking.load_run(other).plan.recipe.with_values({"seed": 2, "epochs": 30})
    with tracking.open_client() as client:  # it was another recipe that came to these weights
        client.log_text(other, replace(tracking.load_run(other).plan, recipe=recipe).to_json(), "plan.json")
    found = reproduce(other)
    assert not found.same
    assert found.test.images == 359
    assert found.test.difference == pytest.approx((found.test.only_first - found.test.only_second) / 359)
    assert found.test.difference > 0.1, "thirty epochs are better than two"
    assert found.test.low < found.test.difference < found.test.high
    assert [each.name for each in found.differences] == ["code"]
    assert str(found).endswith("the environment differs")
    assert tracking.load_run(found.again).tags["reproduction"] == str(found)


@pytest.mark.slow  # two trainings
def test_a_run_whose_model_is_gone_is_compared_by_the_accuracy_that_it_logged(folder):
    made = doctored({"weights_sha256": "0" * 64})
    tracking.log_metrics(made, {"test_accuracy": 0.125})
    with tracking.open_client() as client:
        experiment = client.get_run(made).info.experiment_id
        for model in client.search_logged_models([experiment], f"source_run_id = '{made}'"):
            client.delete_logged_model(model.model_id)
    found = reproduce(made)
    assert (found.test, found.logged_accuracy) == (None, 0.125)
    assert f"test accuracy was 12.50%, and is {found.accuracy:.2%}" in str(found)


def test_a_run_is_made_again_in_the_arithmetic_that_auto_meant(folder, caplog):
    plan = make_plan("softmax", "digits", settings={"epochs": 2, "precision": "auto"})
    other = "float32" if choose_precision("auto") == "mixed_bfloat16" else "mixed_bfloat16"
    elsewhere = tracking.start_run(plan, load_data(plan), {"arithmetic": other})
    tracking.log_tags(elsewhere, {"weights_sha256": "0" * 64})
    tracking.finish(elsewhere, "FINISHED")
    found = reproduce(elsewhere)
    assert tracking.load_run(found.again).facts["arithmetic"] == other
    assert any(line.startswith(f"precision auto was {other} then") for line in caplog.messages)
    assert any("it has no record of its processor, instructions, threads" in line for line in caplog.messages)


@pytest.mark.slow  # two trainings
def test_where_the_store_goes_away_meanwhile_it_says_how_to_find_out(folder, run, monkeypatch):
    def leave() -> None:
        until(lambda: list(Path("mlruns/outbox").glob("*/journal.jsonl")))
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")

    first = tracking.load_run(run)
    leaving = Thread(target=leave)
    leaving.start()
    with pytest.raises(TrackingError, match="was trained, and waits for the store: `zoo sync` sends it") as refusal:
        reproduce(run)
    leaving.join()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (synced,) = sync()
    again = tracking.load_run(synced.run)
    assert (again.status, again.tags["reproduces"]) == ("FINISHED", run)
    assert again.tags["weights_sha256"] == first.tags["weights_sha256"]
    assert first.tags["weights_sha256"] in str(refusal.value)


def test_a_run_without_a_result_is_refused(folder, run):
    plan = tracking.load_run(run).plan
    begun = tracking.start_run(plan, load_data(plan), {})
    with pytest.raises(TrackingError, match=f"is RUNNING, .*; to continue it: zoo train --resume {begun[:8]}"):
        reproduce(begun)
    with pytest.raises(TrackingError, match="begins with"):
        reproduce("0000000000")


def test_a_run_of_several_devices_is_refused_as_such_also_where_it_is_not_finished(folder, run):
    """Rather than resumed for nothing."""
    plan = tracking.load_run(run).plan
    begun = tracking.start_run(plan, load_data(plan), {}, {tracking.TRAINED_ON: "2 devices"})
    with pytest.raises(TrackingError, match=r"was trained on 2 devices, and `zoo reproduce` trains on one"):
        reproduce(begun)


def test_who_interrupts_it_is_not_told_to_resume_a_run_that_nobody_would_compare(run, monkeypatch, capsys):
    def interrupted(**_):
        raise KeyboardInterrupt("interrupted; to continue: zoo train --resume ab12cd34")

    monkeypatch.setattr("pipelines.training.reproduce.train", interrupted)
    assert main(["reproduce", run]) == 130
    assert capsys.readouterr().err.endswith("interrupted; the same command starts over\n")


def test_a_teacher_that_is_another_file_by_now_is_named(folder, monkeypatch):
    monkeypatch.setenv("ZOO_EXPORTS", str(folder / "exports"))
    for model in ("mlp-small", "conv-tiny"):
        shutil.copytree(ROOT / "exports/digits" / model, folder / "exports/digits" / model)
    student = trained(teacher="digits/mlp-small")
    shutil.rmtree(folder / "exports/digits/mlp-small")
    shutil.copytree(folder / "exports/digits/conv-tiny", folder / "exports/digits/mlp-small")
    with pytest.raises(TrackingError, match="can't be reproduced: its teacher digits/mlp-small is another file now"):
        reproduce(student)


def test_images_that_changed_or_are_gone_are_told_in_a_sentence(folder, capsys):
    random = np.random.default_rng(3)
    images = folder / "images"
    for label in ("a", "b"):
        (images / label).mkdir(parents=True)
        for k in range(12):
            Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(images / label / f"{k}.png")
    made = train("softmax", str(images), settings={"epochs": 1}).run
    before = len(tracking.search(""))
    Image.new("L", (8, 8)).save(images / "a" / "0.png")
    read_data.cache_clear()
    with pytest.raises(DataError, match=rf"run {made[:8]} can't be reproduced: the images of .* have changed since"):
        reproduce(made)
    shutil.rmtree(images)
    read_data.cache_clear()
    assert main(["reproduce", made]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert f"run {made[:8]} can't be reproduced: " in err
    assert str(images) in err
    assert len(tracking.search("")) == before, "nothing was trained"
