"""What a pass looks things up with, and the few ways in which it changes a graph."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from zoo.contract import IR_VERSION, OPSET

Model: TypeAlias = Any  # onnx.ModelProto
Graph: TypeAlias = Any  # onnx.GraphProto
Node: TypeAlias = Any  # onnx.NodeProto
Array: TypeAlias = NDArray[Any]


def constant_of(graph: Graph, name: str) -> Array | None:
    """The value of an initializer; None where the name is that of no constant."""
    return next((numpy_helper.to_array(constant) for constant in graph.initializer if constant.name == name), None)


def shapes_of(graph: Graph) -> dict[str, tuple[Any, ...]]:
    """The inferred shape of each value; None for a dimension that isn't known before run time."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {
        value.name: tuple(
            dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim
        )
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }


def producer_of(graph: Graph, name: str) -> Node | None:
    """The node that a value comes from; None for inputs and constants."""
    return next((node for node in graph.node if name in node.output), None)


def consumers_of(graph: Graph, name: str) -> list[Node]:
    """The nodes that read a value."""
    return [node for node in graph.node if name in node.input]


def read_once(graph: Graph, name: str) -> bool:
    """Whether one node reads the value, and nobody outside."""
    return len(consumers_of(graph, name)) == 1 and name not in (output.name for output in graph.output)


def with_constant(graph: Graph, *operators: str) -> list[tuple[Node, Array]]:
    """The nodes of these operators with one constant and one other input, and the constant."""
    constants = {constant.name: constant for constant in graph.initializer}
    return [
        (node, numpy_helper.to_array(constants[name]))
        for node in graph.node
        for name in node.input
        if node.op_type in operators and name in constants
    ]


def variable_input(graph: Graph, node: Node) -> str:
    """The first input that is no constant."""
    constants = {constant.name for constant in graph.initializer}
    return next(str(name) for name in node.input if name not in constants)


def attribute_of(node: Node, name: str) -> Any:
    """The value of an attribute; None where the node has none of that name."""
    found: Any = next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)
    return found


def bypass(graph: Graph, node: Node) -> None:
    """Take a node out: who read its output reads its input, unless an output of the graph needs the name."""
    source, output = variable_input(graph, node), node.output[0]
    if output in (value.name for value in graph.output):
        producer = producer_of(graph, source)
        if producer is None or not read_once(graph, source):
            return
        producer.output[:] = [output if name == source else name for name in producer.output]
    for consumer in consumers_of(graph, output):
        consumer.input[:] = [source if name == output else name for name in consumer.input]
    graph.node.remove(node)


def set_constant(graph: Graph, node: Node, place: int, values: Array) -> None:
    """Give a node a constant of its own, float32 where it is a number: other readers of the old one keep it."""
    old = node.input[place] if place < len(node.input) else node.name + "/bias"
    kept = values if values.dtype == np.int64 else values.astype(np.float32)
    node.input[place : place + 1] = [add_constant(graph, f"{old}:{node.output[0]}", kept)]


def add_constant(graph: Graph, name: str, values: Any) -> str:
    """A new constant, an array or a number of NumPy's. Returns its name: the given one, longer where that is taken."""
    while name in (constant.name for constant in graph.initializer):
        name += "'"
    graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
    return name


def insert_before(graph: Graph, node: Node, new: Node) -> None:
    """Put a node in front of another one, where everything that the other one can read has been calculated."""
    graph.node.insert(_place(graph, node), new)


def insert_after(graph: Graph, node: Node, new: Node) -> None:
    """Put a node behind another one, before anything else reads what the other one calculated."""
    graph.node.insert(_place(graph, node) + 1, new)


def _place(graph: Graph, node: Node) -> int:
    return next(place for place, each in enumerate(graph.node) if each.output[0] == node.output[0])


def constants_as_initializers(graph: Graph) -> None:
    """Constants in one place: the version converter writes new ones, such as the axes of a ReduceMean, as nodes."""
    for node in [node for node in graph.node if node.op_type == "Constant" and attribute_of(node, "value")]:
        constant = graph.initializer.add()
        constant.CopyFrom(attribute_of(node, "value"))
        constant.name = node.output[0]
        graph.node.remove(node)


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
