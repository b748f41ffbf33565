"""Nodes and constants called as in Keras."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from pipelines.exporting.graph.edit import Graph, Node
from zoo.contract import INPUT, OPSET

FRONT = ("sides", "crop", "resize", "pad", "channels_first", "pixels")  # nodes between the image and the first layer

# What ONNX calls the inputs of an operator, and Keras the weights of the layer.
KERAS_NAMES = {
    "Conv": {"W": "kernel", "B": "bias"},
    "Gemm": {"B": "kernel", "C": "bias"},
    "MatMul": {"A": "kernel", "B": "kernel"},
    "LayerNormalization": {"Scale": "gamma", "B": "beta"},
}


def name_after_layers(graph: Graph, layers: Iterable[str]) -> None:
    """Each node is called as the Keras layer that it does the work of, its constants as that layer's weights.

    The node with a layer's weights has the bare name, its first node where it has none; others add what they do:
    hidden1_dense, hidden1_dense/Relu. No counter of the converter stays in a name: the same weights give the same
    bytes.
    """
    constants = {constant.name: constant for constant in graph.initializer}
    belongs = _layer_of_each_node(graph, set(layers), set(constants))  # name of the first output -> layer
    bare: dict[str, Node] = {}
    for node in sorted(graph.node, key=lambda each: not _has_weights(each, set(constants))):  # a stable order
        bare.setdefault(belongs.get(node.output[0], ""), node)

    taken = Counter[str](bare)  # names of layers are kept for their nodes
    kept = {INPUT, *(output.name for output in graph.output)}
    renamed: dict[str, str] = {}
    for node in graph.node:
        layer = belongs.get(node.output[0], "")
        main = bare[layer]
        if not layer:
            node.name = _unique(node.op_type, taken)
        else:
            node.name = layer if node is main else _unique(f"{layer}/{node.op_type}", taken)
        node.doc_string = ""
        for place, old in enumerate(node.input):
            if old in constants and old not in renamed:
                is_bias = node.op_type == "Add" and main.op_type == "MatMul" and constants[old].dims
                renamed[old] = f"{layer}/bias" if is_bias else f"{node.name}/{_role(node, place)}"
                constants[old].name = renamed[old]
        for place, old in enumerate(node.output):
            if old and old not in kept:
                renamed[old] = f"{node.name}:{place}" if place else node.name
        node.input[:] = [renamed.get(old, old) for old in node.input]
        node.output[:] = [renamed.get(old, old) for old in node.output]
    _order_constants(graph)


def _order_constants(graph: Graph) -> None:
    """Constants in the order in which nodes read them: tf2onnx's differs from one call to the next."""
    read = dict.fromkeys(name for node in graph.node for name in node.input)
    order = {name: place for place, name in enumerate(read)}
    constants = sorted(graph.initializer, key=lambda constant: order[constant.name])
    del graph.initializer[:]
    graph.initializer.extend(constants)


def _layer_of_each_node(graph: Graph, layers: set[str], constants: set[str]) -> dict[str, str]:
    """The layer that a node was translated from, by the name of its first output; none where no layer is known.

    The kernel decides, as a norm that was folded into the layer may have named the node; then the node's name; then
    other constants, which layers may share; then what feeds it, as for a Transpose that no layer asked for.
    """
    found: dict[str, str] = {}
    for node in graph.node:
        own = [name for name in node.input if name in constants]
        kernel = own[:1] if _has_weights(node, constants) else []
        layer = node.name if node.name in FRONT else next(_layers_in([*kernel, node.name, *own], layers), None)
        layer = layer or next((found[name] for name in node.input if name in found), None)
        if layer:
            found[node.output[0]] = layer
    return found


def _has_weights(node: Node, constants: set[str]) -> bool:
    return node.op_type in KERAS_NAMES and not constants.isdisjoint(node.input)


def _role(node: Node, place: int) -> str:
    """What a constant is to a node: kernel and bias, as in Keras, or what the ONNX operator calls it."""
    inputs = onnx.defs.get_schema(node.op_type, OPSET).inputs
    name = str(inputs[min(place, len(inputs) - 1)].name)  # the last one stands for all that follow
    return KERAS_NAMES.get(node.op_type, {}).get(name, name)


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
