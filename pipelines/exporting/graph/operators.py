"""Passes that write a layer as the operator that ONNX has for it, or as the nodes that runtimes recognize it by."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np
from onnx import helper

from pipelines.exporting.graph.edit import (
    Graph,
    Node,
    add_constant,
    attribute_of,
    constant_of,
    consumers_of,
    insert_after,
    insert_before,
    producer_of,
    read_once,
    set_constant,
    shapes_of,
)
from pipelines.exporting.graph.pattern import Found, find, match

# x · factor + (beta - mean · factor), the factor being gamma / √(variance + epsilon)
INVERSE = ("Reciprocal", ("Sqrt", ("Add", "variance", "epsilon")))
SQUARE = ("Mul", ("Sub", "x", "mean"), ("Sub", "x", "mean"))


def _normalized(factor: Any, *beta: str) -> tuple[Any, ...]:
    shift = ("Mul", ("Neg", "mean"), factor)
    return ("Add", ("Mul", "x", factor), ("Add", shift, *beta) if beta else shift)


LAYER_NORMS = (  # tf2onnx leaves a gamma of ones out, and a beta of zeros, as Keras does where a layer has none
    _normalized(("Mul", INVERSE, "gamma"), "beta"),
    _normalized(("Mul", INVERSE, "gamma")),
    _normalized(INVERSE, "beta"),
    _normalized(INVERSE),
)

# half · x · (1 - erf(-x · √½)): Keras' exact gelu, its erfc written with erf
GELU = ("Mul", ("Mul", "half", "x"), ("Sub", "one", ("Erf", ("Mul", ("Neg", "x"), "root"))))


def layer_norms(graph: Graph) -> None:
    """A layer normalization is one LayerNormalization, an operator since opset 17, in place of thirteen nodes.

    The operator normalizes over the last axis. Where tf2onnx has put the channels in front of the positions, they are
    moved behind for it, and back again; most of these Transposes meet another one, and both go.
    """
    shapes = shapes_of(graph)
    for node, found in [each for pattern in LAYER_NORMS for each in find(graph, pattern)]:
        shape = shapes.get(found["x"], ())
        axis = _normalized_axis(graph, found, len(shape))
        gamma = constant_of(graph, found["gamma"]) if "gamma" in found else np.ones(1)
        beta = constant_of(graph, found["beta"]) if "beta" in found else np.zeros(1)
        epsilon = constant_of(graph, found["epsilon"])
        if axis is None or shape[axis] is None or gamma is None or beta is None or epsilon is None or epsilon.size != 1:
            continue
        one_a_channel = tuple(size if each == axis else 1 for each, size in enumerate(shape))
        if any(np.broadcast_shapes(c.shape, one_a_channel) != one_a_channel for c in (gamma, beta)):
            continue
        node.op_type = "LayerNormalization"
        node.input[:] = [found["x"], f"{node.name}/gamma", f"{node.name}/beta"]
        for place, constant in enumerate((gamma, beta), start=1):
            set_constant(graph, node, place, np.broadcast_to(constant, one_a_channel).reshape(-1))
        node.attribute.extend([helper.make_attribute("axis", -1), helper.make_attribute("epsilon", epsilon.item())])
        if axis < len(shape) - 1:
            _with_axis_last(graph, node, axis, len(shape))


def _normalized_axis(graph: Graph, found: Found, rank: int) -> int | None:
    """The one axis over which mean and variance are those of x; None where they are of anything else."""
    mean, variance = producer_of(graph, found["mean"]), producer_of(graph, found["variance"])
    if rank == 0 or mean is None or variance is None or mean.input[0] != found["x"]:
        return None
    if match(graph, variance.input[0], SQUARE, found) is None:
        return None
    axis = _averaged_axis(graph, mean, rank)
    return axis if axis == _averaged_axis(graph, variance, rank) else None


def _averaged_axis(graph: Graph, node: Node, rank: int) -> int | None:
    if node.op_type == "GlobalAveragePool":  # how tf2onnx writes the mean over the channels of [N, P, C]
        return 2 if rank == 3 else None
    axes = constant_of(graph, node.input[1]) if node.op_type == "ReduceMean" and len(node.input) == 2 else None
    if axes is None or axes.size != 1 or attribute_of(node, "keepdims") == 0:
        return None
    return int(axes.item()) % rank


def _with_axis_last(graph: Graph, node: Node, axis: int, rank: int) -> None:
    """Turn what a node is given, so that the axis is last, and turn back what it gives."""
    there = [each for each in range(rank) if each != axis] + [axis]
    back = [there.index(each) for each in range(rank)]
    turned, normalized = f"{node.output[0]}/turned", f"{node.output[0]}/normalized"
    insert_before(graph, node, helper.make_node("Transpose", [node.input[0]], [turned], name=turned, perm=there))
    name = f"{node.output[0]}/back"
    insert_after(graph, node, helper.make_node("Transpose", [normalized], [node.output[0]], name=name, perm=back))
    node.input[0], node.output[0] = turned, normalized


def gelus(graph: Graph) -> None:
    """Exact gelu as x · (erf(x / √2) + 1) · ½, the five nodes in which onnxruntime recognizes it.

    ONNX has Gelu since opset 20, which is too new for us. onnxruntime makes one kernel of these nodes, with the bias in
    front of them where that is an Add. Three nodes would do, with √½ and ½ in the weights before and behind; but they
    stay three, and made the blocks of mixer and ConvNeXt take 3 to 15 % longer.
    """
    for node, found in find(graph, GELU):
        half, one, root = (constant_of(graph, found[name]) for name in ("half", "one", "root"))
        if half is None or one is None or root is None or not (_is(half, 0.5) and _is(one, 1) and _is(root, sqrt(0.5))):
            continue
        x, name = found["x"], node.name
        steps: list[tuple[str, list[str]]] = [
            ("Div", [x, add_constant(graph, f"{name}/root", np.float32(sqrt(2)))]),
            ("Erf", [f"{name}/Div"]),
            ("Add", [f"{name}/Erf", add_constant(graph, f"{name}/one", np.float32(1))]),
            ("Mul", [x, f"{name}/Add"]),
        ]
        for operator, inputs in steps:
            output = f"{name}/{operator}"
            insert_before(graph, node, helper.make_node(operator, inputs, [output], name=output))
        node.input[:] = [f"{name}/Mul", add_constant(graph, f"{name}/half", np.float32(0.5))]


def _is(constant: Any, value: float) -> bool:
    return bool(constant.size == 1 and np.isclose(constant.item(), value, rtol=1e-6, atol=0))


def dense_on_positions(graph: Graph) -> None:
    """[N, ..., I] times [I, O] is one MatMul: it needs no flattening to rows before and no shape to go back to after.

    Keras' dense layer on positions is TensorFlow's tensordot, which works both out from shapes at run time.
    """
    shapes = shapes_of(graph)
    for product in [node for node in graph.node if node.op_type == "MatMul"]:
        flatten = producer_of(graph, product.input[0])
        kernel = constant_of(graph, product.input[1])
        if flatten is None or flatten.op_type != "Reshape" or kernel is None or not read_once(graph, product.output[0]):
            continue
        restore = consumers_of(graph, product.output[0])[0]
        before, after = shapes.get(flatten.input[0], ()), shapes.get(restore.output[0], ())
        if restore.op_type != "Reshape" or len(before) < 3 or len(shapes.get(flatten.output[0], ())) != 2:
            continue
        rows, columns = kernel.shape
        if before[-1] == rows and after[1:] == (*before[1:-1], columns) and None not in after[1:]:
            product.input[0] = flatten.input[0]
            product.output[0] = restore.output[0]
            graph.node.remove(restore)
