"""What a model computes on its way to the logits, in a few numbers by which familiar images can be told from others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from pipelines.exporting.graph.edit import (
    Graph,
    Model,
    Node,
    add_constant,
    constant_of,
    producer_of,
    shapes_of,
)
from zoo.contract import ACTIVATION_MAP, FAMILIARITY, Metadata
from zoo.errors import ExportError

WEIGHTED = ("Conv", "Gemm", "MatMul")
WITH_POSITIONS = 4  # the last so many activations that have positions are looked at
PATCHES = 7  # a side, that an image is averaged over where there is nothing but the image to look at
# What leaves the values as they are, or averages them: behind a flattened or averaged map the map itself is looked at.
_ON_THE_WAY = ("Flatten", "Squeeze", "Reshape", "GlobalAveragePool", "ReduceMean")
_KEEP_SIGN = (*_ON_THE_WAY, "Add", "AveragePool", "Concat", "MaxPool", "Transpose")

Layout = Literal[
    "first", "last", "none"
]  # where the channels are: [N, C, h, w], [N, …, C], or [N, C] without positions
Placed: TypeAlias = tuple[str, tuple[int, ...]]  # the features' name in a graph, [N, D] float32, and D by activation


@dataclass(frozen=True)
class Activation:
    """A value of the graph that a layer with weights reads. shape: without N."""

    name: str
    layout: Layout
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """How many numbers are left of it when its positions are averaged."""
        return self.shape[0] if self.layout == "first" else self.shape[-1]


def add_features(graph: Graph, metadata: Metadata) -> Placed:
    """Put the features into a finished graph.

    They are, of the inputs of layers with weights, the last four that have positions, averaged over these, and the
    last that has none; of a model without positions, such as an MLP, all but its input; of one without hidden layers
    its input, an image averaged over 7 x 7 patches. What is below 0 is cut off, but for the input, of which that counts
    as features of their own.
    """
    found = list(activations(graph))
    with_positions = [each for each in found if each.layout != "none"]
    vectors = [each for each in found if each.layout == "none"]
    chosen = [*with_positions[-WITH_POSITIONS:], *vectors[-1:]] if with_positions else vectors
    parts = [_averaged(graph, each) for each in chosen]
    sizes = tuple(each.channels for each in chosen)
    if not parts:
        parts = [_of_table(graph) if metadata.columns else _of_image(graph, metadata)]
        sizes = (_size(graph, parts[0]),)
    if len(parts) == 1:
        return parts[0], sizes
    name = f"{FAMILIARITY}/features"
    graph.node.append(helper.make_node("Concat", parts, [name], name=name, axis=1))
    return name, sizes


def with_features(model: Model, metadata: Metadata) -> tuple[Model, Placed]:
    """A copy with the features as its last output, made by a node of their own: no other value becomes an output."""
    copy = type(model)()
    copy.CopyFrom(model)
    name, sizes = add_features(copy.graph, metadata)
    if not name.startswith(f"{FAMILIARITY}/"):
        copy.graph.node.append(helper.make_node("Identity", [name], [f"{FAMILIARITY}/features"], name=FAMILIARITY))
        name = f"{FAMILIARITY}/features"
    copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", sum(sizes)]))
    return copy, (name, sizes)


def features_of(
    model: Model, metadata: Metadata, batches: Iterable[Any]
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """The features [N, D] of images [N, H, W, C] uint8, or rows [N, F] float32, batch by batch; and D by activation."""
    copy, placed = with_features(model, metadata)
    return read_features(copy, placed, metadata, batches), placed[1]


def read_features(model: Model, placed: Placed, metadata: Metadata, batches: Iterable[Any]) -> NDArray[np.float32]:
    """The features [N, D] that a graph computes, of inputs as of `features_of`."""
    import onnxruntime

    name, sizes = placed
    copy = type(model)()
    copy.CopyFrom(model)
    if name not in (output.name for output in copy.graph.output):
        copy.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", sum(sizes)]))
    session = onnxruntime.InferenceSession(copy.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([name], {metadata.input.name: some})[0] for some in batches])


def activations(graph: Graph) -> tuple[Activation, ...]:
    """The inputs of the layers with weights, in their order, each once; but for what no such layer has calculated."""
    shapes, found = shapes_of(graph), {}
    constants = {constant.name for constant in graph.initializer}
    calculated: set[str] = set()  # by a layer with weights, or from what one has calculated
    for node in graph.node:
        weighted = node.op_type in WEIGHTED and node.input[1] in constants and node.input[0] not in constants
        if weighted and node.input[0] in calculated and ACTIVATION_MAP not in node.output:
            name, layout = _map_behind(graph, node, shapes)
            shape = tuple(shapes[name][1:])
            if layout != "none" and int(np.prod(shape)) == (shape[0] if layout == "first" else shape[-1]):
                layout, shape = "none", (int(np.prod(shape)),)  # of a single position
            found[name] = Activation(name, layout, shape)
        if weighted or calculated.intersection(node.input):
            calculated.update(node.output)
    return tuple(found.values())


def _map_behind(graph: Graph, layer: Node, shapes: dict[str, tuple[Any, ...]]) -> tuple[str, Layout]:
    """What a layer reads, or what that was flattened or averaged from where it has no positions itself."""
    name = str(layer.input[0])
    if len(shapes[name]) > 2:
        return name, "first" if layer.op_type == "Conv" else "last"
    layout: Layout = "first"
    behind: str = name
    while (producer := producer_of(graph, behind)) is not None and producer.op_type in _ON_THE_WAY:
        axes = constant_of(graph, producer.input[1]) if producer.op_type == "ReduceMean" else None
        if axes is not None and 1 in axes.ravel():
            layout = "last"
        behind = str(producer.input[0])
        if len(shapes[behind]) > 2 and np.prod(shapes[behind][1:]) > shapes[behind][1]:
            return behind, layout
    return name, "none"


def _averaged(graph: Graph, activation: Activation) -> str:
    """[N, C], of which nothing is below 0."""
    name, where = f"{FAMILIARITY}/{activation.name}", activation.name
    if not _never_negative(graph, where):
        graph.node.append(helper.make_node("Relu", [where], [f"{name}/Relu"], name=f"{name}/Relu"))
        where = f"{name}/Relu"
    if activation.layout == "none":
        if len(shapes_of(graph)[activation.name]) == 2:
            return where
        graph.node.append(helper.make_node("Flatten", [where], [name], name=name))
    elif activation.layout == "first":
        pooled = f"{name}/GlobalAveragePool"  # which onnxruntime has kernels of its own for, behind convolutions
        graph.node.append(helper.make_node("GlobalAveragePool", [where], [pooled], name=pooled))
        graph.node.append(helper.make_node("Flatten", [pooled], [name], name=name))
    else:
        axes = add_constant(graph, f"{name}/axes", np.arange(1, len(activation.shape), dtype=np.int64))
        graph.node.append(helper.make_node("ReduceMean", [where, axes], [name], name=name, keepdims=0))
    return name


def _never_negative(graph: Graph, name: str) -> bool:
    node = producer_of(graph, name)
    if node is None:
        return False
    if node.op_type == "Clip":
        least = constant_of(graph, node.input[1]) if len(node.input) > 1 and node.input[1] else None
        return least is not None and bool((least >= 0).all())
    if node.op_type in ("Relu", "Sigmoid", "Softmax"):
        return True
    read = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
    return node.op_type in _KEEP_SIGN and all(_never_negative(graph, each) for each in read)


def _first_layer(graph: Graph) -> str:
    constants = {constant.name for constant in graph.initializer}
    for node in graph.node:
        if node.op_type in WEIGHTED and node.input[0] not in constants:
            return str(node.input[0])
    raise ExportError("a model without layers that have weights can't tell what is familiar to it")


def _of_image(graph: Graph, metadata: Metadata) -> str:
    """The means of patches of the image that the first layer reads, [N, patches]."""
    where, name = _first_layer(graph), f"{FAMILIARITY}/image"
    height, width, channels = metadata.height, metadata.width, metadata.channels
    if len(shapes_of(graph)[where]) == 2:  # flattened, row by row, a pixel's channels side by side
        shape = add_constant(graph, f"{name}/shape", np.array([-1, height, width, channels], np.int64))
        graph.node.append(helper.make_node("Reshape", [where, shape], [f"{name}/rows"], name=f"{name}/rows"))
        turned = helper.make_node("Transpose", [f"{name}/rows"], [name], name=name, perm=[0, 3, 1, 2])
        graph.node.append(turned)
        where = name
    kernel = [max(1, height // PATCHES), max(1, width // PATCHES)]
    pooled = helper.make_node(
        "AveragePool", [where], [f"{name}/patches"], name=f"{name}/patches", kernel_shape=kernel, strides=kernel
    )
    flat = helper.make_node("Flatten", [f"{name}/patches"], [f"{name}/flat"], name=f"{name}/flat")
    graph.node.extend([pooled, flat])
    if metadata.recipe.get("normalize", "none") == "none":  # pixels are 0 or more
        return f"{name}/flat"
    return _by_sign(graph, f"{name}/flat", name)


def _of_table(graph: Graph) -> str:
    """What the first layer reads of a row, above 0, and what of it is below 0, [N, 2 F]."""
    return _by_sign(graph, _first_layer(graph), f"{FAMILIARITY}/row")


def _by_sign(graph: Graph, where: str, name: str) -> str:
    """Of [N, D] what is above 0, and what of it is below 0, [N, 2 D]."""
    graph.node.append(helper.make_node("Neg", [where], [f"{name}/Neg"], name=f"{name}/Neg"))
    graph.node.append(
        helper.make_node("Concat", [where, f"{name}/Neg"], [f"{name}/signed"], name=f"{name}/signed", axis=1)
    )
    graph.node.append(helper.make_node("Relu", [f"{name}/signed"], [f"{name}/features"], name=f"{name}/features"))
    return f"{name}/features"


def _size(graph: Graph, name: str) -> int:
    return int(shapes_of(graph)[name][1])
