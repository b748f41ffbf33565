"""The activation map of an exported file: what the last layer says at each position, exact, and proven by `verify`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

import zoo
from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.exporting.convert import convert
from pipelines.exporting.export import write_export
from pipelines.exporting.quantization.qdq import only_answers
from pipelines.exporting.quantization.quantize import quantize
from pipelines.exporting.verify import verify
from zoo.contract import ACTIVATION_MAP, INPUT, LOGITS, MANIFEST_FILE, MODEL_FILE, describe_file, read_manifest
from zoo.data import load
from zoo.errors import ExportError, VerificationError
from zoo.images import read_image
from zoo.models import build
from zoo.models.backend import start_keras

EXPORTS = Path(__file__).parent.parent / "exports"
SIDE = 12  # pixels: 3 x 3 positions
SHIPPED = {path.parent: read_manifest(path.parent) for path in sorted(EXPORTS.glob(f"*/*/{MANIFEST_FILE}"))}
WITH_MAP = [pytest.param(folder, id=folder.name) for folder, manifest in SHIPPED.items() if manifest.map_size]


def with_random_head(model):
    head = model.get_layer("head_dense")
    random = np.random.default_rng(5)
    head.set_weights([random.normal(size=values.shape) for values in head.get_weights()])
    return model


def some_images(count, side=SIDE):
    return np.random.default_rng(3).integers(0, 256, (count, side, side, 1), dtype=np.uint8)


def run(model, outputs, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, {INPUT: images})


@pytest.fixture(scope="module")
def model():
    start_keras().utils.set_random_seed(3)
    return with_random_head(build("conv-small", SIDE, SIDE, 1, 10))


@pytest.fixture(scope="module")
def converted(model):
    return convert(model)


def test_it_is_the_last_layer_at_each_position(model, converted):
    import keras

    images = some_images(4)
    features = keras.Model(model.input, model.get_layer("head_pool").input).predict_on_batch(images)  # [N, 3, 3, C]
    kernel, _ = model.get_layer("head_dense").get_weights()
    (maps,) = run(converted, [ACTIVATION_MAP], images)
    np.testing.assert_allclose(maps, (features @ kernel).transpose(0, 3, 1, 2), atol=1e-5)


def test_the_logits_keep_each_bit(converted):
    plain = only_answers(converted)
    assert len(plain.graph.node) == len(converted.graph.node) - 1
    onnx.checker.check_model(plain, full_check=True)
    for images in (some_images(1), some_images(33)):
        np.testing.assert_array_equal(run(converted, [LOGITS], images), run(plain, [LOGITS], images))


def test_other_runtimes_have_the_same_map(converted):
    import openvino

    images = some_images(3)
    (expected,) = run(converted, [ACTIVATION_MAP], images)
    (reference,) = ReferenceEvaluator(converted).run([ACTIVATION_MAP], {INPUT: images})
    core = openvino.Core()
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(converted.SerializeToString()), "CPU", exact)
    np.testing.assert_allclose(reference, expected, atol=1e-5)
    np.testing.assert_allclose(compiled([images])[ACTIVATION_MAP], expected, atol=1e-5)


# Between an average over positions and the logits: what keeps the map exact, and what leaves the file without one.
EXACT = {
    "one dense layer": (),
    "dropout": ("dropout",),
    "units on the average": ("relu",),
    "hidden relu": ("dense", "relu"),
    "hidden relu and dropout": ("dense", "relu", "dropout"),
    "hidden relu, no bias": ("bare", "relu", "last without bias"),
    "two hidden relu": ("dense", "relu", "dropout", "dense", "relu", "dropout"),
    "hidden norm and relu": ("bare", "batch norm", "relu"),
    "hidden leaky relu": ("dense", "leaky"),
    "hidden linear": ("dense",),
}
WITHOUT = {
    "gelu": ("dense", "gelu"),
    "swish": ("dense", "swish"),
    "tanh behind relu": ("dense", "relu", "dense", "tanh"),
    "bounded relu": ("dense", "relu6"),
    "average normalized": ("layer norm",),
    "hidden layer normalized": ("dense", "layer norm", "relu"),
    "more than the average": ("sum",),
    "two ways": ("dense", "relu", "residual"),
}


def head_of(parts, registered, side=SIDE, classes=3):
    """A model of a convolution, an average over positions, those parts, and a last dense layer; random weights."""
    from zoo.models import layers

    made = {
        "dense": lambda place: layers.Dense(7, name=f"dense{place}"),
        "bare": lambda place: layers.Dense(7, use_bias=False, name=f"dense{place}"),
        "relu": lambda place: layers.ReLU(name=f"relu{place}"),
        "relu6": lambda place: layers.ReLU(6, name=f"relu{place}"),
        "leaky": lambda place: layers.LeakyReLU(0.25, name=f"leaky{place}"),
        "dropout": lambda place: layers.Dropout(0.5, name=f"dropout{place}"),
        "batch norm": lambda place: layers.BatchNormalization(name=f"norm{place}"),
        "layer norm": lambda place: layers.LayerNormalization(name=f"norm{place}"),
        "gelu": lambda place: layers.Activation("gelu", name=f"gelu{place}"),
        "swish": lambda place: layers.Activation("swish", name=f"swish{place}"),
        "tanh": lambda place: layers.Activation("tanh", name=f"tanh{place}"),
    }

    @registered("with-head", family="hybrid")
    def with_head(images, classes):
        """A head of parts."""
        x = layers.Conv2D(8, 3, name="conv")(images)  # of both signs
        x = average = layers.GlobalAveragePooling2D(keepdims="bare" in parts, name="pool")(x)
        x = layers.Flatten(name="flatten")(x) if "bare" in parts else x
        for place, part in enumerate(parts):
            if part == "sum":
                x = layers.Add(name="sum")([x, layers.GlobalMaxPooling2D(name="most")(images)])
            elif part == "residual":
                x = layers.Add(name="sum")([layers.Dense(8, name="back")(x), average])
            elif part in made:
                x = made[part](place)(x)
        return layers.Dense(classes, use_bias="last without bias" not in parts, name="head_dense")(x)

    model = build("with-head", side, side, 1, classes)
    random = np.random.default_rng(7)
    model.set_weights([random.normal(size=values.shape) for values in model.get_weights()])
    for norm in [layer for layer in model.layers if hasattr(layer, "moving_variance")]:
        norm.moving_variance.assign(random.uniform(0.5, 2, norm.moving_variance.shape))
    return model


def map_in_numpy(model, images):
    """[N, K, h, w]: the head's layers at each position, each unit with the slope that it has for the average."""
    import keras

    at_positions = keras.Model(model.input, model.get_layer("conv").output).predict_on_batch(images)  # [N, h, w, C]
    average = at_positions.mean(axis=(1, 2), keepdims=True)
    names = [layer.name for layer in model.layers]
    for layer in model.layers[names.index("pool") + 1 : names.index("head_dense") + 1]:
        if isinstance(layer, keras.layers.Dense):
            kernel, *bias = layer.get_weights()
            bias = bias if layer.name != "head_dense" else []
            average, at_positions = (values @ kernel + sum(bias) for values in (average, at_positions))
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            scale = gamma / np.sqrt(variance + layer.epsilon)
            average, at_positions = ((values - mean) * scale + beta for values in (average, at_positions))
        elif isinstance(layer, (keras.layers.ReLU, keras.layers.LeakyReLU)):
            slope = np.where(average > 0, 1, layer.negative_slope)
            assert len(np.unique(slope)) == 2
            average, at_positions = average * slope, at_positions * slope
    return at_positions.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("parts", EXACT.values(), ids=EXACT)
