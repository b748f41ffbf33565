"""The graph that is shipped: right for every registered model, small, named by layers, the same in every runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from pipelines.convert import convert
from zoo.contract import INPUT, IR_VERSION, LOGITS, OPSET, PARITY_TOLERANCE, PROBABILITIES
from zoo.errors import ExportError
from zoo.models import build, definitions
from zoo.models.backend import start_keras
from zoo.pictures import resize

MODELS = [definition.name for definition in definitions()]
SIDE = 20  # pixels: small, and not divisible by 8


def with_random_weights(model):
    """Biases and statistics of batch normalisations random too, beside the kernels: a zero would hide a mistake."""
    random = np.random.default_rng(7)
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        values = random.normal(size=variable.shape) / 10
        if len(variable.shape) > 1:  # a kernel: scaled so that neither features nor differences between them die out
            inputs = np.prod(variable.shape[:2] if "depthwise" in variable.path else variable.shape[:-1])
            values *= 10 * np.sqrt(2 / inputs)
        if "variance" in variable.path:
            values = np.abs(values) + 0.9
        elif "gamma" in variable.path:
            values += 1.1
        variable.assign(values.astype(np.float32))
    return model


def pictures(count, channels, height=SIDE, width=SIDE):
    """Noise of another brightness and contrast in each picture and channel, so that averages differ too."""
    random = np.random.default_rng(3)
    darkest, brightest = np.sort(random.integers(0, 256, (2, count, 1, 1, channels)), axis=0)
    return random.integers(darkest, brightest + 1, (count, height, width, channels)).astype(np.uint8)


def run(converted, images):
    """(probabilities, logits) of onnxruntime."""
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([PROBABILITIES, LOGITS], {INPUT: images})


def operators(converted):
    return [node.op_type for node in converted.graph.node]


@pytest.fixture(scope="module", params=[(name, channels) for name in MODELS for channels in (1, 3)], ids=str)
def pair(request):
    """A Keras model with random weights, and what it was converted to."""
    name, channels = request.param
    model = with_random_weights(build(name, SIDE, SIDE, channels, 10))
    return model, convert(model), channels


def test_answers_as_keras_does(pair):
    model, converted, channels = pair
    images = pictures(33, channels)
    expected = model.predict_on_batch(images)
    probabilities, logits = run(converted, images)
    np.testing.assert_allclose(probabilities, expected[PROBABILITIES], atol=PARITY_TOLERANCE, rtol=0)
    np.testing.assert_allclose(logits, expected[LOGITS], atol=1e-4, rtol=1e-4)
    assert np.ptp(expected[PROBABILITIES], axis=0).max() > 0.01  # random weights that tell pictures apart


def test_keeps_the_contract(pair):
    _, converted, channels = pair
    onnx.checker.check_model(converted, full_check=True)
    graph = converted.graph

    def described(value):
        shape = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        return value.name, value.type.tensor_type.elem_type, shape

    assert [described(value) for value in graph.input] == [
        (INPUT, onnx.TensorProto.UINT8, ["N", "H", "W", channels]),
    ]
    assert [described(value) for value in graph.output] == [
        (PROBABILITIES, onnx.TensorProto.FLOAT, ["N", 10]),
        (LOGITS, onnx.TensorProto.FLOAT, ["N", 10]),
    ]
    assert converted.ir_version == IR_VERSION
    assert [(opset.domain, opset.version) for opset in converted.opset_import] == [("", OPSET)]


def test_every_edge_has_a_shape_with_the_batch_in_front(pair):
    _, converted, _ = pair
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*converted.graph.value_info, *converted.graph.output)
    }
    edges = {name for node in converted.graph.node for name in node.output}
    assert edges == set(shapes)
    assert {shape[0] for shape in shapes.values()} == {"N"}
    assert all(isinstance(size, int) for shape in shapes.values() for size in shape[1:])


def test_nothing_is_left_to_be_folded(pair):
    _, converted, channels = pair
    used = operators(converted)
    assert not {"Mul", "Add", "MatMul", "BatchNormalization", "Shape", "Identity"} & set(used)
    assert used.count("Cast") == 1
    convolutional = "Conv" in used
    assert used.count("Transpose") == (1 if convolutional and channels == 3 else 0)  # of bytes, in front
    if "Transpose" in used:
        assert used.index("Transpose") < used.index("Cast")


def test_each_layer_with_weights_is_a_node_of_its_name(pair):
    model, converted, _ = pair
    nodes = {node.name: node for node in converted.graph.node}
    constants = {constant.name: list(constant.dims) for constant in converted.graph.initializer}
    assert len(nodes) == len(converted.graph.node)
    for layer in model.layers:
        if layer.weights and "norm" not in layer.name:
            assert nodes[layer.name].op_type in ("Conv", "Gemm")
            assert f"{layer.name}/kernel" in nodes[layer.name].input
            assert np.prod(constants[f"{layer.name}/kernel"]) == np.prod(layer.weights[0].shape)
    assert {name.partition("/")[0] for name in nodes} <= {layer.name for layer in model.layers} | {
        "resize",
        "channels_first",
        "pixels",
    }


def test_same_weights_same_bytes():
    keras = start_keras()
    first = convert(with_random_weights(build("separable-small", SIDE, SIDE, 3, 4)))
    keras.backend.clear_session()
    convert(with_random_weights(build("softmax", SIDE, SIDE, 1, 4)))  # counters of the converter have moved on
    again = convert(with_random_weights(build("separable-small", SIDE, SIDE, 3, 4)))
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


def test_average_over_positions_stays_one_node():
    assert "GlobalAveragePool" in operators(convert(build("conv-small", SIDE, SIDE, 1, 3)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["mlp-small", "separable-small", "lenet5"])
def test_reference_evaluator_and_openvino_give_the_same_answers(name, channels):
    import openvino

    converted = convert(with_random_weights(build(name, SIDE, SIDE, channels, 10)))
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(converted.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    reference = ReferenceEvaluator(converted)
    for images in (pictures(1, channels), pictures(5, channels)):
        expected = run(converted, images)
        for probabilities, logits in (
            reference.run([PROBABILITIES, LOGITS], {INPUT: images}),
            (compiled([images])[PROBABILITIES], compiled([images])[LOGITS]),
        ):
            np.testing.assert_allclose(probabilities, expected[0], atol=PARITY_TOLERANCE, rtol=0)
            np.testing.assert_allclose(logits, expected[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_resizes_as_pillow_does(channels):
    converted = convert(build("softmax", SIDE, SIDE, channels, 3))
    converted.graph.output.insert(0, helper.make_tensor_value_info("resize", onnx.TensorProto.UINT8, None))
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(5)
    for height, width in [(SIDE, SIDE), (1, 1), (3, 500), (19, 21), (480, 640), *random.integers(2, 200, (20, 2))]:
        picture = pictures(1, channels, height, width)
        resized = session.run(["resize"], {INPUT: picture})[0][0]
        steps = np.abs(resized.astype(int) - resize(picture[0], SIDE, SIDE))
        assert steps.max() <= 1, (height, width)
        if (height, width) == (SIDE, SIDE):
            assert steps.max() == 0


def test_other_runtimes_resize_alike():
    """OpenVINO 2026 takes no notice of antialias, and so may only enlarge; ONNX's own evaluator does all."""
    import openvino

    converted = convert(build("softmax", SIDE, SIDE, 3, 3))
    converted.graph.output.insert(0, helper.make_tensor_value_info("resize", onnx.TensorProto.UINT8, None))
    reference = ReferenceEvaluator(converted)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(converted.SerializeToString()), "CPU")
    for height, width in [(SIDE, SIDE), (1, 1), (7, 13), (41, 30)]:
        picture = pictures(1, 3, height, width)
        expected = resize(picture[0], SIDE, SIDE).astype(int)
        answers = [reference.run(["resize"], {INPUT: picture})[0][0]]
        if max(height, width) <= SIDE:
            answers.append(compiled([picture])["resize"][0])
        for answer in answers:
            assert np.abs(answer - expected).max() <= (0 if (height, width) == (SIDE, SIDE) else 1), (height, width)


