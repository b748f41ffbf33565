"""The passes that turn tf2onnx's graph into the one that is shipped: small, named by Keras' layers, and fast.

A pass edits the graph that it is given, and leaves alone what it doesn't know: a model that a pass can't improve is
exported as tf2onnx wrote it. Names are tidied once, at the end, so passes need not care for them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from zoo.contract import INPUT, IR_VERSION, LOGITS, OPSET, PROBABILITIES

Model: TypeAlias = Any  # onnx.ModelProto
Graph: TypeAlias = Any  # onnx.GraphProto
Node: TypeAlias = Any  # onnx.NodeProto
Array: TypeAlias = NDArray[Any]

LAYOUT = ("Transpose", "Reshape", "Flatten")  # they move values, and change none
TO_CHANNELS_LAST = [0, 2, 3, 1]  # [N, C, H, W] -> [N, H, W, C]
FRONT = ("resize", "channels_first", "pixels")  # nodes between the picture and the first layer


def simplify(model: Model, height: int, width: int, layers: Iterable[str]) -> Model:
    """The shipped graph of what tf2onnx wrote for float32 pixels.

    model: images [N, height, width, C] float32, 0..255 -> logits and probabilities [N, K] float32; it stays as it is.
    layers: the names of the Keras layers, which become the names of the nodes.
    Returns images [N, H, W, C] uint8 -> probabilities and logits [N, K] float32, with shapes along every edge.
    """
    simple = onnx.version_converter.convert_version(model, OPSET)  # a copy
    for improve in PASSES:
        improve(simple.graph)
    take_any_picture(simple.graph, height, width)
    lay_out_bytes(simple.graph)
    drop_unused(simple.graph)
    name_after_layers(simple.graph, layers)
    return finish(simple)


# Arithmetic ----------------------------------------------------------------------------------------------------------


def drop_zero_additions(graph: Graph) -> None:
    """x + 0 is x. Rescaling adds its offset of 0 to every pixel, which costs as much as a layer of a small model."""
    for node, zero in _with_constant(graph, "Add"):
        if zero.ndim == 0 and not zero.any():
            _bypass(graph, node)


def erfc_as_erf(graph: Graph) -> None:
    """erfc(x) = 1 - erf(x): Keras' exact gelu is written with the one, ONNX has the other."""
    for node in [node for node in graph.node if node.op_type == "Erfc"]:
        place = [each.name for each in graph.node].index(node.name)
        one, error = f"{node.name}/one", f"{node.name}/erf"
        graph.initializer.append(numpy_helper.from_array(np.float32(1), one))
        graph.node.insert(place, helper.make_node("Erf", node.input, [error], name=error))
        node.op_type, node.domain = "Sub", ""
        node.input[:] = [one, error]


def fold_norms(graph: Graph) -> None:
    """Conv, times a and plus b for each channel, is one Conv: what is left of a batch normalisation by then.

    tf2onnx does it behind Conv2D, but not behind DepthwiseConv2D.
    """
    for node, constant in _with_constant(graph, "Mul", "Add"):
        conv = _producer(graph, _variable_input(graph, node))
        if conv is None or conv.op_type != "Conv" or not _read_once(graph, conv.output[0]):
            continue
        weights = _constant(graph, conv.input[1])  # [Cout, Cin / groups, k, k]
        bias = _constant(graph, conv.input[2]) if len(conv.input) > 2 else np.float32(0)
        if weights is None or bias is None or constant.shape[-3:] != (len(weights), 1, 1):
            continue
        values = constant.reshape(len(weights))
        if node.op_type == "Mul":
            _set_constant(graph, conv, 1, weights * values[:, None, None, None])
            _set_constant(graph, conv, 2, bias * values)
        else:
            _set_constant(graph, conv, 2, bias + values)
        _bypass(graph, node)


