"""What people read in the MLflow UI says what the store knows, and nothing that somebody named can break it."""

from __future__ import annotations

import html
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest

from pipelines import tracking
from pipelines.core.provenance.plan import Origin, load_data, make_plan
from pipelines.tracking.describing import NOTE, OURS, RESULTS, describe_data, run_name, shown, update_experiment
from pipelines.tracking.runs.seed_spread import log_seeds
from pipelines.tracking.store import experiment_id
from zoo.models import build

TESTED = {"test_accuracy": 0.75, "test_accuracy_low": 0.7, "test_accuracy_high": 0.8, "test_images": 359}


@pytest.fixture(scope="module", autouse=True)
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def plan():
    return make_plan("softmax", "digits", settings={"epochs": 3})


def start(plan, **facts):
    return tracking.start_run(plan, load_data(plan), facts)


def stored(run):
    with tracking.open_client() as client:
        return client.get_run(run)


def note(run):
    return stored(run).data.tags[NOTE]


def test_trainings_that_describe_a_new_experiment_at_once_all_go_on(store, plan):
    data_set, together = load_data(plan), Barrier(6)

    def describe(name):
        with tracking.open_client() as client:
            experiment = client.get_experiment_by_name(name).experiment_id
            together.wait(timeout=60)
            update_experiment(client, experiment, data_set)
            return client.get_experiment(experiment).tags

    tracking.check_store()
    for name in map(str, range(5)):
        with tracking.open_client() as client:
            experiment_id(client, name)
        with ThreadPoolExecutor(6) as several:
            for tags in several.map(describe, [name] * 6):
                assert {RESULTS, NOTE} <= tags.keys()


# --- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "reading", "name"),
    [
        ({}, {}, "softmax"),
        ({"epochs": 3}, {}, "softmax epochs=3"),  # which says itself that there is no least number of updates
        ({"epochs": 3, "least_updates": 100}, {}, "softmax epochs=3 least_updates=100"),
        ({"seed": 2, "optimizer": "muon"}, {}, "softmax optimizer=muon seed=2"),
        ({}, {"size": (16, 12), "resizing": "pad"}, "softmax 16x12 pad"),
        ({"teacher": "/home/me/secret/digits/lenet5"}, {}, "softmax teacher=digits/lenet5"),
    ],
)
def test_a_run_is_named_after_its_model_and_what_is_special(settings, reading, name):
    assert run_name(make_plan("softmax", "digits", settings=settings, **reading)) == name


def test_a_run_that_starts_from_another_model_says_so(plan):
    origin = Origin("runs:/1234", "fashion-mnist/conv-small", "0" * 64)
    assert run_name(replace(plan, source=origin)) == "softmax from fashion-mnist/conv-small epochs=3"


def test_a_name_stays_short(plan):
    origin = Origin("x", "long" * 100, "0" * 64)
    assert len(run_name(replace(plan, source=origin))) == 120


# --- descriptions --------------------------------------------------------------------------------------------------


def test_a_description_follows_the_run_from_its_start_to_its_export(plan):
    run = start(plan)
    assert "**In training**" in note(run)
    assert f"zoo train --resume {run[:8]}" in note(run)
    tracking.log_metrics(run, {"best_epoch": 2, "best_validation_accuracy": 0.625})
    assert "Validation accuracy **62.50%**; not evaluated on the test set yet" in note(run)
    tracking.finish(run, "FINISHED")
    assert f"zoo evaluate {run[:8]}" in note(run)
    assert "--resume" not in note(run)
    tracking.log_metrics(run, TESTED)
    assert "Test accuracy **75.00%** on 359 images (95% interval 70.00% to 80.00%)" in note(run)
    assert f"zoo export {run[:8]}" in note(run)
    assert f"](get-artifact?path=evaluation%2Fsmall%2Fcurves.png&run_uuid={run})" in note(run)
    tracking.log_metrics(run, {"export_size": 5000, "largest_difference": 1e-7, "latency": 0.02})
    assert 'zoo.load("exports/digits/softmax")' in note(run)
    assert "0.02 ms for one image" in note(run)
    tracking.log_metrics(run, {"int8_accuracy": 0.74, "int8_size": 2000, "int8_speedup_64": 1.5})
    assert "| int8 | 74.00%, 2 kB, 1.50 times as fast with a batch of 64 |" in note(run)


@pytest.mark.parametrize(("status", "word"), [("KILLED", "Interrupted"), ("FAILED", "Failed")])
def test_a_run_that_ended_early_says_how_to_go_on(plan, status, word):
    run = start(plan)
    tracking.finish(run, status)
    assert f"**{word}**" in note(run)
    assert "zoo train --resume" in note(run)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("", ""),
        (
            "<!-- zoo: what stands between these two lines is kept up to date, what you write outside stays -->\n",
            "\n<!-- /zoo -->",
        ),
    ],
    ids=["today", "of an older version"],
)
def test_what_somebody_wrote_beside_it_stays(plan, begin, end):
    run = start(plan)
    with tracking.open_client() as client:
        client.set_tag(run, NOTE, f"Mine, above.\n\n{begin}{note(run)}{end}\n\nMine, below.")
    for metrics in (TESTED, {"export_size": 5000, "largest_difference": 1e-7}):
        tracking.log_metrics(run, metrics)
        assert note(run) == f"Mine, above.\n\n{stored(run).data.tags[OURS]}\n\nMine, below."
    assert note(run).count("75.00%") == 1
    with tracking.open_client() as client:
        client.set_tag(run, NOTE, "All mine.")
    tracking.finish(run, "FINISHED")
    assert note(run).startswith("All mine.\n\nTest accuracy")


