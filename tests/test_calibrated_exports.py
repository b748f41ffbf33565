"""Calibrated files: each precision, whichever images the recipe holds out, down to what verify finds again."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from keras_answers import answers_of_keras
from onnx import TensorProto, helper, numpy_helper

import zoo
from pipelines import tracking
from pipelines.cli.commands.train import evaluation_table
from pipelines.core.metrics.calibration import cross_entropy
from pipelines.core.metrics.temperature import SIDES, fit_temperature
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.evaluate import evaluate, read_evaluation
from pipelines.evaluation.held_out import answer_metrics, cooled, fit
from pipelines.evaluation.predictions import answers_of, clean_metrics
from pipelines.evaluation.reliability import reliability_metrics
from pipelines.exporting.convert import convert
from pipelines.exporting.export import export, write_export
from pipelines.exporting.from_onnx import rebuild
from pipelines.exporting.graph.temperature import divide_logits
from pipelines.exporting.held_out import _check_answers, check_held_out
from pipelines.exporting.quantization import files
from pipelines.exporting.quantization.quantize import quantize
from pipelines.exporting.verify import verify
from pipelines.publishing.verify_all import verify_all
from zoo.contract import (
    ACTIVATION_MAP,
    CARD_FILE,
    FAMILIARITY,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    PROBABILITIES,
    read_manifest,
)
from zoo.data import Split, load
from zoo.data.held_out import held_out
from zoo.data.tables.reading import scales
from zoo.errors import ExportError, VerificationError
from zoo.models import build_for_table
from zoo.models.backend import start_keras
from zoo.tables import decode

EXPORTS = Path(__file__).parent.parent / "exports"
FILES = sorted(path.relative_to(EXPORTS).as_posix() for path in EXPORTS.glob("*/*/model*.onnx"))
IMAGES = ("train", "most", "all")


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def conv():
    """A Keras model that knows its digits, with an activation map, and what its shipped file says of itself.

    That file is calibrated: its logits are halved here, so that a temperature is left to find.
    """
    model, shipped = rebuild(EXPORTS / "digits/conv-small")
    head = model.get_layer("head_dense")
    head.set_weights([weights / 2 for weights in head.get_weights()])
    return model, replace(shipped, calibration={}, sets={}, familiarity={})


@pytest.fixture(scope="module", params=["train", pytest.param("most", marks=pytest.mark.slow), "all"])
def exported(request, conv, digits, tmp_path_factory):
    """An export as its recipe's images have it, with files of all precisions, its manifest, and its Keras model.

    "most" is slow, as it makes a third one, and differs from "train" only in that fewer images are held out.
    """
    model, shipped = conv
    answers = {split: answers_of_keras(model, getattr(digits, split).inputs) for split in ("validation", "test")}
    kept = held_out(digits, request.param)
    metadata = replace(shipped, contract="2", recipe={**shipped.recipe, "images": request.param}, parity={})
    tested = (answers["test"][LOGITS], answers["test"][PROBABILITIES])
    metrics = {}
    if kept is not None:
        fitted = fit(answers_of_keras(model, kept.inputs)[LOGITS], kept.labels, "conv-small")
        metadata = replace(metadata, calibration=fitted.calibration, sets=fitted.sets)
        tested, metrics = cooled(tested[0], fitted.temperature), answer_metrics(fitted)
    metrics |= reliability_metrics(digits.test, tested, metadata.calibration, metadata.sets)
    metrics |= clean_metrics(digits.test, tested)
    metadata = replace(metadata, test_accuracy=metrics["test_accuracy"])
    goal = tmp_path_factory.mktemp("exports") / "digits/conv-small"
    write_export(goal, model, digits, metadata, metrics)
    quantize(goal, data=digits, margin=5)
    return goal, read_manifest(goal), model


@pytest.mark.parametrize("precision", ["float32", "int8", "float16"])
def test_a_file_says_how_it_was_calibrated_and_is(exported, digits, precision):
    goal, manifest, model = exported
    classifier = zoo.load(goal, provider="cpu", precision=precision)
    images = manifest.metadata.recipe["images"]
    kept = held_out(digits, images)
    said = classifier.metadata
    if kept is None:
        assert (said.calibration, said.sets) == ({}, {})
        with pytest.raises(ExportError, match="learned from all images but the test set: train it with images=most"):
            classifier.predict(digits.test.inputs[0], coverage=0.9)
        return
    assert said.calibration["images"] == said.sets["images"] == len(kept)
    logits, _ = answers_of(classifier, kept.inputs)
    assert fit_temperature(logits, kept.labels) == pytest.approx(1, abs=0.02)  # as itself: there is nothing left to do
    temperature = said.calibration["temperature"]
    assert cross_entropy(logits, kept.labels) <= cross_entropy(logits * temperature, kept.labels) + 1e-6
    found = classifier.predict_batch(digits.test.inputs, coverage=0.9)
    names = [digits.labels[label] for label in digits.test.labels]
    held = np.mean([name in each.labels for name, each in zip(names, found, strict=True)])
    assert held >= 0.9 - 3 * (0.9 * 0.1 * (1 / len(kept) + 1 / len(names))) ** 0.5
    if precision == "float32":
        before = answers_of_keras(model, digits.test.inputs)[LOGITS]
        after = answers_of(classifier, digits.test.inputs)[0]
        np.testing.assert_allclose(after * temperature, before, atol=1e-4)
        assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_no_node_is_added_and_the_other_files_are_whole(exported):
    goal, manifest, model = exported
    nodes = [node.name for node in onnx.load(goal / MODEL_FILE).graph.node if not node.name.startswith(FAMILIARITY)]
    assert nodes == [node.name for node in convert(model).graph.node]
    assert manifest.precisions == ("float32", "int8", "float16")


def test_verify_finds_each_number_again(exported, digits):
    goal, manifest, _ = exported
    checks = {check.name: check.result for check in verify(goal, data=digits).checks}
    assert "activation map" in checks and "int8" in checks and "float16" in checks
    assert ("uncalibrated_loss" in checks["metrics"]) == bool(manifest.metadata.calibration)
    assert "mass_calibration_error_low" in checks["metrics"]
    kept = held_out(digits, manifest.metadata.recipe["images"])
    assert ("familiarity" in checks) == ("familiarity_accepted" in manifest.metrics) == (kept is not None)
    for name in ("held-out images", "int8", "float16"):
        said = "found again" if kept is None else f"thresholds of sets found again by {len(kept)} images"
        assert (said in checks.get(name, "")) == (kept is not None)


@pytest.mark.parametrize(
    "name",
    ["test_uncalibrated_loss", "test_mass_calibration_error", "test_coverage_95", "test_mean_set_99", "int8_loss"],
)
def test_a_number_that_is_another_is_told(exported, digits, name, tmp_path):
    goal, manifest, _ = exported
    if name not in manifest.metrics:
        assert manifest.metadata.recipe["images"] != "train"
        return
    copy = shutil.copytree(goal, tmp_path / "copy")
    found = json.loads((copy / MANIFEST_FILE).read_text(encoding="utf-8"))
    found["metrics"][name] += 0.05 if found["metrics"][name] < 0.05 else -0.05
    (copy / MANIFEST_FILE).write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(VerificationError, match=name):
        verify(copy, data=digits)


@pytest.mark.parametrize("precision", ["float32", "int8", "float16"])
def test_a_file_that_is_not_calibrated_as_it_says_is_told(exported, digits, precision):
    goal, _, _ = exported
    classifier, file = zoo.load(goal, provider="cpu", precision=precision), goal / MODEL_FILES[precision]
    about = classifier.metadata
    if not about.calibration:
        with pytest.raises(VerificationError, match="was fitted on held-out images, of which its recipe has none"):
            check_held_out(classifier, file, digits)
        return
    check_held_out(classifier, file, digits)
    model = onnx.load(file)
    divide_logits(model.graph, 1.1)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    with pytest.raises(VerificationError, match=r"isn't calibrated: .* a temperature of 0\.9\d* is left in"):
        check_held_out(replace(classifier, session=session), file, digits)
    most = replace(
        about, calibration={**about.calibration, "temperature": SIDES[1]}
    )  # where more may be left, not less
    with pytest.raises(VerificationError, match=r"isn't calibrated: .* a temperature of 0\.9\d* is left in"):
        check_held_out(replace(classifier, session=session, metadata=most), file, digits)
    wrong = {**about.sets, "thresholds": {**about.sets["thresholds"], "0.95": 0.5}}
    with pytest.raises(VerificationError, match=r"the thresholds of its sets for 0\.95 are 0\.5, from the held-out"):
        check_held_out(replace(classifier, metadata=replace(about, sets=wrong)), file, digits)
    for name, other_images in (
        ("calibration", {"images": 10**9}),
        ("sets", {"images": 10**9}),
        ("sets", {"images_by_class": [about.sets["images"], *[0] * 9]}),
    ):
        said = replace(about, **{name: {**getattr(about, name), **other_images}})
        with pytest.raises(
            VerificationError, match=r"(says that it was fitted on 1,000,000,000|has wrong numbers of) held"
        ):
            check_held_out(replace(classifier, metadata=said), file, digits)
    other = replace(classifier, metadata=replace(about, data_digest="0" * 64))
    assert check_held_out(other, file, digits).startswith("not checked")


@pytest.mark.parametrize(("least", "told"), [(0.9, False), (0.6, True), (0.99, True)])
def test_answers_from_a_threshold_are_as_accurate_as_it_says(least, told):
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2]], np.float32)  # the second one is wrong
    kept = Split(np.zeros((3, 1), np.float32), np.array([0, 1, 0]), ("",) * 3)
    if told:
        with pytest.raises(VerificationError, match=r"answers are correct on (66\.67|0\.00)% of the held-out"):
            _check_answers(probabilities, kept, 0.99, least, "answers")
    else:
        _check_answers(probabilities, kept, 0.99, least, "answers")


def test_what_is_read_back_from_the_file_answers_as_the_file(exported, digits):
    goal, manifest, model = exported
    again, metadata = rebuild(goal)
    assert metadata == manifest.metadata
    found, expected = (answers_of_keras(each, digits.test.inputs)[LOGITS] for each in (again, model))
    temperature = manifest.metadata.calibration.get("temperature", 1)
    np.testing.assert_allclose(found * temperature, expected, atol=1e-3)


def test_an_explanation_goes_on_summing_up_to_the_logit(exported, digits):
    goal, _, _ = exported
    explained = zoo.load(goal, provider="cpu").explain(digits.test.inputs[0])
    head = next(node for node in onnx.load(goal / MODEL_FILE).graph.node if LOGITS in node.output)
    constants = {each.name: numpy_helper.to_array(each) for each in onnx.load(goal / MODEL_FILE).graph.initializer}
    bias = constants[head.input[2]][digits.labels.index(explained.label)]
    assert explained.bias == pytest.approx(bias, abs=1e-4)


@pytest.mark.parametrize("gap", [0.5, 4.0])  # of the logits: so faint that the temperature is the lowest there is
def test_the_temperature_of_another_precision_is_one_of_the_model_however_often_it_was_fitted(gap, monkeypatch):
    labels = np.random.default_rng(0).integers(0, 10, 200)
    logits = np.random.default_rng(1).normal(0, 0.05, (200, 10)).astype(np.float32)
    logits[np.arange(200), labels] += gap
    expected = fit(logits, labels, "softmax")
    kept = Split(np.zeros((200, 1), np.float32), labels, ("",) * 200)
    divided = []
    monkeypatch.setattr(files, "answers_in_memory", lambda model, split: cooled(logits, expected.temperature))
    monkeypatch.setattr(files, "divide_logits", lambda graph, by: divided.append(by))
    about = replace(read_manifest(EXPORTS / "digits/conv-small").metadata, calibration=expected.calibration)
    calibration, sets = files._calibrate(onnx.ModelProto(), kept, about)
    assert calibration["temperature"] == pytest.approx(expected.temperature, abs=1e-5)
    assert divided == [] or divided == pytest.approx([1], abs=1e-4)
    assert sets["images"] == 200


# --- a table ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cancer(tmp_path_factory):
    """scikit-learn's breast_cancer as a table: 57 of its 569 rows are held out."""
    from sklearn.datasets import load_breast_cancer

    found = load_breast_cancer(as_frame=True)
    path = tmp_path_factory.mktemp("tables") / "cancer.csv"
    found.data.assign(diagnosis=found.target.map({0: "bad", 1: "good"})).to_csv(path, index=False)
    return load(str(path), label="diagnosis")