def fold_scaling(graph: Graph) -> None:
    """w · (x / 255) is (w / 255) · x: the division of all pixels happens once, in the first weights."""
    for node, scale in _with_constant(graph, "Mul"):
        linear = _linear_consumers(graph, node.output[0])
        if scale.ndim or not linear:
            continue
        for consumer, weights in linear:
            _set_constant(graph, consumer, 1, weights.astype(np.float64) * float(scale))
        _bypass(graph, node)


def _linear_consumers(graph: Graph, name: str) -> list[tuple[Node, Array]]:
    """What a value is multiplied with, as it is or moved around: nodes and their weights; none if it goes elsewhere."""
    found: list[tuple[Node, Array]] = []
    for node in _consumers(graph, name):
        weights = _constant(graph, node.input[1]) if node.op_type in ("Conv", "MatMul") else None
        moved = _linear_consumers(graph, node.output[0]) if node.op_type in LAYOUT else []
        if weights is None and not moved:
            return []
        found += moved if weights is None else [(node, weights)]
    return found


def dense_as_gemm(graph: Graph) -> None:
    """[N, I] times [I, O] plus [O] is one Gemm: one node a dense layer, and one kernel for the runtime to call."""
    shapes = _shapes(graph)
    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        weights = _constant(graph, product.input[1])
        if weights is None or weights.ndim != 2 or len(shapes.get(product.input[0], ())) != 2:
            continue
        for add, bias in _with_constant(graph, "Add"):
            fits = bias.shape == weights.shape[1:] and _read_once(graph, product.output[0])
            if product.output[0] in add.input and fits:
                product.input.append(next(name for name in add.input if name != product.output[0]))
                product.output[0] = add.output[0]
                graph.node.remove(add)
        product.op_type = "Gemm"


# Layout --------------------------------------------------------------------------------------------------------------


def plain_reshapes(graph: Graph) -> None:
    """A Reshape that keeps the batch says so, instead of working out its shape from other shapes at run time.

    Flatten where a row a picture is left, else Reshape with a constant whose 0 copies the batch dimension.
    """
    shapes = _shapes(graph)
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
        if not before or not after or None in (*before[1:], *after[1:]) or prod(before[1:]) != prod(after[1:]):
            continue
        if len(after) == 2:
            node.op_type = "Flatten"
            del node.input[1]
            node.attribute.append(helper.make_attribute("axis", 1))
        else:
            _set_constant(graph, node, 1, np.array([0, *after[1:]], np.int64))


def reorder_rows(graph: Graph) -> None:
    """Flattening [N, H, W, C] or [N, C, H, W] gives the same features in another order: the weights' rows follow.

    It takes the Transpose away that would turn the features of every picture for the sake of that order.
    """
    shapes = _shapes(graph)
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        flattens = _consumers(graph, node.output[0])
        products = [product for flatten in flattens for product in _consumers(graph, flatten.output[0])]
        if _attribute(node, "perm") != TO_CHANNELS_LAST or not products:
            continue
        if any(flatten.op_type != "Flatten" for flatten in flattens):
            continue
        if any(product.op_type != "MatMul" for product in products):
            continue
        kernels = [kernel for p in products if (kernel := _constant(graph, p.input[1])) is not None]  # [H * W * C, O]
        if len(kernels) != len(products):
            continue
        channels, height, width = shapes[node.input[0]][1:]
        for product, kernel in zip(products, kernels, strict=True):
            rows = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
            _set_constant(graph, product, 1, rows.reshape(kernel.shape))
        _bypass(graph, node)


