"""Averaged weights: what they are the mean of, with which norms, and that a kill changes nothing of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_stopping import killed_after, left_by

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.evaluate import evaluate
from pipelines.training.loop.averaging import Averaging, averaged
from pipelines.training.loop.checkpoint import Average
from pipelines.training.loop.fit import state_of, validation_of
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import Stage, make_schedule
from pipelines.training.train import train

PLAIN = {"precision": "float32", "augmentation": "none", "optimizer": "adamw"}


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


# --- the mean ------------------------------------------------------------------------------------------------------


def after_calls(kind: str, values, of: int, call: int) -> Average:
    average = Average()
    for number, value in enumerate(values, start=1):
        weights = (np.full(3, value, np.float32), np.array([7], np.int64), np.full(2, 0.1, np.float32))
        average = averaged(kind, average, weights, updates=number * call, of=of, call=call)
    return average


def test_the_mean_of_the_last_quarter_is_that():
    values = np.random.default_rng(1).normal(size=40)
    average = after_calls("last", values, of=320, call=8)
    assert average.count == 10
    np.testing.assert_allclose(average.weights[0], values[30:].mean(), rtol=1e-5)
    assert after_calls("last", values[:30], of=320, call=8) == Average()


def test_a_moving_average_forgets_at_its_rate():
    values, call = np.random.default_rng(1).normal(size=200), 4
    average = after_calls("ema", values, of=800, call=call)
    keep = (1 - 1 / (800 / 20)) ** call  # of all that was, after each call
    expected = 0.0
    for number, value in enumerate(values):
        share = max(1 / (number + 1), 1 - keep)
        expected += (value - expected) * share
    np.testing.assert_allclose(average.weights[0], expected, rtol=1e-5)
    weights = (1 - keep) * keep ** np.arange(200)[::-1]
    np.testing.assert_allclose(average.weights[0], (weights * values).sum(), atol=0.01)  # as the textbook has it


@pytest.mark.parametrize("kind", ["ema", "last"])
def test_what_stays_as_it_is_is_its_own_average_and_no_number_is_mixed_that_is_a_count(kind):
    average = after_calls(kind, np.arange(40), of=40, call=1)
    assert average.weights[1].tolist() == [7]
    assert average.weights[2].tolist() == np.full(2, 0.1, np.float32).tolist()
    assert {weights.dtype for weights in average.weights} == {np.dtype(np.float32), np.dtype(np.int64)}


# --- norms ---------------------------------------------------------------------------------------------------------


def test_norms_have_the_statistics_of_the_averaged_weights():
    plan = make_plan("conv-tiny", "digits", settings=PLAIN)
    data_set = load_data(plan)
    schedule = make_schedule(plan.recipe, data_set)
    stage = Stage(0, schedule.epochs, 1e-3)
    learner = make_learner(plan, data_set, schedule, stage, "float32")
    before, weights = state_of(learner), learner.get_weights()
    averaging = Averaging(learner, plan.recipe, data_set, validation_of(data_set))
    found, measured = averaging.validated(weights, stage)
    again, same = averaging.validated(weights, stage)
    assert all(map(np.array_equal, found, again))
    assert measured == same
    assert set(measured) == {"loss", "accuracy"}
    assert all(map(np.array_equal, state_of(learner), before)), "nothing of the learner has changed"

    # The first norm's inputs come from a convolution alone: their mean over batches is that of all images in them.
    paths = [weight.path for weight in learner.weights]
    norms = [path.rpartition("/")[0] for path in paths if path.endswith("moving_mean")]
    first = norms[0]
    model = learner.__class__(learner.input, learner.get_layer(first).input)
    inputs = np.concatenate([model.predict_on_batch(some) for some in np.array_split(data_set.train.inputs, 4)])
    mean = found[paths.index(f"{first}/moving_mean")]
    np.testing.assert_allclose(mean, inputs.mean(axis=(0, 1, 2)), atol=0.02 * inputs.std())
    assert not np.allclose(mean, 0)  # as it was

    frozen = Stage(0, schedule.epochs, 1e-3, frozenset(norms[:1]))
    kept, _ = averaging.validated(weights, frozen)
    for path, old, new in zip(paths, weights, kept, strict=True):
        measured_anew = "moving_" in path and not path.startswith(f"{first}/")
        assert np.array_equal(old, new) is not measured_anew, path


# --- runs ----------------------------------------------------------------------------------------------------------

# 9 steps an epoch, 4 epochs a validation. (model, settings, source, epoch of the kill)
RUNS = {
    "ema": ("conv-tiny", {"epochs": 12, "average": "ema"}, None, 4),
    "last": ("softmax", {"epochs": 32, "average": "last", "learning_rate": 0.2}, None, 28),
    "dropout": ("mlp-small", {"epochs": 12, "average": "ema", "augmentation": "light"}, None, 8),
    "patience": (
        "softmax",
        {"epochs": 60, "average": "ema", "patience": 1, "learning_rate": 0.3, "warmup": 0},
        None,
        4,
    ),
    "transfer": ("conv-tiny", {"epochs": 16, "average": "ema", "frozen": 0.5}, "digits/conv-tiny", 8),
    "all": ("softmax", {"epochs": 9, "average": "last", "images": "all"}, None, 6),
}


SLOW = ("ema", "dropout", "patience", "transfer", "all")  # three trainings each


@pytest.fixture(scope="module")
def last(folder):
    model, settings, _, _ = RUNS["last"]
    return train(model, "digits", settings={**PLAIN, **settings})


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in RUNS])
def test_a_run_that_averages_survives_a_kill(name, folder, last, monkeypatch):
    model, settings, source, epoch = RUNS[name]
    monkeypatch.setenv("ZOO_EXPORTS", str(Path(__file__).parent.parent / "exports"))
    asked = {"model": model, "data": "digits", "settings": {**PLAIN, **settings}, "source": source}
    whole = last if name == "last" else train(**asked)
    killed = killed_after(epoch, monkeypatch, lambda: train(**asked))
    resumed = train(resume=killed)
    assert (resumed.averaged, resumed.best_epoch) == (whole.averaged, whole.best_epoch)
    assert left_by(killed) == left_by(whole.run)
    history = tracking.load_run(whole.run).history
    if name == "all":
        assert whole.averaged, "nothing says which are better: the average was asked for"
        assert not set(tracking.AVERAGED_HISTORY) & set(history)
    else:
        kept = "averaged_validation_accuracy" if whole.averaged else "validation_accuracy"
        at = history["epoch"].index(whole.best_epoch)
        assert history[kept][at] == pytest.approx(whole.validation_accuracy, abs=1e-6)
        of_both = [history["validation_accuracy"], history["averaged_validation_accuracy"]]
        assert whole.validation_accuracy == pytest.approx(np.nanmax(of_both), abs=1e-6)


def test_both_curves_and_what_was_kept_are_in_the_run(last, tmp_path):
    with tracking.open_client() as client:
        run = client.get_run(last.run)
        curves = {name: client.get_metric_history(last.run, name) for name in tracking.AVERAGED_HISTORY}
    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(tracking.AVERAGED_HISTORY, 8)
    assert [value.value == value.value for value in curves["averaged_validation_loss"]] == [False] * 6 + [True] * 2
    kept = "averaged" if last.averaged else "as learned"
    assert run.data.tags[tracking.WEIGHTS_KEPT] == kept
    assert f"of epoch {last.best_epoch}, {kept}" in run.data.tags["mlflow.note.content"]
    evaluate(last.run)
    tracking.fetch_folder(last.run, "evaluation", tmp_path)
    assert (tmp_path / "evaluation" / "curves.png").stat().st_size > 1000
