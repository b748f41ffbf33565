"""Upkeep of the store: what may be removed, an older schema, and a backup that is a plain copy."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

import pipelines.maintenance.gc
from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.commands.track import stale_table
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.support.process import this_process
from pipelines.maintenance.gc import gc
from pipelines.maintenance.stale import stale
from pipelines.maintenance.sync import sync
from pipelines.tracking.outbox.journal import Journal
from pipelines.training.loop import checkpoint
from zoo.errors import TrackingError
from zoo.models import build


@pytest.fixture
def folder(store):
    return store


def a_run(status: str = "FINISHED", *, deleted: bool = False, saved: bool = False) -> str:
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    if deleted:
        tracking.log_keras_model(run, build("softmax", 8, 8, 1, 10))
    if saved:
        checkpoint.save(checkpoint.Checkpoint(4, "float32", (), None), run)
    if status != "RUNNING":
        tracking.finish(run, status)
    if deleted:
        with tracking.open_client() as client:
            client.delete_run(run)
    return run


@pytest.fixture
def gone() -> dict[str, str]:
    """What a process that has ended wrote down of itself."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as child:
        child.wait()
    return {**this_process().to_tags(), "process.pid": str(child.pid)}


def files() -> set[str]:
    return {str(path) for path in Path("mlruns").rglob("*") if path.is_file()}


# --- what may go ---------------------------------------------------------------------------------------------------


def test_gc_tells_first_and_removes_what_nobody_needs_when_asked(folder, capsys):
    kept, deleted = a_run(saved=True), a_run(deleted=True)
    killed, old, running = (a_run(status, saved=True) for status in ("KILLED", "KILLED", "RUNNING"))
    long_ago = time.time() - 40 * 86400
    os.utime(checkpoint.FOLDER / old / checkpoint.FILE, (long_ago, long_ago))
    (tracking.OUTBOX_FOLDER / kept).mkdir(parents=True)
    Journal(tracking.OUTBOX_FOLDER / killed).append({"kind": "status", "status": "KILLED", "time": 1})
    before = files()

    told = gc()
    assert {(each.kind, each.run) for each in told.leftovers} == {
        ("deleted run", deleted),
        ("checkpoint", kept),
        ("checkpoint", old),
        ("outbox", kept),
    }
    assert {(each.kind, each.run) for each in told.kept} == {("checkpoint", killed), ("outbox", killed)}
    assert "1 record waits in it: `zoo sync` sends it" in {each.reason for each in told.kept}
    assert files() - before == {str(tracking.OUTBOX_FOLDER / kept / "lock")}, "it is only told"
    assert main(["gc"]) == 0
    assert "would be removed: `zoo gc --yes` does it" in capsys.readouterr().out

    assert main(["gc", "--yes"]) == 0
    assert [path for path in files() if deleted in path] == []
    assert not (folder / "mlruns" / "artifacts" / "models").exists() or not list(
        (folder / "mlruns" / "artifacts" / "models").iterdir()
    )
    assert tracking.load_run(kept).status == "FINISHED"
    assert {path.name for path in checkpoint.FOLDER.iterdir()} == {killed, running}
    assert gc().leftovers == ()
    with tracking.open_client() as client, pytest.raises(Exception, match="not found"):
        client.get_run(deleted)


def test_gc_leaves_the_checkpoint_of_a_run_in_another_store_to_be_resumed_from(folder, empty_database, monkeypatch):
    run = a_run("KILLED", saved=True)
    shutil.copy(empty_database, folder / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'other.db'}")
    (kept,) = gc(yes=True).kept
    assert (kept.run, kept.reason) == (run, "this store has no such run, it was written 0 days ago")
    assert checkpoint.exists(run)


@pytest.mark.parametrize("moment", ["before it is listed", "after it was listed"])
@pytest.mark.parametrize("resumed", ["is at work", "has ended"])
def test_gc_leaves_the_checkpoint_of_a_run_that_is_resumed_at_that_moment(folder, monkeypatch, moment, resumed):
    run = a_run("KILLED", saved=True)
    long_ago = time.time() - 40 * 86400
    os.utime(checkpoint.FOLDER / run / checkpoint.FILE, (long_ago, long_ago))
    with ExitStack() as training:

        def resume():
            training.enter_context(tracking.outbox_of(run, resumed=True))
            tracking.reopen(run)
            checkpoint.save(checkpoint.Checkpoint(8, "float32", (), None), run)
            if resumed == "has ended":
                tracking.finish(run, "KILLED")
                training.close()

        if moment == "before it is listed":
            resume()
        else:  # gc has looked at all, and is about to remove
            listed = pipelines.maintenance.gc._found

            def then_resume(*arguments):
                found = list(listed(*arguments))
                resume()
                return found

            monkeypatch.setattr(pipelines.maintenance.gc, "_found", then_resume)
        found = gc(yes=True)
        assert run not in {each.run for each in found.leftovers}
        assert checkpoint.load(run).epoch == 8
        assert (tracking.OUTBOX_FOLDER / run).exists() == (resumed == "is at work")