def take_any_picture(graph: Graph, height: int, width: int) -> None:
    """Let uint8 pictures of any size in: resized as in training, then converted.

    Antialiased and without weights outside of the picture it is Pillow's bilinear resizing, to a step of 1 in 255; a
    picture that has the size already passes unchanged. On bytes, as Pillow does it, and between no transposes, which
    onnxruntime would try to move through it, and break. OpenVINO ignores `antialias` here as in any other form of
    Resize: for it, pictures larger than the model's size have to be resized beforehand.
    """
    channels = graph.input[0].type.tensor_type.shape.dim[3].dim_value
    graph.initializer.append(numpy_helper.from_array(np.array([height, width], np.int64), "resize/size"))
    resize = helper.make_node(
        "Resize",
        [INPUT, "", "", "resize/size"],
        ["resize"],
        name="resize",
        axes=[1, 2],
        mode="linear",
        antialias=1,
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )
    cast = helper.make_node("Cast", ["resize"], ["pixels"], name="pixels", to=TensorProto.FLOAT)
    for node in _consumers(graph, INPUT):
        node.input[:] = ["pixels" if name == INPUT else name for name in node.input]
    nodes = [resize, cast, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(nodes)
    graph.input.append(helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", channels]))
    # ONNX's own shape inference forgets the batch here.
    del graph.value_info[:]
    graph.value_info.append(helper.make_tensor_value_info("resize", TensorProto.UINT8, ["N", height, width, channels]))


def lay_out_bytes(graph: Graph) -> None:
    """Transpose or flatten pixels while they are bytes: a quarter of the memory to move."""
    cast = next(node for node in graph.node if node.name == "pixels")
    while True:
        consumers = _consumers(graph, cast.output[0])
        if len(consumers) != 1 or consumers[0].op_type not in LAYOUT:
            return
        moved = consumers[0]
        if re.search(r"__\d+$", moved.name):  # not a layer, but what tf2onnx put in front of the first convolution
            moved.name = "channels_first"
        graph.node.remove(cast)  # it comes back behind the node that it fed
        moved.input[0], cast.input[0] = cast.input[0], moved.input[0]
        cast.input[0], cast.output[0] = "laid out " + moved.output[0], moved.output[0]
        moved.output[0] = cast.input[0]
        place = [node.name for node in graph.node].index(moved.name)
        graph.node.insert(place + 1, cast)
        cast = graph.node[place + 1]


# Names ---------------------------------------------------------------------------------------------------------------


def drop_unused(graph: Graph) -> None:
    """Remove nodes and constants that no output depends on: what the passes cut off."""
    used = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):  # ONNX keeps nodes in an order in which producers come first
        if used.intersection(node.output):
            used.update(node.input)
        else:
            graph.node.remove(node)
    for constant in list(graph.initializer):
        if constant.name not in used:
            graph.initializer.remove(constant)


PASSES: tuple[Callable[[Graph], None], ...] = (
    drop_zero_additions,
    fold_norms,
    plain_reshapes,
    drop_unused,
    reorder_rows,
    fold_scaling,
    dense_as_gemm,
)


_KERAS_NAMES = {"W": "kernel", "B": "bias", "C": "bias"}  # of what ONNX calls the inputs of Conv and Gemm


def name_after_layers(graph: Graph, layers: Iterable[str]) -> None:
    """Each node is called as the Keras layer that it does the work of, its constants as that layer's weights.

    A layer's first node has the bare name, others add what they do: hidden1_dense, hidden1_dense/Relu. No counter of
    the converter stays in a name: the same weights give the same bytes.
    """
    known, taken = set(layers), Counter[str]()
    constants = {constant.name: constant for constant in graph.initializer}
    kept = {INPUT, *(output.name for output in graph.output)}
    renamed: dict[str, str] = {}
    for node in graph.node:
        own = [name for name in node.input if name in constants]
        layer = node.name if node.name in FRONT else next(_layers_in([*own[:1], node.name, *own[1:]], known), None)
        name = layer or node.op_type
        node.name = _unique(f"{layer}/{node.op_type}" if layer and taken[layer] else name, taken)
        node.doc_string = ""
        for place, old in enumerate(node.input):
            if old in constants and old not in renamed:
                renamed[old] = f"{node.name}/{_role(node, place)}"
                constants[old].name = renamed[old]
        for place, old in enumerate(node.output):
            if old and old not in kept:
                renamed[old] = f"{node.name}:{place}" if place else node.name
        node.input[:] = [renamed.get(old, old) for old in node.input]
        node.output[:] = [renamed.get(old, old) for old in node.output]


def _role(node: Node, place: int) -> str:
    """What a constant is to a node: kernel and bias, as in Keras, or what the ONNX operator calls it."""
    if node.op_type in ("Gemm", "MatMul") and place == 1:
        return "kernel"
    inputs = onnx.defs.get_schema(node.op_type, OPSET).inputs
    name = str(inputs[min(place, len(inputs) - 1)].name)  # the last one stands for all that follow
    return _KERAS_NAMES.get(name, name) if node.op_type in ("Conv", "Gemm") else name


def _layers_in(texts: Iterable[str], layers: set[str]) -> Iterator[str]:
    """The layers named in addresses such as model_1/stem_conv_1/convolution, where Keras has counted the call."""
    for text in texts:
        for part in reversed(re.split(r"[/:]", text)):
            for name in (re.sub(r"_\d+$", "", part), part):
                if name in layers:
                    yield name


def _unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    return name if taken[name] == 1 else _unique(f"{name}_{taken[name]}", taken)


def finish(model: Model) -> Model:
    """Outputs in the contract's order, N for the batch, shapes along every edge, IR and opset for old runtimes."""
    graph = model.graph
    classes = next(o for o in graph.output if o.name == LOGITS).type.tensor_type.shape.dim[1].dim_value
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes]) for name in (PROBABILITIES, LOGITS)
    ]
    finished = helper.make_model(
        helper.make_graph(graph.node, graph.name, graph.input, outputs, graph.initializer, value_info=graph.value_info),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="classifier-zoo",
    )
    return onnx.shape_inference.infer_shapes(finished, check_type=True, strict_mode=True, data_prop=True)