@pytest.mark.parametrize("images", IMAGES)
def test_a_table_is_calibrated_as_images_are(images, cancer, metadata_of, tmp_path):
    model = build_for_table("softmax", scales(cancer), 2)
    features = start_keras().Model(model.input, model.get_layer("head_dense").input)
    values = np.hstack([np.asarray(features(cancer.train.inputs)), np.ones((len(cancer.train), 1))])
    weights = np.linalg.lstsq(values, 9 * np.eye(2)[cancer.train.labels])[0].astype(np.float32)
    model.get_layer("head_dense").set_weights([weights[:-1], weights[-1]])
    kept, metadata = held_out(cancer, images), metadata_of("softmax", model, cancer)
    table = {"columns": cancer.columns, "label_column": cancer.label_column}
    metadata = replace(metadata, recipe={"images": images}, **table)
    if kept is not None:
        fitted = fit(answers_of_keras(model, kept.inputs)[LOGITS], kept.labels, "softmax")
        metadata = replace(metadata, calibration=fitted.calibration, sets=fitted.sets)
    goal = tmp_path / "cancer/softmax"
    write_export(goal, model, cancer, metadata, {})
    verify(goal, data=cancer)
    classifier = zoo.load(goal, provider="cpu")
    assert bool(classifier.metadata.calibration) == (images == "train")  # 28 rows are too few
    if images == "all":
        return
    assert classifier.metadata.sets["images"] == len(kept) == {"train": 57, "most": 28}[images]
    found = classifier.predict_batch(cancer.test.inputs, coverage=0.9)
    held = [cancer.labels[label] in each.labels for label, each in zip(cancer.test.labels, found, strict=True)]
    assert np.mean(held) > 0.8
    assert found[0] == classifier.predict(decode(cancer.test.inputs[0], cancer.columns), coverage=0.9)


