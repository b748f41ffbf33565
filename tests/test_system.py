"""What the machine does while a run trains is written beside the training, and never in its way."""

from __future__ import annotations

import threading
import time

import pytest
from processes import until

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan


@pytest.fixture(scope="module")
def run(shared_store):
    plan = make_plan("softmax", "digits")
    return tracking.start_run(plan, load_data(plan), {})


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr("pipelines.tracking.runs.system_metrics.FIRST", 0.1)
    monkeypatch.setattr("pipelines.tracking.runs.system_metrics.LONGEST", 0.2)


def test_processor_and_memory_are_written_with_the_time_at_which_they_were_seen(run, impatient):
    before = int(time.time() * 1000)
    with tracking.watch_machine(run):
        until(lambda: len(history(run)) >= 3, every=0.1)
    seen = history(run)
    assert all(value > 1 for _, value in seen)  # MB of this process
    times = [timestamp for timestamp, _ in seen]
    assert before <= times[0] < times[-1] <= time.time() * 1000
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
    } <= metrics(run).keys()
    assert not [thread for thread in threading.enumerate() if thread.name == "watch_machine"]


def test_what_the_machine_did_is_no_figure_of_the_run(run):
    assert not [name for name in tracking.load_run(run).metrics if name.startswith("system/")]


def test_a_store_that_fails_ends_the_watching_and_not_the_training(run, impatient, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/nowhere/else.db")
    (tmp_path / "nowhere").write_text("", encoding="utf-8")
    with tracking.watch_machine(run):
        until(lambda: "system metrics stopped: the tracking store" in caplog.text)


def metrics(run):
    with tracking.open_client() as client:
        return client.get_run(run).data.metrics


def history(run):
    with tracking.open_client() as client:
        found = client.get_metric_history(run, "system/process_memory_usage_megabytes")
    return sorted((metric.timestamp, metric.value) for metric in found)
