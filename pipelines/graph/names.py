"""Nodes and constants called as in Keras."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import onnx

from pipelines.graph.edit import Graph, Node
from zoo.contract import INPUT, OPSET

FRONT = ("resize", "channels_first", "pixels")  # nodes between the picture and the first layer

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
