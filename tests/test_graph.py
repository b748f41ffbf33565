"""The graph that is shipped: right for every registered model, small, named by layers, the same in every runtime."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from keras_answers import answers_of_keras
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_sample_images

from pipelines.exporting.convert import convert
from pipelines.exporting.graph.resizing import RESIZED
from zoo.contract import ACTIVATION_MAP, INPUT, IR_VERSION, LOGITS, OPSET, PARITY_TOLERANCE, PROBABILITIES, RESIZINGS
from zoo.errors import ExportError
from zoo.images import resize
from zoo.models import build, definitions
from zoo.models.backend import start_keras

MODELS = [definition.name for definition in definitions()]
SIDE = 20  # pixels: small, and not divisible by 8


def with_random_weights(model):
    """Biases and statistics of batch normalizations random too, beside the kernels: a zero would hide a mistake."""
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


def tempered(model, images):
    """The model with its last layer scaled, so that no logit of these images is larger than 5.

    Residuals add up: with random weights the logits of resnet20 reach 132, one class gets a probability of 1 whatever
    the image, and a comparison of probabilities would see no mistake.
    """
    largest = np.abs(answers_of_keras(model, images)[LOGITS]).max()
    head = head_of(model)
    head.set_weights([values * (5 / largest) for values in head.get_weights()])
    return model


def head_of(model):
    """The last dense layer."""
    return [layer for layer in model.layers if type(layer).__name__ == "Dense"][-1]


def map_sizes(model):
    """[(height, width)] of the maps whose average the last dense layer is given, and nothing else; else nothing."""
    pool = head_of(model).input._keras_history.operation
    return [tuple(pool.input.shape[1:3])] if type(pool).__name__ == "GlobalAveragePooling2D" else []


def some_images(count, channels, height=SIDE, width=SIDE):
    """Noise of another brightness and contrast in each image and channel, so that averages differ too."""
    random = np.random.default_rng(3)
    darkest, brightest = np.sort(random.integers(0, 256, (2, count, 1, 1, channels)), axis=0)
    return random.integers(darkest, brightest + 1, (count, height, width, channels)).astype(np.uint8)


def run(converted, images):
    """(probabilities, logits) of onnxruntime."""
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([PROBABILITIES, LOGITS], {INPUT: images})


def operators(converted):
    return [node.op_type for node in converted.graph.node]


def random_model(name, channels):
    return tempered(with_random_weights(build(name, SIDE, SIDE, channels, 10)), some_images(33, channels))


@cache
def made(name, channels):
    """A Keras model with random weights, and what it was converted to."""
    model = random_model(name, channels)
    return model, convert(model)


# Grey images have one Transpose less. `zoo verify` runs exports of them, so that most can wait for the slow tests.
GREY = ("mlp-small", "conv-small", "lenet5")
PAIRS = [(name, 3) for name in MODELS] + [
    pytest.param((name, 1), marks=() if name in GREY else pytest.mark.slow) for name in MODELS
]


@pytest.fixture(params=PAIRS, ids=str)
def pair(request):
    name, channels = request.param
    return *made(name, channels), channels


def test_answers_as_keras_does(pair):
    model, converted, channels = pair
    images = some_images(33, channels)
    expected = answers_of_keras(model, images)
    probabilities, logits = run(converted, images)
    np.testing.assert_allclose(probabilities, expected[PROBABILITIES], atol=PARITY_TOLERANCE, rtol=0)
    np.testing.assert_allclose(logits, expected[LOGITS], atol=1e-4, rtol=1e-4)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), expected[PROBABILITIES].argmax(axis=1))
    assert np.ptp(expected[PROBABILITIES], axis=0).max() > 0.01  # random weights that tell images apart


def test_keeps_the_contract(pair):
    model, converted, channels = pair
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
        *((ACTIVATION_MAP, onnx.TensorProto.FLOAT, ["N", 10, *size]) for size in map_sizes(model)),
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


def layers_of(model, kind):
    return [layer for layer in model.layers if type(layer).__name__ == kind]


def test_nothing_is_left_to_be_folded(pair):
    """What is left is what the layers calculate: none of it could be in the weights of another layer.

    Sums are those of residuals. A dense layer on positions is MatMul and Add, for Gemm takes rows only. Exact gelu has
    an Add and two Muls: in opset 18 it is no operator.
    """
    model, converted, _ = pair
    used = operators(converted)
    on_positions = [layer for layer in layers_of(model, "Dense") if len(layer.output.shape) > 2]
    gelus = [layer for layer in model.layers if getattr(getattr(layer, "activation", None), "__name__", "") == "gelu"]
    assert used.count("MatMul") == len(on_positions)
    assert used.count("Add") == len(on_positions) + len(layers_of(model, "Add")) + len(gelus)
    assert used.count("Mul") == 2 * len(gelus)
    assert used.count("LayerNormalization") == len(layers_of(model, "LayerNormalization"))
    assert not {"BatchNormalization", "Shape", "Identity", "Constant"} & set(used)
    assert used.count("Cast") == 1


def test_values_are_moved_only_where_a_layer_asks_for_it(pair):
    """Convolutions have channels first, in Keras last. A layer normalization of maps needs them last, between two
    Transposes, and so does a Reshape to a list of positions. Nothing else does: neither flattening nor Permute."""
    model, converted, channels = pair
    used = operators(converted)
    of_images = "Conv" in used and channels == 3
    norms_of_maps = [layer for layer in layers_of(model, "LayerNormalization") if len(layer.output.shape) == 4]
    assert used.count("Transpose") == of_images + 2 * len(norms_of_maps) + len(layers_of(model, "Reshape"))
    if of_images:
        assert used.index("Transpose") < used.index("Cast")  # of bytes


def test_each_layer_with_weights_is_a_node_of_its_name(pair):
    model, converted, _ = pair
    nodes = {node.name: node for node in converted.graph.node}
    constants = {constant.name: list(constant.dims) for constant in converted.graph.initializer}
    assert len(nodes) == len(converted.graph.node)
    for layer in model.layers:
        kind, weights = type(layer).__name__, "kernel"
        if not layer.weights or kind == "BatchNormalization":  # in the weights of the layer before
            continue
        if kind == "LayerNormalization":
            assert nodes[layer.name].op_type == kind
            weights = "gamma"
        else:
            assert nodes[layer.name].op_type in ("Conv", "Gemm", "MatMul")
        assert f"{layer.name}/{weights}" in nodes[layer.name].input
        assert np.prod(constants[f"{layer.name}/{weights}"]) == np.prod(layer.weights[0].shape)
    assert {name.partition("/")[0] for name in nodes} <= {layer.name for layer in model.layers} | {
        "resize",
        "channels_first",
        "pixels",
    }


@pytest.mark.parametrize(
    "name",
    ["separable-small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlp-mixer-tiny", "convnext-mini"))],
)
def test_same_weights_same_bytes(name):
    keras = start_keras()
    _, first = made(name, 3)
    keras.backend.clear_session()
    convert(with_random_weights(build("softmax", SIDE, SIDE, 1, 4)))  # counters of the converter have moved on
    again = convert(random_model(name, 3))
    assert first.SerializeToString(deterministic=True) == again.SerializeToString(deterministic=True)


def test_average_over_positions_stays_one_node():
    assert "GlobalAveragePool" in operators(convert(build("conv-small", SIDE, SIDE, 1, 3)))


@pytest.mark.parametrize("channels", [pytest.param(1, marks=pytest.mark.slow), 3])
@pytest.mark.parametrize(
    "name",
    [
        "mlp-small",
        "separable-small",
        "lenet5",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlp-mixer-tiny", "convnext-mini")),
    ],
)
def test_reference_evaluator_and_openvino_give_the_same_answers(name, channels):
    import openvino

    _, converted = made(name, channels)
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(converted.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    reference = ReferenceEvaluator(converted)
    for images in (some_images(1, channels), some_images(5, channels)):
        expected = run(converted, images)
        for probabilities, logits in (
            reference.run([PROBABILITIES, LOGITS], {INPUT: images}),
            (compiled([images])[PROBABILITIES], compiled([images])[LOGITS]),
        ):
            np.testing.assert_allclose(probabilities, expected[0], atol=PARITY_TOLERANCE, rtol=0)
            np.testing.assert_allclose(logits, expected[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("resizing", RESIZINGS)
@pytest.mark.parametrize(("height", "width", "channels"), [(SIDE, SIDE, 1), (SIDE, SIDE, 3), (17, 40, 3), (9, 5, 1)])
def test_resizes_as_in_training(resizing, height, width, channels):
    converted = convert(build("softmax", height, width, channels, 3), resizing)
    value = RESIZED[resizing]
    converted.graph.output.insert(0, helper.make_tensor_value_info(value, onnx.TensorProto.UINT8, None))
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(5)
    odd = [(height, width), (1, 1), (1, 300), (300, 1), (3, 500), (height + 1, width), (480, 640)]
    for sides in [*odd, *random.integers(1, 120, (100, 2))]:
        image = some_images(1, channels, *sides)
        resized = session.run([value], {INPUT: image})[0][0]
        expected = resize(image[0], height, width, resizing)
        assert resized.shape == expected.shape == (height, width, channels), sides
        assert np.abs(resized.astype(int) - expected).max() <= (tuple(sides) != (height, width)), sides


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_a_thousand_pieces_of_photographs_are_resized_as_in_training(resizing):
    converted = convert(build("softmax", 64, 48, 3, 3), resizing)
    value = RESIZED[resizing]
    converted.graph.output.insert(0, helper.make_tensor_value_info(value, onnx.TensorProto.UINT8, None))
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    photographs = load_sample_images().images  # two, [427, 640, 3] uint8
    dice = np.random.default_rng(7)
    steps = np.zeros(256, np.int64)  # how many values differ by so many of 255
    for k in range(1000):
        rows, columns = dice.integers(1, (428, 641) if k % 10 == 0 else (130, 130))
        top, left = dice.integers(0, (428 - rows, 641 - columns))
        piece = photographs[k % 2][top : top + rows, left : left + columns]
        found = session.run([value], {INPUT: piece[np.newaxis]})[0][0]
        differences = np.abs(found.astype(int) - resize(piece, 64, 48, resizing))
        steps += np.bincount(differences.ravel(), minlength=256)
    # Both round along the rows and then along the columns; where a value lies between two, and the next one does, they
    # come apart by 2: in 3 of 9.2 million values with pad, in none with the others.
    assert steps[2] <= 1e-6 * steps.sum()
    assert not steps[3:].any()


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_other_runtimes_resize_alike(resizing):
    """OpenVINO 2026 takes no notice of antialias, and so may only enlarge; ONNX's own evaluator does all."""
    import openvino

    converted = convert(build("softmax", SIDE, SIDE, 3, 3), resizing)
    value = RESIZED[resizing]
    converted.graph.output.insert(0, helper.make_tensor_value_info(value, onnx.TensorProto.UINT8, None))
    reference = ReferenceEvaluator(converted)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(converted.SerializeToString()), "CPU")
    for height, width in [(SIDE, SIDE), (1, 1), (7, 13), (41, 30)]:
        image = some_images(1, 3, height, width)
        expected = resize(image[0], SIDE, SIDE, resizing).astype(int)
        answers = [reference.run([value], {INPUT: image})[0][0]]
        if max(height, width) <= SIDE:
            answers.append(compiled([image])[value][0])
        for answer in answers:
            assert np.abs(answer - expected).max() <= (0 if (height, width) == (SIDE, SIDE) else 1), (height, width)