# --- the graph -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "file", [pytest.param(file, marks=[pytest.mark.slow] * file.startswith("fashion-mnist")) for file in FILES]
)
def test_the_logits_of_every_shipped_file_are_divided_without_a_node(file):
    """Those of Fashion-MNIST are slow: two sessions are opened for each of 26 larger files."""
    model = onnx.load(EXPORTS / file)
    nodes = len(model.graph.node)
    side = 8 if file.startswith("digits") else 28
    images = np.random.default_rng(0).integers(0, 256, (4, side, side, 1), np.uint8)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"images": images})
    divide_logits(model.graph, 0.7)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    after = session.run(None, {"images": images})
    assert len(model.graph.node) == nodes
    rounding = 1e-3 if file.endswith(MODEL_FILES["float16"]) else 1e-5  # weights of 11 bits are divided to three digits
    for place, output in enumerate(value.name for value in session.get_outputs()):
        if output == PROBABILITIES:
            np.testing.assert_allclose(after[place], cooled(before[1], 0.7)[1], atol=rounding)
        elif output == FAMILIARITY:
            np.testing.assert_array_equal(after[place], before[place])
        else:
            assert output in (LOGITS, ACTIVATION_MAP)
            largest = np.abs(before[place]).max()
            np.testing.assert_allclose(after[place], before[place] / 0.7, atol=rounding * largest)


