"""Every promise of an export is checked, and a broken one is told with its amount."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from pipelines.evaluation.predictions import clean_metrics
from pipelines.exporting.convert import convert
from pipelines.exporting.export import write_export
from pipelines.exporting.parity import Parity, check_parity, compare_with_keras
from pipelines.exporting.verify import verify
from zoo.contract import MANIFEST_FILE, MODEL_FILE, SAMPLES_FILE, Metadata, describe_file, read_manifest
from zoo.data import load
from zoo.errors import DataError, ExportError, VerificationError
from zoo.models import build
from zoo.models.backend import start_keras
from zoo.runtime import load as load_classifier


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def model():
    start_keras().utils.set_random_seed(3)
    return build("lenet5", 8, 8, 1, 10)


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits, model, metadata_of):
    """An export that nobody changes."""
    goal = tmp_path_factory.mktemp("exports") / "digits" / "lenet5"
    return write_export(goal, model, digits, metadata_of("lenet5", model, digits), {})


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to be broken."""
    return shutil.copytree(made.folder, tmp_path / "lenet5")


def change(folder, edit):
    """Edit the model of an export, and let the manifest agree with the new file."""
    model = onnx.load(folder / MODEL_FILE)
    edit(model)
    onnx.save(model, folder / MODEL_FILE)
    manifest = read_manifest(folder)
    metadata = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, "model")
    files = tuple(describe_file(folder, folder / file.path) for file in manifest.files)
    text = replace(manifest, metadata=metadata, files=files).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def test_an_export_keeps_every_promise(made, digits):
    verification = verify(made.folder)
    assert [check.name for check in verification.checks] == [
        "contract",
        "file",
        "batch sizes",
        "image sizes",
        "manifest",
        "samples",
        "test set",
    ]
    right = round(made.metadata.test_accuracy * len(digits.test))
    assert verification.checks[-1].result.startswith(f"{right} of {len(digits.test)} images correct")
    assert verification.metadata == made.metadata
    assert made.verification.checks == (*verification.checks, made.verification.checks[-1])
    assert made.verification.checks[-1].name == "Keras"


def test_a_stray_file_is_verified_by_what_it_says_of_itself(made, tmp_path):
    stray = shutil.copy(made.folder / MODEL_FILE, tmp_path / "downloaded.onnx")
    names = [check.name for check in verify(stray).checks]
    assert names == ["contract", "file", "batch sizes", "image sizes", "test set"]


def test_an_export_is_found_by_its_name(made, monkeypatch):
    monkeypatch.setenv("ZOO_EXPORTS", str(made.folder.parent.parent))
    assert verify("digits/lenet5").path == made.folder


def test_images_that_the_project_does_not_know_are_asked_for(folder):
    def of_somebody(model):
        next(p for p in model.metadata_props if p.key == "zoo.data_set").value = '"our-parts"'

    change(folder, of_somebody)
    last = verify(folder / MODEL_FILE).checks[-1]
    assert last.result == "not checked, 'our-parts' isn't a known data set: name its folder with --data"
    assert "images correct" in verify(folder / MODEL_FILE, data="digits").checks[-1].result


def test_other_images_than_those_of_the_test_are_an_error(made, digits):
    changed = replace(digits, labels=tuple("abcdefghij"))
    with pytest.raises(VerificationError, match=r"the images of digits aren't those that .* was made with \(digest"):
        verify(made.folder, data=changed)


def test_a_data_set_that_is_not_there_is_an_error(made):
    with pytest.raises(DataError, match="no data set is called 'digit'"):
        verify(made.folder, data="digit")


def scaled(name, factor):
    def edit(model):
        weights = next(constant for constant in model.graph.initializer if constant.name == name)
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(factor), name))

    return edit


def opset_of_tomorrow(model):
    model.opset_import[0].version = 19


def wrong_accuracy(model):
    next(p for p in model.metadata_props if p.key == "zoo.test_accuracy").value = "0.9875"


def without_antialias(model):
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    for attribute in resize.attribute:
        if attribute.name in ("antialias", "exclude_outside"):
            attribute.i = 0


def without_resize(model):
    resize, following = model.graph.node[:2]
    following.input[0] = "images"
    model.graph.node.remove(resize)
    for place, side in ((1, 8), (2, 8)):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = side


def other_wiring(model):
    """Another activation: valid in every way, and wrong."""
    relu = next(node for node in model.graph.node if node.name == "f6_dense/Relu")
    relu.op_type = "LeakyRelu"
    relu.attribute.append(helper.make_attribute("alpha", 0.5))


