"""A temperature that logits are divided by, in the weights that they come from: no node more, and the same speed."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.graph.edit import Graph, add_constant, consumers_of, insert_after, producer_of
from zoo.contract import ACTIVATION_MAP, LOGITS

WEIGHTED = ("Gemm", "Conv", "MatMul")
# What gives half the output for half the input.
LINEAR = ("Cast", "Identity", "Squeeze", "Flatten", "Reshape", "Transpose", "GlobalAveragePool", "ReduceMean")
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def divide_logits(graph: Graph, temperature: float) -> None:
    """Let logits become logits / temperature: by the weights and the bias of the last layer, which are divided by it.

    So is the activation map, whose mean plus bias goes on being the logits. Quantized weights keep their bytes, and
    their scale is divided. Logits of a model that ends otherwise, whose weights can't be divided, are multiplied by a
    node of their own, by the name "temperature".
    """
    divided = _weights_of(graph, LOGITS)
    if any(output.name == ACTIVATION_MAP for output in graph.output):
        divided |= _weights_of(graph, ACTIVATION_MAP)
    if not divided:
        _multiply(graph, 1 / temperature)
    for constant in graph.initializer:
        if constant.name in divided:
            values = numpy_helper.to_array(constant)
            cooled = (values.astype(np.float64) / temperature).astype(values.dtype)
            constant.CopyFrom(numpy_helper.from_array(cooled, constant.name))


def _weights_of(graph: Graph, value: str) -> set[str]:
    """The constants that a value is proportional to, all of them together; none where there is no such thing."""
    node = producer_of(graph, value)
    if node is None or (value not in (LOGITS, ACTIVATION_MAP) and len(consumers_of(graph, value)) > 1):
        return set()
    if node.op_type in LINEAR:
        return _weights_of(graph, node.input[0])
    if node.op_type == "Add":
        terms = [_constant(graph, name) or _weights_of(graph, name) for name in node.input]
        return set().union(*terms) if all(terms) else set()
    if node.op_type not in WEIGHTED:
        return set()
    factors = [_constant(graph, name) for name in node.input if name]
    found = set().union(*factors)
    # One of two factors, and the bias beside them.
    return found if len(found) == len(factors) - 1 and not (factors[0] and factors[1]) else set()


def _constant(graph: Graph, name: str) -> set[str]:
    """The constant that a weight is proportional to: itself, or its scale where it is quantized; {} for no constant."""
    floats = {constant.name for constant in graph.initializer if constant.data_type in FLOATS}
    constants = {constant.name for constant in graph.initializer}
    quantized = producer_of(graph, name)
    if quantized is not None and quantized.op_type == "DequantizeLinear" and quantized.input[0] in constants:
        name = quantized.input[1]
    return {name} if name in floats and len(consumers_of(graph, name)) == 1 else set()


def _multiply(graph: Graph, factor: float) -> None:
    last = producer_of(graph, LOGITS)
    if last is None:
        return
    before = f"{LOGITS}/before"
    last.output[:] = [before if name == LOGITS else name for name in last.output]
    by = add_constant(graph, "temperature/inverse", np.float32(factor))
    insert_after(graph, last, helper.make_node("Mul", [before, by], [LOGITS], name="temperature"))