def test_a_head_of_straight_lines_has_one(registered, parts):
    model = head_of(parts, registered)
    images = (some_images(16) * np.linspace(0, 1, 16).reshape(-1, 1, 1, 1)).astype(
        np.uint8
    )  # dark ones and bright ones
    converted = convert(model)
    onnx.checker.check_model(converted, full_check=True)
    logits, maps = run(converted, [LOGITS, ACTIVATION_MAP], images)
    expected = map_in_numpy(model, images)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(maps, expected, atol=1e-5 * largest)
    bias = dict(zip(("kernel", "bias"), model.get_layer("head_dense").get_weights(), strict=False)).get("bias", 0)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias, logits, atol=1e-5 * largest)
    np.testing.assert_allclose(np.asarray(model(images)["logits"]), logits, atol=1e-5 * largest)
    (reference,) = ReferenceEvaluator(converted).run([ACTIVATION_MAP], {INPUT: images})
    np.testing.assert_allclose(reference, expected, atol=1e-5 * largest)
    np.testing.assert_array_equal(logits, run(only_answers(converted), [LOGITS], images)[0])  # each bit


@pytest.mark.parametrize("parts", WITHOUT.values(), ids=WITHOUT)
def test_a_head_of_curves_has_none(registered, parts):
    outputs = [output.name for output in convert(head_of(parts, registered)).graph.output]
    assert outputs == ["probabilities", "logits"]


