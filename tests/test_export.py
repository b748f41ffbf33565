"""An export appears whole and verified, or not at all; what was there before stays until then."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

import zoo
from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting import export as exporting
from pipelines.exporting.export import export, write_export
from pipelines.publishing.triton import triton
from zoo.contract import MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, Metadata, read_manifest
from zoo.errors import ExportError, VerificationError
from zoo.models import build


def fitted_softmax(data_set):
    """A Keras model that knows its digits, by least squares."""
    model = build("softmax", 8, 8, 1, 10)
    pixels = data_set.train.inputs.reshape(len(data_set.train), -1) / 255
    targets = 12 * np.eye(10)[data_set.train.labels]
    weights = np.linalg.lstsq(np.hstack([pixels, np.ones((len(pixels), 1))]), targets)[0].astype(np.float32)
    model.get_layer("head_dense").set_weights([weights[:-1], weights[-1]])
    return model


@pytest.fixture(scope="module")
def digits():
    return load_data(make_plan("softmax", "digits"))


@pytest.fixture(scope="module")
def model(digits):
    return fitted_softmax(digits)


@pytest.fixture(scope="module")
def metadata(model, digits, metadata_of):
    return metadata_of("softmax", model, digits)


@pytest.fixture(scope="module")
def accuracy(metadata):
    return metadata.test_accuracy


@pytest.fixture(scope="module")
def run(shared_store, digits, model, accuracy):
    """The id of a finished and evaluated run in a store of its own."""
    plan = make_plan("softmax", "digits")
    run_id = tracking.start_run(plan, digits, {"parameters": model.count_params()})
    tracking.log_keras_model(run_id, model)
    tracking.finish(run_id, "FINISHED")
    tracking.log_epoch(run_id, 1, dict.fromkeys(tracking.HISTORY, 0.5))
    tracking.log_metrics(run_id, {"best_epoch": 1})
    evaluate(run_id)
    return run_id


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export(run[:12], exports=tmp_path_factory.mktemp("exports"))


def test_a_run_becomes_a_folder_that_an_app_loads(exported, digits, accuracy):
    classifier = zoo.load(exported.folder)
    assert exported.folder.parts[-2:] == ("digits", "softmax")
    answers = [prediction.label for prediction in classifier.predict_batch(digits.test.inputs)]
    right = np.mean([answer == digits.labels[label] for answer, label in zip(answers, digits.test.labels, strict=True)])
    assert right == pytest.approx(accuracy) and right > 0.9


def test_the_file_names_the_run_that_made_it(exported, run, model):
    stray = onnx.load(exported.folder / MODEL_FILE)
    found = Metadata.from_properties({p.key: p.value for p in stray.metadata_props}, "stray.onnx")
    assert found == exported.metadata
    assert found.run_id == run
    assert found.weights_sha256 == weights_sha256(tracking.load_keras_model(run)) == weights_sha256(model)
    assert found.parity["largest_difference"] <= 1e-5
    assert found.parity["same_top_class"] == 1
    assert {"keras", "onnx", "tf2onnx"} <= set(found.versions)


def test_the_manifest_names_all_that_is_there(exported, digits, model):
    manifest = read_manifest(exported.folder)
    there = {path.relative_to(exported.folder).as_posix() for path in exported.folder.rglob("*") if path.is_file()}
    assert {file.path for file in manifest.files} == there - {MANIFEST_FILE}
    assert manifest.metrics["parameters"] == model.count_params()
    assert manifest.metrics["multiply_accumulates"] == 640
    assert manifest.metrics["receptive_field"] == 0, "each answer sees the whole image"
    assert manifest.metrics["size"] == (exported.folder / MODEL_FILE).stat().st_size
    assert manifest.metrics["test_images"] == len(digits.test)


def test_the_manifest_holds_the_metrics_of_the_test(exported, run, accuracy):
    metrics = read_manifest(exported.folder).metrics
    tested = {name: value for name, value in tracking.load_run(run).metrics.items() if name.startswith("test_")}
    assert tested.items() <= metrics.items()
    assert 0 < metrics["test_robust_mean"] == metrics["test_robust_unseen"] < metrics["test_accuracy"]
    assert metrics["test_accuracy_seed_1"] == accuracy


def test_samples_are_test_images_of_each_class(exported, digits):
    samples = json.loads((exported.folder / SAMPLES_FILE).read_text())
    assert sorted(sample["label"] for sample in samples) == sorted(digits.labels)
    session = onnxruntime.InferenceSession(exported.folder / MODEL_FILE)
    for sample in samples:
        image = np.asarray(Image.open(exported.folder / "samples" / sample["file"]))
        assert any((image == expected[..., 0]).all() for expected in digits.test.inputs)
        answer = session.run(["probabilities"], {"images": image[None, :, :, None]})[0][0]
        np.testing.assert_array_equal(answer, np.float32(sample["probabilities"]))


def test_the_run_holds_the_same_onnx_model(exported, run):
    import mlflow

    with tracking.open_client() as client:
        (logged,) = client.search_logged_models(
            [client.get_run(run).info.experiment_id], f"source_run_id = '{run}' AND name = '{tracking.ONNX_MODEL}'"
        )
    from_run = mlflow.onnx.load_model(logged.artifact_location)
    assert from_run.graph == onnx.load(exported.folder / MODEL_FILE).graph
    assert tracking.load_run(run).metrics["largest_difference"] == exported.metadata.parity["largest_difference"]


def test_exporting_again_gives_the_same_files(exported, run):
    before = {path: path.read_bytes() for path in exported.folder.rglob("*") if path.is_file()}
    again = export(run, exports=exported.folder.parent.parent)
    assert {path: path.read_bytes() for path in again.folder.rglob("*") if path.is_file()} == before
    assert again.folder == exported.folder
    assert [path.name for path in exported.folder.parent.iterdir()] == ["softmax"]


def test_a_run_without_evaluation_is_an_error(run, digits, model, tmp_path):
    bare = tracking.start_run(make_plan("softmax", "digits"), digits, {})
    with pytest.raises(ExportError, match=f"^run {bare} has no accuracy yet: `zoo evaluate {bare[:8]}` first$"):
        export(bare, exports=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_answers_otherwise_leaves_the_older_export(tmp_path, model, digits, metadata, monkeypatch):
    goal = tmp_path / "digits" / "softmax"
    write_export(goal, model, digits, metadata, {})
    before = (goal / MANIFEST_FILE).read_bytes()

    def damaged(trained, resizing, temperature):
        other = build("softmax", 8, 8, 1, 10)
        kernel, bias = trained.get_layer("head_dense").get_weights()
        kernel[36, 3] += 0.01
        other.get_layer("head_dense").set_weights([kernel, bias])
        from pipelines.exporting.convert import convert

        return convert(other, resizing, temperature)

    monkeypatch.setattr("pipelines.exporting.export.convert", damaged)
    told = rf"^{goal} doesn't match .* differ by up to [\d.]+e-0\d, .*the worst test image is '\d+'$"
    with pytest.raises(VerificationError, match=told):
        write_export(goal, model, digits, metadata, {})
    assert (goal / MANIFEST_FILE).read_bytes() == before
    assert list(goal.parent.iterdir()) == [goal]


def test_a_failed_verification_leaves_nothing(tmp_path, model, digits, metadata, accuracy):
    with pytest.raises(VerificationError, match=r"is correct on .* test images, expected"):
        write_export(tmp_path / "a" / "b", model, digits, replace(metadata, test_accuracy=accuracy - 0.01), {})
    assert not list((tmp_path / "a").iterdir())


def test_errors_name_the_folder_that_was_asked_for(tmp_path, model, digits, metadata, accuracy):
    with pytest.raises(VerificationError) as caught:
        write_export(tmp_path / "a" / "b", model, digits, replace(metadata, test_accuracy=accuracy - 0.01), {})
    assert str(caught.value).startswith(str(tmp_path / "a" / "b" / MODEL_FILE))


def test_a_folder_that_is_no_export_is_not_replaced(tmp_path, model, digits, metadata):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match="exists and is not an export, so it will not be replaced"):
        write_export(tmp_path, model, digits, metadata, {})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_place_that_cannot_be_written_is_an_error(tmp_path, model, digits, metadata):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"can't be written \(.*\): choose another folder with --exports"):
        write_export(tmp_path / "file" / "softmax", model, digits, metadata, {})


def test_names_from_all_over_the_world_survive(tmp_path, model, digits, metadata):
    labels = ("nul/zéro", '"один"', "二", "$3$", "vier|4", "<5>", "छह", "7\n", "🎱", "")
    strange = replace(digits, labels=labels)
    exported = write_export(
        tmp_path / "x" / "y", model, strange, replace(metadata, labels=labels, data_digest=strange.digest), {}
    )
    assert zoo.load(exported.folder).labels == labels
    samples = json.loads((exported.folder / SAMPLES_FILE).read_text(encoding="utf-8"))
    assert {sample["label"] for sample in samples} == set(labels)


def test_a_run_goes_the_whole_way_to_triton_s_layout(run, tmp_path):
    model = triton(run[:8], exports=tmp_path / "exports", repository=tmp_path / "models")
    exported = tmp_path / "exports" / "digits" / "softmax"
    assert model.metadata == read_manifest(exported).metadata
    assert (model.folder / "1" / MODEL_FILE).read_bytes() == (exported / MODEL_FILE).read_bytes()


@pytest.mark.parametrize("today", [True, False])
def test_a_run_that_was_evaluated_before_and_again_has_the_metrics_of_todays_corruptions(today, monkeypatch):
    monkeypatch.setattr(tracking, "accuracies_by_seed", lambda run: {})
    metrics = {"test_accuracy": 0.9, "test_robust_accuracy": 0.5, "loss": 1.0}
    run = SimpleNamespace(metrics=metrics | ({"test_robust_mean": 0.6} if today else {}))
    left = "test_robust_mean" if today else "test_robust_accuracy"
    assert exporting.tested_metrics(run).keys() == {"test_accuracy", left}
