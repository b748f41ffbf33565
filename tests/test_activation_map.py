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
    plain = onnx.ModelProto()
    plain.CopyFrom(converted)
    del plain.graph.output[2], plain.graph.node[-1], plain.graph.initializer[-1]
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


@pytest.mark.parametrize("name", ["pool-sum", "pool-relu", "pool-norm"])
def test_where_more_lies_between_average_and_last_layer_there_is_none(registered, name):
    from zoo.models import layers

    @registered(name, family="conv")
    def between(images, classes):
        """An average, something else, a dense layer."""
        x = layers.GlobalAveragePooling2D(name="pool")(layers.Conv2D(8, 3, name="conv")(images))
        if name == "pool-sum":
            x = layers.Add(name="sum")([x, layers.GlobalMaxPooling2D(name="most")(images)])
        elif name == "pool-relu":
            x = layers.ReLU(name="relu")(x)
        else:
            x = layers.LayerNormalization(name="norm")(x)
        return layers.Dense(classes, name="head_dense")(x)

    outputs = [output.name for output in convert(build(name, SIDE, SIDE, 1, 3)).graph.output]
    assert outputs == ["probabilities", "logits"]


def test_a_last_layer_without_bias_and_behind_dropout_has_one(registered):
    from zoo.models import layers

    @registered("no-bias", family="conv")
    def no_bias(images, classes):
        """An average with its two dimensions kept, dropout, a dense layer without bias."""
        x = layers.Conv2D(8, 3, name="conv")(images)
        x = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(x)
        x = layers.Dropout(0.5, name="dropout")(layers.Flatten(name="flatten")(x))
        return layers.Dense(classes, use_bias=False, name="head_dense")(x)

    logits, maps = run(convert(build("no-bias", SIDE, SIDE, 1, 3)), [LOGITS, ACTIVATION_MAP], some_images(4))
    assert maps.shape == (4, 3, 10, 10)
    np.testing.assert_allclose(maps.mean(axis=(2, 3)), logits, atol=1e-5)


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
