"""The class activation map, as a third output: which positions of the image speak for which class."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from pipelines.exporting.graph.edit import Array, Graph, Node, add_constant, attribute_of, constant_of, producer_of
from zoo.contract import ACTIVATION_MAP, LOGITS

UNITS = ("Relu", "LeakyRelu")  # a straight line through 0 on either side of it


def add_activation_map(graph: Graph) -> None:
    """Let the dense layers look at each position, too, where they are given their average and nothing else.

    logits = mean(x) · W + b = mean(x · W) + b: the mean over the positions of x · W, plus the bias, is the logits, so
    that each value is what its position adds to a class, times their number (Zhou et al. 2016, section 2). Exact, and
    without gradients. The bias belongs to no position and stays outside: 0 says nothing for a class and nothing
    against it.

    With a hidden layer of ReLUs, logits = (s ∘ (mean(x) · V + a)) · W + b, where the slope s is 1 of a unit that is
    active for this image, and 0 of one that isn't. The mean of (s ∘ (x · V + a)) · W, plus b, is the logits: as exact,
    for the units that all positions together have made active. The hidden bias a lies in equal parts on all of them.

    graph: finished. x [N, C, h, w], W [C, K] -> ACTIVATION_MAP [N, K, h, w] float32. Models that end otherwise stay as
    they are, those among them that normalize the average, where how much a position adds would depend on all the
    others, and those with hidden units that are curved, such as gelu.

    The other outputs are calculated by the same nodes as before and keep each bit. onnxruntime calculates this one
    whether or not it is asked for (its only_execute_path_to_fetches changes nothing): on images of 28x28 conv-tiny
    takes 4 to 5 % longer, or 1.7 microseconds, other models 0 to 2 % (benchmarks/activation_map.py). As a step on the
    way to the logits, in place of the dense layer and with its bias inside, it took conv-tiny 2 to 4 %, and the logits
    would be others; x itself as an output took 3 to 6 %.
    """
    features, head = _head_on_average(graph)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info}
    if not head or len(shapes.get(features, ())) != 4:
        return
    value = features
    for node, kernel in head[:-1]:
        value = _with_slope_of(graph, node, value) if kernel is None else _at_positions(graph, node, kernel, value)
    last, kernel = head[-1]
    if kernel is None:  # units behind the logits' own layer
        return
    _at_positions(graph, last, kernel, value, is_last=True)
    shape = ["N", kernel.shape[1], *shapes[features][2:]]
    graph.output.append(helper.make_tensor_value_info(ACTIVATION_MAP, TensorProto.FLOAT, shape))


def _head_on_average(graph: Graph) -> tuple[str, list[tuple[Node, Array | None]]]:
    """What is averaged over all positions, and the layers from there to the logits; none where others lie between.

    Each layer with its kernel, None for units.
    """
    layers: list[tuple[Node, Array | None]] = []
    node = producer_of(graph, LOGITS)
    while node is not None:
        kernel = constant_of(graph, node.input[1]) if node.op_type == "Gemm" and not node.attribute else None
        if kernel is None and node.op_type not in UNITS:
            break
        layers.insert(0, (node, kernel))
        node = producer_of(graph, node.input[0])
    while node is not None and node.op_type in ("Squeeze", "Flatten"):  # [N, C, 1, 1] -> [N, C]
        node = producer_of(graph, node.input[0])
    return (str(node.input[0]), layers) if node is not None and node.op_type == "GlobalAveragePool" else ("", [])


def _at_positions(graph: Graph, dense: Node, kernel: Array, value: str, is_last: bool = False) -> str:
    """A dense layer at each position, the last one without its bias. value [N, I, h, w] -> [N, O, h, w]"""
    name = f"{dense.name}/Conv"
    output = ACTIVATION_MAP if is_last else name
    at_positions = add_constant(graph, f"{name}/kernel", np.ascontiguousarray(kernel.T[:, :, np.newaxis, np.newaxis]))
    inputs = [value, at_positions, *([] if is_last else dense.input[2:])]
    graph.node.append(helper.make_node("Conv", inputs, [output], name=name, kernel_shape=[1, 1]))
    return output


def _with_slope_of(graph: Graph, unit: Node, value: str) -> str:
    """value [N, J, h, w], times the slope that each of J units has for the average.

    It is read off what the units give: a runtime makes one operator of them and the layer in front only if nobody else
    reads what lies between.
    """
    name = f"{unit.name}/slope"
    below = attribute_of(unit, "alpha") if unit.op_type == "LeakyRelu" else 0
    zero, one, below = (add_constant(graph, f"{name}/{n}", np.float32(n)) for n in (0, 1, below))
    axes = add_constant(graph, f"{name}/axes", np.array([2, 3]))
    for operator, inputs, output in (
        ("Greater", [unit.output[0], zero], f"{name}/Greater"),
        ("Where", [f"{name}/Greater", one, below], f"{name}/Where"),  # [N, J]
        ("Unsqueeze", [f"{name}/Where", axes], f"{name}/Unsqueeze"),  # [N, J, 1, 1]
        ("Mul", [value, f"{name}/Unsqueeze"], name),
    ):
        graph.node.append(helper.make_node(operator, inputs, [output], output))
    return name