def test_a_norm_that_has_learned_nothing_yet_is_one_node_too():
    """With a gamma of ones and a beta of zeros, tf2onnx writes another graph."""
    assert operators(convert(build("mlp-residual", SIDE, SIDE, 1, 3))).count("LayerNormalization") == 4


def test_gelu_is_one_kernel_in_onnxruntime(tmp_path):
    converted = convert(build("mlp-residual", SIDE, SIDE, 1, 3))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(converted.SerializeToString(), options, providers=["CPUExecutionProvider"])
    used = operators(onnx.load(tmp_path / "optimized.onnx"))
    assert used.count("Gelu") == 3
    assert "Erf" not in used


def test_scaling_is_in_the_first_weights():
    model = with_random_weights(build("softmax", SIDE, SIDE, 1, 3))
    converted = convert(model)
    kernel = next(c for c in converted.graph.initializer if c.name == "head_dense/kernel")
    expected = model.get_layer("head_dense").kernel.numpy() / 255
    np.testing.assert_allclose(numpy_helper.to_array(kernel), expected, rtol=1e-6)


def test_a_model_that_the_passes_have_not_seen_before_is_still_right(registered):
    """Branches from the pixels, shortcuts, layer normalization, a dense layer on positions, two flattened readers."""

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

    answers_alike("crossroads")


