"""Sweeps by Hyperband, by time and by several objectives, with trainings of digits."""

from __future__ import annotations

import pytest

from pipelines import tracking
from pipelines.search.result import MOST_CONFIRMED, Swept
from pipelines.search.sweep import FOLDER, sweep
from zoo.errors import SweepError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


def test_hyperband_ends_poor_trials_early_and_the_winner_is_a_whole_one(folder):
    """Takes nine trainings of ten epochs."""
    swept = sweep(
        ["softmax"],
        "digits",
        search=["learning_rate=1e-7..1e-1:log"],
        settings={"epochs": 10, "least_updates": 0, "precision": "float32"},
        sweep_name="hyperband",
        trials=9,
        seeds=1,
        sampler="random",
        pruner="hyperband",
    )
    assert sum(swept.counts.values()) == 9
    pruned = [trial for trial in swept.trials if trial.state == "pruned"]
    assert pruned, "of rates from 1e-7 on, some learn next to nothing"
    for trial in pruned:
        run = tracking.load_run(trial.run)
        assert 2 <= trial.epochs < 10
        assert "the sweep pruned trial" in trial.reason
        assert (run.status, run.tags[tracking.ENDED_BY]) == ("FINISHED", tracking.OBSERVER)
    best = swept.trials[swept.best]
    assert (best.state, best.epochs) == ("finished", 10)
    assert best.accuracy == max(trial.accuracy for trial in swept.trials if trial.state == "finished")
    found = tracking.find_sweep("hyperband")
    assert (found.pruned, found.best) == (len(pruned), best.run)
    assert set(found.trials.values()) == {trial.number for trial in swept.trials if trial.state == "finished"}


def test_when_the_time_is_over_the_trial_that_is_running_ends_and_no_other_begins(folder):
    """Takes a training of ten seconds, of what would be hours: nobody waits for its end."""
    with pytest.raises(SweepError, match="no trial of sweep 'short' finished"):
        sweep(
            ["softmax"],
            "digits",
            search=["learning_rate=1e-3..1e-1:log"],
            settings={"epochs": 100_000, "precision": "float32"},
            sweep_name="short",
            time=10,
        )
    (run,) = tracking.search("tags.sweep = 'short' AND tags.`mlflow.source.name` = 'zoo sweep'")
    assert run.info.status == "FAILED"
    trials = tracking.search(f"tags.`{tracking.PARENT}` = '{run.info.run_id}'")
    assert len(trials) <= 1, "as many as had begun"
    assert {trial.info.status for trial in trials} <= {"FINISHED"}


@pytest.fixture(scope="module")
def costed(folder) -> Swept:
    return sweep(
        ["softmax", "mlp-small", "mlp-large"],
        "digits",
        search=["learning_rate=1e-3..1e-1:log"],
        settings={"epochs": 6, "least_updates": 0, "precision": "float32"},
        sweep_name="costed",
        trials=3,  # each model's own recipe: what is drawn at random may beat all of them
        seeds=1,
        objective=["accuracy", "parameters"],
        where=["parameters<100k"],
    )


def test_several_objectives_give_a_front_that_keeps_the_conditions_and_all_of_it_is_trained_again(costed):
    """Takes three trainings and one more for each of the front."""
    finished = [trial for trial in costed.trials if trial.state == "finished"]
    assert {trial.model for trial in finished} == {"softmax", "mlp-small", "mlp-large"}, (
        "each one's own recipe is first"
    )
    able = [trial for trial in finished if trial.measured["parameters"] < 100_000]
    assert "mlp-large" not in {trial.model for trial in able}
    assert len(costed.front) > 1, "a hidden layer is worth its parameters"
    front = {
        trial.number
        for trial in able
        if not any(
            other.accuracy >= trial.accuracy
            and other.measured["parameters"] <= trial.measured["parameters"]
            and (other.accuracy, other.measured["parameters"]) != (trial.accuracy, trial.measured["parameters"])
            for other in able
        )
    }
    assert set(costed.front) <= front
    assert costed.trials[costed.best].accuracy == max(trial.accuracy for trial in able)
    assert len(front) <= MOST_CONFIRMED
    assert costed.confirmed[0].trial == costed.best
    assert {each.trial for each in costed.confirmed} == set(costed.front)
    for each in costed.confirmed:
        assert len(each.runs) == 1
        assert {tracking.load_run(run).plan.model for run in each.runs} == {costed.trials[each.trial].model}
        assert each.recipe.parent == FOLDER / "costed"
        assert each.recipe.is_file()
    tested = {run.info.run_id for run in tracking.search("tags.sweep = 'costed'") if "test_images" in run.data.metrics}
    assert tested == {run for each in costed.confirmed for run in each.runs}
    winners = tracking.find_sweep("costed").winners
    assert winners == {costed.trials[each.trial].run: each.runs for each in costed.confirmed}