# What the passes look things up with ---------------------------------------------------------------------------------


def _constant(graph: Graph, name: str) -> Array | None:
    return next((numpy_helper.to_array(constant) for constant in graph.initializer if constant.name == name), None)


def _shapes(graph: Graph) -> dict[str, tuple[Any, ...]]:
    """The inferred shape of each value; None for a dimension that isn't known before run time."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def _producer(graph: Graph, name: str) -> Node | None:
    return next((node for node in graph.node if name in node.output), None)


def _consumers(graph: Graph, name: str) -> list[Node]:
    return [node for node in graph.node if name in node.input]


def _read_once(graph: Graph, name: str) -> bool:
    return len(_consumers(graph, name)) == 1 and name not in (output.name for output in graph.output)


def _with_constant(graph: Graph, *operators: str) -> list[tuple[Node, Array]]:
    """The nodes of these operators with one constant and one other input, and the constant."""
    constants = {constant.name: constant for constant in graph.initializer}
    return [
        (node, numpy_helper.to_array(constants[name]))
        for node in graph.node
        for name in node.input
        if node.op_type in operators and name in constants
    ]


def _variable_input(graph: Graph, node: Node) -> str:
    constants = {constant.name for constant in graph.initializer}
    return next(str(name) for name in node.input if name not in constants)


def _attribute(node: Node, name: str) -> Any:
    found: Any = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
    return found


def _bypass(graph: Graph, node: Node) -> None:
    """Take a node out: who read its output reads its input, unless an output of the graph needs the name."""
    source, output = _variable_input(graph, node), node.output[0]
    if output in (value.name for value in graph.output):
        producer = _producer(graph, source)
        if producer is None or not _read_once(graph, source):
            return
        producer.output[:] = [output if name == source else name for name in producer.output]
    for consumer in _consumers(graph, output):
        consumer.input[:] = [source if name == output else name for name in consumer.input]
    graph.node.remove(node)


def _set_constant(graph: Graph, node: Node, place: int, values: Array) -> None:
    """Give a node a constant of its own, float32 where it is a number: other readers of the old one keep it."""
    old = node.input[place] if place < len(node.input) else node.name + "/bias"
    name = f"{old}:{node.output[0]}"
    while name in (constant.name for constant in graph.initializer):
        name += "'"
    kept = values if values.dtype == np.int64 else values.astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kept), name))
    node.input[place : place + 1] = [name]
