"""An evaluation is what scikit-learn would say of the same answers, and lies in the run with its images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from keras_answers import answers_of_keras
from PIL import Image
from scipy.special import softmax
from sklearn import metrics

from pipelines import tracking
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.corruptions import KINDS, STRENGTHS, SUITE
from pipelines.evaluation.evaluate import (
    EVALUATION_FILE,
    EVALUATION_FOLDER,
    draw,
    evaluate,
    first_weights,
    read_evaluation,
)
from pipelines.tracking.describing import describe_run
from zoo.errors import ExportError, TrackingError
from zoo.models import build

HISTORY = {"train_loss": 0.9, "train_accuracy": 0.5, "validation_loss": 0.8, "validation_accuracy": 0.6}


@pytest.fixture(scope="module")
def digits():
    return load_data(make_plan("softmax", "digits"))


@pytest.fixture(scope="module")
def model(digits):
    """Softmax with the mean image of each class as weights: right more often than not, and far from always."""
    model = build("softmax", 8, 8, 1, 10)
    pixels = digits.train.inputs.reshape(len(digits.train), -1) / 255
    means = np.stack([pixels[digits.train.labels == k].mean(axis=0) for k in range(10)], axis=1)  # [64, 10]
    model.get_layer("head_dense").set_weights([means, -(means**2).sum(axis=0) / 2])
    return model


@pytest.fixture(scope="module")
def run(shared_store, digits, model):
    """The id of a finished run in a store of its own, not evaluated yet."""
    run_id = tracking.start_run(make_plan("softmax", "digits"), digits, {"parameters": 650})
    for epoch in (2, 4, 6):
        tracking.log_epoch(run_id, epoch, {name: value / epoch for name, value in HISTORY.items()})
    tracking.log_metrics(run_id, {"best_epoch": 4})
    tracking.log_keras_model(run_id, model)
    tracking.finish(run_id, "FINISHED")
    return run_id


@pytest.fixture(scope="module")
def evaluation(run):
    return evaluate(run[:10])


@pytest.fixture(scope="module")
def logged(run, evaluation, tmp_path_factory):
    """What the evaluation left among the run's artifacts."""
    return tracking.fetch_folder(run, EVALUATION_FOLDER, tmp_path_factory.mktemp("logged"))


def test_accuracy_loss_and_confusion_are_scikit_learns(evaluation, model, digits):
    logits = np.asarray(model(digits.test.inputs / 1.0)["logits"], np.float64)
    probabilities = softmax(logits / evaluation.held_out.calibration["temperature"], axis=1)
    truth, answer = digits.test.labels, probabilities.argmax(axis=1)
    assert 0.5 < evaluation.accuracy < 1
    assert evaluation.accuracy == pytest.approx(metrics.accuracy_score(truth, answer))
    assert evaluation.top3 == pytest.approx(metrics.top_k_accuracy_score(truth, probabilities, k=3))
    normed = probabilities / probabilities.sum(axis=1, keepdims=True)
    assert evaluation.loss == pytest.approx(metrics.log_loss(truth, normed), abs=1e-5)
    assert evaluation.confidence == pytest.approx(probabilities.max(axis=1).mean(), abs=1e-6)
    np.testing.assert_array_equal(evaluation.confusion, metrics.confusion_matrix(truth, answer))
    report = metrics.classification_report(truth, answer, target_names=digits.labels, output_dict=True)
    for row in evaluation.classes:
        expected = report[row.label]
        assert row.images == expected["support"]
        assert (row.precision, row.recall, row.f1) == pytest.approx(
            tuple(expected[name] for name in ("precision", "recall", "f1-score"))
        )


def test_robust_accuracy_is_the_mean_over_corrupted_test_images(evaluation, model, digits):
    for found, corrupt in zip(evaluation.corrupted, SUITE, strict=True):
        assert (found.kind, found.severity, found.amount) == (corrupt.kind, corrupt.severity, corrupt.amount)
        assert (found.images, found.seen) == (359, False), "softmax learns images as they are"
    for found, corrupt in list(zip(evaluation.corrupted, SUITE, strict=True))[STRENGTHS - 1 :: STRENGTHS]:
        answer = np.asarray(model(corrupt(digits.test.inputs) / 1.0)["probabilities"]).argmax(axis=1)
        assert found.accuracy == pytest.approx((answer == digits.test.labels).mean(), abs=0.003)  # one tie of 359
    assert evaluation.robust_accuracy == pytest.approx(np.mean([found.accuracy for found in evaluation.corrupted]))
    assert evaluation.robust_unseen == evaluation.robust_accuracy < evaluation.accuracy
    assert evaluation.robust_seen is None
    assert len(evaluation.corrupted) == STRENGTHS * len(KINDS)


def test_the_interval_is_that_of_all_test_images(evaluation, digits):
    n = len(digits.test)
    assert evaluation.images == n == 359
    assert (evaluation.low, evaluation.high) == wilson_interval(round(evaluation.accuracy * n), n)