# --- under the contract ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory, metadata_of):
    """An export that nobody changes."""
    digits = load("digits")
    model = with_random_head(build("conv-tiny", 8, 8, 1, 10))
    goal = tmp_path_factory.mktemp("exports") / "digits" / "conv-tiny"
    return write_export(goal, model, digits, metadata_of("conv-tiny", model, digits), {})


@pytest.fixture
def folder(made, tmp_path):
    """A copy of it, to be broken."""
    return shutil.copytree(made.folder, tmp_path / "conv-tiny")


def change(folder, edit):
    model = onnx.load(folder / MODEL_FILE)
    edit(model)
    onnx.save(model, folder / MODEL_FILE)
    manifest = read_manifest(folder)
    files = tuple(describe_file(folder, folder / file.path) for file in manifest.files)
    (folder / MANIFEST_FILE).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")


def test_an_export_has_it_in_file_manifest_and_verification(made):
    check = next(check for check in made.verification.checks if check.name == "activation map")
    assert check.result.startswith("2x2 positions, their mean plus bias within ")
    outputs = json.loads((made.folder / MANIFEST_FILE).read_text(encoding="utf-8"))["outputs"]
    assert outputs[2] == {"name": "activation_map", "dtype": "float32", "shape": ["N", 10, 2, 2]}
    assert read_manifest(made.folder).map_size == zoo.load(made.folder).map_size == (2, 2)


def other_weights(model):
    weights = model.graph.initializer[-1]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.01), weights.name))


def with_the_bias(model):
    head = next(node for node in model.graph.node if node.output[0] == LOGITS)
    model.graph.node[-1].input.append(head.input[2])


@pytest.mark.parametrize("damage", [other_weights, with_the_bias])
def test_a_map_that_does_not_add_up_to_the_logits_is_told(folder, damage):
    change(folder, damage)
    with pytest.raises(VerificationError, match=r"activation map whose mean plus bias differs from the logits by \d"):
        verify(folder)


def of_units_that_are_inactive(model):
    (slope,) = [node for node in model.graph.node if node.op_type == "Where"]
    slope.input[1:] = reversed(slope.input[1:])


def test_a_hidden_layer_is_under_the_same_promise(registered, tmp_path, metadata_of):
    digits = load("digits")
    model = head_of(("dense", "relu", "dropout"), registered, side=8, classes=10)
    made = write_export(tmp_path / "digits" / "with-head", model, digits, metadata_of("with-head", model, digits), {})
    check = next(check for check in made.verification.checks if check.name == "activation map")
    assert check.result.startswith("6x6 positions, their mean plus bias within ")

    classifier = zoo.load(made.folder, provider="cpu")
    _, bias = model.get_layer("head_dense").get_weights()
    for image in digits.test.inputs[:5]:
        explanation = classifier.explain(image)
        place = digits.labels.index(explanation.label)
        expected = map_in_numpy(model, image[np.newaxis])[0, place]
        np.testing.assert_allclose(explanation.map, expected, atol=1e-5 * np.abs(expected).max())
        assert explanation.bias == pytest.approx(bias[place], abs=1e-4)

    for precision in quantize(made.folder, margin=100, data=digits).files:
        assert zoo.load(made.folder, provider="cpu", precision=precision.precision).map_size is None
    change(made.folder, of_units_that_are_inactive)
    with pytest.raises(VerificationError, match="activation map whose mean plus bias differs from the logits"):
        verify(made.folder, data=digits)


def of_another_name(model):
    model.graph.output[2].name = model.graph.node[-1].output[0] = "map"


def of_fewer_classes(model):
    weights = model.graph.initializer[-1]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights)[:4], weights.name))
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 4


@pytest.mark.parametrize("damage", [of_another_name, of_fewer_classes])
def test_an_output_that_the_contract_does_not_know_is_refused(folder, damage):
    change(folder, damage)
    with pytest.raises(ExportError, match="doesn't keep the contract"):
        zoo.load(folder)


