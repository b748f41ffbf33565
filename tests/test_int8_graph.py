"""A float32 graph in int8: everything in bytes, rounded where it costs least, on every form of a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.graph.edit import drop_unused, producer_of
from pipelines.exporting.graph.resizing import resizing_model
from pipelines.exporting.quantization import qdq
from pipelines.exporting.quantization.calibration import min_max, observe
from pipelines.exporting.quantization.qdq import only_answers, to_int8, values_to_observe, weighted_layers
from zoo.contract import IR_VERSION, MODEL_FILE, OPSET, RESIZINGS
from zoo.data import load

SHIPPED = Path(__file__).parent.parent / "exports"
NORMALIZATION = ("ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div")  # of normalize=image
FAMILIES = ("conv-small", "lenet5", "conv-tiny", "mlp-small")  # pools, dense heads, additions, no convolution at all


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def ranges_of(model, images, cut=min_max):
    seen = observe(model, values_to_observe(model.graph), lambda: [images])
    return {value: cut(seen[value]) for value in seen}


def answers(model, images, **options):
    session = onnxruntime.InferenceSession(model.SerializeToString(), **options)
    return session.run(["logits"], {"images": images})[0]


def bounded(model, most):
    """A copy whose ReLUs are bounded, as ReLU6 is: a Clip, as tf2onnx writes it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for name, value in (("least", 0), ("most", most)):
        copy.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    for node in copy.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Clip"
            node.input.extend(["least", "most"])
    return copy


def on_pixels(model, split):
    """A copy that reads pixels as files without normalize=image do, and knows its digits nevertheless.

    The mean and the deviation are of all images rather than of each, and folded into the first layer. What that changes
    at the edges, where zeros are padded, the last layer makes up for, which is fitted anew by least squares.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    normalized = next(node for node in graph.node if node.op_type == "Div").output[0]
    layer = next(node for node in graph.node if node.name in weighted_layers(graph))
    kernel, bias = (next(c for c in graph.initializer if c.name == name) for name in layer.input[1:3])
    folded = numpy_helper.to_array(kernel) / np.float32(split.inputs.std())
    lost = folded.sum(axis=(1, 2, 3) if layer.op_type == "Conv" else 0) * np.float32(split.inputs.mean())
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) - lost, bias.name))
    kernel.CopyFrom(numpy_helper.from_array(folded, kernel.name))
    # Bytes are reshaped, and cast where the layer reads them.
    cast = next(node for node in graph.node if node.op_type == "Cast")
    for node in graph.node:
        node.input[:] = [cast.input[0] if name == normalized else name for name in node.input]
    cast.input[0], layer.input[0] = layer.input[0], cast.output[0]
    graph.node.remove(cast)
    graph.node.insert(list(graph.node).index(layer), cast)
    drop_unused(graph)
    del graph.value_info[:]
    head = producer_of(graph, "logits")
    opened = onnx.ModelProto()
    opened.CopyFrom(copy)
    opened.graph.output.append(helper.make_tensor_value_info(head.input[0], TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(opened.SerializeToString())
    features = session.run([head.input[0]], {"images": split.inputs})[0]
    values = np.hstack([features, np.ones((len(features), 1), np.float32)])
    weights = np.linalg.lstsq(values, 9 * np.eye(10, dtype=np.float32)[split.labels])[0]
    for name, fitted in zip(head.input[1:3], (weights[:-1], weights[-1]), strict=True):
        next(c for c in graph.initializer if c.name == name).CopyFrom(numpy_helper.from_array(fitted, name))
    return onnx.shape_inference.infer_shapes(copy)


def operators_that_run(model, path):
    """What onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # that the dump is of this machine alone is what it warns of
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_between_pixels_and_logits_runs_on_bytes(name, digits, tmp_path):
    model = on_pixels(only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE)), digits.train)
    check_bytes(model, digits, tmp_path)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_normalized_image_is_rounded_once_and_everything_behind_it_runs_on_bytes(name, digits, tmp_path):
    """The normalization of an image stays in float32: sums over all pixels need their digits."""
    model = only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE))
    check_bytes(model, digits, tmp_path, ["Cast", *NORMALIZATION], ["QuantizeLinear"])


def check_bytes(model, digits, tmp_path, in_front=(), behind=()):
    """in_front: the operators that run first, in float32, but for the resizing; behind: further ones, once each."""
    quantized = to_int8(model, ranges_of(model, digits.train.inputs[:500]))
    running = operators_that_run(quantized, tmp_path / "optimized.onnx")
    running.remove("Resize")
    assert running[: len(in_front)] == list(in_front)
    running = running[len(in_front) :]
    for operator in behind:
        running.remove(operator)
    floating = {"DequantizeLinear", "QuantizeLinear", "Cast", "Conv", "Gemm", "Relu", "Add", *NORMALIZATION}
    assert not floating & set(running)
    layers = weighted_layers(model.graph)
    assert sum(operator in ("QLinearConv", "QGemm") for operator in running) == len(layers)
    expected, found = (answers(m, digits.test.inputs) for m in (model, quantized))
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.97


