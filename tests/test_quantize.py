"""The int8 and float16 files of an export: as accurate as is stated, made the same again, and whole or not there."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from without_familiarity import without_familiarity

import zoo
from pipelines.cli import main
from pipelines.core.provenance.weights import weights_sha256
from pipelines.evaluation.predictions import familiarity_of
from pipelines.evaluation.unknown import auroc
from pipelines.exporting.checks import check_contract
from pipelines.exporting.export import write_export
from pipelines.exporting.familiarity.features import with_features
from pipelines.exporting.quantization import int8
from pipelines.exporting.quantization.answers import answers_in_memory
from pipelines.exporting.quantization.calibration import least_squares, min_max, observe, percentile
from pipelines.exporting.quantization.int8 import calibration_images
from pipelines.exporting.quantization.qdq import (
    LARGEST_WEIGHT,
    only_answers,
    to_int8,
    values_to_observe,
    weighted_layers,
)
from pipelines.exporting.quantization.quantize import _folder, quantize
from pipelines.exporting.verify import verify
from zoo.contract import (
    ACTIVATION_MAP,
    CARD_FILE,
    FLOAT16,
    INT8,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    Metadata,
    describe_file,
    read_manifest,
)
from zoo.data import load
from zoo.data.pixels import in_chunks
from zoo.errors import DataError, ExportError, VerificationError
from zoo.models import build

SHIPPED = Path(__file__).parent.parent / "exports"


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def made(tmp_path_factory, digits):
    """A quantized copy of a shipped export that nobody changes, and what was told of it."""
    folder = shutil.copytree(SHIPPED / "digits" / "conv-small", tmp_path_factory.mktemp("exports") / "conv-small")
    return quantize(folder, data=digits)


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to be broken."""
    return shutil.copytree(made.folder, tmp_path / "conv-small")


@pytest.fixture
def fresh(tmp_path):
    """A shipped export without files of other precisions."""

    def copy(name):
        copied = shutil.copytree(SHIPPED / "digits" / name, tmp_path / name)
        manifest = read_manifest(copied)
        files = [file for file in manifest.files if file.path not in (MODEL_FILES[INT8], MODEL_FILES[FLOAT16])]
        (copied / MANIFEST_FILE).write_text(replace(manifest, files=tuple(files)).to_json(), encoding="utf-8")
        (copied / MODEL_FILES[INT8]).unlink(missing_ok=True)
        return copied

    return copy


def change(folder, edit):
    """Edit the model of an export, and let the manifest agree with it."""
    model = onnx.load(folder / MODEL_FILE)
    edit(model)
    onnx.save(model, folder / MODEL_FILE)
    manifest = read_manifest(folder)
    metadata = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, "model")
    metrics = {name: value for name, value in manifest.metrics.items() if name != "familiarity_accepted"}
    metrics |= {"size": (folder / MODEL_FILE).stat().st_size}
    if metadata.familiarity:
        metrics["familiarity_accepted"] = manifest.metrics["familiarity_accepted"]
    manifest = replace(manifest, metadata=metadata, metrics=metrics)
    text = replace(manifest, files=described(folder, manifest)).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def described(folder, manifest):
    return tuple(describe_file(folder, folder / file.path) for file in manifest.files)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the files ------------------------------------------------------------------------------------------------------


def test_each_precision_answers_as_it_says_and_an_app_loads_it_by_name(made, digits):
    for found in made.files:
        classifier = zoo.load(made.folder, precision=found.precision)
        assert classifier.precision == classifier.metadata.precision == found.precision
        right = classifier.probabilities(digits.test.inputs).argmax(axis=1) == digits.test.labels
        assert right.mean() == found.accuracy == classifier.metadata.test_accuracy
        assert found.size == found.file.stat().st_size < (made.folder / MODEL_FILE).stat().st_size
        assert zoo.load(found.file).precision == found.precision  # astray, too
    assert zoo.load(made.folder).precision == "float32"
    assert [found.precision for found in made.files] == [INT8, FLOAT16]
    int8, float16 = made.files
    assert int8.share < 0.35
    assert float16.share < 0.6
    assert float16.same_top_class == 1
    assert set(int8.speedups) == {1, 64}


