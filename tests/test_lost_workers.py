"""Workers of which one dies: the other ends with one sentence, and the same command goes on to the same weights.

All tests here are slow: each worker is a process that starts TensorFlow. Those of the sentences alone, without a
training, are in test_heartbeat.py.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager

import numpy as np
import parallel
import psutil
import pytest
from processes import until
from workers import addresses, told, worker

from pipelines import tracking
from pipelines.tracking import TRAINED_ON
from pipelines.training.loop import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PATIENCE = 1200  # seconds, against what hangs
EPOCHS = ("--set", "epochs=9")  # validated, and kept, every third
# When the first worker dies, from which epoch the training goes on afterwards; None where there is no run yet.
CHIEF = {"start": None, "step": 0, "validation": 3, "before checkpoint": 3, "after checkpoint": 6}
OTHER = {"start": None, "step": 0, "validation": 3}


@contextmanager
def _store_of(folder, index):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / f"worker{index}")
        yield


def _to_the_end(folder, *words):
    """Both workers, until they are done; the run, and its weights."""
    where = addresses(2)
    processes = [worker(folder, where, index, *words) for index in range(2)]
    assert _codes(processes, where) == [0, 0], told(folder, 0) + told(folder, 1)
    with _store_of(folder, 0):
        (run,) = tracking.search("")
        found = tracking.load_run(run.info.run_id)
        return found, tracking.load_keras_model(found.run_id).get_weights()


def _codes(processes, where):
    """The exit codes of workers, of which nothing is left then."""
    try:
        codes = [process.wait(PATIENCE) for process in processes]
        until(lambda: not _left(where))
        return codes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _left(where):
    """Processes of workers with these addresses."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        if where in (process.info["cmdline"] or []) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def _check_sentence(folder, where, index, lost):
    """A worker has named the one that is lost, and nothing else."""
    text = (folder / f"worker{index}" / "told.txt").read_text(encoding="utf-8")
    assert re.findall(r"^zoo: (?!warning).*", text, re.MULTILINE) == [
        f"zoo: worker {lost} ({where.split(',')[lost]}) is gone: the same command, for all workers, continues from the "
        "last checkpoint"
    ]
    assert "Traceback" not in text
    assert "rror" not in text


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The weights of a training in which nobody dies."""
    run, weights = _to_the_end(tmp_path_factory.mktemp("undisturbed"), *EPOCHS)
    assert run.metrics["epochs_trained"] == 9
    return weights


@pytest.mark.parametrize("killed, moments", [(0, CHIEF), (1, OTHER)], ids=["chief", "other"])
def test_whenever_a_worker_dies_the_same_command_goes_on_to_the_same_weights(tmp_path, undisturbed, killed, moments):
    """It dies at one moment after the other, together with the process that watches over it."""
    for moment in moments:
        where = addresses(2)
        dies = [moment if index == killed else "" for index in range(2)]
        processes = [worker(tmp_path, where, index, *EPOCHS, dies=dies[index]) for index in range(2)]
        codes = _codes(processes, where)
        assert (codes[1 - killed], codes[killed]) == (1, -9), (moment, told(tmp_path, 0) + told(tmp_path, 1))
        _check_sentence(tmp_path, where, 1 - killed, killed)
        with _store_of(tmp_path, 0):
            kept = [checkpoint.load(folder.name).epoch for folder in checkpoint.FOLDER.glob("*") if folder.is_dir()]
        assert kept == ([] if moments[moment] is None else [moments[moment]]), moment

    run, weights = _to_the_end(tmp_path, *EPOCHS)
    assert run.status == "FINISHED"
    assert f"from epoch {moments[moment]}" in told(tmp_path, 0)
    # Two devices are the same two devices again: not even a rounding differs.
    assert parallel.largest_difference(undisturbed, weights) == 0


@pytest.mark.parametrize("what", ["worker", "its training"])
@pytest.mark.parametrize("killed", [0, 1], ids=["chief", "other"])
def test_a_worker_that_is_killed_amid_its_work_ends_the_other(tmp_path, killed, what):
    """At no particular moment; what: the process that was started, or the one that it watches over."""
    where, more = addresses(2), ("--set", "epochs=400")
    processes = [worker(tmp_path, where, index, *more) for index in range(2)]
    state = tmp_path / "worker0" / checkpoint.FOLDER
    try:
        until(lambda: any(_epoch(file) for file in state.glob("*/state.npz")), PATIENCE, every=0.5)
        (training,) = psutil.Process(processes[killed].pid).children()
        victim = processes[killed] if what == "worker" else training
        victim.kill()
    except BaseException:
        for process in processes:
            process.kill()
        raise
    codes = _codes(processes, where)
    assert (codes[1 - killed], codes[killed]) == (1, -9 if what == "worker" else 1)
    _check_sentence(tmp_path, where, 1 - killed, killed)
    if what != "worker":
        assert f"zoo: the process of worker {killed} was ended by signal 9 (Killed): the same" in told(tmp_path, killed)

    (left,) = (file for file in state.glob("*/state.npz"))
    epoch = _epoch(left)
    run, _ = _to_the_end(tmp_path, *more)
    assert f"from epoch {epoch}" in told(tmp_path, 0)
    assert run.status == "FINISHED"
    assert (run.facts["devices"], run.facts["workers"]) == ("2", "2")
    assert run.tags[TRAINED_ON] == f"2 devices of 2 workers, then 2 devices of 2 workers from epoch {epoch}"
    assert [file.name for file in (tmp_path / "worker1").iterdir()] == ["told.txt"]  # the chief alone writes
    assert run.run_id in told(tmp_path, 1)


def _epoch(file):
    with np.load(file) as state:
        return json.loads(state["known"].tobytes())["epoch"]