def test_a_map_of_free_size_is_told(folder):
    def free(model):
        model.graph.output[2].type.tensor_type.shape.dim[3].dim_param = "w"

    change(folder, free)
    with pytest.raises(
        VerificationError, match=r"\['N', 10, 2, 'w'\]\)\], expected .*\['N', 10, 2, 'a fixed number'\]"
    ):
        verify(folder)


def test_a_manifest_that_says_nothing_of_it_is_told(folder):
    text = replace(read_manifest(folder), map_size=None).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    for read in (zoo.load, verify):
        with pytest.raises(ExportError, match=r"manifest\.json and model\.onnx differ in activation_map"):
            read(folder)


@pytest.mark.parametrize(
    "outputs",
    [
        7,
        [7],
        [{}],
        [{"name": "activation_map", "shape": [1]}],
        [{"name": "activation_map", "shape": ["N", 9, "h", "w"]}],
    ],
)
def test_outputs_that_are_none_are_refused(folder, outputs):
    found = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    (folder / MANIFEST_FILE).write_text(json.dumps({**found, "outputs": outputs}), encoding="utf-8")
    with pytest.raises(ExportError, match="is not a manifest"):
        zoo.load(folder)


def test_mlflow_serves_it_beside_the_others(made, store):
    import mlflow.pyfunc

    plan = make_plan("conv-tiny", "digits")
    run = tracking.start_run(plan, load_data(plan), {"arithmetic": "float32", "parameters": 1})
    tracking.log_export(run, onnx.load(made.folder / MODEL_FILE), {})
    tracking.finish(run, "FINISHED")
    (described,) = store.glob("mlruns/artifacts/**/MLmodel")
    served = mlflow.pyfunc.load_model(str(described.parent))
    outputs = {spec.name: spec.shape for spec in served.metadata.signature.outputs.inputs}
    assert outputs == {"label": (-1,), "probabilities": (-1, 10), "logits": (-1, 10), "activation_map": (-1, 10, 2, 2)}
    answer = served.predict({INPUT: some_images(3, 8)})
    assert {name: values.shape for name, values in answer.items()} == {
        "label": (3,),
        "probabilities": (3, 10),
        "logits": (3, 10),
        "activation_map": (3, 10, 2, 2),
    }


# --- what is shipped -------------------------------------------------------------------------------------------------


def test_every_shipped_model_that_ends_in_an_average_has_one():
    found = {f"{m.metadata.data_set}/{m.metadata.model}" for m in SHIPPED.values() if m.map_size}
    assert found == {
        "digits/conv-small",
        "digits/conv-tiny",
        "fashion-mnist/conv-small",
        "fashion-mnist/conv-tiny",
        "fashion-mnist/resnet20",
        "fashion-mnist/separable-small",
        "fashion-mnist/wide-resnet-small",
    }


@pytest.mark.parametrize("folder", WITH_MAP)
def test_on_every_sample_mean_and_bias_are_the_logits(folder):
    classifier = zoo.load(folder, provider="cpu")
    graph = onnx.load(folder / MODEL_FILE).graph
    bias = next(numpy_helper.to_array(c) for c in graph.initializer if c.name == "head_dense/bias")
    images = np.stack([read_image(file, 1) for file in sorted((folder / "samples").glob("*.png"))])
    logits, maps = classifier.session.run([LOGITS, ACTIVATION_MAP], {INPUT: images})
    np.testing.assert_allclose(maps.mean(axis=(2, 3)) + bias, logits, atol=1e-4)


def test_the_map_of_a_sandal_moves_with_it():
    classifier = zoo.load(EXPORTS / "fashion-mnist" / "conv-small", provider="cpu")
    image = read_image(EXPORTS / "fashion-mnist/conv-small/samples/5.png", 1)  # a flat one, with room above
    rows = []
    for shift in (-8, 0, 8):
        found = classifier.explain(np.roll(image, shift, axis=0), "Sandal").map
        weights = np.maximum(found, 0)
        rows.append(float((weights.sum(axis=1) * np.arange(7)).sum() / weights.sum()))  # the center of what is for it
    assert rows[0] + 0.8 < rows[1] < rows[2] - 0.8  # of 2, where an image's edges said nothing
