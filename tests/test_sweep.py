"""Sweeps, for real: trials, their runs, the winner, and what becomes of all that when somebody stops or is killed."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import end, start, until
from sweeping import work_at_once

from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.commands.tune import trials_table
from pipelines.core.provenance.recipe_file import read_recipe
from pipelines.core.support.locks import FileLock
from pipelines.core.support.process import this_process
from pipelines.exporting.export import export
from pipelines.maintenance.runs import runs
from pipelines.search import trials, worker
from pipelines.search.definition import Definition, define
from pipelines.search.objective import measure
from pipelines.search.result import BEST_FILE, SPACE_FILE, TRIALS_FILE, Swept
from pipelines.search.space import parse_dimension
from pipelines.search.storage import RETRIES, import_optuna, opened, repeat
from pipelines.search.sweep import DEFINITION, FOLDER, _enqueue_own, sweep
from pipelines.search.worker import MOST_FAILURES, PARTS, Worker
from pipelines.tracking.outbox import sender
from pipelines.training.train import Trained
from zoo.errors import SweepError
from zoo.recipe import Recipe

SETTINGS = {"epochs": 1, "precision": "float32"}
SEARCH = ["learning_rate=1e-3..1:log", "weight_decay=0.0,0.02"]
NAME = "first"


@pytest.fixture(scope="module")
def folder(shared_store) -> Path:
    """A working folder with tiny images in it, of three classes that are told apart by their brightness."""
    random = np.random.RandomState(1)
    for label, brightness in (("dark", 40), ("gray", 120), ("light", 200)):
        (shared_store / "shades" / label).mkdir(parents=True)
        for k in range(20):
            pixels = random.randint(brightness - 40, brightness + 40, (4, 4)).astype(np.uint8)
            Image.fromarray(pixels).save(shared_store / "shades" / label / f"{k}.png")
    return shared_store


def begin(**changes) -> Swept:
    request = {"search": SEARCH, "settings": SETTINGS, "sweep_name": NAME, "trials": 2, "seeds": 2}
    return sweep(["softmax"], "shades", **{**request, **changes})


@pytest.fixture(scope="module")
def swept(folder) -> Swept:
    return begin()


def all_runs() -> dict[str, object]:
    return {run.info.run_id: run for run in tracking.search("", 1000)}


# --- what a sweep leaves ---------------------------------------------------------------------------------------------


def test_each_trial_is_a_run_below_that_of_the_sweep(swept):
    found = all_runs()
    assert found[swept.run].info.status == "FINISHED"
    assert swept.counts == {"finished": 2}
    assert len({trial.run for trial in swept.trials}) == 2
    for trial in swept.trials:
        tags = found[trial.run].data.tags
        assert (tags[tracking.PARENT], tags["sweep"], tags["sweep_trial"]) == (swept.run, NAME, str(trial.number))
        recipe = tracking.load_run(trial.run).plan.recipe
        assert {name: getattr(recipe, name) for name in trial.values} == trial.values
    assert swept.run not in {row.run for row in runs().runs}, "it is no training"


def test_the_first_trial_is_the_recipe_that_the_model_has(swept):
    assert swept.trials[0].values == {"learning_rate": Recipe().learning_rate, "weight_decay": Recipe().weight_decay}


def test_validation_images_choose_and_the_test_images_are_asked_of_the_new_trainings_alone(swept):
    assert swept.best == max(swept.trials, key=lambda trial: trial.accuracy).number
    tested = {run_id for run_id, run in all_runs().items() if "test_images" in run.data.metrics}
    assert tested == set(swept.confirmed[0].runs)
    plans = [tracking.load_run(run).plan for run in swept.confirmed[0].runs]
    assert [plan.recipe.seed for plan in plans] == list(swept.confirmed[0].seeds) == [2, 3], "the search knew seed 1"
    best = swept.trials[swept.best].values
    assert all({name: getattr(plan.recipe, name) for name in best} == best for plan in plans)
    assert swept.confirmed[0].spread.accuracies == swept.confirmed[0].test


def test_the_seeds_lie_below_the_sweep_with_their_spread(swept):
    found = all_runs()
    (above,) = {found[run].data.tags[tracking.PARENT] for run in swept.confirmed[0].runs}
    assert found[above].data.tags[tracking.PARENT] == swept.run
    metrics = found[swept.run].data.metrics
    assert metrics["test_accuracy"] == pytest.approx(swept.confirmed[0].spread.mean)
    assert metrics["test_accuracy_deviation"] == pytest.approx(swept.confirmed[0].spread.deviation)
    assert metrics["best_validation_accuracy"] == swept.trials[swept.best].accuracy


def test_the_best_recipe_and_the_space_are_files_and_artifacts(swept, tmp_path):
    assert swept.recipe == FOLDER / NAME / BEST_FILE
    logged = tracking.fetch_folder(swept.run, "sweep", tmp_path)
    for name in (BEST_FILE, SPACE_FILE, TRIALS_FILE, "history.png", "parallel.png"):
        assert (logged / name).read_bytes() == (FOLDER / NAME / name).read_bytes()
    recipe = Recipe(**read_recipe(swept.recipe))
    assert {name: getattr(recipe, name) for name in swept.trials[swept.best].values} == swept.trials[swept.best].values
    assert recipe.epochs == 1
    assert json.loads((FOLDER / NAME / SPACE_FILE).read_text()) == {
        "softmax": ["learning_rate=0.001..1.0:log", "weight_decay=0.0,0.02"]
    }


def test_what_a_model_costs_is_measured_on_its_file(swept, folder):
    run = swept.confirmed[0].runs[0]  # which is evaluated
    trained = Trained(run, "softmax", "shades", "dense", 51, 1, 1, 0.5, 1.0, 1)
    found = measure(trained, ["accuracy", "parameters", "multiply_accumulates", "size", "latency"])
    assert (found["accuracy"], found["parameters"], found["multiply_accumulates"]) == (0.5, 51, 48)
    exported = export(run, exports=folder / "exports").folder / "model.onnx"
    assert found["size"] == pytest.approx(exported.stat().st_size, abs=1_000), "but for thresholds in its metadata"
    assert 0 < found["latency"] < 1000


# --- compared ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [lambda swept: NAME, lambda swept: swept.run, lambda swept: f"runs:/{swept.run[:9]}"])
def test_a_sweep_is_compared_by_its_trials_under_its_name_or_that_of_its_run(swept, named, capsys):
    assert main(["compare", named(swept), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    best, other = sorted(swept.trials, key=lambda trial: trial.number != swept.best)
    first, second = found["unexported"]
    assert [first["name"], second["name"]] == [
        f"shades/softmax, trial {best.number} (best)",
        f"shades/softmax, trial {other.number}",
    ]
    assert [first["run"], second["run"]] == [best.run, other.run]
    assert [first["validation_accuracy"], second["validation_accuracy"]] == [best.accuracy, other.accuracy]
    assert first["searched"] == " ".join(
        f"{name}={value:.3g}"
        for name, value in {each: best.values[each] for each in ("learning_rate", "weight_decay")}.items()
    )
    assert first["spread"]["accuracies"] == list(swept.confirmed[0].test)
    assert second["spread"] is None
    assert found["notes"] == [], "that a trial has no export is no news"


def test_the_table_and_the_page_of_a_sweep_mark_its_winner(swept, tmp_path, capsys):
    assert main(["compare", NAME, "--html", str(tmp_path / "page.html")]) == 0
    out = capsys.readouterr().out
    assert f"trial {swept.best} (best)" in out
    assert str(swept.confirmed[0].spread) in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"softmax, trial {swept.best} (best)" in page
    assert f"{swept.trials[swept.best].accuracy:.2%}" in page
    assert str(swept.confirmed[0].spread) in page
    assert "<td>learning_rate</td>" in page


def test_what_a_sweep_says_of_its_winners_is_not_believed_when_it_names_no_runs(swept, capsys):
    with tracking.open_client() as client:
        before = client.get_run(swept.run).data.tags["sweep_winners"]
        client.set_tag(swept.run, "sweep_winners", '{"../../x": []}')
        assert main(["compare", NAME]) == 1
        client.set_tag(swept.run, "sweep_winners", before)
    assert "doesn't say which trials of its sweep win ('../../x' is no run)" in capsys.readouterr().err


def test_the_best_trial_is_the_first_of_the_table_whatever_is_searched_for(swept):
    few = replace(swept, objectives=("latency",), best=3, front=())
    costs = ((0.9, 30.0), (0.99, 20.0), (0.8, 5.0), (0.95, 10.0))
    few = replace(
        few,
        trials=tuple(
            replace(swept.trials[0], number=k, accuracy=accuracy, measured={"accuracy": accuracy, "latency": latency})
            for k, (accuracy, latency) in enumerate(costs)
        ),
    )
    assert [row[0] for row in trials_table(few).rows] == ["3", "2", "1", "0"]  # of 2 the conditions aren't kept


def test_a_sweep_without_a_finished_trial_is_told_apart_from_one_without_a_winner(folder, capsys):
    with pytest.raises(SweepError, match=r"no trial of sweep 'hasty' finished \(1 waiting\).*--time"):
        begin(sweep_name="hasty", trials=None, time=1e-9)
    assert main(["compare", "hasty"]) == 1
    assert "no trial of sweep 'hasty' has finished yet" in capsys.readouterr().err


# --- going on, taking part -------------------------------------------------------------------------------------------


def test_the_same_command_goes_on_and_trains_nothing_twice(swept, capsys):
    before = all_runs()
    assert sweep(join=NAME).trials == swept.trials, "nothing is left to take part in"
    words = ["sweep", "softmax", "--data", "shades", "--sweep-name", NAME, "--trials", "2", "--seeds", "2"]
    words += [part for each in SEARCH for part in ("--search", each)]
    words += [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    assert main(words) == 0
    assert all_runs().keys() == before.keys()
    out = capsys.readouterr().out
    assert "sweep first: 2 finished" in out
    assert (
        f"with 2 new seeds {np.mean(swept.confirmed[0].validation):.2%}, and test accuracy {swept.confirmed[0].spread}"
        in out
    )
    assert f"next: zoo run softmax --data shades --recipe-file {swept.recipe}\n" in out
    assert "Pareto" not in out, "one objective has no front"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"search": SEARCH[:1]}, "sweep 'first' searches learning_rate=0.001..1.0:log, weight_decay=0.0,0.02, not "),
        ({"settings": {"epochs": 2, "precision": "float32"}}, "was started with other recipes"),
        ({"objective": ["accuracy", "size"]}, "sweep 'first'"),
    ],
)
def test_a_sweep_of_that_name_with_something_else_is_refused(swept, changes, sentence):
    with pytest.raises(SweepError) as caught:
        begin(**changes)
    assert sentence in str(caught.value)


def test_a_worker_is_refused_whose_images_are_others_wherever_they_lie(swept, folder):
    shutil.copytree(folder / "shades", folder / "there" / "shades2")
    assert sweep(join=NAME, data="there/shades2").trials == swept.trials
    shutil.copytree(folder / "shades", folder / "elsewhere" / "shades")
    (folder / "elsewhere" / "shades" / "dark" / "0.png").unlink()
    with pytest.raises(SweepError, match="was started with other images or rows"):
        sweep(join=NAME, data="elsewhere/shades")


def test_a_worker_without_the_tracking_store_of_the_sweep_is_refused(swept, tmp_path, monkeypatch):
    storage = f"sqlite:///{Path('mlruns/sweeps.db').absolute()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(SweepError, match=r"is not in sqlite:.*other.db: set MLFLOW_TRACKING_URI to that of the sweep"):
        sweep(join=NAME, storage=storage)


def test_one_process_leads_a_sweep(swept):
    with FileLock(FOLDER / NAME / ".lock"), pytest.raises(SweepError, match="take part by `zoo sweep --join first`"):
        begin()


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_where_all_trials_fail_it_stops_after_some_and_says_why_once(folder, registered, caplog):
    tried = []

    @registered("never", family="dense", recipe=Recipe(epochs=1))
    def never(images, classes):
        tried.append(classes)
        raise ValueError("no such layer")

    with pytest.raises(SweepError) as caught:
        sweep(["never"], "shades", search=SEARCH, trials=20, sweep_name="never")
    assert str(caught.value).startswith(
        f"the first {MOST_FAILURES} trials of sweep 'never' all failed, trial 0 because: "
    )
    assert str(caught.value).count("no such layer") == 1
    assert len(tried) == MOST_FAILURES
    (run,) = (run for run in all_runs().values() if run.data.tags.get("sweep") == "never")
    assert run.info.status == "FAILED"


def test_an_interrupted_trial_waits_for_the_same_command(folder, monkeypatch):
    def interrupted(**_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="the same command continues"):
        patch.setattr(worker, "train", interrupted)
        begin(sweep_name="interrupted", trials=1, seeds=1)
    with opened(f"sqlite:///{Path('mlruns/sweeps.db').absolute()}") as storage:
        study = import_optuna().load_study(study_name="interrupted", storage=storage)
        lost, again = trials.read_trials(study, ["softmax"])
    assert (lost.state, again.state, again.repeats) == ("lost", "waiting", 0)
    assert again.values == lost.values
    (run,) = (run for run in all_runs().values() if run.data.tags.get("sweep") == "interrupted")
    assert run.info.status == "KILLED"


def test_who_takes_part_and_is_interrupted_is_told_to_take_part_again_rather_than_to_resume_the_trial(
    folder, monkeypatch
):
    def interrupted(**_):
        raise KeyboardInterrupt("interrupted; to continue: zoo train --resume ab12cd34")

    monkeypatch.setattr(worker, "train", interrupted)
    for changes in ({"sweep_name": "left", "trials": 1}, {"join": "left"}):
        with pytest.raises(KeyboardInterrupt) as caught:
            sweep(**changes) if "join" in changes else begin(**changes)
    assert str(caught.value) == "interrupted; the same command takes part again"


def test_a_sweep_of_an_earlier_version_goes_on_as_it_was_begun(folder, monkeypatch):
    """With fields that have no part, which aren't left out in the middle of it, and teachers of which nobody knows."""

    def interrupted(**_):
        raise KeyboardInterrupt

    def go_on() -> None:
        with pytest.raises(KeyboardInterrupt, match="the same command continues"):
            begin(sweep_name="earlier", trials=1)

    monkeypatch.setattr(worker, "train", interrupted)
    go_on()
    with opened(f"sqlite:///{Path('mlruns/sweeps.db').absolute()}") as storage:
        study = import_optuna().load_study(study_name="earlier", storage=storage)
        found = json.loads(study.user_attrs[DEFINITION])
        found["spaces"][0].append("teacher_share=0.5..0.9")
        del found["teachers"]
        study.set_user_attr(DEFINITION, json.dumps(found))
        go_on()
        again = json.loads(study.user_attrs[DEFINITION])
    assert (again["spaces"], again["teachers"]) == (found["spaces"], {})


