"""A float32 graph in int8: everything in bytes, rounded where it costs least, on every form of a layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.graph.resizing import resizing_model
from pipelines.exporting.quantization import qdq
from pipelines.exporting.quantization.calibration import min_max, observe
from pipelines.exporting.quantization.qdq import only_answers, to_int8, values_to_observe, weighted_layers
from zoo.contract import IR_VERSION, MODEL_FILE, OPSET, RESIZINGS
from zoo.data import load

SHIPPED = Path(__file__).parent.parent / "exports"
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


def operators_that_run(model, path):
    """What onnxruntime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3  # that the dump is of this machine alone is what it warns of
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("name", FAMILIES)
def test_everything_between_pixels_and_logits_runs_on_bytes(name, digits, tmp_path):
    model = only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE))
    quantized = to_int8(model, ranges_of(model, digits.train.inputs[:500]))
    running = operators_that_run(quantized, tmp_path / "optimized.onnx")
    assert not {"DequantizeLinear", "QuantizeLinear", "Cast", "Conv", "Gemm", "Relu", "Add"} & set(running)
    layers = weighted_layers(model.graph)
    assert sum(operator in ("QLinearConv", "QGemm") for operator in running) == len(layers)
    expected, found = (answers(m, digits.test.inputs) for m in (model, quantized))
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.97


@pytest.mark.parametrize("name", ["conv-small", "lenet5"])
def test_a_bounded_relu_is_bytes_that_end_where_it_does(name, digits, tmp_path):
    """Rounded in front of it, bytes would have to reach as far as the sums: some twenty times as far here."""
    most = 0.25
    model = bounded(only_answers(onnx.load(SHIPPED / "digits" / name / MODEL_FILE)), most)
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
