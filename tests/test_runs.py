"""`zoo runs` lists what the store holds: by SQL the same as by MLflow, chosen, sorted, and nothing that is not ours."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.commands.track import runs_table
from pipelines.cli.console import show
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.maintenance.runs import FIELDS, ListedRun, Runs, runs
from pipelines.tracking.runs import listing
from pipelines.tracking.runs.listing import SCHEMAS
from zoo.errors import QueryError, TrackingError

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def store(shared_store):
    """A folder whose store holds five trainings, by a name of ours; a run of somebody else's, and a deleted one."""
    made = {
        "killed": train("lenet5", "KILLED", {"parameters": 61_706}),
        "bad": train("softmax", "FINISHED", {"parameters": 650, "test_accuracy": 0.5, "latency": 0.01}),
        "good": train("lenet5", "FINISHED", {"parameters": 61_706, "test_accuracy": 0.95, "latency": 0.05}),
        "seed": train("softmax", "FINISHED", {"test_accuracy": 0.933, "test_loss": 0.25}, seed=7),
        "running": train("softmax", "RUNNING", {"test_loss": float("nan")}),
    }
    deleted = train("softmax", "FINISHED", {})
    with tracking.open_client() as client:
        client.create_run("0", run_name="somebody else's")
        client.delete_run(deleted)
    return {run: name for name, run in made.items()}


def train(model, status, metrics, **settings):
    plan = make_plan(model, "digits", settings=settings)
    run = tracking.start_run(plan, load_data(plan), {})
    tracking.log_metrics(run, metrics)
    if status != "RUNNING":
        tracking.finish(run, status)
    return run


def test_one_that_goes_on_has_no_duration_yet(store):
    resumed = next(run for run, name in store.items() if name == "killed")
    before = next(each.seconds for each in runs().runs if each.run == resumed)
    tracking.reopen(resumed)
    after = next(each.seconds for each in runs().runs if each.run == resumed)
    tracking.finish(resumed, "KILLED")
    assert (before is None, after) == (False, None)


def named(found, store):
    return [store[run.run] for run in found.runs]


def test_all_trainings_are_listed_the_latest_first(store):
    found = runs()
    assert named(found, store) == ["running", "seed", "good", "bad", "killed"]
    assert found.found == 5
    good = found.runs[2]
    assert (good.name, good.model, good.family, good.data_set) == ("lenet5", "lenet5", "hybrid", "digits")
    assert (good.status, good.parameters, good.test_accuracy, good.latency) == ("finished", 61_706, 0.95, 0.05)
    assert good.seconds > 0
    assert found.runs[0].seconds is None
    assert found.runs[0].test_accuracy is None


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ({"model": "lenet5"}, ["good", "killed"]),
        ({"status": "killed"}, ["killed"]),
        ({"data": "digits", "model": "softmax"}, ["running", "seed", "bad"]),
        ({"data": "fashion-mnist"}, []),
        ({"where": ["test_accuracy>90"]}, ["seed", "good"]),  # nobody means an accuracy of 90
        ({"where": ["test_accuracy>=93.3%", "latency<1"]}, ["good"]),
        ({"where": ["parameters<61.7k"]}, ["bad"]),
        ({"where": ["seed=7"]}, ["seed"]),  # a field of the recipe
        ({"where": ["optimizer=adamw", "model=lenet5"]}, ["good", "killed"]),
        ({"where": ["test_loss<1"]}, ["seed"]),  # any figure; what was never a number fulfils nothing
        ({"where": ["status=running"]}, ["running"]),
        ({"sort": "test_accuracy"}, ["good", "seed", "bad", "running", "killed"]),
        ({"sort": "latency"}, ["bad", "good", "running", "seed", "killed"]),
        ({"sort": "model", "where": ["test_accuracy>0"]}, ["good", "seed", "bad"]),
        ({"most": 2}, ["running", "seed"]),
    ],
)
def test_runs_are_chosen_and_sorted(store, wanted, names):
    assert named(runs(**wanted), store) == names


def test_how_many_there_are_is_told_beside_how_many_are_shown(store, capsys):
    assert main(["runs", "--most", "2"]) == 0
    assert "2 of 5 runs: --most shows more" in capsys.readouterr().out


def test_the_table_has_a_line_for_each_run_and_a_column_for_what_was_asked(store, capsys):
    assert main(["runs", "--sort", "seed", "--where", "test_accuracy>0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    line = next(line for line in lines if "softmax seed=7" in line)
    assert "93.30%" in line
    assert line.rstrip().endswith("7")
    assert lines[0].split()[-1] == "seed"


def test_json_holds_every_field(store, capsys):
    assert main(["runs", "--json", "--where", "test_loss<1"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert set(run) == {field.name for field in fields(ListedRun)}
    assert run["asked"] == {"test_loss": 0.25}
    assert set(FIELDS) <= set(run)


def test_a_store_is_listed_the_same_by_sql_and_by_mlflow(store, monkeypatch):
    asked = {"where": ["test_accuracy>0", "learning_rate>0"], "sort": "test_loss"}
    by_sql = runs(), runs(**asked)
    monkeypatch.setattr(listing, "SCHEMAS", frozenset())
    monkeypatch.setattr(listing, "PAGE", 2)
    assert (runs(), runs(**asked)) == by_sql


def test_the_schema_that_this_mlflow_writes_is_known():
    """Or lists of 10,000 runs would take minutes: look at what changed in the tables, then add it to SCHEMAS."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    assert ScriptDirectory.from_config(_get_alembic_config("sqlite://")).get_current_head() in SCHEMAS


def test_neither_mlflow_nor_tensorflow_is_imported(store):
    script = "import sys; from pipelines.cli import main; code = main(['runs'])\n"
    script += "assert not {'mlflow', 'tensorflow', 'keras', 'sqlalchemy'} & set(sys.modules), sorted(sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "softmax" in done.stdout


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ({"status": "done"}, r"no status is called 'done': there are failed, finished, killed, running"),
        ({"where": ["test_accuracy"]}, r"a condition is a field"),
        ({"where": ["nothing>1"]}, r"no run has 'nothing': there are run, name"),
        ({"sort": "nothing"}, r"no run has 'nothing'"),
        ({"where": ["model>1"]}, r"model is text"),
        ({"where": ["latency<fast"]}, r"compares with 'fast', expected a number"),
    ],
)
def test_what_cannot_be_asked_is_told(store, wanted, sentence):
    with pytest.raises(QueryError, match=sentence):
        runs(**wanted)


def test_where_there_is_no_store_it_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="there are no runs yet"):
        runs()


def test_another_database_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'notes.db'}")
    with closing(sqlite3.connect(tmp_path / "notes.db")) as database:
        database.execute("CREATE TABLE notes (text)")
    with pytest.raises(TrackingError, match=r"can't be read as MLflow's \(no such table: alembic_version\)"):
        runs()


def test_names_that_a_terminal_would_obey_are_shown_as_text(store, capsys):
    hostile = replace(runs().runs[0], name="\x1b]0;owned\x07[bold]x", data_set="\x1b[31m")
    show(Runs((hostile,), 1), False, runs_table)
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "[bold]x" in told