def test_gc_forgets_the_runs_that_it_lists_and_no_others_of_a_deleted_experiment(folder):
    promoted, other = a_run(), a_run()
    tracking.log_keras_model(promoted, build("softmax", 8, 8, 1, 10))
    with tracking.open_client() as client:
        experiment = client.get_run(promoted).info.experiment_id
        (model,) = client.search_logged_models([experiment], f"source_run_id = '{promoted}'")
        client.create_registered_model("digits")
        client.create_model_version("digits", model.artifact_location, promoted, model_id=model.model_id)
        client.delete_experiment(experiment)
    found = gc(yes=True)
    assert {each.run for each in found.leftovers} == {other}
    assert {each.run: each.reason for each in found.kept} == {promoted: "the registered model digits/1 is of this run"}
    with tracking.open_client() as client:
        assert client.get_run(promoted).info.run_id == promoted
        with pytest.raises(Exception, match="not found"):
            client.get_run(other)
    assert (folder / "mlruns" / "artifacts" / "models" / model.model_id).is_dir()


def test_gc_leaves_a_run_that_is_restored_at_that_moment(folder, monkeypatch):
    run = a_run(deleted=True)
    listed = pipelines.maintenance.gc._found

    def restored(*arguments):
        found = list(listed(*arguments))
        with tracking.open_client() as client:
            client.restore_run(run)
        return found

    monkeypatch.setattr(pipelines.maintenance.gc, "_found", restored)
    found = gc(yes=True)
    assert [each.reason for each in found.kept] == ["it was restored, or came into use, in the meantime"]
    assert tracking.load_keras_model(run) is not None


def test_gc_knows_the_folders_in_which_killed_commands_made_something(folder):
    a_run()
    store, artifacts = folder / "mlruns", folder / "mlruns" / "artifacts"
    left = [store / ".new-store-ab_d0000", store / ".new-sweeps-ab_d0000", artifacts / ".new-ab_d0000"]
    halfway, young, theirs = (artifacts / name for name in (".new-halfway0", ".new-young000", ".new-ideas"))
    for path in (*left, halfway, young, theirs, folder / "elsewhere"):
        (path / "new").mkdir(parents=True)
        (path / "new" / "file").write_text("years", encoding="utf-8")
    (halfway / "old").mkdir()
    link = artifacts / ".new-link0000"
    link.symlink_to(folder / "elsewhere")
    busy, mine = artifacts / ".new-busy0000", artifacts / ".new-projects"
    for path in (busy, mine):
        (path / "new").mkdir(parents=True)
    (mine / "plan.txt").write_text("years", encoding="utf-8")
    before = time.time() - 7200
    for path in (*left, halfway, theirs, mine, folder / "elsewhere"):
        for each in (*path.rglob("*"), path):
            os.utime(each, (before, before))
    os.utime(busy, (before, before))  # but not what is written within
    os.utime(link, (before, before), follow_symlinks=False)
    assert {each.folders for each in gc().leftovers} == {(path,) for path in left}
    (kept,) = gc(yes=True).kept
    assert (
        kept.reason
        == f"{halfway.name}: its command was interrupted while it replaced artifacts, which may be nowhere else"
    )
    assert [path for path in left if path.exists()] == []
    assert all((path / "new" / "file").exists() for path in (halfway, young, theirs, link))
    assert busy.exists() and (mine / "plan.txt").exists()


def test_what_is_trained_on_a_deleted_experiment_is_told_how_to_restore_it(folder):
    run = a_run()
    with tracking.open_client() as client:
        experiment = client.get_run(run).info.experiment_id
        client.delete_experiment(experiment)
    with pytest.raises(TrackingError, match="the experiment 'digits' was deleted") as told:
        a_run()
    command = re.search("`(.*)`", str(told.value))[1]
    paths = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    subprocess.run(command, shell=True, check=True, capture_output=True, env=paths, cwd="/")
    assert a_run()


def test_a_killed_sweep_goes_on_by_its_own_command(folder, gone, capsys):
    plan = make_plan("softmax", "digits")
    run = tracking.start_sweep("shades", load_data(plan), ["softmax"], {})
    tracking.log_tags(run, gone)
    (found,) = stale()
    assert (found.run, found.sweep) == (run, "shades")
    assert "its zoo sweep command again" in stale_table((found,)).rows[0]


def test_sync_leaves_a_run_to_its_training_and_says_so(folder, capsys):
    run = a_run("RUNNING")
    journal = Journal(tracking.OUTBOX_FOLDER / run)
    journal.append({"kind": "status", "status": "FINISHED", "time": 1})
    (found,) = sync()
    assert (found.run, found.waiting, found.training) == (run, 1, True)
    assert main(["sync"]) == 0
    assert "is being trained by process" in " ".join(capsys.readouterr().out.split())


