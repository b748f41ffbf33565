"""Passes over what moves values and changes none."""

from __future__ import annotations

import re
from math import prod

import numpy as np
from onnx import helper

from pipelines.exporting.graph.edit import (
    Graph,
    Node,
    attribute_of,
    bypass,
    constant_of,
    consumers_of,
    producer_of,
    set_constant,
    shapes_of,
)

LAYOUT = ("Transpose", "Reshape", "Flatten")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Neg", "Erf", "Relu", "Sigmoid", "Tanh", "Softplus")
TO_CHANNELS_LAST = [0, 2, 3, 1]  # [N, C, H, W] -> [N, H, W, C]


def plain_reshapes(graph: Graph) -> None:
    """A Reshape that keeps the batch says so, instead of working out its shape from other shapes at run time.

    None where it changes nothing, Flatten where a row an image is left, else Reshape with a constant whose 0 copies
    the batch dimension.
    """
    shapes = shapes_of(graph)
    for node in [node for node in graph.node if node.op_type == "Reshape"]:
        before, after = shapes.get(node.input[0], ()), shapes.get(node.output[0], ())
        if not before or not after or None in (*before[1:], *after[1:]) or prod(before[1:]) != prod(after[1:]):
            continue
        if before[1:] == after[1:]:
            bypass(graph, node)
        elif len(after) == 2:
            node.op_type = "Flatten"
            del node.input[1]
            node.attribute.append(helper.make_attribute("axis", 1))
        else:
            set_constant(graph, node, 1, np.array([0, *after[1:]], np.int64))


def cancel_transposes(graph: Graph) -> None:
    """A Transpose of a Transpose is one, or none where it turns back; onnxruntime does so itself, others need not."""
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        first = producer_of(graph, node.input[0])
        if first is None or first.op_type != "Transpose":
            continue
        both = [attribute_of(first, "perm")[axis] for axis in attribute_of(node, "perm")]
        node.input[0] = first.input[0]
        if both == sorted(both):
            bypass(graph, node)
        else:
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("perm", both))


def reorder_rows(graph: Graph) -> None:
    """Flattening [N, H, W, C] or [N, C, H, W] gives the same features in another order: the weights' rows follow.

    It takes the Transpose away that would turn the features of every image for the sake of that order.
    """
    shapes = shapes_of(graph)
    for node in [node for node in graph.node if node.op_type == "Transpose"]:
        flattens = consumers_of(graph, node.output[0])
        products = [product for flatten in flattens for product in consumers_of(graph, flatten.output[0])]
        if attribute_of(node, "perm") != TO_CHANNELS_LAST or not products:
            continue
        if any(flatten.op_type != "Flatten" for flatten in flattens):
            continue
        if any(product.op_type != "MatMul" for product in products):
            continue
        kernels = [kernel for p in products if (kernel := constant_of(graph, p.input[1])) is not None]  # [H * W * C, O]
        if len(kernels) != len(products):
            continue
        channels, height, width = shapes[node.input[0]][1:]
        for product, kernel in zip(products, kernels, strict=True):
            rows = kernel.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
            set_constant(graph, product, 1, rows.reshape(kernel.shape))
        bypass(graph, node)


def dense_from_the_left(graph: Graph) -> None:
    """Dense layers over the positions of [N, P, C] between two Transposes need none: Kᵀ · x is (xᵀ · K)ᵀ.

    For mlp-mixer-tiny that is eight Transposes, which took it 4 to 9 % longer on onnxruntime with one thread.
    """
    for first in [node for node in graph.node if _swaps_last_two(node)]:
        inside, ends = _turned_by(graph, first)
        if not ends:
            continue
        for node in inside:
            for place, name in enumerate(node.input):
                constant = constant_of(graph, name)
                if constant is not None and constant.ndim > 0:
                    set_constant(graph, node, place, constant.T if constant.ndim == 2 else constant.reshape(-1, 1))
            if node.op_type == "MatMul":
                node.input[:] = reversed(node.input)
        for node in (first, *ends):
            bypass(graph, node)


def _turned_by(graph: Graph, first: Node) -> tuple[list[Node], list[Node]]:
    """What a Transpose turns: the nodes that calculate with it, and the Transposes that turn them back.

    No nodes to turn back where something else reads one of the values: the Transpose is needed then.
    """
    turned = {first.output[0]}
    inside: list[Node] = []
    ends: list[Node] = []
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        constants = [constant_of(graph, name) for name in node.input]
        variables = {name for name, constant in zip(node.input, constants, strict=True) if constant is None}
        if turned.isdisjoint(variables):
            continue
        if _swaps_last_two(node):
            ends.append(node)
            continue
        product = node.op_type == "MatMul" and constants[1] is not None and constants[1].ndim == 2
        vectors = all(constant is None or constant.ndim < 2 for constant in constants)
        if not variables <= turned or not (product or (node.op_type in ELEMENTWISE and vectors)):
            return inside, []
        turned.add(node.output[0])
        inside.append(node)
    return inside, [] if turned & outputs else ends


def _swaps_last_two(node: Node) -> bool:
    return bool(node.op_type == "Transpose" and attribute_of(node, "perm") == [0, 2, 1])


def lay_out_bytes(graph: Graph) -> None:
    """Transpose or flatten pixels while they are bytes: a quarter of the memory to move."""
    cast = next(node for node in graph.node if node.name == "pixels")
    while True:
        consumers = consumers_of(graph, cast.output[0])
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