def averaged_over_the_batch(model):
    """Each image's logits depend on who else is there."""
    last = model.graph.node[-1]
    mean = helper.make_node("ReduceMean", ["logits"], ["mean"], name="mean", keepdims=1)
    centered = helper.make_node("Sub", ["logits", "mean"], ["centered"], name="centered")
    squared = helper.make_node("Mul", ["centered", "mean"], ["squared"], name="squared")
    model.graph.node.remove(last)
    last.input[0] = "squared"
    model.graph.node.extend([mean, centered, squared, last])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (opset_of_tomorrow, r"has IR 8, opsets {'': 19} and .* expected at most IR 8, opset 18"),
        (wrong_accuracy, r"is correct on [\d,]+ of 359 test images, expected 355: export the model again"),
        (without_antialias, r"resizes an image of .* to values that differ by \d+ of 255 from those of training"),
        (without_resize, r"expected inputs .*'N', 'H', 'W', 1.* received .*'N', 8, 8, 1"),
        (scaled("f6_dense/kernel", 1.1), r"probabilities of 0.png differ by [\d.]+e-0\d in probability"),
        (other_wiring, r"probabilities of 0.png differ by"),
        (averaged_over_the_batch, r"\d images at once and one by one differ by"),
    ],
)
def test_a_broken_promise_is_told(folder, damage, told):
    change(folder, damage)
    with pytest.raises(ExportError, match=told):
        verify(folder)


def test_weights_in_other_files_are_refused(folder):
    model = onnx.load(folder / MODEL_FILE)
    onnx.external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=1000)
    stray = folder / "stray.onnx"
    onnx.save(model, stray)
    with pytest.raises(ExportError, match="keeps weights in other files, expected all of them inside"):
        verify(stray)


def test_a_truncated_file_is_an_error(folder):
    whole = (folder / MODEL_FILE).read_bytes()
    (folder / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ExportError, match=r"cut\.onnx can't be read as ONNX"):
        verify(folder / "cut.onnx")


@pytest.mark.parametrize("name", [SAMPLES_FILE, "samples/0.png", MODEL_FILE])
def test_a_file_that_does_not_fit_the_manifest_is_an_error(folder, name):
    with (folder / name).open("ab") as file:
        file.write(b" ")
    with pytest.raises(ExportError, match=r"isn't the file that manifest\.json names"):
        verify(folder)


def test_a_manifest_of_another_model_is_an_error(folder):
    found = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    found["metadata"]["run_id"] = "1" * 32
    (folder / MANIFEST_FILE).write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(ExportError, match=r"manifest\.json and model\.onnx differ in run_id, expected the same"):
        verify(folder)


def test_parity_finds_the_image_that_differs_most(made, model, digits):
    whole = (made.folder / MODEL_FILE).read_bytes()
    parity = compare_with_keras(whole, model, digits.test)
    assert parity.largest_difference <= 1e-5
    assert parity.same_top_class == 1

    marked = digits.test.inputs.copy()
    marked[17, 4, 4] += 128
    shown = replace(digits.test, inputs=marked)
    parity = compare_with_keras(whole, _AnsweringForOthers(model, digits.test.inputs), shown)
    assert parity.worst_image == 17
    assert parity.largest_difference > 1e-5


class _AnsweringForOthers:
    """A Keras model that looks at other images than those that it is shown."""

    def __init__(self, model, images):
        self.model, self.images, self.seen = model, images, 0

    def predict_on_batch(self, images):
        start, self.seen = self.seen, self.seen + len(images)
        return self.model.predict_on_batch(self.images[start : self.seen])


@pytest.mark.parametrize(
    ("parity", "told"),
    [
        (Parity(2e-5, 1.0, 4), "differ by up to 2.0e-05, expected at most 1e-05, and 0.00% of the predictions differ"),
        (Parity(1e-6, 0.99, 4), "and 1.00% of the predictions differ, expected none; the worst test image is"),
        (Parity(float("nan"), 1.0, 4), "differ by up to nan"),
    ],
)
def test_parity_has_no_exceptions(digits, parity, told):
    with pytest.raises(VerificationError, match=told):
        check_parity(parity, digits.test, "digits/lenet5")


def test_equally_probable_classes_are_the_same_answer(digits):
    model = build("softmax", 8, 8, 1, 10)
    model.get_layer("head_dense").set_weights([np.zeros((64, 10)), np.zeros(10)])

    parity = compare_with_keras(convert(model).SerializeToString(), model, digits.test)
    assert parity == Parity(0.0, 1.0, 0)


@pytest.mark.parametrize(
    "text", ["[[[", "[{}]", "[]", json.dumps([{"file": "../../../etc/passwd", "probabilities": [0.1] * 10}])]
)
def test_samples_that_are_none_or_lead_out_of_the_folder_are_refused(folder, text):
    (folder / SAMPLES_FILE).write_text(text, encoding="utf-8")
    change(folder, lambda model: None)
    with pytest.raises(ExportError, match=r"holds no samples|doesn't name|can't be read"):
        verify(folder)


def test_a_figure_of_the_manifest_that_the_file_does_not_come_to_is_told(folder, digits):
    classifier = load_classifier(folder)
    manifest = read_manifest(folder)
    logits, probabilities = classifier.session.run(["logits", "probabilities"], {"images": digits.test.inputs})
    found = clean_metrics(digits.test, (logits, probabilities))

    def says(**metrics):
        text = replace(manifest, metrics={**manifest.metrics, **found, **metrics}).to_json()
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")

    says()
    assert verify(folder).checks[-1].result.startswith("7 found again: accuracy, accuracy_low")
    for name in ("test_loss", "test_top3", "test_calibration_error", "test_robust_accuracy"):
        says(**{name: found.get(name, 0.5) + 0.02})
        with pytest.raises(VerificationError, match=f"the manifest has a {name} of .*, the file gives"):
            verify(folder)
