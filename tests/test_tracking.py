"""The store: what is written into it can be found and read again, and what stops it is told in one sentence."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import urllib.request
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import begin_run, end, start
from servers import ask, free_port, serving

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.training.earlier_code import FILES, fingerprint_before
from pipelines.training.fingerprint import fingerprint, fingerprints, is_code_of, library_versions
from zoo.errors import TrackingError
from zoo.models import build

ROOT = Path(__file__).parent.parent
HISTORY = dict.fromkeys(tracking.HISTORY, 0.5)


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def plan():
    return make_plan("softmax", "digits", settings={"epochs": 3})


@pytest.fixture(scope="module")
def model():
    return build("softmax", 8, 8, 1, 10)


@pytest.fixture(scope="module")
def run(folder, plan, model):
    """A run as a training and an export write it."""
    facts = {"arithmetic": "float32", "parameters": 650}
    run = tracking.start_run(plan, load_data(plan), facts, fingerprint=fingerprint(plan))
    for epoch in (1, 2, 3):
        tracking.log_epoch(run, epoch, {**HISTORY, "train_loss": 1 / epoch})
    tracking.log_keras_model(run, model)
    tracking.log_metrics(run, {"test_accuracy": 0.75})
    tracking.log_export(run, onnx_model(), {"largest_difference": 1e-7})
    tracking.finish(run, "FINISHED")
    return run


def onnx_model() -> Any:
    """images uint8 [N, H, W, 1] -> two outputs [N, 10], the sum of all pixels ten times: small, and easy to check."""
    from onnx import TensorProto, checker, helper

    nodes = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["numbers", "axes"], ["sums"], keepdims=0),
        helper.make_node("Expand", ["sums1", "shape"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    nodes.insert(2, helper.make_node("Reshape", ["sums", "column"], ["sums1"]))
    constants = {"axes": [1, 2, 3], "column": [-1, 1], "shape": [1, 10]}
    graph = helper.make_graph(
        nodes,
        "counting",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", "H", "W", 1])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 10]) for name in ("probabilities", "logits")],
        [helper.make_tensor(name, TensorProto.INT64, [len(value)], value) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    checker.check_model(made, full_check=True)
    return made


@contextmanager
def client():
    with tracking.open_client() as found:
        yield found


# --- what is written -----------------------------------------------------------------------------------------------


def test_a_run_is_read_as_it_was_written(run, plan):
    found = tracking.load_run(run)
    assert (found.run_id, found.status, found.plan, found.data_set) == (run, "FINISHED", plan, "digits")
    assert found.data_digest == load_data(plan).digest
    assert found.fingerprint == fingerprint(plan)
    assert found.metrics == {"test_accuracy": 0.75, "largest_difference": 1e-7}
    assert found.history["train_loss"] == (1, 1 / 2, 1 / 3)
    assert found.history["epoch"] == (1, 2, 3)


def test_the_whole_recipe_and_the_facts_are_parameters(run, plan):
    with client() as store:
        found = store.get_run(run)
    recipe = {name: str(value) for name, value in plan.recipe.to_json().items()}
    known = {"model": "softmax", "data": "digits", "size": "8x8x1", "classes": "10"}
    assert found.data.params == {**recipe, **known, "arithmetic": "float32", "parameters": "650"}
    assert found.info.run_name == "softmax epochs=3"
    assert {name: found.data.tags[name] for name in ("family", "model", "data_set")} == {
        "family": "dense",
        "model": "softmax",
        "data_set": "digits",
    }


def test_the_data_set_is_logged_as_three_inputs_with_its_digest(run, plan):
    with client() as store:
        inputs = store.get_run(run).inputs.dataset_inputs
    contexts = {found.tags[0].value: found.dataset for found in inputs}
    assert set(contexts) == {"train", "validation", "test"}
    assert {found.digest for found in contexts.values()} == {load_data(plan).digest[:32]}
    assert json.loads(contexts["test"].profile)["images"] == len(load_data(plan).test)


def test_the_keras_model_comes_back_with_its_weights(run, model):
    found = tracking.load_keras_model(run)
    for weight, expected in zip(found.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_both_models_have_signatures_and_hold_no_pickle(run, folder):
    from mlflow.models import Model

    outputs = ["probabilities", "logits"]
    for name, label in ((tracking.KERAS_MODEL, []), (tracking.ONNX_MODEL, ["label"])):
        info = Model.load(str(model_folder(run, name)))
        assert info.run_id == run
        assert [field.name for field in info.signature.inputs.inputs] == ["images"]
        assert [field.name for field in info.signature.outputs.inputs] == [*label, *outputs]
    names = {path.name for path in (folder / "mlruns").rglob("*") if path.is_file()}
    assert {"model.keras", "model.onnx", "plan.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".data"))]


def model_folder(run: str, name: str) -> Path:
    with client() as store:
        experiment = store.get_run(run).info.experiment_id
        (found,) = store.search_logged_models([experiment], f"source_run_id = '{run}' AND name = '{name}'")
    assert str(found.status) == "READY"
    return Path(urllib.request.url2pathname(found.artifact_location.removeprefix("file://")))


def test_what_is_measured_again_counts_as_measured_last(folder, plan):
    run = tracking.start_run(plan, load_data(plan), {})
    for epoch, loss in ((1, 3.0), (2, 2.0), (2, 1.5), (3, 1.0)):
        tracking.log_epoch(run, epoch, {"train_loss": loss})
    assert tracking.load_run(run).history == {"train_loss": (3.0, 1.5, 1.0), "epoch": (1, 2, 3)}


def test_what_was_not_measured_is_not_in_the_history(folder, plan):
    run = tracking.start_run(plan, load_data(plan), {})
    for epoch in (1, 2):
        tracking.log_epoch(run, epoch, {"train_loss": 1 / epoch, "validation_accuracy": float("nan")})
    assert tracking.load_run(run).history == {"train_loss": (1, 1 / 2), "epoch": (1, 2)}


def test_what_a_head_learned_before_is_epoch_0_of_the_history(folder, plan):
    run = tracking.start_run(plan, load_data(plan), {})
    tracking.log_epoch(run, 0, {"validation_accuracy": 0.5})
    tracking.log_epoch(run, 4, {"train_loss": 1.0, "validation_accuracy": 0.75})
    history = tracking.load_run(run).history
    assert (history["epoch"], history["validation_accuracy"]) == ((0, 4), (0.5, 0.75))
    assert np.array_equal(history["train_loss"], (np.nan, 1.0), equal_nan=True)


@pytest.mark.slow  # three processes that lay out a store; test_describing has one race
def test_runs_that_open_a_new_store_at_once_all_find_it_whole(tmp_path):
    begun = [start(tmp_path, begin_run) for _ in range(3)]
    assert [end(process) for process in begun] == [0, 0, 0], (tmp_path / "told.txt").read_text(encoding="utf-8")
    assert len(list((tmp_path / "mlruns" / "artifacts").glob("*/*"))) == 3
    assert {path.name for path in (tmp_path / "mlruns").iterdir()} == {"mlflow.db", "artifacts"}


def test_nothing_is_written_beside_the_store(run, folder):
    assert [path.name for path in folder.iterdir()] == ["mlruns"]
    assert {path.name for path in (folder / "mlruns").iterdir()} == {"mlflow.db", "artifacts"}


# --- finding runs --------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_first_digits(run):
    assert tracking.find_run(run) == tracking.find_run(run[:10]) == tracking.find_run(f"runs:/{run}") == run


def test_several_runs_that_begin_alike_are_told(run, plan):
    first = {run[0]}
    runs = [run]
    while len(first) == len(runs):  # 17 runs at most: there are 16 digits
        runs.append(tracking.start_run(plan, load_data(plan), {}))
        first.add(runs[-1][0])
    with pytest.raises(TrackingError, match=r"runs begin with .*: give more digits"):
        tracking.find_run(runs[-1][0])


@pytest.mark.parametrize("name", ["zz", "", "0000000000", "' OR 1=1", "%"])
def test_a_run_that_is_not_there_is_told_with_the_latest_ones(run, name):
    with pytest.raises(TrackingError, match=r"begins with .*: the latest are \w{8} \(softmax "):
        tracking.find_run(name)


def test_a_finished_run_of_the_same_plan_is_found(run, plan):
    assert tracking.find_finished(plan, fingerprints(plan)) == run
    other = make_plan("softmax", "digits", settings={"epochs": 4})
    assert tracking.find_finished(other, fingerprints(other)) is None


def test_a_run_that_was_begun_when_files_were_compared_is_found_and_goes_on(folder):
    plan = make_plan("softmax", "digits", settings={"epochs": 8})  # 7 were rounded up then
    if not is_code_of(FILES, plan):
        pytest.skip("the code that trains means something else by now")
    before = fingerprint_before(plan, library_versions())
    run = tracking.start_run(plan, load_data(plan), {}, fingerprint=before, code=FILES)
    tracking.finish(run, "FINISHED")
    assert tracking.find_finished(plan, fingerprints(plan)) == run
    assert tracking.find_finished(plan, (fingerprint(plan),)) is None


def test_a_run_of_the_same_images_in_another_place_is_not_taken_for_one_of_this_plan(run, plan):
    assert tracking.find_finished(replace(plan, size=(8, 8)), fingerprints(plan)) is None


def test_runs_that_differ_in_their_seed_alone_are_found(folder, plan, caplog):
    def tested(accuracy, status="FINISHED", model="softmax", **settings):
        changed = make_plan(model, "digits", settings={"epochs": 5, **settings})
        run = tracking.start_run(changed, load_data(changed), {})
        tracking.log_metrics(run, {"test_accuracy": accuracy})
        tracking.finish(run, status)
        return run

    tested(0.10, seed=2)
    tested(0.93, seed=3)
    tested(0.92, seed=2)  # of two runs of one seed the latest counts
    own = tested(0.91)
    tested(0.11, status="KILLED", seed=4)
    tested(0.12, epochs=6, seed=5)
    tested(0.13, model="lenet5", seed=6)
    tested(0.14)  # its own seed again: the run that was asked for counts
    tracking.log_tags(tested(0.15, seed=7), {tracking.ENDED_BY: tracking.OBSERVER})
    with tracking.open_client() as client:  # of a sweep, or of an export that was promoted: no plan, and no damage
        sweep = tracking.start_sweep("shades", load_data(plan), ["softmax"], {})
        client.log_metric(sweep, "test_accuracy", 0.16)
        client.set_terminated(sweep, "FINISHED")
    assert tracking.accuracies_by_seed(tracking.load_run(own)) == {1: 0.91, 2: 0.92, 3: 0.93}
    assert "left out" not in caplog.text
    alone = tested(0.5, epochs=7)
    assert tracking.accuracies_by_seed(tracking.load_run(alone)) == {1: 0.5}


def test_a_run_of_another_version_has_another_recipe(folder, plan):
    runs = []
    for seed, field in ((1, "seed"), (2, "forgotten_field")):
        changed = make_plan("softmax", "digits", settings={"epochs": 8, "seed": seed})
        runs.append(tracking.start_run(changed, load_data(changed), {}))
        tracking.log_metrics(runs[-1], {"test_accuracy": 0.9})
        tracking.finish(runs[-1], "FINISHED")
        with client() as store:
            store.log_text(runs[-1], changed.to_json().replace('"seed"', f'"{field}"'), "plan.json")
    assert tracking.accuracies_by_seed(tracking.load_run(runs[0])) == {1: 0.9}


def test_a_run_without_a_model_says_so(run, plan):
    empty = tracking.start_run(plan, load_data(plan), {})
    with pytest.raises(TrackingError, match="holds no trained model"):
        tracking.load_keras_model(empty)


def test_a_run_of_somebody_else_is_refused(run):
    with client() as store:
        foreign = store.create_run("0").info.run_id
    with pytest.raises(TrackingError, match="was not made by `zoo train`"):
        tracking.load_run(foreign)


def test_a_database_whose_driver_is_missing_is_told(plan, monkeypatch):
    with socket.socket() as database:
        database.bind(("127.0.0.1", 0))
        database.listen()
        uri = f"postgresql+psycopg2cffi://user:secret@127.0.0.1:{database.getsockname()[1]}/runs"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(TrackingError, match="failed: No module named 'psycopg2cffi'") as told:
            tracking.find_run("abc")
    assert "secret" not in str(told.value)


def test_where_nothing_was_written_nothing_is_found_or_made(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrackingError, match="there are no runs yet"):
        tracking.find_run("abc")
    assert tracking.find_finished(plan, fingerprints(plan)) is None
    assert not list(tmp_path.iterdir())


def test_an_export_that_names_its_run_by_a_digit_names_none(run):
    assert tracking.find_maker(run) == run
    with pytest.raises(TrackingError, match="the export names no run, but"):
        tracking.find_maker(run[:1])


# --- stores that can't be used -------------------------------------------------------------------------------------


def test_a_locked_store_is_told_soon(run, plan, folder, monkeypatch):
    monkeypatch.setattr("pipelines.tracking.store.LOCK_PATIENCE", 0.2)
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(TrackingError, match=r"can't be written \(database is locked\): close what holds it"):
            tracking.log_metrics(run, {"test_accuracy": 1.0})
        other.execute("ROLLBACK")
    assert tracking.load_run(run).metrics["test_accuracy"] == 0.75


def test_a_store_in_an_impossible_place_is_told(plan, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError, match=r"can't be written .*MLFLOW_TRACKING_URI"):
        tracking.start_run(plan, load_data(plan), {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="whoever is root may write everywhere")
def test_a_store_without_permission_is_told(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o500)
    with pytest.raises(TrackingError, match="can't be written"):
        tracking.start_run(plan, load_data(plan), {})


def test_a_file_that_is_no_database_is_told_and_left_alone(plan, tmp_path, monkeypatch):
    path = tmp_path / "mlflow.db"
    path.write_text("my notes\n" * 200, encoding="utf-8")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    with pytest.raises(TrackingError, match="file is not a database"):
        tracking.start_run(plan, load_data(plan), {})
    assert path.read_text(encoding="utf-8") == "my notes\n" * 200


def test_a_server_that_does_not_answer_is_told_without_its_password(plan, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"the tracking server http://127\.0\.0\.1:\d+ doesn't answer") as refusal:
        tracking.start_run(plan, load_data(plan), {})
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:secret@host:5000/path", "https://host:5000/path"),
        ("postgresql://me:se@cret@host/runs", "postgresql://host/runs"),
        ("postgresql://host/runs?user=me&password=secret", "postgresql://host/runs"),
        ("postgresql://me:se/cr?e#t@host/runs", "postgresql://host/runs"),
        ("postgresql://host:5432/runs?options=a@b", "postgresql://host:5432/runs"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
    ],
)
def test_a_password_is_never_shown(uri, shown):
    assert tracking.without_secrets(uri) == shown


@pytest.mark.parametrize("signs", ["/", "#", "?", "%2F"])
def test_a_password_with_signs_is_not_shown_either_where_its_server_is_away(monkeypatch, signs):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"postgresql://me:top{signs}secret@127.0.0.1:{free_port()}/runs")
    with pytest.raises(TrackingError, match=r"doesn't answer \(connection refused\)") as refusal:
        tracking.check_store()
    assert not [part for part in ("top", "secret") if part in str(refusal.value)]


def test_an_address_that_is_none_is_told(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@[::1")
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI isn't an address"):
        tracking.check_store()


# --- MLflow's own servers, on a store of ours ----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ui_shows_the_runs(run):
    arguments = ["ui", "--backend-store-uri", tracking.store_uri(), "--host", "127.0.0.1", "--workers", "1"]
    with serving(arguments, "/health") as url:
        with urllib.request.urlopen(url, timeout=60) as page:
            assert b"<title>MLflow</title>" in page.read()
        found = ask(f"{url}/api/2.0/mlflow/runs/get?run_id={run}")["run"]
        assert {metric["key"]: metric["value"] for metric in found["data"]["metrics"]}["test_accuracy"] == 0.75
        with urllib.request.urlopen(f"{url}/get-artifact?path=plan.json&run_uuid={run}", timeout=60) as plan:
            assert json.loads(plan.read())["model"] == "softmax"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_logged_keras_model_is_served(run, model, plan):
    with client() as store:
        experiment = store.get_run(run).info.experiment_id
        (logged,) = store.search_logged_models([experiment], f"source_run_id = '{run}' AND name = 'keras'")
    images = load_data(plan).test.inputs[:3]
    with serving(["models", "serve", "-m", f"models:/{logged.model_id}", "--env-manager", "local"], "/ping") as url:
        answer = ask(f"{url}/invocations", {"inputs": {"images": images.tolist()}})["predictions"]
    np.testing.assert_allclose(answer["logits"], model.predict(images, verbose=0)["logits"], rtol=1e-5)
