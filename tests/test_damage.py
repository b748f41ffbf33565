"""One record that can't be read stops nothing that others are enough for: it is named once, and left out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.comparison.candidates import find_candidates
from pipelines.maintenance.gc import gc
from pipelines.maintenance.runs import runs
from pipelines.maintenance.stale import stale
from pipelines.maintenance.sync import sync
from pipelines.publishing.list_models import list_models
from pipelines.publishing.verify_all import verify_all
from pipelines.tracking.outbox.journal import Journal
from pipelines.tracking.runs.damage import DamagedRunError
from pipelines.training.loop import checkpoint
from zoo.contract import MANIFEST_FILE
from zoo.errors import RecipeError, TrackingError, VerificationError

SHIPPED = Path(__file__).parent.parent / "exports" / "digits"


@pytest.fixture(scope="module")
def plan():
    return make_plan("softmax", "digits")


@pytest.fixture(scope="module")
def good(shared_store, plan):
    """A finished run, an interrupted one and a finished one of another seed, all before the damaged ones."""
    return a_run(plan), a_run(plan, "KILLED"), a_run(make_plan("softmax", "digits", settings={"seed": 2}))


def a_run(plan, status="FINISHED"):
    run = tracking.start_run(plan, load_data(plan), {}, fingerprint="f")
    tracking.log_metrics(run, {"test_accuracy": 0.5})
    checkpoint.save(checkpoint.Checkpoint(4, "float32", (), None), run)
    tracking.finish(run, status)
    return run


def plan_file(run):
    with tracking.open_client() as client:
        return Path(client.get_run(run).info.artifact_uri.removeprefix("file://").replace("%20", " ")) / "plan.json"


def without(tag):
    def forget(run):
        with tracking.open_client() as client:
            client.delete_tag(run, tag)

    return forget


def with_tag(tag, value):
    def change(run):
        with tracking.open_client() as client:
            client.set_tag(run, tag, value)

    return change


FAULTS = {
    "an empty plan": lambda run: plan_file(run).write_bytes(b""),
    "half a plan": lambda run: plan_file(run).write_text('{"model": "soft'),
    "zeros for a plan": lambda run: plan_file(run).write_bytes(bytes(700)),
    "a plan that is no text": lambda run: plan_file(run).write_bytes(b"\xff\xfe\x00"),
    "a plan of other fields": lambda run: plan_file(run).write_text("[]"),
    "no plan": lambda run: plan_file(run).unlink(),
    "a folder for a plan": lambda run: (plan_file(run).unlink(), plan_file(run).mkdir()),
    "no data set": without("data_set"),
    "no digest of the data": without("data_digest"),
}
HARMLESS = {
    "no sign of life": with_tag("process.heartbeat", "yesterday"),
    "no process": with_tag("process.pid", "many"),
    "no model": without("model"),
}


def test_each_damaged_run_is_named_once_and_left_out(good, plan, caplog):
    """Whatever is wrong with it: one of each kind, finished, and one interrupted."""
    finished, interrupted, other_seed = good
    damaged = {}  # run -> what is wrong with it, in pairs
    for name, fault in FAULTS.items():
        for run in (a_run(plan), a_run(plan, "KILLED")):
            damaged[run] = name
            fault(run)
            with pytest.raises((DamagedRunError, RecipeError)):
                tracking.load_run(run)
    caplog.set_level(logging.WARNING, "zoo")
    for _ in range(2):
        assert tracking.find_finished(plan, ["f"]) == finished
        assert tracking.find_interrupted(plan, "f") == (interrupted,)
    # Of one seed the latest run counts, and the one that was asked for.
    assert tracking.accuracies_by_seed(tracking.load_run(finished)) == {1: 0.5, 2: 0.5}
    (candidate,) = find_candidates(["digits"], Path())
    assert candidate.run_id == other_seed
    times = {run: sum(run[:8] in message for message in caplog.messages) for run in damaged}
    assert [damaged[run] for run, count in times.items() if count != 1] == []
    assert {run.run for run in runs(most=None).runs} == {*damaged, *good}
    assert stale() == ()
    assert {*list(damaged)[::2], *good} - {each.run for each in gc().leftovers} == {interrupted}
    with tracking.open_client() as client:
        for run in damaged:
            client.delete_run(run)
            checkpoint.delete(run)


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_a_list_shows_of_a_run_may_be_missing(good, plan, fault):
    run = tracking.start_run(plan, load_data(plan), {}, fingerprint="g")
    HARMLESS[fault](run)
    assert run not in {each.run for each in stale()}
    assert run in {each.run for each in runs(most=None).runs}
    assert find_candidates(["digits"], Path())
    tracking.finish(run, "KILLED")


@pytest.mark.parametrize("content", [b"", b"\xff\n{}\n", b"{}\n{}\n", bytes(100) + b"\n\n"])
def test_a_damaged_outbox_keeps_no_other_from_being_sent(good, plan, content):
    damaged, other = a_run(plan), a_run(plan)
    for run in (damaged, other):
        journal = Journal(tracking.OUTBOX_FOLDER / run, tracking.store_uri())
        journal.append({"kind": "tags", "tags": {"late": "yes"}})
        journal._lock.release()
    folder = tracking.OUTBOX_FOLDER / damaged
    (folder / "journal.jsonl").write_bytes(content)
    (folder / "store").write_bytes(b"\xff\xff")
    found = {each.run: each for each in sync()}
    assert found[other].sent == 1
    assert tracking.load_run(other).tags["late"] == "yes"
    assert not found[damaged].sent
    stale()
    gc()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "content",
    [b"", *(pytest.param(each, marks=pytest.mark.slow) for each in (b"{", bytes(50), b"\xff", b"[]"))],
)  # one of many ways to be damaged: test_damaged_exports has the others
def test_a_damaged_export_is_left_out_of_the_list_and_named_when_all_are_verified(tmp_path, caplog, content):
    for name in ("softmax", "mlp-small"):
        shutil.copytree(SHIPPED / name, tmp_path / "digits" / name)
    (tmp_path / "digits/mlp-small" / MANIFEST_FILE).write_bytes(content)
    found = list_models(tmp_path)
    assert [row.name for row in found if row.accuracy] == ["softmax"]
    assert sum("mlp-small" in message for message in caplog.messages) == 1
    with pytest.raises(VerificationError) as error:
        verify_all(tmp_path)
    assert len(str(error.value).splitlines()) == 1
    assert "mlp-small" in str(error.value)


def test_an_experiment_whose_runs_are_all_damaged_is_not_compared(store, plan, caplog, capfd):
    plan_file(a_run(plan)).unlink()
    with pytest.raises(TrackingError, match="each finished run of digits is damaged: train its models again"):
        find_candidates(["digits"], Path())
    assert "is left out" in caplog.text
    assert capfd.readouterr().err == "", "no bar of MLflow's"
