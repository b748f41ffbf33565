"""A float32 graph in int8: QDQ, written so that a runtime finds integer operators and next to nothing between them.

A value that an integer operator reads or makes is rounded once: QuantizeLinear gives its bytes (uint8, a scale and a
zero point), DequantizeLinear what they stand for, and a runtime makes one integer operator of DequantizeLinear, the
operator and QuantizeLinear. Weights are int8, symmetric, with a scale for each channel that comes out (Krishnamoorthi
2018).

onnxruntime's own quantize_static leaves more between them: it casts the pixels, which are bytes, to floats and rounds
them again, rounds logits that nobody reads as bytes, and puts a pair of nodes around each pool and reshape.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.graph.edit import (
    Array,
    Graph,
    Model,
    Node,
    attribute_of,
    constant_of,
    consumers_of,
    drop_unused,
)
from zoo.contract import FAMILIARITY, IR_VERSION, LOGITS, OPSET, PROBABILITIES

Range = tuple[float, float]  # the least and the greatest value that bytes stand for

WEIGHTED = ("Conv", "Gemm", "MatMul")
POOLS = ("AveragePool", "GlobalAveragePool")  # the mean of bytes is rounded to another byte
MOVES = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")  # what comes out are bytes that went in
QUANTIZED = ("DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "QuantizeLinear")

# The largest weight as an integer. With 64 two products of a byte and a weight fit into 16 bits, as processors without
# VNNI add them up: with 127 their sums would be cut off there, and one file would answer otherwise on each kind.
LARGEST_WEIGHT = 64
TINY = 1e-9  # the least scale: of a channel without weights, of a value that is always 0


def only_answers(model: Model) -> Model:
    """A copy without outputs beyond probabilities and logits, and without what feeds those alone."""
    bare = type(model)()
    bare.CopyFrom(model)
    kept = [output for output in model.graph.output if output.name in (PROBABILITIES, LOGITS)]
    del bare.graph.output[:]
    bare.graph.output.extend(kept)
    drop_unused(bare.graph)
    return bare


def weighted_layers(graph: Graph) -> tuple[str, ...]:
    """The names of the layers that can be quantized: those that multiply by constant weights."""
    constants = {constant.name for constant in graph.initializer}
    return tuple(node.name for node in graph.node if _is_weighted(node, constants))


def values_to_observe(graph: Graph) -> tuple[str, ...]:
    """The float32 values that bytes may have to stand for: what `quantize` wants the ranges of."""
    constants = {constant.name for constant in graph.initializer}
    others = {v.name for v in graph.value_info if v.type.tensor_type.elem_type != TensorProto.FLOAT}  # sides in pixels
    found: dict[str, None] = {}
    for node in graph.node:
        if _is_weighted(node, constants):
            found[node.input[0]] = None
        readers = [_is_relu(graph, reader) for reader in consumers_of(graph, node.output[0])]
        makes = _is_weighted(node, constants) or node.op_type in ("Add", *POOLS) or _is_relu(graph, node)
        if makes and readers not in ([], [True]) and node.output[0] not in others:
            found[node.output[0]] = None
    return tuple(found)


def to_int8(
    model: Model,
    ranges: Mapping[str, Range],
    in_float: Collection[str] = (),
    means: Mapping[str, Array] = MappingProxyType({}),
) -> Model:
    """The same model quantized: uint8 values, int8 weights.

    model: an exported one, float32; it stays as it is. ranges: of the `values_to_observe`. in_float: the names of
    layers, among the `weighted_layers`, that go on computing in float32. means: [C], of the channels of what Conv and
    Gemm read; the biases then make up for what is lost of the weights, on average (Nagel et al. 2019, section 4.2).
    """
    graph = model.graph
    written = _Writer(graph, ranges, frozenset(in_float), means).write()
    finished = helper.make_model(
        helper.make_graph(written.nodes, graph.name, graph.input, graph.output, list(written.constants.values())),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="classifier-zoo",
    )
    drop_unused(finished.graph)
    return finished


def _is_weighted(node: Node, constants: Container[str]) -> bool:
    return node.op_type in WEIGHTED and node.input[1] in constants and node.input[0] not in constants


def _looks_on(node: Node) -> bool:
    """Whether a node is one of those that FAMILIARITY is computed by: in float32, of what bytes stand for."""
    return bool(node.name.startswith(FAMILIARITY))


def _is_relu(graph: Graph, node: Node) -> bool:
    """A ReLU, or a bounded one, such as ReLU6: tf2onnx's Clip from 0 to a constant."""
    bounds = [constant_of(graph, name) for name in node.input[1:3]] if node.op_type == "Clip" else []
    return node.op_type == "Relu" or (len(bounds) == 2 and bounds[0] == 0 and bounds[1] is not None)


def _mean_product(node: Node, weights: Array, means: Array) -> Array:
    """[O]: what a layer of these weights makes of its input on average. means: of its channels, [I]; edges count not.

    weights: [O, I / groups, k, k] of Conv; [I, O] of Gemm, or [O, I] where its attribute says so.
    """
    if node.op_type == "Gemm":
        return means @ (weights.T if attribute_of(node, "transB") else weights)
    of_groups = np.split(weights.sum(axis=(2, 3)), attribute_of(node, "group") or 1)
    return np.concatenate([w @ x for w, x in zip(of_groups, np.split(means, len(of_groups)), strict=True)])


