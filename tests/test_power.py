"""What is said to be written is there after a power cut, and all else is visibly absent, and can be gone on with."""

from __future__ import annotations

import ast
import os
import random
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import power
import pytest
from mlflow.models import Model
from processes import end, start, until

import pipelines
from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.support import atomic
from pipelines.core.support.atomic import atomic_file, atomic_folder
from pipelines.core.support.durable import sync
from pipelines.tracking.outbox import delivery
from pipelines.tracking.outbox.journal import Journal
from pipelines.tracking.runs.logging import write
from pipelines.training.loop import checkpoint
from zoo.contract import MODEL_FILE

pytestmark = pytest.mark.usefixtures("waits_for_the_disk")

SHIPPED = Path(__file__).parent.parent / "exports" / "digits"

# --- on a disk that loses its power ----------------------------------------------------------------------------------


def write_file(place):
    with atomic_file(place / "file.txt") as partial:
        partial.write_text("whole")
    return lambda: (place / "file.txt").read_text() == "whole"


def write_export(place):
    with atomic_folder(place / "exports/digits/softmax") as new:
        shutil.copytree(SHIPPED / "softmax", new, dirs_exist_ok=True)
    return lambda: power.whole(place / "exports/digits/softmax") == "softmax"


def replace_export(place):
    write_export(place)
    with atomic_folder(place / "exports/digits/softmax") as new:
        shutil.copytree(SHIPPED / "mlp-small", new, dirs_exist_ok=True)
    return lambda: power.whole(place / "exports/digits/softmax") == "mlp-small"


def write_checkpoint(place):
    checkpoint.save(checkpoint.Checkpoint(4, "float32", (np.arange(9000),), None), "a" * 32)
    return lambda: checkpoint.load("a" * 32).variables[0].sum() == np.arange(9000).sum()


def write_record(place):
    journal = Journal(place / "mlruns/outbox/run")
    journal.append({"kind": "folder", "path": None}, SHIPPED / "softmax" / "samples")

    def is_there():
        (entry,) = Journal(place / "mlruns/outbox/run").waiting()
        return len(list(entry.files.iterdir())) == len(list((SHIPPED / "softmax" / "samples").iterdir()))

    return is_there


WRITTEN = [write_file, write_export, replace_export, write_checkpoint, write_record]


@pytest.mark.parametrize("write", WRITTEN)
def test_what_was_written_is_there_after_a_power_cut(tmp_path, empty_database, monkeypatch, write):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with power.disk(tmp_path) as (image, place):
        power.copy_store(empty_database, place)
        monkeypatch.chdir(place)
        is_there = write(place)
        after = power.cut(image, tmp_path / "after.img")
        monkeypatch.chdir(tmp_path)
    with power.mounted(after, place):
        monkeypatch.chdir(place)
        assert power.empty_files(place) == []
        assert is_there()
        monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_after_twenty_power_cuts_each_run_and_export_is_whole_or_absent_and_goes_on(
    tmp_path, empty_database, monkeypatch
):
    """A training, its evaluation, its export and its quantization again and again, and a look at each disk: minutes."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    moments, cuts, progress = random.Random(22), [], tmp_path / "progress.txt"
    progress.touch()
    with power.disk(tmp_path) as (image, place):
        power.copy_store(empty_database, place)
        monkeypatch.chdir(place)
        process = start(place, power.work, progress=str(progress))

        def cut():
            done = progress.read_text().split("\n")[:-1]
            cuts.append((done, power.cut(image, tmp_path / f"{len(cuts)}.img")))

        until(lambda: list(checkpoint.FOLDER.glob("*/*.npz")), every=0.005)
        cut()
        for _ in range(2):
            for what in ("trained", "evaluated", "exported", "quantized"):
                before = progress.read_text().count(what)
                until(lambda what=what, before=before: progress.read_text().count(what) > before, every=0.005)
                cut()
        while len(cuts) < 20:
            time.sleep(moments.uniform(0, 4))
            cut()
        process.kill()
        end(process)
        monkeypatch.chdir(tmp_path)
    resumed = tmp_path / "resumed.txt"
    for done, copy in cuts:
        with power.mounted(copy, place):
            # In a process of its own: this one's connections to the database would lead to the disk before.
            process = start(place, power.look, done=done, resumed=str(resumed))
            assert end(process) == 0, (place / "told.txt").read_text()
    assert resumed.read_text()


# --- all that is renamed into place ----------------------------------------------------------------------------------


@pytest.fixture
def synced(monkeypatch):
    """Refuses to rename what isn't synced; knows what is, and what was renamed."""
    states, renamed = set(), []

    def state(path):
        found = os.stat(path)  # noqa: PTH116 (of an open file, too)
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def sync_and_remember(file, call=os.fsync):
        states.add(state(file))
        call(file)

    def check(source):
        files = [path for path in (Path(source), *Path(source).rglob("*")) if path.is_file()]
        unsynced = [path.name for path in files if state(path) not in states]
        assert not unsynced, f"{unsynced} could be empty after a power cut"
        renamed.append(Path(source).name)

    def checked(call):
        def rename(source, *others, **options):
            if Path.cwd() in Path(source).absolute().parents:
                check(source)
            return call(source, *others, **options)

        return rename

    monkeypatch.setattr(os, "fsync", sync_and_remember)
    for name in ("rename", "replace", "link"):
        monkeypatch.setattr(os, name, checked(getattr(os, name)))
    monkeypatch.setattr(atomic, "exchange", checked(atomic.exchange))
    return SimpleNamespace(renamed=renamed, has=lambda path: state(path) in states)