def test_manifest_card_and_verification_know_each_file(made):
    manifest = read_manifest(made.folder)
    assert manifest.precisions == ("float32", INT8, FLOAT16)
    int8 = made.files[0]
    assert manifest.metrics["int8_accuracy"] == int8.accuracy
    assert manifest.metrics["int8_accuracy_difference_low"] == int8.difference.low <= int8.difference.difference
    assert manifest.metrics["int8_size"] == int8.size
    assert "test_accuracy" in manifest.metrics
    card = (made.folder / CARD_FILE).read_text(encoding="utf-8")
    assert card.count("## Quantized files") == 1
    assert card.index("| same prediction as Keras |") < card.index("## Quantized files") < card.index("## Classes")
    assert f"| `model.int8.onnx` | {int8.accuracy:.2%} |" in card
    assert int8.made["calibration"] in card
    assert [check.name for check in made.verification.checks][-2:] == [INT8, FLOAT16]


def test_the_same_command_makes_the_same_files_and_says_so_once(made, folder, digits):
    again = quantize(folder, data=digits)
    for found in again.files:
        assert found.file.read_bytes() == (made.folder / found.file.name).read_bytes()
    assert (folder / CARD_FILE).read_text(encoding="utf-8").count("## Quantized files") == 1


def test_the_way_it_was_made_is_in_the_file(made):
    told = zoo.load(made.folder, precision=INT8).metadata.quantization
    assert told["calibration"] == min(made.files[0].tried, key=made.files[0].tried.get)
    assert told["calibration_images"] == 1000
    assert told["float32_layers"] == []


@pytest.mark.parametrize("precision", [INT8, FLOAT16])
def test_a_file_knows_foreign_images_by_a_distribution_of_its_own(made, digits, precision):
    file = made.folder / MODEL_FILES[precision]
    model, images = onnx.load(file), digits.test.inputs
    check_contract(model, file)
    classifier, float32 = zoo.load(file), zoo.load(made.folder)
    assert classifier.metadata.familiarity == float32.metadata.familiarity != {}
    shares = familiarity_of(classifier, images)
    assert np.abs(shares - familiarity_of(float32, images)).mean() < 0.05
    assert auroc(shares, familiarity_of(classifier, 255 - images)) > 0.99
    metrics = read_manifest(made.folder).metrics
    assert metrics[f"{precision}_familiarity_accepted"] == (shares >= 0.05).mean() > 0.9


def test_a_share_of_known_images_that_is_not_the_files_own_is_refused(folder, digits):
    said = read_manifest(folder)
    wrong = dict(said.metrics) | {"int8_familiarity_accepted": 0.5}
    (folder / MANIFEST_FILE).write_text(replace(said, metrics=wrong).to_json(), encoding="utf-8")
    with pytest.raises(VerificationError, match=r"int8.onnx accepts 9\d\.\d\d% of the test set, the manifest says 50"):
        verify(folder, data=digits, corrupted=False)


@pytest.mark.parametrize("name", ["softmax", "mlp-small", "lenet5", "conv-tiny", "conv-mlp-small"])
def test_answers_are_those_of_the_same_bytes_without_familiarity(digits, name):
    """Pixels, hidden activations, maps: whatever the features are of, the answers keep each bit."""
    file = SHIPPED / "digits" / name / MODEL_FILE
    model, metadata = only_answers(onnx.load(file)), read_manifest(file.parent).metadata
    watched, _ = with_features(model, metadata)
    observed = seen_on(model, digits)
    means = {value: seen.means for value, seen in observed.items()}
    ranges = {value: min_max(seen) for value, seen in observed.items()}
    for in_float in ((), weighted_layers(model.graph)[:1], weighted_layers(model.graph)[-1:]):
        plain, other = (answers_in_memory(to_int8(m, ranges, in_float, means), digits.test) for m in (model, watched))
        assert all(map(np.array_equal, plain, other)), in_float


def seen_on(model, digits):
    return observe(model, values_to_observe(model.graph), lambda: in_chunks(digits.train.inputs[:200], 64))


# --- the graph ------------------------------------------------------------------------------------------------------