def ends_in(operators, constants):
    """A model whose logits come from some operators, of x [N, 3]."""
    nodes = [helper.make_node(op, inputs, [output], name=output) for op, inputs, output in operators]
    nodes.append(helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1))
    values = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in (PROBABILITIES, LOGITS)]
    graph = helper.make_graph(nodes, "ends", [x], outputs, values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


SQUARE = np.arange(9).reshape(3, 3) / 9 - 0.3
ENDS = {
    "with a bias": ([("Gemm", ["x", "w", "b"], LOGITS)], 0),
    "without": ([("MatMul", ["x", "w"], LOGITS)], 0),
    "bias after it": ([("MatMul", ["x", "w"], "y"), ("Add", ["y", "b"], LOGITS)], 0),
    "two layers that are added": (
        [("MatMul", ["x", "w"], "y"), ("MatMul", ["x", "v"], "z"), ("Add", ["y", "z"], LOGITS)],
        0,
    ),
    "a shape after it": ([("MatMul", ["x", "w"], "y"), ("Identity", ["y"], LOGITS)], 0),
    "a ReLU": ([("MatMul", ["x", "w"], "y"), ("Relu", ["y"], LOGITS)], 1),
    "weights that others use": ([("MatMul", ["x", "w"], "y"), ("Relu", ["y"], "z"), ("MatMul", ["z", "w"], LOGITS)], 1),
    "what others use": ([("MatMul", ["x", "w"], "y"), ("Relu", ["y"], "z"), ("Add", ["y", "z"], LOGITS)], 1),
    "no weights": ([("Identity", ["x"], LOGITS)], 1),
}


@pytest.mark.parametrize("end", ENDS)
def test_logits_of_any_end_are_divided_by_a_node_where_weights_cannot_be(end):
    operators, added = ENDS[end]
    model = ends_in(operators, {"w": SQUARE, "v": SQUARE.T, "b": [1, -2, 3]})
    nodes, x = len(model.graph.node), np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    before = onnxruntime.InferenceSession(model.SerializeToString()).run([LOGITS, PROBABILITIES], {"x": x})
    divide_logits(model.graph, 2.5)
    onnx.checker.check_model(model, full_check=True)
    after = onnxruntime.InferenceSession(model.SerializeToString()).run([LOGITS, PROBABILITIES], {"x": x})
    assert len(model.graph.node) == nodes + added
    np.testing.assert_allclose(after[0], before[0] / 2.5, atol=1e-6)
    np.testing.assert_allclose(after[1], cooled(before[0], 2.5)[1], atol=1e-6)


# --- a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(shared_store, conv, digits):
    """The id of a finished run that isn't evaluated."""
    plan = make_plan("conv-small", "digits", settings={"images": "most"})
    run_id = tracking.start_run(plan, load_data(plan), {"parameters": conv[0].count_params()})
    tracking.log_keras_model(run_id, conv[0])
    tracking.finish(run_id, "FINISHED")
    tracking.log_epoch(run_id, 1, dict.fromkeys(tracking.HISTORY, 0.5))
    tracking.log_metrics(run_id, {"best_epoch": 1})
    return run_id


def test_a_run_is_calibrated_when_it_is_evaluated_and_exported_so(run, digits, tmp_path):
    evaluation = evaluate(run)
    assert evaluation.held_out.calibration["images"] == len(held_out(digits, "most"))
    printed = " ".join(evaluation_table(evaluation).caption)
    assert "calibrated on" in printed and "for an accuracy of 99%, accept predictions with a probability of" in printed
    metrics = tracking.load_run(run).metrics
    assert metrics["test_loss"] == evaluation.loss
    assert metrics["test_loss"] <= metrics["test_uncalibrated_loss"] + 0.01
    assert evaluation.accuracy == metrics["test_accuracy"]
    exports = tmp_path / "exports"
    exported = export(run, exports=exports)
    assert exported.metadata.calibration == evaluation.held_out.calibration
    assert exported.metadata.sets == evaluation.held_out.sets
    card = (exported.folder / CARD_FILE).read_text(encoding="utf-8")
    for words in (
        "## Reliability",
        "calibrated by temperature scaling (Guo et al. 2017)",
        "Coverage: the share",
        "## When to accept a prediction",
        "decision.png",
    ):
        assert words in card
    (verification,) = verify_all(exports, data=digits)
    assert {check.name: check.result for check in verification.checks}["card"].endswith("numbers found again")
    fetched = tracking.fetch_folder(run, "evaluation", tmp_path)
    assert read_evaluation(fetched) == evaluation