def test_what_a_run_logs_is_synced_before_the_outbox_forgets_it(store, synced):
    """MLflow itself copies files, and leaves it to the system when they reach the disk."""
    plan = make_plan("softmax", "digits")
    run = tracking.start_run(plan, load_data(plan), {})
    (store / "model" / "data").mkdir(parents=True)
    (store / "model" / "data" / "model.keras").write_bytes(b"weights")
    Model(run_id=run).save(str(store / "model" / "MLmodel"))
    with tracking.outbox_of(run):
        tracking.log_folder(run, SHIPPED / "softmax", "export")
        write(run, delivery.model("keras", "1", {}), store / "model")
    for _ in range(2):
        tracking.log_folder(run, SHIPPED / "softmax" / "plots", "evaluation/plots")
    artifacts = [path for path in (store / "mlruns" / "artifacts").rglob("*") if path.is_file()]
    names = {path.name for path in artifacts}
    assert names >= {"plan.json", "versions.json", MODEL_FILE, "MLmodel", "model.keras"}
    assert [path.name for path in artifacts if not synced.has(path)] == []
    folders = {path.parent for path in artifacts}
    assert [path for path in folders if not synced.has(path)] == []


COMMANDS = {
    "compare": ["compare", "exports/digits/softmax", "exports/digits/conv-tiny", "--plot", "comparison.png"],
    "demo": ["demo", "exports/digits/softmax", "--html", "demo.html"],
    "gallery": ["gallery"],
    "explain": [
        "predict",
        "exports/digits/conv-tiny",
        "exports/digits/softmax/samples/0.png",
        "--explain",
        "explained",
    ],
    "triton": ["export", "exports/digits/softmax", "--layout", "triton"],
    "quantize": ["quantize", "exports/digits/mlp-small", "--precision", "float16", "--margin", "100"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_that_writes_syncs_first(store, synced, command):
    for model in ("softmax", "conv-tiny", "mlp-small"):
        shutil.copytree(SHIPPED / model, store / "exports/digits" / model)
        for path in (store / "exports/digits" / model).rglob("*"):
            sync(path)
    assert main(COMMANDS[command]) == 0
    assert synced.renamed


RENAME = {
    "core/support/atomic.py",
    "inference/bulk/answers.py",
    "publishing/gallery.py",
    "search/storage.py",
    "tracking/outbox/journal.py",
    "tracking/store.py",
}


def test_nothing_else_renames_files():
    """Whoever has to replace a file takes `atomic_file` or `atomic_folder`; the others sync, as the tests above see."""
    root, found = Path(pipelines.__file__).parent, set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                replaces = node.func.attr == "replace" and len(node.args) == 1 and not node.keywords
                replaces = replaces and not isinstance(node.args[0], ast.Starred)  # of a text
                if replaces or node.func.attr in ("rename", "hardlink_to", "move", "link"):
                    found.add(path.relative_to(root).as_posix())
    assert found == RENAME


def test_an_outbox_that_is_removed_halfway_sends_nothing_again(tmp_path):
    """The records are gone first: their files went when they were confirmed, and without what says so they are sent."""
    folder = tmp_path / "outbox"
    journal = Journal(folder)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / MODEL_FILE).write_bytes(b"model")
    journal.append({"kind": "folder", "path": None}, tmp_path / "files")
    journal.confirm(journal.waiting()[0])
    removed = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda path, **_: removed.append(path))  # killed before it begins
        journal.close()
    assert removed == [folder]
    again = Journal(folder)
    assert again.waiting() == []