def test_layers_in_unusual_places_are_still_right(registered):
    """Norms without an offset, over another axis, behind a bias and before a dense layer; a turned value read twice;
    two ways back from one turn."""

    @registered("byways", family="dense")
    def byways(images, classes):
        layers = start_keras().layers
        x = layers.Reshape((SIDE, SIDE * 3), name="rows")(images)
        x = layers.LayerNormalization(center=False, name="rows_norm")(x)
        turned = layers.Permute((2, 1), name="turn1")(x)
        y = layers.Dense(8, activation="gelu", name="mixed_dense")(turned)
        y = layers.Concatenate(name="both")([layers.Dense(12, name="mixed_back_dense")(y), turned])
        y = layers.LayerNormalization(axis=1, name="columns_norm")(layers.Permute((2, 1), name="turn2")(y))
        y = layers.BatchNormalization(name="positions_norm")(layers.Dense(10, name="positions_dense")(y))
        z = layers.Dense(6, activation="relu", name="narrow_dense")(layers.Permute((2, 1), name="turn3")(y))
        ways = [layers.Permute((2, 1), name="turn4")(z)]
        ways += [layers.Permute((2, 1), name="turn5")(layers.Dense(5, name="narrower_dense")(z))]
        flat = layers.Flatten(name="flatten")(layers.Concatenate(axis=1, name="ways")(ways))
        flat = layers.BatchNormalization(name="flat_norm")(flat)
        hidden = layers.BatchNormalization(name="hidden_norm")(layers.Dense(16, name="hidden_dense")(flat))
        return layers.Dense(classes, name="head_dense")(layers.Activation("gelu", name="gelu")(hidden))

    answers_alike("byways")


def answers_alike(name):
    model = with_random_weights(build(name, SIDE, SIDE, 3, 6))
    converted = convert(model)
    onnx.checker.check_model(converted, full_check=True)
    for count in (1, 9):
        images = some_images(count, 3)
        expected = answers_of_keras(model, images)
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