def test_gc_leaves_alone_what_lies_elsewhere(folder):
    deleted, linked = a_run(deleted=True), a_run(deleted=True)
    elsewhere = folder / "mine" / "artifacts"
    elsewhere.mkdir(parents=True)
    (elsewhere / "thesis.txt").write_text("years", encoding="utf-8")
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database, database:
        where = "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?"
        database.execute(where, (f"{folder.as_uri()}/mlruns/artifacts/../../mine/artifacts", deleted))
    artifacts = folder / "mlruns" / "artifacts" / linked
    shutil.rmtree(artifacts)
    artifacts.symlink_to(folder / "mine")
    (checkpoint.FOLDER).mkdir(parents=True)
    (checkpoint.FOLDER / ("f" * 32)).symlink_to(folder / "mine")
    found = gc(yes=True)
    assert {each.run for each in found.kept} == {deleted, linked}
    assert found.leftovers == ()
    assert (elsewhere / "thesis.txt").read_text(encoding="utf-8") == "years"


def test_gc_leaves_the_models_of_a_deleted_run_that_are_registered(folder):
    run = a_run(deleted=True)
    with tracking.open_client() as client:
        experiment = client.get_run(run).info.experiment_id
        (model,) = client.search_logged_models([experiment], f"source_run_id = '{run}'")
        client.create_registered_model("digits")
        client.create_model_version("digits", model.artifact_location, run, model_id=model.model_id)
    (kept,) = gc(yes=True).kept
    assert kept.reason == "the registered model digits/1 is of this run"
    assert (folder / "mlruns" / "artifacts" / "models" / model.model_id).is_dir()


# --- an older store, and a newer one -------------------------------------------------------------------------------


def downgrade(path: Path, revision: str) -> None:
    """Take the last migration of the schema back, as it was before MLflow moved on."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine

    config = _get_alembic_config(f"sqlite:///{path}")
    engine = create_sqlalchemy_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    engine.dispose()


def version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as database:
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


@pytest.mark.slow  # MLflow lays out one schema and migrates it to another
def test_a_store_of_an_older_schema_is_copied_and_upgraded(folder, caplog):
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    run = a_run()
    path = folder / "mlruns" / "mlflow.db"
    newest = version(path)
    older = folder / "older"
    older.mkdir()
    shutil.copy(path, older / "mlflow.db")
    downgrade(older / "mlflow.db", "-1")
    before = version(older / "mlflow.db")
    assert before != newest
    first = older / f"mlflow.db.before-{newest}"
    first.write_text("of an upgrade that was interrupted", encoding="utf-8")
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{older / 'mlflow.db'}")
        assert tracking.load_run(run).status == "FINISHED"
    assert version(older / "mlflow.db") == newest
    copy = older / f"mlflow.db.before-{newest}-2"
    assert version(copy) == before
    assert first.read_text(encoding="utf-8") == "of an upgrade that was interrupted"
    assert f"the old version is kept as {copy}" in caplog.text
    assert {each.name for each in older.iterdir()} == {"mlflow.db", first.name, copy.name}


def test_a_store_of_a_newer_schema_is_told_and_left_alone(folder):
    run = a_run()
    path = folder / "mlruns" / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'from2030'")
    with pytest.raises(TrackingError, match=r"written by a newer MLflow \(its schema is from2030\): pip install"):
        tracking.load_run(run)
    assert {each.name for each in path.parent.iterdir()} == {"mlflow.db", "artifacts"}


# --- backup --------------------------------------------------------------------------------------------------------


def test_a_plain_copy_is_a_backup(folder):
    from mlflow.tracking._tracking_service.utils import _tracking_store_registry

    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    model = build("softmax", 8, 8, 1, 10)
    with tracking.outbox_of(run):
        tracking.log_epoch(run, 1, {"train_loss": 0.5})
        tracking.log_keras_model(run, model)
        tracking.finish(run, "FINISHED")
    before = tracking.load_run(run)
    assert os.system("cp -a mlruns backup") == 0  # the documented command
    shutil.rmtree("mlruns")
    _tracking_store_registry._get_store_with_resolved_uri.cache_clear()
    with pytest.raises(TrackingError, match="there are no runs yet"):
        tracking.load_run(run)
    assert os.system("cp -a backup mlruns") == 0
    assert tracking.load_run(run) == before
    for own, kept in zip(tracking.load_keras_model(run).get_weights(), model.get_weights(), strict=True):
        assert (own == kept).all()


def test_where_nothing_was_written_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert sync() == ()
    for command in (gc, stale):
        with pytest.raises(TrackingError, match="there are no runs yet"):
            command()
    assert not list(tmp_path.iterdir())