def test_weights_are_small_enough_for_processors_without_vnni(made):
    """They add two products of a byte and a weight in 16 bits, and cut off what is more."""
    assert np.iinfo(np.int16).max >= 2 * 255 * LARGEST_WEIGHT
    model = onnx.load(made.files[0].file)
    weights = [numpy_helper.to_array(c) for c in model.graph.initializer if c.name.endswith("kernel/bytes")]
    assert len(weights) == 7
    assert all(w.dtype == np.int8 and np.abs(w).max() == LARGEST_WEIGHT for w in weights)


def test_openvino_answers_the_same(made, digits):
    openvino = pytest.importorskip("openvino")
    compiled = openvino.Core().compile_model(made.files[0].file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled(digits.test.inputs)["probabilities"]
    expected = zoo.load(made.folder, precision=INT8).probabilities(digits.test.inputs)
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99
    assert np.abs(found - expected).mean() < 1e-3


def test_the_activation_map_is_left_out_with_what_feeds_it_alone(fresh):
    model = onnx.load(fresh("conv-small") / MODEL_FILE)
    assert ACTIVATION_MAP in [output.name for output in model.graph.output]
    bare = only_answers(model)
    assert [output.name for output in bare.graph.output] == ["probabilities", "logits"]
    used = {name for node in bare.graph.node for name in node.input} | {"probabilities", "logits"}
    assert all(set(node.output) & used for node in bare.graph.node)
    assert {weights.name for weights in bare.graph.initializer} <= used
    assert len(bare.graph.node) < len(model.graph.node)


# --- calibration ----------------------------------------------------------------------------------------------------


def test_ranges_follow_what_the_values_reach(digits):
    model = only_answers(onnx.load(SHIPPED / "digits" / "lenet5" / MODEL_FILE))
    images = digits.train.inputs[:100]
    (value,) = [v for v in values_to_observe(model.graph) if "s2" in v][:1]
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    opened.graph.output.append(helper.make_tensor_value_info(value, TensorProto.FLOAT, None))
    numbers = onnxruntime.InferenceSession(opened.SerializeToString()).run([value], {"images": images})[0]
    seen = observe(model, [value], lambda: [images[:60], images[60:]])[value]
    assert seen.counts.sum() == numbers.size
    assert min_max(seen) == (min(0.0, numbers.min()), numbers.max())
    low, high = percentile(90, seen)
    assert high == pytest.approx(np.quantile(numbers, 0.95), abs=2 * (seen.high - seen.low) / len(seen.counts))
    assert min_max(seen)[0] <= low <= 0
    assert 0 < least_squares(seen)[1] <= min_max(seen)[1]


def test_images_of_one_class_calibrate_nothing(digits):
    ones = digits.train.take(np.flatnonzero(digits.train.labels == 1))
    with pytest.raises(DataError, match="all of one class, expected two classes or more"):
        calibration_images(ones, 100)


def test_calibration_images_are_training_images_and_the_same_ones_each_time(digits):
    drawn = calibration_images(digits.train, 50)
    known = {image.tobytes() for image in digits.train.inputs}
    assert all(image.tobytes() in known for image in drawn)
    np.testing.assert_array_equal(drawn, calibration_images(digits.train, 50))
    assert len(calibration_images(digits.train, 10**6)) == len(digits.train)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_some_layers_stay_in_float32_where_answers_are_far_though_no_image_is_lost(digits, monkeypatch):
    folder = SHIPPED / "digits" / "conv-small"
    model, metadata = only_answers(onnx.load(folder / MODEL_FILE)), read_manifest(folder).metadata
    monkeypatch.setattr(int8, "CLOSE", 0.0)
    found = int8.quantize_to_int8(model, digits, metadata, margin=100, calibration=100)
    assert len(set(found.made["float32_layers"])) == int8.FEW < len(weighted_layers(model.graph))


def test_sensitive_layers_stay_in_float32_until_the_margin_is_kept(fresh, digits):
    """One channel between two layers is large, and counts for as much less: bytes tell nothing of the others.

    Familiarity, which looks at that channel too, would be another one: it is left out.
    """
    folder = fresh("conv-small")
    makes, reads = "block2_unit2_conv", "block3_unit1_conv"

    def stretch(model):
        model.CopyFrom(without_familiarity(model))
        weights = {constant.name: constant for constant in model.graph.initializer}

        def scale(name, place, factor):
            values = numpy_helper.to_array(weights[name]).copy()
            values[place] *= factor
            weights[name].CopyFrom(numpy_helper.from_array(values, name))

        scale(f"{makes}/kernel", 0, 2000)
        scale(f"{makes}/bias", 0, 2000)
        scale(f"{reads}/kernel", np.s_[:, 0], 1 / 2000)

    change(folder, stretch)
    found = quantize(folder, precisions=[INT8], data=digits).files[0]
    assert set(found.made["float32_layers"]) == {makes, reads}
    assert abs(found.difference.difference) < 0.01
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    assert "Kept in float32: " in card
    assert makes in card.replace("\\", "")


def test_nothing_changes_where_a_file_is_refused(fresh, digits, monkeypatch):
    folder = fresh("conv-small")
    before = contents(folder)
    monkeypatch.setattr("pipelines.exporting.quantization.qdq.LARGEST_WEIGHT", 1)
    with pytest.raises(VerificationError):
        quantize(folder, data=digits, margin=0)
    assert contents(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_file_that_would_be_no_smaller_is_refused_with_both_sizes(tmp_path, digits):
    def two_of(split):
        return split.take(np.flatnonzero(split.labels < 2))

    pair = replace(
        digits,
        labels=("0", "1"),
        train=two_of(digits.train),
        validation=two_of(digits.validation),
        test=two_of(digits.test),
    )
    model = build("softmax", 8, 8, 1, 2)  # 130 weights: what they save is less than what scales and zero points take
    right = model.predict_on_batch(pair.test.inputs)["logits"].argmax(1) == pair.test.labels
    shipped = read_manifest(SHIPPED / "digits" / "softmax").metadata
    metadata = replace(
        shipped,
        recipe={**shipped.recipe, "normalize": "none"},
        calibration={},
        sets={},
        familiarity={},
        labels=pair.labels,
        data_digest=pair.digest,
        weights_sha256=weights_sha256(model),
        test_accuracy=float(right.mean()),
    )
    folder = write_export(tmp_path / "digits" / "softmax", model, pair, metadata, {}, familiarity=False).folder
    size = (folder / MODEL_FILE).stat().st_size
    with pytest.raises(
        ExportError, match=rf"digits/softmax would take [\d,]+ bytes in int8, no less than the {size:,}"
    ):
        quantize(folder, precisions=[INT8], data=pair)
    assert not (folder / MODEL_FILES[INT8]).exists()


def test_what_is_quantized_already_is_not_quantized_again(made, folder, digits):
    with pytest.raises(ExportError, match="is quantized already, to int8: name the export's folder"):
        quantize(made.files[0].file, data=digits)
    manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    shutil.copyfile(folder / MODEL_FILES[INT8], folder / MODEL_FILE)
    entry = next(file for file in manifest["files"] if file["path"] == MODEL_FILES[INT8])
    manifest["files"] = [{**entry, "path": f["path"]} if f["path"] == MODEL_FILE else f for f in manifest["files"]]
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(ExportError, match="is quantized already \\(DequantizeLinear, QuantizeLinear\\)"):
        quantize(folder, data=digits)
    with pytest.raises(ExportError, match="is a file of precision int8, expected float32"):
        zoo.load(folder)


def test_what_cannot_be_quantized_is_told_in_a_sentence(tmp_path, digits, fresh, capsys):
    with pytest.raises(ExportError, match=r"holds no manifest\.json: it is not an export"):
        quantize(tmp_path)
    with pytest.raises(ExportError, match="is a file, expected an export's folder"):
        quantize(SHIPPED / "digits" / "softmax" / MODEL_FILE)
    with pytest.raises(ExportError, match="rows of a table"):
        quantize(Path(__file__).parent / "runtime" / "fixture" / "wine" / "softmax")
    with pytest.raises(ExportError, match="0 to 100, not -1"):
        quantize(fresh("softmax"), margin=-1)
    with pytest.raises(ExportError, match="no precision to quantize to is called 'int4': "):
        quantize(tmp_path / "softmax", precisions=["int4"])
    assert main(["quantize", str(tmp_path / "nowhere")]) == 1
    assert "can't be loaded" in capsys.readouterr().err


def test_images_that_nobody_knows_are_asked_for(fresh):
    folder = fresh("softmax")

    def rename(model):
        for entry in model.metadata_props:
            entry.value = '"somebody\'s"' if entry.key == "zoo.data_set" else entry.value

    change(folder, rename)
    with pytest.raises(DataError, match=r"isn't a known data set.*name its folder with --data"):
        quantize(folder)


# --- loading and verifying ------------------------------------------------------------------------------------------


def test_a_precision_that_is_not_there_is_told_with_the_command_that_makes_it(fresh):
    folder = fresh("lenet5")
    with pytest.raises(
        ExportError, match=r"holds no model\.int8\.onnx, only float32: `zoo quantize .*--precision int8`"
    ):
        zoo.load(folder, precision=INT8)
    with pytest.raises(ExportError, match="no precision is called 'int4'"):
        zoo.load(folder, precision="int4")
    with pytest.raises(ExportError, match="is a file of precision float32, expected int8"):
        zoo.load(folder / MODEL_FILE, precision=INT8)


def test_predict_takes_the_precision(made, capsys):
    image = str(made.folder / "samples" / "3.png")
    assert main(["predict", str(made.folder), image, "--precision", "int8", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["label"] == "3"
    assert found["probability"] == zoo.load(made.folder, precision=INT8).predict(image).probability


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda metrics: metrics.update(int8_accuracy=0.5), "int8_accuracy are 0.5"),
        (lambda metrics: metrics.pop("int8_same_top_class"), "int8_same_top_class are None"),
        (lambda metrics: metrics.update(float16_size=7.0), "float16_size are 7.0"),
    ],
)
def test_a_figure_that_is_not_the_file_s_is_found(folder, digits, spoil, told):
    manifest = read_manifest(folder)
    metrics = dict(manifest.metrics)
    spoil(metrics)
    (folder / MANIFEST_FILE).write_text(replace(manifest, metrics=metrics).to_json(), encoding="utf-8")
    with pytest.raises(VerificationError, match=told):
        verify(folder, data=digits, corrupted=False)


def test_a_file_of_another_model_is_found(folder, fresh, digits):
    other = quantize(fresh("lenet5"), precisions=[INT8], data=digits).files[0].file
    shutil.copyfile(other, folder / MODEL_FILES[INT8])
    manifest = read_manifest(folder)
    (folder / MANIFEST_FILE).write_text(
        replace(manifest, files=described(folder, manifest)).to_json(), encoding="utf-8"
    )
    with pytest.raises(ExportError, match="differ in model, family"):
        verify(folder, data=digits, corrupted=False)


def test_a_file_that_the_manifest_does_not_name_is_found(fresh, made, digits):
    folder = fresh("conv-small")
    shutil.copyfile(made.files[0].file, folder / MODEL_FILES[INT8])
    with pytest.raises(ExportError, match=r"doesn't name model\.int8\.onnx"):
        verify(folder, data=digits, corrupted=False)


def test_what_is_observed_at_once_is_bounded_where_images_are_large(digits, monkeypatch):
    """64 images of 512x512 at once would take 7 GB in efficientnet-lite0."""
    sizes = []

    def seen(model, values, batches):
        sizes.extend(len(batch) for batch in batches())
        raise DataError("enough")

    monkeypatch.setattr(int8, "observe", seen)
    few = {name: getattr(digits, name).take(np.arange(100)) for name in ("train", "validation", "test")}
    few = replace(digits, **few)
    model = onnx.load(SHIPPED / "digits" / "softmax" / "model.onnx")
    for data_set, most in ((few.resized(512, 512, "stretch"), 16), (few, 64)):
        sizes.clear()
        with pytest.raises(DataError, match="enough"):
            int8.quantize_to_int8(model, data_set, None, 0.005, 100)
        assert (max(sizes), sum(sizes)) == (most, 100)


def test_an_export_is_found_from_inside(tmp_path, monkeypatch):
    folder = shutil.copytree(Path(__file__).parents[1] / "exports/digits/softmax", tmp_path / "softmax")
    monkeypatch.chdir(folder / "samples")
    assert _folder("..") == folder
    monkeypatch.chdir(folder)
    assert _folder(".").name == "softmax"
