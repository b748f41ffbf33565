"""Passes that fold one calculation into another."""

from __future__ import annotations

import numpy as np
from onnx import helper

from pipelines.exporting.graph.edit import (
    Array,
    Graph,
    Node,
    add_constant,
    bypass,
    constant_of,
    consumers_of,
    insert_before,
    producer_of,
    read_once,
    set_constant,
    shapes_of,
    variable_input,
    with_constant,
)
from pipelines.exporting.graph.layout import LAYOUT


def drop_zero_additions(graph: Graph) -> None:
    """x + 0 is x. Rescaling adds its offset of 0 to every pixel, which costs as much as a layer of a small model."""
    for node, zero in with_constant(graph, "Add"):
        if zero.ndim == 0 and not zero.any():
            bypass(graph, node)


def erfc_as_erf(graph: Graph) -> None:
    """erfc(x) = 1 - erf(x): Keras' exact gelu is written with the one, ONNX has the other."""
    for node in [node for node in graph.node if node.op_type == "Erfc"]:
        one, error = add_constant(graph, f"{node.name}/one", np.float32(1)), f"{node.name}/erf"
        insert_before(graph, node, helper.make_node("Erf", node.input, [error], name=error))
        node.op_type, node.domain = "Sub", ""
        node.input[:] = [one, error]


def fold_norms(graph: Graph) -> None:
    """Conv or Gemm, times a and plus b for each of its outputs, is one Conv or Gemm: a batch normalization is gone.

    tf2onnx does it behind Conv2D, but not behind DepthwiseConv2D and Dense.
    """
    for node, constant in with_constant(graph, "Mul", "Add"):
        layer = producer_of(graph, variable_input(graph, node))
        if layer is None or layer.op_type not in ("Conv", "Gemm") or not read_once(graph, layer.output[0]):
            continue
        weights = constant_of(graph, layer.input[1])  # [Cout, Cin / groups, k, k] or [I, O]
        bias = constant_of(graph, layer.input[2]) if len(layer.input) > 2 else np.float32(0)
        if weights is None or bias is None:
            continue
        of_outputs = (-1, 1, 1, 1) if layer.op_type == "Conv" else (1, -1)
        outputs = weights.shape[of_outputs.index(-1)]
        if constant.size != outputs or constant.shape[1 - len(of_outputs) :] != (outputs, 1, 1)[: len(of_outputs) - 1]:
            continue
        values = constant.reshape(outputs)
        if node.op_type == "Mul":
            set_constant(graph, layer, 1, weights * values.reshape(of_outputs))
            set_constant(graph, layer, 2, bias * values)
        else:
            set_constant(graph, layer, 2, bias + values)
        bypass(graph, node)


def fold_scaling(graph: Graph) -> None:
    """w · (x / 255) is (w / 255) · x: the division of all pixels happens once, in the first weights."""
    for node, scale in with_constant(graph, "Mul"):
        linear = _linear_consumers(graph, node.output[0])
        if scale.ndim or not linear:
            continue
        for consumer, weights in linear:
            set_constant(graph, consumer, 1, weights.astype(np.float64) * float(scale))
        bypass(graph, node)


def _linear_consumers(graph: Graph, name: str) -> list[tuple[Node, Array]]:
    """What a value is multiplied with, as it is or moved around: nodes and their weights; none if it goes elsewhere."""
    found: list[tuple[Node, Array]] = []
    for node in consumers_of(graph, name):
        weights = constant_of(graph, node.input[1]) if node.op_type in ("Conv", "MatMul") else None
        moved = _linear_consumers(graph, node.output[0]) if node.op_type in LAYOUT else []
        if weights is None and not moved:
            return []
        found += moved if weights is None else [(node, weights)]
    return found


def dense_as_gemm(graph: Graph) -> None:
    """[N, I] times [I, O] plus [O] is one Gemm: one node a dense layer, and one kernel for the runtime to call."""
    shapes = shapes_of(graph)
    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        weights = constant_of(graph, product.input[1])
        if weights is None or weights.ndim != 2 or len(shapes.get(product.input[0], ())) != 2:
            continue
        for add, bias in with_constant(graph, "Add"):
            fits = bias.shape == weights.shape[1:] and read_once(graph, product.output[0])
            if product.output[0] in add.input and fits:
                product.input.append(next(name for name in add.input if name != product.output[0]))
                product.output[0] = add.output[0]
                graph.node.remove(add)
        product.op_type = "Gemm"
