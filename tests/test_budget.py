"""A training in a given time: the time is planned into epochs, and no clock decides what is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_stopping import killed_after, left_by

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.support.duration import parse_duration, written
from pipelines.run import run
from pipelines.training.loop.stages import Schedule
from pipelines.training.planning import budget
from pipelines.training.planning.budget import PLANNED, Speed, asked, epochs_within, within
from pipelines.training.train import train
from pipelines.training.transfer.transfer import find_source
from zoo.errors import RecipeError, ZooError

BUDGET = 120.0  # seconds; a tiny model starts in less, however busy the machine is
PLAIN = {"precision": "float32", "patience": 1, "learning_rate": 0.3, "warmup": 0.0}  # over long before its last epoch


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.mark.parametrize(
    ("text", "seconds", "again"),
    [
        ("90s", 90, "1m30s"),
        ("20m", 1200, "20m"),
        ("1h30m", 5400, "1h30m"),
        ("1h 30m", 5400, "1h30m"),
        (" 2H ", 7200, "2h"),
        ("1h0m5s", 3605, "1h5s"),
        ("1.5h", 5400, "1h30m"),
        ("0.5s", 0.5, "0.5s"),
        ("5s", 5, "5s"),
        ("100m", 6000, "1h40m"),
    ],
)
def test_times_are_read_as_people_write_them(text, seconds, again):
    assert parse_duration(text) == seconds
    assert written(seconds) == again
    assert parse_duration(again) == seconds


@pytest.mark.parametrize(
    "text", ["", "20", "m", "20 minutes", "30m1h", "-5m", "0s", "1h30", "1e3s", "nan", "5d", "1m 1m"]
)
def test_what_is_no_time_is_told(text):
    with pytest.raises(ValueError, match=re.escape(f"such as 90s, 20m or 1h30m, received {text!r}")):
        parse_duration(text)


# 10 steps of 0.1 s make an epoch of 1 s; after four of them comes a validation of 1 s: 5 s for four epochs.
@pytest.mark.parametrize(
    ("seconds", "epochs"), [(-3, 0), (1.9, 0), (2, 1), (4.9, 3), (5, 4), (9.9, 4), (10, 8), (5000, 4000)]
)
def test_the_time_is_filled_with_whole_epochs_and_their_validations(seconds, epochs):
    schedule = Schedule(steps=10, epochs=4, validation_interval=4, call=40)
    assert epochs_within(seconds, Speed(start=7, step=0.1, validation=1), schedule) == epochs


@pytest.fixture(scope="module")
def done(folder):
    return train("softmax", "digits", settings=PLAIN, time=BUDGET)


def test_a_training_in_a_time_is_one_of_a_stated_number_of_epochs(done):
    tracked = tracking.load_run(done.run)
    recipe = tracked.plan.recipe
    assert (recipe.epochs, recipe.least_updates) == (done.planned_epochs, 0)
    assert tracked.tags["time_budget"] == "2m"
    assert all(float(tracked.tags[name]) > 0 for name in ("measured_step", "measured_validation"))
    plan = make_plan("softmax", "digits", settings=PLAIN)
    assert tracking.find_planned(plan, asked(plan, BUDGET)) == tracked.plan, "`zoo run` doesn't measure it again"
    assert tracking.find_planned(plan, asked(plan, BUDGET + 1)) is None


@pytest.mark.slow  # two trainings more
def test_measuring_changes_nothing_of_what_is_learned_nor_does_a_kill(done, monkeypatch):
    tracked = tracking.load_run(done.run)
    killed = killed_after(4, monkeypatch, lambda: train(plan=tracked.plan))
    train(resume=killed)
    assert left_by(killed) == left_by(done.run)


@pytest.mark.slow  # evaluates and exports, half a minute; the parts of it are tested above and in test_run
def test_zoo_run_keeps_the_plan_that_it_once_measured(folder, monkeypatch, caplog):
    caplog.set_level("INFO", "zoo")
    arguments = {"models": ["softmax"], "data": "digits", "settings": {**PLAIN, "seed": 5}, "time": BUDGET}
    killed = killed_after(4, monkeypatch, lambda: run(**arguments))
    plan = tracking.load_run(killed).plan
    tracking.finish(killed, "KILLED")  # as a later command finds that it was
    for said in ("from epoch 4", "already trained, as run"):
        caplog.clear()
        run(**arguments)
        assert any(said in message for message in caplog.messages)
        assert not any("measuring" in message for message in caplog.messages)
    (only,) = tracking.search(f"tags.{PLANNED} = '{tracking.load_run(killed).tags[PLANNED]}'")
    assert only.info.run_id == killed
    assert tracking.load_run(killed).plan == plan


def test_what_a_teacher_takes_is_measured_too(folder, monkeypatch):
    asked = []
    monkeypatch.setenv("ZOO_EXPORTS", str(Path(__file__).parents[1] / "exports"))
    begin = budget.training_batches

    def watched(*arguments, teacher=None, **options):
        asked.append(teacher)
        return begin(*arguments, teacher=teacher, **options)

    monkeypatch.setattr(budget, "training_batches", watched)
    for teacher in ("", "digits/conv-small"):
        plan = make_plan("softmax", "digits", settings={**PLAIN, "teacher": teacher})
        budget.measure(plan, load_data(plan), 1.0)
    assert [each is not None for each in asked] == [False, True]


def test_a_head_that_learns_alone_has_no_epochs_to_measure(folder, monkeypatch):
    monkeypatch.setenv("ZOO_EXPORTS", str(Path(__file__).parents[1] / "exports"))
    origin = find_source("fashion-mnist/conv-small", "conv-mlp-small")
    plan = make_plan("conv-mlp-small", "digits", settings={"views": 1, "frozen": 1}, source=origin)
    assert within(plan, 0.1) == (plan, {"time_budget": "0.1s"})


@pytest.mark.parametrize("settings", [{"epochs": 3}, {"least_updates": 100}])
def test_epochs_beside_a_time_are_refused(settings, folder):
    for begin in (
        lambda: train("softmax", "digits", settings=settings, time=60),
        lambda: run(["softmax"], "digits", settings=settings, time=60),
    ):
        with pytest.raises(RecipeError, match=f"use either --time or --set {next(iter(settings))}"):
            begin()


def test_a_time_goes_with_no_plan_and_no_run(folder):
    with pytest.raises(ZooError, match="a plan determines the whole training"):
        train(plan=make_plan("softmax", "digits"), time=60)
    with pytest.raises(ZooError, match="a run resumes as it was started"):
        train(resume="abc", time=60)


def test_a_time_too_short_for_an_epoch_is_refused_with_what_one_takes(folder):
    before = len(tracking.search(""))
    expected = r"one epoch of softmax on digits takes \S+ here, .*: --time 0.01s is too short, give \S+ or more"
    with pytest.raises(RecipeError, match=expected) as refusal:
        train("softmax", "digits", time=0.01)
    assert parse_duration(re.findall(r"give (\S+) or more", str(refusal.value))[0]) > 0.01
    assert len(tracking.search("")) == before
