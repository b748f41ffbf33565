"""An export that is replaced is there at every moment, whole: for who is killed, who writes beside, and who reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import swaps

import zoo
from pipelines.cli import main
from pipelines.core.support.atomic import atomic_folder
from pipelines.exporting.quantization.quantize import quantize
from pipelines.maintenance.gc import gc
from pipelines.tracking import search
from zoo.contract import CARD_FILE, FLOAT16, FLOAT32, INT8, MANIFEST_FILE, MODEL_FILES, read_manifest
from zoo.errors import ExportError

SHIPPED = Path(__file__).parent.parent / "exports" / "digits"
# In which a folder takes another's place; in two of them where the system has no exchange of names.
STEPS = ["one", pytest.param("two", marks=pytest.mark.slow)]


@pytest.fixture
def folder(tmp_path):
    """Two versions of an export, of few files, of which the old one is in its place."""
    for name, model in (("old", "softmax"), ("new", "mlp-small")):
        (tmp_path / name).mkdir()
        manifest = read_manifest(SHIPPED / model)
        files = tuple(manifest.file(file) for file in (MODEL_FILES[FLOAT32], CARD_FILE))
        (tmp_path / name / MANIFEST_FILE).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
        for file in files:
            shutil.copy(SHIPPED / model / file.path, tmp_path / name)
    shutil.copytree(tmp_path / "old", tmp_path / "exports/digits/one")
    return tmp_path


@contextmanager
def at_work(folder, steps):
    """Writes the two versions in turn, as long as the block lasts."""
    writer = subprocess.Popen(command("forever", folder, steps), env=environment())
    try:
        yield
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()


def command(what, folder, steps):
    return [sys.executable, swaps.__file__, what, str(folder), steps]


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(SHIPPED.parents[1]), *sys.path])}


# --- killed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", STEPS)
def test_whoever_is_killed_at_any_step_leaves_the_old_export_or_the_new_one(folder, steps):
    done = subprocess.run(command("kill", folder, steps), env=environment(), capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 20, "as many steps as it takes to copy, to sync, to rename and to remove, at least"
    missing = {each["there"] for each in found} - {"softmax", "mlp-small"}
    assert missing == (set() if steps == "one" else {""})
    # What was moved aside is put back, and the command can be repeated, which leaves nothing behind.
    assert {each["restored"] for each in found} == {"softmax", "mlp-small"}
    assert {(each["again"], tuple(each["left"])) for each in found} == {("mlp-small", ())}


@pytest.mark.parametrize("named", ["exports/digits/one", "digits/one"])
def test_what_an_earlier_version_moved_aside_is_put_back_by_the_next_command(folder, monkeypatch, capsys, named):
    monkeypatch.chdir(folder)
    hidden = folder / "exports/digits/.one.abcd1234"
    hidden.mkdir()
    (folder / "exports/digits/one").rename(hidden / "old")
    shutil.copytree(folder / "new", hidden / "new")
    with pytest.raises(ExportError):
        zoo.load(named)
    assert main(["predict", named, str(SHIPPED / "softmax/samples/0.png")]) == 0
    assert "was restored" in capsys.readouterr().err
    assert zoo.load(named).metadata.model == "softmax"
    assert [path.name for path in (folder / "exports/digits").iterdir()] == ["one"]


def test_gc_knows_what_killed_commands_left_and_leaves_what_is_being_written(store):
    search("")
    digits = store / "exports/digits"
    shutil.copytree(SHIPPED / "softmax", digits / "one")
    hidden, mine = digits / ".two.abcd1234", digits / ".mine.abcd1234"
    (hidden / "new").mkdir(parents=True)
    (mine / "notes").mkdir(parents=True)
    partial = digits / "comparison.png.partial-123"
    partial.write_bytes(b"half")
    before = time.time() - 7200
    for path in (hidden, partial, mine):
        os.utime(path, (before, before))
    with atomic_folder(digits / "one") as new:
        shutil.copytree(SHIPPED / "softmax", new, dirs_exist_ok=True)
        os.utime(new.parent, (before, before))
        assert {each.folders[0].name for each in gc().leftovers} == {hidden.name, partial.name}
        gc(yes=True)
        assert new.exists()
    assert {path.name for path in digits.iterdir()} == {"one", mine.name}


# --- two writers ---------------------------------------------------------------------------------------------------


def test_two_writers_of_an_export_come_one_after_the_other(folder):
    goal, began = folder / "exports/digits/one", threading.Event()

    def add(name):
        with atomic_folder(goal) as new:
            shutil.copytree(goal, new, dirs_exist_ok=True)
            began.set()
            time.sleep(0.05)  # long enough for the others to come
            (new / name).write_text(name)

    writers = [threading.Thread(target=add, args=(f"{number}.txt",)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert began.is_set()
    assert sorted(path.name for path in goal.glob("?.txt")) == [f"{number}.txt" for number in range(4)]
    assert [path.name for path in goal.parent.iterdir()] == ["one"]


def test_int8_and_float16_made_at_once_are_both_there(folder):
    goal, failed = folder / "exports/digits/one", []

    def make(precision):
        try:
            quantize(goal, precisions=[precision], calibration=100, margin=100)
        except Exception as error:
            failed.append(error)

    shutil.rmtree(goal)
    shutil.copytree(SHIPPED / "lenet5", goal)
    unquantized(goal)
    makers = [threading.Thread(target=make, args=(precision,)) for precision in (INT8, FLOAT16)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert failed == []
    assert set(read_manifest(goal).precisions) == {"float32", INT8, FLOAT16}
    assert {zoo.load(goal, precision=precision).precision for precision in (INT8, FLOAT16)} == {INT8, FLOAT16}


def unquantized(folder):
    """Take the files of other precisions out of an export."""
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    others = {MODEL_FILES[INT8], MODEL_FILES[FLOAT16]}
    manifest["files"] = [file for file in manifest["files"] if file["path"] not in others]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest))
    for name in others:
        (folder / name).unlink(missing_ok=True)


@pytest.mark.parametrize("by", ["replaced", "removed", "written over"])
def test_an_export_that_others_changed_meanwhile_stays_as_they_left_it(folder, by):
    goal = folder / "exports/digits/one"
    refused = pytest.raises(ExportError, match="one was changed by another process in the meantime and was left alone")
    with refused, atomic_folder(goal) as new:
        shutil.copytree(goal, new, dirs_exist_ok=True)
        if by == "written over":
            (goal / MANIFEST_FILE).write_text("{}")
        else:
            shutil.rmtree(goal)
            if by == "replaced":
                shutil.copytree(folder / "new", goal)
    if by == "replaced":
        assert swaps.version_of(goal) == "mlp-small"
    assert goal.exists() == (by != "removed")
    assert [path.name for path in goal.parent.iterdir()] == ([] if by == "removed" else ["one"])


# --- readers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", STEPS)
def test_a_reader_finds_one_of_the_two_exports_whole_while_they_take_turns(folder, steps):
    with at_work(folder, steps):
        assert loaded(folder, 150) == {"softmax", "mlp-small"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("steps", STEPS)
def test_five_thousand_loads_during_swaps_find_an_export_whole(folder, steps):
    """Each swap writes and syncs some 30 files, each load reads them: minutes."""
    with at_work(folder, steps):
        assert loaded(folder, 2500) == {"softmax", "mlp-small"}


def loaded(folder, times):
    """The models that so many loads found."""
    found = set()
    while times > 0 or len(found) < 2:
        found.add(zoo.load(folder / "exports/digits/one", provider="cpu", threads=1).metadata.model)
        times -= 1
    return found


@pytest.mark.parametrize("gone", [MANIFEST_FILE, MODEL_FILES["float32"]])
def test_a_damaged_export_is_still_refused_at_once(folder, gone):
    (folder / "exports/digits/one" / gone).write_bytes(b"")
    with pytest.raises(ExportError, match=gone):
        zoo.load(folder / "exports/digits/one")