@dataclass(frozen=True)
class _Bytes:
    """A value as uint8: scale · (bytes - zero point). about: the name that scale and zero point go by."""

    name: str
    about: str
    scale: np.float32


@dataclass
class _Writer:
    """The graph of bytes, written node by node in the order of the float32 one."""

    graph: Graph
    ranges: Mapping[str, Range]
    in_float: frozenset[str]
    means: Mapping[str, Array]
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    bytes_of: dict[str, _Bytes] = field(default_factory=dict)  # by the name of the float32 value
    floats: dict[str, str] = field(default_factory=dict)  # of values that are bytes: the name of what they stand for

    def __post_init__(self) -> None:
        self.given = {constant.name: constant for constant in self.graph.initializer}
        self.outputs = {output.name for output in self.graph.output}
        self.pixels = {
            value.name
            for value in (*self.graph.input, *self.graph.value_info)
            if value.type.tensor_type.elem_type == TensorProto.UINT8
        }

    def write(self) -> _Writer:
        absorbed: set[str] = set()
        for node in self.graph.node:
            if node.name in absorbed:
                continue
            if node.op_type == "Cast" and self._reads_bytes(node):
                self.bytes_of[node.output[0]] = self._pixels(node)
            elif node.op_type in MOVES and node.input[0] in self.bytes_of and node.output[0] not in self.outputs:
                self._move(node)
            elif not self._is_integer(node):
                self._write(node, [self._float(name, node) for name in node.input])
            else:
                self._compute(node)
                relu = self._relu_behind(node)
                if relu is not None:
                    # Bytes that begin at 0 cut off what is below it, which is all that a ReLU does. Those of a ReLU6
                    # end at 6, or below it, and would have to reach as far as the layer's sums if it stood behind them.
                    absorbed.add(relu.name)
                    self._quantize(relu.output[0], node.output[0], (0.0, self.ranges[relu.output[0]][1]))
                elif self._is_read_as_bytes(node):
                    self._quantize(node.output[0], node.output[0], self.ranges[node.output[0]])
        return self

    # What becomes of a node ------------------------------------------------------------------------------------------

    def _readers(self, name: str) -> list[Node]:
        """Who reads a value on the way to the answers: how these are computed doesn't depend on who looks on."""
        return [node for node in consumers_of(self.graph, name) if not _looks_on(node)]

    def _reads_bytes(self, node: Node) -> bool:
        """Whether a Cast turns pixels into floats for integer layers alone."""
        readers = self._readers(node.output[0])
        return node.input[0] in self.pixels and all(map(self._is_integer_layer, readers))

    def _is_integer_layer(self, node: Node) -> bool:
        return _is_weighted(node, self.given) and node.name not in self.in_float

    def _is_integer(self, node: Node) -> bool:
        if _looks_on(node):
            return False
        if node.op_type == "Add":
            return all(name in self.bytes_of for name in node.input)
        return self._is_integer_layer(node) or (node.op_type in POOLS and node.input[0] in self.bytes_of)

    def _relu_behind(self, node: Node) -> Node | None:
        """The ReLU, bounded or not, that alone reads what the node makes."""
        readers = self._readers(node.output[0])
        alone = len(readers) == 1 and _is_relu(self.graph, readers[0]) and node.output[0] not in self.outputs
        return readers[0] if alone and readers[0].output[0] not in self.outputs else None

    def _is_read_as_bytes(self, node: Node) -> bool:
        """Whether an integer operator's result is rounded to bytes; products alone can come out as floats."""
        readers = self._readers(node.output[0])
        if node.op_type not in ("Gemm", "MatMul"):
            return True
        return any(self._is_integer_layer(reader) or reader.op_type in (*MOVES, *POOLS) for reader in readers)

    # How it is written -----------------------------------------------------------------------------------------------

    def _write(self, node: Node, inputs: list[str]) -> None:
        written = type(node)()
        written.CopyFrom(node)
        written.input[:] = inputs
        self.nodes.append(written)

    def _move(self, node: Node) -> None:
        found = self.bytes_of[node.input[0]]
        moved = f"{node.output[0]}/bytes"
        self._write(node, [found.name, *map(self._constant, node.input[1:])])
        self.nodes[-1].output[0] = moved
        self.bytes_of[node.output[0]] = _Bytes(moved, found.about, found.scale)

    def _compute(self, node: Node) -> None:
        """An operator between dequantized values, which a runtime takes for an integer one."""
        if node.op_type not in WEIGHTED:
            self._write(node, [self._float(name) for name in node.input])
            return
        if node.input[0] not in self.bytes_of:
            self._quantize(node.input[0], node.input[0], self.ranges[node.input[0]])
        scales, lost = self._weights(node)
        inputs = [self._float(node.input[0]), node.input[1]]
        biases = [numpy_helper.to_array(self.given[name]) for name in node.input[2:]]
        if node.op_type != "MatMul" and node.input[0] in self.means:
            biases.append(_mean_product(node, lost, self.means[node.input[0]]))
        if biases:
            inputs.append(node.input[2] if len(node.input) > 2 else f"{node.name}/bias")
            self._bias(inputs[-1], sum(biases), self.bytes_of[node.input[0]].scale * scales)
        self._write(node, inputs)

    def _weights(self, node: Node) -> tuple[Array, Array]:
        """Write a layer's weights as int8 and what they stand for.

        Returns the scale of each channel, and what the weights have lost by rounding, in their shape.
        """
        name = node.input[1]
        weights = numpy_helper.to_array(self.given[name])
        axis = 0 if node.op_type == "Conv" or attribute_of(node, "transB") else weights.ndim - 1
        others = tuple(k for k in range(weights.ndim) if k != axis)
        # A channel of zeros has a scale, too.
        scales: Array = np.maximum(np.abs(weights).max(axis=others) / LARGEST_WEIGHT, TINY).astype(np.float32)  # [C]
        spread = scales.reshape([-1 if k == axis else 1 for k in range(weights.ndim)])
        rounded = np.rint(weights / spread).astype(np.int8)
        zeros = np.zeros(len(scales), np.int8)
        inputs = [
            self._new(f"{name}/bytes", rounded),
            self._new(f"{name}/scale", scales),
            # One for all layers of that width. It may be left out, but onnxruntime leaves a Gemm in float32 then.
            self._new(f"zero_points/{len(scales)}", zeros),
        ]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=name, axis=axis))
        return scales, weights - rounded * spread

    def _bias(self, name: str, values: Array, scales: Array) -> None:
        """Write a bias as int32 in units of the products that it is added to. values; scales: of these, [C]."""
        limit = np.iinfo(np.int32)
        exact = np.rint(values.astype(np.float64) / scales)
        rounded = np.clip(exact, limit.min, limit.max).astype(np.int32)
        inputs = [self._new(f"{name}/integer", rounded), self._new(f"{name}/scale", scales)]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [name], name=name, axis=0))

    def _quantize(self, value: str, source: str, stated: Range) -> None:
        """Round `source` to bytes, which stand for `value` from then on. stated: the range of these."""
        low, high = min(stated[0], 0.0), max(stated[1], 0.0)  # 0 is a byte: convolutions pad with it
        scale = np.float32(max((high - low) / 255, TINY))
        inputs = [
            source,
            self._new(f"{value}/scale", scale),
            self._new(f"{value}/zero_point", np.uint8(np.clip(np.rint(-low / scale), 0, 255))),
        ]
        found = _Bytes(f"{value}/bytes", value, scale)
        self.nodes.append(helper.make_node("QuantizeLinear", inputs, [found.name], name=found.name))
        self.bytes_of[value] = found

    def _pixels(self, cast: Node) -> _Bytes:
        """Raw pixels are bytes already, which stand for themselves."""
        name = cast.output[0]
        scale = np.float32(1)
        self._new(f"{name}/scale", scale)
        self._new(f"{name}/zero_point", np.uint8(0))
        return _Bytes(cast.input[0], name, scale)

    def _float(self, name: str, reader: Node | None = None) -> str:
        """The name under which a float32 value can be read, dequantized where it is bytes.

        reader: a node that computes in float32. Between DequantizeLinear and QuantizeLinear onnxruntime 1.22 and later
        quantize its weights by themselves, with one scale for all channels; with a scale for each channel in front of
        it, all the same, they leave it as it is.
        """
        if name not in self.bytes_of:
            return self._constant(name)
        found = self.bytes_of[name]
        channels = self._channels_read(reader) if reader is not None else 0
        key = f"{name}/float{channels or ''}"
        if key not in self.floats:
            scale, zero_point = f"{found.about}/scale", f"{found.about}/zero_point"
            axis = {}
            if channels:
                wide = np.full(channels, numpy_helper.to_array(self.constants[zero_point]))
                scale = self._new(f"{scale}/{channels}", np.full(channels, found.scale))
                zero_point = self._new(f"{zero_point}/{channels}", wide)
                axis = {"axis": 1}
            inputs = [found.name, scale, zero_point]
            self.nodes.append(helper.make_node("DequantizeLinear", inputs, [key], name=key, **axis))
            self.floats[key] = key
        return key

    def _channels_read(self, reader: Node) -> int:
        """How many channels a layer reads that is to stay in float32; 0 for any other node."""
        if reader.name not in self.in_float or not _is_weighted(reader, self.given):
            return 0
        weights = numpy_helper.to_array(self.given[reader.input[1]])
        if reader.op_type == "Conv":
            return int(weights.shape[1]) * int(attribute_of(reader, "group") or 1)
        return int(weights.shape[1 if attribute_of(reader, "transB") else 0]) if reader.op_type == "Gemm" else 0

    def _constant(self, name: str) -> str:
        if name in self.given:
            self.constants[name] = self.given[name]
        return name

    def _new(self, name: str, values: Array | np.generic) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(values), name))
        return name
