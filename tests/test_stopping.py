"""Trainings that end early, and what they leave: the same as ever, and why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipelines import tracking
from pipelines.core.provenance.plan import make_plan
from pipelines.training.fingerprint import fingerprint
from pipelines.training.loop import checkpoint
from pipelines.training.loop.stages import Schedule, Stage, out_of_patience
from pipelines.training.reproduce import reproduce
from pipelines.training.train import WEIGHTS_TAG, Trained, train
from zoo.errors import RecipeError, TrackingError
from zoo.recipe import Recipe

# 9 steps an epoch, 4 epochs a validation. A rate that is too high for long: validations get no better soon.
PATIENT = {"epochs": 40, "patience": 2, "learning_rate": 0.3, "warmup": 0, "precision": "float32"}


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def ended(folder) -> Trained:
    return train("softmax", "digits", settings=PATIENT)


class Interrupted(BaseException):
    """As a kill: nothing of what follows happens."""


def killed_after(epoch: int, monkeypatch, begin: Callable[[], object]) -> str:
    """Begin a training that is gone as soon as its checkpoint of an epoch is written. Returns the run."""
    keep, known = checkpoint.save, set(checkpoint.FOLDER.glob("*"))

    def keep_and_go(state: checkpoint.Checkpoint, run_id: str) -> None:
        keep(state, run_id)
        if state.epoch == epoch:
            raise Interrupted

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(checkpoint, "save", keep_and_go)
        patch.setattr("pipelines.training.train.SAVING", 1e9)  # a checkpoint after each validation
        begin()
    (run,) = set(checkpoint.FOLDER.glob("*")) - known
    return run.name


def left_by(run: str) -> dict[str, object]:
    """All of what a training leaves that the clock doesn't change."""
    tracked = tracking.load_run(run)
    return {
        "status": tracked.status,
        "weights": tracked.tags[WEIGHTS_TAG],
        "how": [tracked.tags.get(name) for name in (tracking.ENDED_EARLY, tracking.WEIGHTS_KEPT)],
        "metrics": {name: value for name, value in tracked.metrics.items() if name != "input_share"},
        "history": {name: repr(values) for name, values in tracked.history.items() if name != "seconds"},  # with nan
    }


# --- patience ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patience", "epoch", "best", "first", "ends"),
    [
        (0, 36, 4, 0, False),  # never
        (2, 8, 4, 0, False),
        (2, 12, 4, 0, True),
        (2, 12, 8, 0, False),
        (2, 40, 4, 0, False),  # the last epoch is no early end
        (2, 24, 4, 20, False),  # validations count in which everything learns
        (2, 28, 4, 20, True),
        (1, 8, 4, 0, True),
    ],
)
def test_patience_counts_validations_since_the_best(patience, epoch, best, first, ends):
    schedule = Schedule(steps=9, epochs=40, validation_interval=4, call=36)
    reason = out_of_patience(Recipe(patience=patience), schedule, Stage(first, 40, 1e-3), epoch, best)
    assert bool(reason) is ends
    assert not ends or f"no better than that of epoch {best}" in reason


def test_a_training_that_gets_no_better_ends_early_and_is_finished(ended):
    run = tracking.load_run(ended.run)
    assert ended.epochs < ended.planned_epochs == 40
    assert ended.epochs == ended.best_epoch + 2 * 4
    assert run.status == "FINISHED"
    assert run.tags[tracking.ENDED_EARLY] == ended.ended_early
    assert run.metrics["epochs_trained"] == run.history["epoch"][-1] == ended.epochs
    assert ended.validation_accuracy == pytest.approx(max(run.history["validation_accuracy"]), abs=1e-6)
    with tracking.open_client() as client:
        description = client.get_run(ended.run).data.tags["mlflow.note.content"]
    assert f"after epoch {ended.epochs}: {tracking.shown(ended.ended_early)}" in description


# Each is a training more.
@pytest.mark.parametrize("where", ["amid", *(pytest.param(each, marks=pytest.mark.slow) for each in ("first", "end"))])
def test_patience_survives_a_kill(ended, monkeypatch, where):
    epoch = {"first": 0, "amid": ended.best_epoch + 4, "end": ended.epochs}[where]
    run = killed_after(epoch, monkeypatch, lambda: train("softmax", "digits", settings=PATIENT))
    resumed = train(resume=run)
    assert (resumed.epochs, resumed.ended_early) == (ended.epochs, ended.ended_early)
    assert left_by(run) == left_by(ended.run)


def test_who_follows_a_training_may_end_it(folder, monkeypatch):
    seen = {}

    def enough(epoch: int, metrics) -> str | None:
        seen[epoch] = metrics
        return "as good as it gets" if epoch == 8 else None

    settings = {**PATIENT, "patience": 0}
    run = killed_after(8, monkeypatch, lambda: train("softmax", "digits", settings=settings, observer=enough))
    assert set(seen) == {4, 8}
    assert set(seen[4]) == set(tracking.HISTORY)
    resumed = train(resume=run)  # the decision was kept: nobody has to take it again
    assert (resumed.epochs, resumed.planned_epochs, resumed.ended_early) == (8, 40, "as good as it gets")
    assert tracking.load_run(run).status == "FINISHED"
    plan = tracking.load_run(run).plan
    assert tracking.find_finished(plan, [fingerprint(plan)]) is None, "its plan leads to other weights"
    with pytest.raises(TrackingError, match=r"ended early by its observer \(as good as it gets\)"):
        reproduce(run)


def test_a_training_that_its_patience_ended_is_that_of_its_plan(ended):
    plan = tracking.load_run(ended.run).plan
    assert tracking.find_finished(plan, [fingerprint(plan)]) is not None


def test_patience_without_validation_is_refused():
    with pytest.raises(RecipeError, match="patience=3 ends a training by its validation images, which images=all"):
        make_plan("softmax", "digits", settings={"patience": 3, "images": "all"})