@pytest.mark.parametrize("name", ["my images/cats (2024), v1.2 + 5%", "my_first_data-set", "Bücher=Übung's"])
def test_usual_names_are_readable_where_markdown_is_not_rendered(plan, name):
    run = start(plan)
    tracking.log_metrics(run, TESTED)
    assert shown(name) == name
    for text in (note(run), describe_data(replace(load_data(plan), name=name), "7")):
        assert "<!--" not in text and "&#" not in text
    assert "`" not in describe_data(load_data(plan), "7")


def test_the_curves_come_before_the_table(plan):
    run = start(plan)
    tracking.log_metrics(run, TESTED)
    assert note(run).index("curves.png") < note(run).index("|---|") < note(run).index("confusion.png")


def test_a_data_set_is_described_with_hostile_names_as_plain_text(plan):
    hostile = '<img src=x onerror="alert(1)"> `[x](javascript:alert(2))` | **b** <!-- /zoo -->'
    data_set = replace(load_data(plan), name=hostile, labels=(hostile, *"123456789"))
    told = describe_data(data_set, "7")
    assert "(#/experiments/7/runs?viewStateShareKey=results" in told
    ours = (
        told.replace("**", "")
        .replace(f"[Table of results]({told.split('](')[1].split(')')[0]})", "")
        .replace("`zoo runs`", "")
    )
    for sign in "<>[]`|*":
        assert sign not in ours
    assert html.unescape(ours).startswith(f"{hostile}: images")
    assert f"classes: {hostile[:60].strip()}, 1, 2" in html.unescape(ours)


def test_an_experiment_has_a_table_of_results_and_keeps_what_is_written_on_it(plan):
    run = start(plan)
    with tracking.open_client() as client:
        experiment = client.get_experiment(stored(run).info.experiment_id)
        assert '"metrics.`test_accuracy`"' in experiment.tags[RESULTS]
        changed = experiment.tags[NOTE].replace("digits", "my digits")
        client.set_experiment_tag(experiment.experiment_id, NOTE, changed)
        start(plan)
        assert client.get_experiment(experiment.experiment_id).tags[NOTE] == changed


# --- metrics of a model, on a split of the data --------------------------------------------------------------------


def test_metrics_belong_to_a_model_and_to_a_split_of_the_data(plan):
    run = start(plan)
    tracking.log_keras_model(run, build("softmax", 8, 8, 1, 10))
    tracking.log_metrics(run, TESTED, model=tracking.KERAS_MODEL, split="test")
    with tracking.open_client() as client:
        (model,) = client.search_logged_models([stored(run).info.experiment_id], f"source_run_id = '{run}'")
    assert str(model.status) == "READY"
    assert {metric.key: metric.value for metric in model.metrics} == TESTED
    assert {(metric.dataset_name, metric.dataset_digest) for metric in model.metrics} == {
        ("digits-test", load_data(plan).digest[:32])
    }
    assert (model.tags["model"], model.tags["family"], model.params["epochs"]) == ("softmax", "dense", "3")


# --- seeds ---------------------------------------------------------------------------------------------------------


def of_seed(accuracy, seed):
    plan = make_plan("softmax", "digits", settings={"epochs": 3, "seed": seed})
    run = start(plan, parameters=650)
    tracking.log_metrics(run, {**TESTED, "test_accuracy": accuracy, "parameters": 650})
    tracking.finish(run, "FINISHED")
    return run


def test_runs_of_several_seeds_are_children_of_one_that_tells_their_spread():
    accuracies = (0.90, 0.92, 0.95)
    runs = [of_seed(accuracy, seed) for seed, accuracy in enumerate(accuracies, start=1)]
    parent = log_seeds(runs[:2])
    assert log_seeds(runs) == parent
    assert log_seeds(runs[:2]) == parent
    with tracking.open_client() as client:
        assert client.get_run(parent).data.metrics["seeds"] == 2, "as its name says"
    assert log_seeds(runs) == parent
    found = stored(parent)
    assert found.info.run_name == "softmax epochs=3, 3 seeds"
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test_accuracy"] == pytest.approx(np.mean(accuracies))
    assert found.data.metrics["test_accuracy_deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert found.data.metrics["parameters"] == 650
    assert "Test accuracy **92.33% ± 2.52**" in found.data.tags[NOTE]
    assert {stored(run).data.tags["mlflow.parentRunId"] for run in runs} == {parent}
    # The parent is no training of its own: it counts as no seed, and isn't found for one.
    assert tracking.accuracies_by_seed(tracking.load_run(runs[0])) == dict(enumerate(accuracies, start=1))
    others = log_seeds([runs[1], of_seed(0.93, 4)])  # as a sweep confirms its winner with one that there is already
    assert others != parent
    assert stored(runs[1]).data.tags["mlflow.parentRunId"] == parent, "it stays with those that it was trained with"
    with tracking.open_client() as client:
        client.delete_run(parent)
    assert log_seeds(runs) != parent, "unless these are gone"
    assert {stored(run).data.tags["mlflow.parentRunId"] for run in runs} == {log_seeds(runs)}