def test_scaling_is_in_the_first_weights():
    model = with_random_weights(build("softmax", SIDE, SIDE, 1, 3))
    converted = convert(model)
    kernel = next(c for c in converted.graph.initializer if c.name == "head_dense/kernel")
    expected = model.get_layer("head_dense").kernel.numpy() / 255
    np.testing.assert_allclose(numpy_helper.to_array(kernel), expected, rtol=1e-6)


def test_a_model_that_the_passes_have_not_seen_before_is_still_right(registered):
    """Branches from the pixels, shortcuts, layer normalisation, a dense layer on positions, two flattened readers."""

    @registered("crossroads", family="conv")
    def crossroads(images, classes):
        layers = start_keras().layers
        left = layers.Conv2D(8, 3, padding="same", strides=2, name="left_conv")(images)
        right = layers.AveragePooling2D(2, name="right_pool")(images)
        right = layers.Dense(8, activation="gelu", name="right_dense")(right)
        x = layers.Add(name="sum")([left, right])
        x = layers.LayerNormalization(name="norm")(x)
        x = layers.Activation("gelu", name="gelu1")(layers.Activation("gelu", name="gelu2")(x))
        y = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
        y = layers.BatchNormalization(name="depthwise_norm")(y)
        x = layers.Concatenate(name="both")([x, y, layers.ReLU(name="relu")(y)])
        flat = layers.Flatten(name="flatten")(x)
        heads = [layers.Dense(classes, name=f"head{i}_dense")(flat) for i in (1, 2)]
        pooled = layers.Dense(classes, name="pooled_dense")(layers.GlobalMaxPooling2D(name="pool")(x))
        shaped = layers.Reshape((5, 4, 15, 8), name="shape")(layers.Permute((2, 1, 3), name="turn")(x))
        shaped = layers.Dense(classes, name="shaped_dense")(layers.Flatten(name="flatten2")(shaped))
        return layers.Add(name="votes")([*heads, pooled, shaped])

    model = with_random_weights(build("crossroads", SIDE, SIDE, 3, 6))
    converted = convert(model)
    onnx.checker.check_model(converted, full_check=True)
    for count in (1, 9):
        images = pictures(count, 3)
        expected = model.predict_on_batch(images)
        probabilities, logits = run(converted, images)
        np.testing.assert_allclose(probabilities, expected[PROBABILITIES], atol=PARITY_TOLERANCE, rtol=0)
        np.testing.assert_allclose(logits, expected[LOGITS], atol=1e-3, rtol=1e-4)


def test_what_onnx_cannot_express_is_an_error(registered):
    @registered("random", family="conv")
    def random(images, classes):
        import tensorflow as tf

        layers = start_keras().layers
        strange = layers.Lambda(lambda x: tf.raw_ops.Lgamma(x=x), name="strange")(images)
        return layers.Dense(classes, name="head")(layers.Flatten(name="flatten")(strange))

    with pytest.raises(ExportError, match=r"^random uses Lgamma, which has no ONNX form: use another layer$"):
        convert(build("random", SIDE, SIDE, 1, 3))


def test_a_model_of_lower_precision_is_an_error():
    with pytest.raises(ExportError, match="computes in bfloat16, expected float32"):
        convert(build("softmax", SIDE, SIDE, 1, 3, precision="mixed_bfloat16"))