def test_the_run_has_the_metrics(run, evaluation):
    metrics = tracking.load_run(run).metrics
    assert metrics["test_accuracy"] == evaluation.accuracy
    assert (metrics["test_accuracy_low"], metrics["test_accuracy_high"]) == (evaluation.low, evaluation.high)
    assert metrics["test_images"] == evaluation.images
    assert metrics["test_robust_mean"] == metrics["test_robust_unseen"] == evaluation.robust_accuracy
    assert not {"test_robust_seen", "test_robust_accuracy"} & metrics.keys()
    assert metrics["test_calibration_error"] == evaluation.calibration_error


def test_the_run_has_an_image_for_each_text(logged, evaluation):
    assert set(evaluation.plots) == {
        "curves.png",
        "confusion.png",
        "decision.png",
        "errors.png",
        "corruptions.png",
        "reliability.png",
        "first_layer.png",
    }
    for name in evaluation.plots:
        with Image.open(logged / name) as image:
            image.load()
    assert {path.name for path in logged.iterdir()} == {*evaluation.plots, EVALUATION_FILE, tracking.SMALL}
    with Image.open(logged / tracking.SMALL / "curves.png") as image:
        assert max(image.size) <= 560, "for descriptions, beside whose right margin the UI writes what else it knows"
    assert "over 6 epochs" in evaluation.plots["curves.png"]
    assert "the weights of epoch 4, with an accuracy of 15.00%" in evaluation.plots["curves.png"]


def test_an_evaluation_is_read_as_it_was_written(logged, evaluation):
    assert read_evaluation(logged) == evaluation


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"classes": [{"name": 1}]}', '{"classes": 3}'])
def test_a_damaged_evaluation_is_told(tmp_path, damage):
    (tmp_path / EVALUATION_FILE).write_text(damage)
    with pytest.raises(ExportError, match=r"evaluation\.json can't be read as an evaluation .*: `zoo evaluate`"):
        read_evaluation(tmp_path)


def test_an_evaluation_of_another_version_is_told(tmp_path, evaluation):
    found = json.loads(evaluation.to_json())
    found["something_new"] = 1
    (tmp_path / EVALUATION_FILE).write_text(json.dumps(found))
    with pytest.raises(ExportError, match="something_new"):
        read_evaluation(tmp_path)


def test_a_run_without_a_model_cannot_be_evaluated(run, digits):
    empty = tracking.start_run(make_plan("softmax", "digits"), digits, {})
    tracking.finish(empty, "KILLED")
    with pytest.raises(TrackingError, match="holds no trained model"):
        evaluate(empty)
    assert "test_accuracy" not in tracking.load_run(empty).metrics


def test_a_run_that_held_nothing_out_is_drawn_by_its_training(run, digits, model, tmp_path):
    run_id = tracking.start_run(make_plan("softmax", "digits"), digits, {})
    tracking.log_epoch(run_id, 1, {"train_loss": 0.9, "train_accuracy": 0.5})
    tracking.log_metrics(run_id, {"best_epoch": 1})
    probabilities = answers_of_keras(model, digits.test.inputs)["probabilities"]
    drawn = draw(tmp_path, tracking.load_run(run_id), model, digits, probabilities)
    assert "none was held out" in drawn["curves.png"]


@pytest.mark.parametrize("validated", [True, False])
def test_a_run_in_which_a_head_alone_learned_has_no_curves(run, digits, model, tmp_path, validated):
    run_id = tracking.start_run(make_plan("softmax", "digits"), digits, {})
    if validated:
        tracking.log_epoch(run_id, 0, {"validation_loss": 0.9, "validation_accuracy": 0.5, "seconds": 1.0})
    tracking.log_metrics(run_id, {"best_epoch": 0, "epochs_trained": 0, "test_accuracy": 0.5})
    probabilities = answers_of_keras(model, digits.test.inputs)["probabilities"]
    assert "curves.png" not in draw(tmp_path, tracking.load_run(run_id), model, digits, probabilities)
    with tracking.open_client() as client:
        note = describe_run(client.get_run(run_id))
    assert "curves" not in note
    assert "| weights | of the head, on frozen features |" in note


@pytest.mark.parametrize(
    "name, channels, shape",
    [
        ("softmax", 3, (8, 8, 3, 10)),
        ("mlp-small", 1, (8, 8, 1, 256)),
        ("conv-small", 3, (3, 3, 3, 32)),
        ("lenet5", 1, (5, 5, 1, 6)),
    ],
)
def test_first_weights_are_images(name, channels, shape):
    model = build(name, 8, 8, channels, 10)
    weights = first_weights(model)
    assert weights.shape == shape
    kernel = next(layer for layer in model.layers if layer.weights).weights[0]
    np.testing.assert_array_equal(weights.ravel(), np.asarray(kernel).ravel())


def test_a_first_layer_that_sees_no_pixels_is_not_drawn(registered):
    from zoo.models import layers

    @registered("pooled", family="dense")
    def pooled(images, classes):
        return layers.Dense(classes)(layers.GlobalAveragePooling2D()(images))

    assert first_weights(build("pooled", 8, 8, 3, 10)) is None