# --- trials, by the storage alone ------------------------------------------------------------------------------------


def defined(settings=SETTINGS) -> Definition:
    """A sweep of softmax."""
    how = {"source": None, "sampler": "tpe", "pruner": "median", "objectives": ["accuracy"], "where": [], "reading": {}}
    return define(["softmax"], "shades", SEARCH, settings=settings, **how)


asked_directly = pytest.mark.filterwarnings("ignore:Heartbeat of storage")  # rather than by a sweep, which has one


@pytest.fixture
def study(tmp_path):
    with opened(f"sqlite:///{tmp_path}/sweeps.db") as storage:
        yield import_optuna().create_study(study_name="x", storage=storage, direction="maximize")


@pytest.fixture(scope="module")
def gone() -> dict[str, str]:
    """What a process that has ended wrote down of itself."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    return {**this_process().to_tags(), "process.pid": str(child.pid)}


@asked_directly
def test_the_trial_of_a_worker_that_is_gone_is_repeated_with_its_values_and_not_for_ever(study, gone):
    mine = study.ask()
    trials.claim(mine)
    asked = study.ask()
    value = asked.suggest_float("learning_rate", 0.001, 1)
    for k in range(RETRIES + 1):
        asked.set_user_attr(trials.PROCESS, gone)
        assert trials.repeat_lost(study) == 1
        assert trials.repeat_lost(study) == 0, "once"
        if k < RETRIES:
            asked = study.ask()
            assert asked.suggest_float("learning_rate", 0.001, 1) == value
            assert trials.repeat_lost(study) == 0, "whoever has it now is not the one who lost it"
    states = [trial.state for trial in trials.read_trials(study, ["softmax"])]
    assert states == ["running", *["lost"] * (RETRIES + 1)]
    assert trials.begun(study) == [0, 1], "a repeated trial is the same one"


def test_a_sweep_whose_beginning_was_killed_begins_with_the_own_recipe_once(study, folder):
    definition = defined()
    for _ in range(2):
        _enqueue_own(study, definition)
    assert [trial.state for trial in trials.read_trials(study, definition.models)] == ["waiting"]


@asked_directly
def test_a_lost_trial_whose_finder_was_killed_too_is_repeated_when_the_sweep_goes_on(study):
    lost, failed, surplus = (study.ask() for _ in range(3))
    value = lost.suggest_float("learning_rate", 0.001, 1)
    failed.set_user_attr(trials.REASON, "diverged")
    surplus.set_user_attr(trials.SURPLUS, True)
    for each in (lost, failed, surplus):
        study.tell(each, state=import_optuna().trial.TrialState.FAIL)
    for _ in range(2):
        trials.repeat_forgotten(study)
    assert [trial.state for trial in trials.read_trials(study, ["softmax"])] == ["lost", "failed", "waiting"]
    again = study.ask()
    assert (again.suggest_float("learning_rate", 0.001, 1), trials.repeated(study)) == (value, {lost.number})


@asked_directly
def test_of_workers_that_begin_at_once_those_beyond_the_number_take_back_theirs(study):
    asked = [study.ask() for _ in range(5)]
    assert [trials.is_surplus(study, trial.number, 3) for trial in asked] == [False, False, False, True, True]
    assert not trials.is_surplus(study, 4, None)
    asked[1].set_user_attr(trials.SURPLUS, True)
    assert [trials.is_surplus(study, trial.number, 3) for trial in asked[2:]] == [False, False, True]
    assert len(trials.read_trials(study, ["softmax"])) == 4


@asked_directly
def test_a_trial_that_does_worse_than_others_at_the_same_share_of_its_epochs_is_pruned(study, folder):
    study.pruner = import_optuna().pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=2)
    for _ in range(5):
        other = study.ask()
        for part in range(1, PARTS + 1):
            other.report(0.9, part)
        study.tell(other, 0.9)
    definition = defined({"epochs": 20, "least_updates": 0})
    follow = worker._Follower(study.ask(), definition.plans[0], Worker(study, "x", definition, "", lambda: ""))
    assert [bool(follow(epoch, {"validation_accuracy": 0.1})) for epoch in (1, 2, 3)] == [False] * 3, "a fifth is free"
    assert "the sweep pruned trial 5: others were better" in follow(4, {"validation_accuracy": 0.1})
    better = worker._Follower(study.ask(), definition.plans[0], Worker(study, "x", definition, "", lambda: ""))
    assert not any(better(epoch, {"validation_accuracy": 0.95}) for epoch in range(1, 21))
    steps = study.get_trials()[-1].intermediate_values
    assert list(steps) == list(range(1, PARTS + 1))


@asked_directly
def test_nothing_is_pruned_by_what_is_not_known_yet(study, folder):
    """The accuracy of a trial says nothing of its latency."""
    definition = replace(defined({"epochs": 20, "least_updates": 0}), objectives=("latency",))
    follow = worker._Follower(study.ask(), definition.plans[0], Worker(study, "x", definition, "", lambda: ""))
    assert not any(follow(epoch, {"validation_accuracy": 0.1}) for epoch in range(1, 21))
    assert study.get_trials()[-1].intermediate_values == {}


@asked_directly
def test_a_trial_ends_when_the_time_is_over(study, folder):
    definition = defined(SETTINGS)
    ends = Worker(study, "x", definition, "", lambda: "the time limit of 2h is up")
    assert (
        worker._Follower(study.ask(), definition.plans[0], ends)(1, {"validation_accuracy": 0.1})
        == "the time limit of 2h is up"
    )
    assert ends.work() == "the time limit of 2h is up", "and no other begins"
    assert len(study.get_trials()) == 1
    closed = Worker(study, "x", definition, "", lambda: "")
    study.set_user_attr(worker.CLOSED, "who leads it closed it")
    assert closed.work() == "who leads it closed it"


def trained(**changes) -> Trained:
    return replace(Trained("f" * 32, "softmax", "shades", "dense", 51, 1, 1, 0.5, 1.0, 1), **changes)


def test_the_trial_of_a_worker_whose_own_time_is_over_waits_for_others(study, folder, monkeypatch):
    """Who leads prunes it: then the time of all is over."""
    over: list[str] = []

    def train(*, plan, tags, observer):
        over.append("the time limit of 3h is up")
        return trained(ended_early=observer(1, {"validation_accuracy": 0.5}))

    monkeypatch.setattr(worker, "train", train)
    study.set_user_attr(worker.MOST, 1)
    for joined, states in ((True, ["lost", "waiting"]), (False, ["lost", "pruned"])):
        over.clear()
        taking_part = Worker(study, "x", defined(SETTINGS), "", lambda: over[-1] if over else "", joined=joined)
        assert taking_part.work() == "the time limit of 3h is up"
        assert [trial.state for trial in trials.read_trials(study, ["softmax"])] == states


def test_who_joined_ends_with_the_time_of_a_sweep_whose_leader_is_gone(study, folder):
    study.set_user_attr(worker.MOST, None)
    study.set_user_attr(worker.UNTIL, time.time() - 1)
    assert Worker(study, "x", defined(SETTINGS), "", lambda: "", joined=True).work() == "the time of the sweep is over"


def test_a_space_that_is_searched_through_ends_a_sweep_that_has_time_left(study, folder, monkeypatch):
    monkeypatch.setattr(worker, "train", lambda **_: trained())
    monkeypatch.setattr(worker, "MOST_REPEATED", 5)
    definition = replace(defined(), spaces=((parse_dimension("augmentation=none,light"),),))
    reason = Worker(study, "x", definition, "", lambda: "").work()
    assert reason == "the last 5 trials repeated recipes that had been tried"
    found = trials.read_trials(study, ["softmax"])
    assert {trial.values["augmentation"] for trial in found} <= {"none", "light"}
    assert len(found) < 50


def test_a_storage_that_fails_amid_a_trial_is_not_its_fault(study, folder, monkeypatch):
    errors = import_optuna().exceptions

    def train(**_):
        raise errors.StorageInternalError("server closed the connection")

    monkeypatch.setattr(worker, "train", train)
    study.set_user_attr(worker.MOST, 1)
    with pytest.raises(errors.StorageInternalError):
        Worker(study, "x", defined(SETTINGS), "", lambda: "").work()
    assert [trial.state for trial in trials.read_trials(study, ["softmax"])] == ["lost", "waiting"]


def test_the_run_of_a_sweep_gives_signs_of_life(swept, monkeypatch):
    monkeypatch.setattr(sender, "HEARTBEAT", 0.01)
    began = tracking.last_seen(tracking.search(f"run_id = '{swept.run}'")[0])
    with tracking.beating(swept.run):
        until(lambda: tracking.last_seen(tracking.search(f"run_id = '{swept.run}'")[0]) > began, 60)


def test_a_worker_whose_trial_another_one_repeats_goes_on_with_the_next(study, folder, monkeypatch, caplog):
    """As after a night in which its machine slept."""
    definition = defined(SETTINGS)
    begun = []

    def slept(*, plan, tags, observer):
        begun.append(plan.recipe.learning_rate)
        if len(begun) == 1:
            optuna = import_optuna()
            study.tell(0, state=optuna.trial.TrialState.FAIL)
            repeat(study, study.get_trials()[0])
        observer(1, {"validation_accuracy": 0.5})
        return trained()

    monkeypatch.setattr(worker, "train", slept)
    study.set_user_attr(worker.MOST, 1)
    assert Worker(study, "x", definition, "", lambda: "").work() == ""
    assert "trial 0 sent no heartbeat for a while: another worker repeats it" in caplog.messages
    assert [trial.state for trial in trials.read_trials(study, ["softmax"])] == ["lost", "finished"]
    assert begun[0] == begun[1]


# --- several workers -------------------------------------------------------------------------------------------------

PATIENCE = 900  # seconds, for a machine that has other things to do


def take_part(join: str) -> None:
    """Here, where a process of its own finds it by name."""
    sweep(join=join)


def lead(trials_: int, seeds: int) -> None:
    sweep(
        ["softmax", "mlp-small", "conv-tiny"],
        "digits",
        search=["learning_rate=1e-3..1e-1:log", "augmentation=none,light"],
        settings={"epochs": 4, "precision": "float32"},
        sweep_name="together",
        trials=trials_,
        seeds=seeds,
    )


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_three_workers_of_which_one_is_killed_and_then_the_one_that_leads(store):
    """Takes a dozen trainings in three processes, each of which loads TensorFlow."""
    url = f"sqlite:///{Path('mlruns/sweeps.db').absolute()}"

    def read() -> tuple[trials.Trial, ...]:
        with opened(url) as storage:
            study = import_optuna().load_study(study_name="together", storage=storage)
            return trials.read_trials(study, ["softmax"])

    def running_of(process) -> bool:
        with opened(url) as storage:
            study = import_optuna().load_study(study_name="together", storage=storage)
            owners = [t.user_attrs.get(trials.PROCESS, {}) for t in study.get_trials() if t.state.name == "RUNNING"]
        return any(owner.get("process.pid") == str(process.pid) for owner in owners)

    def ended() -> int:
        return sum(trial.state in ("finished", "pruned", "failed") for trial in read())

    leader = start(store, lead, trials_=7, seeds=1)
    until(lambda: Path("mlruns/sweeps.db").exists() and "together" in names(url), PATIENCE, every=0.5)
    workers = [start(store, take_part, join="together") for _ in range(2)]
    until(lambda: running_of(workers[0]), PATIENCE, every=0.2)
    workers[0].kill()
    assert end(workers[0]) == -signal.SIGKILL
    until(lambda: ended() >= 3, PATIENCE, every=0.5)
    leader.kill()
    assert end(leader) == -signal.SIGKILL
    assert end(workers[1], PATIENCE) == 0, (store / "told.txt").read_text()[-3000:]
    assert end(start(store, lead, trials_=7, seeds=1), PATIENCE) == 0, (store / "told.txt").read_text()[-3000:]

    found = read()
    done = [trial for trial in found if trial.state in ("finished", "pruned")]
    assert len(done) == 7, [trial.state for trial in found]
    assert {trial.state for trial in found} - {"lost"} <= {"finished", "pruned"}
    repeated = {trial.repeats for trial in found} - {None}
    assert repeated == {trial.number for trial in found if trial.state == "lost"}, "each lost one was done by another"
    assert len(repeated) >= 1
    states = [run.info.status for run in all_runs().values()]
    assert "RUNNING" not in states
    (parent,) = (run for run in all_runs().values() if run.data.tags.get("mlflow.source.name") == "zoo sweep")
    assert parent.info.status == "FINISHED"
    assert 0 < parent.data.metrics["test_accuracy"] <= 1


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ten_workers_that_start_at_once_lay_out_one_file_and_share_the_trials(tmp_path):
    """Takes ten processes, each of which loads TensorFlow."""
    work_at_once(tmp_path, f"sqlite:///{tmp_path}/new/sweeps.db", workers=10, most=30)


def names(url: str) -> list[str]:
    with opened(url) as storage:
        return import_optuna().get_all_study_names(storage)
