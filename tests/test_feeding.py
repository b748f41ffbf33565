"""What is printed of the time that images cost a training, and of how long that takes yet."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
import pytest

from pipelines import tracking
from pipelines.core.support import progress as module
from pipelines.core.support.duration import roughly
from pipelines.core.support.progress import progress, remaining
from pipelines.evaluation.corruptions import SUITE
from pipelines.evaluation.predictions import in_batches
from pipelines.evaluation.robustness import measure_corrupted
from pipelines.training.loop.feeding import COMPARED, Calls, Feeding, feeding_of
from pipelines.training.loop.stages import Schedule
from pipelines.training.train import train
from zoo.data import Split
from zoo.models.backend import start_keras

SCHEDULE = Schedule(steps=5, epochs=40, validation_interval=2, call=5)


@pytest.fixture(scope="module")
def learner():
    keras = start_keras()
    model = keras.Sequential([keras.Input((4,), batch_size=2), keras.layers.Dense(3)])
    model.compile("sgd", "mse", steps_per_execution=5, jit_compile=False)
    return model


@pytest.fixture
def stream():
    """Batches, and how many were asked for."""
    import tensorflow as tf

    def batches():
        while True:
            asked.append(1)
            yield np.ones((2, 4), np.float32), np.zeros((2, 3), np.float32)

    asked: list[int] = []
    like = (tf.TensorSpec((2, 4)), tf.TensorSpec((2, 3)))
    return tf.data.Dataset.from_generator(batches, output_signature=like), asked


@pytest.mark.parametrize(
    ("took", "share"),
    [(10_000.0, 1.0), (1e-9, 0.0)],
    ids=["the images are all that takes time", "they take none"],
)
def test_steps_on_ready_images_say_what_the_images_cost(learner, stream, took, share):
    batches, asked = stream
    found = feeding_of(learner, Calls(deque([took] * 3), 1000 * took), SCHEDULE, batches, "images")
    assert found.step == took / 5
    assert 0 < found.ready < 1000
    assert found.share == pytest.approx(share, abs=0.5 if share else 0)
    assert len(asked) < 5  # one of them is taken, the others were made ahead


@pytest.mark.parametrize("calls", [Calls(), Calls(deque([1.0, 1.0]), 2.0), Calls(deque([1.0] * 20), 99.0)])
def test_of_a_training_that_is_too_short_nothing_is_said(learner, stream, calls):
    assert feeding_of(learner, calls, SCHEDULE, stream[0], "images") is None
    assert not stream[1]


def test_what_comes_between_calls_is_not_counted(monkeypatch):
    clock = iter([100.0, 103.0, 150.0, 152.0, 155.0])  # compiled; a call; validated; two calls
    monkeypatch.setattr("pipelines.training.loop.feeding.monotonic", lambda: next(clock))
    calls = Calls()
    for event in (calls.ended, calls.ended, calls.goes_on, calls.ended, calls.ended):
        event()
    assert list(calls.last) == [3, 2, 3]
    assert calls.seconds == 8
    assert calls.last.maxlen == COMPARED


@pytest.mark.parametrize(
    ("step", "ready", "says"),
    [
        (0.02, 0.015, "cost 25% of the training's time: 20 ms a step, 15 ms on images that are ready"),
        (0.02, 0.021, "cost 0% of the training's time: 20 ms a step, 21 ms on images that are ready"),
    ],
)
def test_the_line_says_both_speeds(step, ready, says):
    assert str(Feeding(step, ready, "images")) == f"reading and augmenting the images {says}"


def test_a_training_says_how_many_updates_come_and_what_its_images_cost(store, caplog):
    with caplog.at_level(logging.INFO, "zoo"):
        trained = train("softmax", "digits", settings={"epochs": 12, "least_updates": 0, "patience": 0})
    (updates,) = (line for line in caplog.messages if "updates" in line)
    assert updates == "updates of the weights: 108, in 12 passes (epochs) over 1,259 images"
    (line,) = (line for line in caplog.messages if "on images that are ready" in line)
    assert 0 <= tracking.load_run(trained.run).metrics["input_share"] <= 1
    assert line.startswith("reading and augmenting the images cost ")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5, "less than a minute"),
        (60, "about 1 minute"),
        (80, "about 1 minute"),
        (100, "about 2 minutes"),
        (3600, "about 60 minutes"),
        (5400, "about 2 hours"),
        (47 * 3600, "about 47 hours"),
        (72 * 3600, "about 3 days"),
    ],
)
def test_estimates_are_coarse(seconds, text):
    assert roughly(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "done", "left", "text"),
    [
        (10, 1, 18, ", about 3 minutes to go"),
        (10, 0, 18, ""),  # nothing is known yet
        (10, 5, 0, ""),
    ],
)
def test_what_is_to_go_follows_from_what_was_done(seconds, done, left, text):
    assert remaining(seconds, done, left) == text


def test_a_log_says_how_long_it_takes_yet_counted_from_where_it_began(monkeypatch, capsys):
    clock = iter([0.0, 9.0, 19.0, 20.0, 109.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False)
    with progress("letters") as advance:
        for epoch in (100, 110, 111, 200):  # resumed after 99 of them; the first line comes after 10 seconds
            advance(epoch, 400, f"epoch {epoch} of 400")
    assert capsys.readouterr().err.splitlines() == [
        "letters: epoch 110 of 400, about 5 minutes to go",
        "letters: epoch 200 of 400, about 3 minutes to go",
    ]


def test_a_job_within_a_job_leaves_the_report_to_the_outer_one(monkeypatch, capsys):
    monkeypatch.setattr(module, "QUIET_SECONDS", 0)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False)
    with progress("outer") as outer:
        for step in (1, 2):
            with progress("inner") as inner:
                inner(1, 2, "1 of 2 images")
            outer(step, 2, f"{step} of 2 steps")
    with progress("next") as advance:
        advance(1, 1, "1 of 1 steps")
    lines = [line.partition(", ")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == ["outer: 1 of 2 steps", "outer: 2 of 2 steps", "next: 1 of 1 steps"]


@pytest.mark.parametrize(("shape", "kind"), [((600, 8, 8, 1), "images"), ((600, 5), "rows")])
def test_running_a_model_on_many_inputs_is_reported_in_a_log(shape, kind, monkeypatch, capsys):
    """What evaluate, export, verify and quantize do for most of their time."""
    monkeypatch.setattr(module, "QUIET_SECONDS", 0)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False)
    assert [len(some) for some in in_batches(np.zeros(shape, np.uint8), "running the model")] == [256, 256, 88]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(", ")[0] for line in lines] == [
        f"running the model: {done} of 600 {kind}" for done in (256, 512, 600)
    ]
    assert "to go" in lines[1] and "to go" not in lines[2]


def test_corrupted_images_are_reported_in_a_log(monkeypatch, capsys):
    monkeypatch.setattr(module, "QUIET_SECONDS", 0)
    monkeypatch.setattr(module.sys.stderr, "isatty", lambda: False)
    test = Split(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64), ("a", "b", "c", "d"))
    measure_corrupted(test, lambda some: (np.zeros((len(some), 2)), np.ones((len(some), 2))), {}, SUITE[:3])
    lines = [line.partition(", ")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines == [f"corrupted test images: {done} of 3 corruptions" for done in (1, 2, 3)]