@pytest.mark.parametrize("name", ["conv-small", "lenet5"])
def test_a_bounded_relu_is_bytes_that_end_where_it_does(name, digits, tmp_path):
    """Rounded in front of it, bytes would have to reach as far as the sums: some twenty times as far here."""
    most = 0.25
    model = only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE))
    model = bounded(on_pixels(model, digits.train), most)
    ranges = ranges_of(model, digits.train.inputs[:500])
    quantized = to_int8(model, ranges)
    running = operators_that_run(quantized, tmp_path / "optimized.onnx")
    assert not {"DequantizeLinear", "QuantizeLinear", "Cast", "Conv", "Gemm", "Clip", "Add"} & set(running)
    scales = {
        c.name: float(numpy_helper.to_array(c))
        for c in quantized.graph.initializer
        if c.name.endswith("/scale") and not c.dims
    }
    for node in model.graph.node:
        if node.op_type == "Clip":
            assert scales[f"{node.output[0]}/scale"] <= most / 255 * 1.001
    expected, found = (answers(m, digits.test.inputs) for m in (model, quantized))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.99
    in_float = answers(to_int8(model, ranges, weighted_layers(model.graph)), digits.test.inputs)
    np.testing.assert_allclose(in_float, expected, atol=1e-4)


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_sides_in_pixels_are_no_values_to_round(resizing):
    """Those that a file crops and pads by are added up, too, as integers."""
    model = onnx.shape_inference.infer_shapes(resizing_model(8, 8, 1, resizing))
    assert values_to_observe(model.graph) == ()


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("layer", ["Conv", "Conv of two groups", "depthwise Conv", "Gemm", "Gemm of rows"])
def test_biases_make_up_for_what_weights_lose_on_average(layer, with_bias, monkeypatch):
    """Of each output the mean over images stays float32's, with weights of few bits, too."""
    monkeypatch.setattr(qdq, "LARGEST_WEIGHT", 8)
    random, groups = np.random.default_rng(2), 1 + (layer == "Conv of two groups")
    brightness = np.array([1, 2, 3, 4]).reshape(4, 1, 1)  # of channels, whose means differ
    images = (random.integers(0, 256, (200, 4, 5, 5)) // brightness).astype(np.uint8)
    shape, options = {
        "Gemm": ((100, 6), {}),
        "Gemm of rows": ((6, 100), {"transB": 1}),
        "depthwise Conv": ((8, 1, 3, 3), {"group": 4}),
    }.get(layer, ((8, 4 // groups, 1, 1), {"group": groups}))
    constants = {"kernel": random.normal(size=shape), "bias": 100 * random.normal(size=8 if "Conv" in layer else 6)}
    inputs = ["kernel", "bias"] if with_bias else ["kernel"]
    nodes = [helper.make_node("Cast", ["images"], ["pixels"], "pixels", to=TensorProto.FLOAT)]
    if "Conv" in layer:
        nodes.append(helper.make_node("Conv", ["pixels", *inputs], ["sums"], "layer", **options))
        nodes.append(helper.make_node("GlobalAveragePool", ["sums"], ["pool"], "pool"))
        nodes.append(helper.make_node("Flatten", ["pool"], ["logits"], "flat"))
    else:
        nodes.append(helper.make_node("Flatten", ["pixels"], ["flat"], "flat"))
        nodes.append(helper.make_node("Gemm", ["flat", *inputs], ["logits"], "layer", **options))
    graph = helper.make_graph(
        nodes,
        "one layer",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 4, 5, 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(constants["bias"])])],
        [numpy_helper.from_array(constants[name].astype(np.float32), name) for name in inputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    seen = observe(model, values_to_observe(graph), lambda: [images[:120], images[120:]])
    ranges, means = ({value: part(seen[value]) for value in seen} for part in (min_max, lambda each: each.means))
    expected = answers(model, images).mean(axis=0)
    without, corrected = (
        np.abs(answers(to_int8(model, ranges, (), given), images).mean(axis=0) - expected) for given in ({}, means)
    )
    assert corrected.max() < without.max() / 5


@pytest.mark.parametrize("name", FAMILIES)
def test_a_layer_that_is_kept_in_float32_stays_in_it(name, digits, tmp_path):
    """Between bytes on either side onnxruntime would quantize it by itself, with one scale for all channels."""
    model = only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE))
    ranges = ranges_of(model, digits.train.inputs[:500])
    layers = weighted_layers(model.graph)
    for kept in (layers[0], layers[1], layers[-1]):
        running = operators_that_run(to_int8(model, ranges, [kept]), tmp_path / "optimized.onnx")
        assert sum(operator in ("Conv", "Gemm", "FusedConv", "FusedGemm") for operator in running) == 1, kept
        assert sum(operator in ("QLinearConv", "QGemm") for operator in running) == len(layers) - 1
    all_of_them = answers(to_int8(model, ranges, layers), digits.test.inputs)
    np.testing.assert_allclose(all_of_them, answers(model, digits.test.inputs), atol=1e-4)
