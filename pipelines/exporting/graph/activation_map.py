"""The class activation map, as a third output: which positions of the image speak for which class."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from pipelines.exporting.graph.edit import Graph, Node, add_constant, constant_of, producer_of
from zoo.contract import ACTIVATION_MAP, LOGITS


def add_activation_map(graph: Graph) -> None:
    """Let the last dense layer look at each position, too, where it is given their average and nothing else.

    logits = mean(x) · W + b = mean(x · W) + b: the mean over the positions of x · W, plus the bias, is the logits, so
    that each value is what its position adds to a class, times their number (Zhou et al. 2016, section 2). Exact, and
    without gradients. The bias belongs to no position and stays outside: 0 says nothing for a class and nothing
    against it.

    graph: finished, with shapes along its edges. x [N, C, h, w], W [C, K] -> ACTIVATION_MAP [N, K, h, w] float32.
    Models that end otherwise stay as they are, those among them that normalize the average, too: how much a position
    adds would depend on all the others.

    The other outputs are calculated by the same nodes as before and keep each bit. onnxruntime calculates this one
    whether or not it is asked for (its only_execute_path_to_fetches changes nothing): on images of 28x28 conv-tiny
    takes 4 to 5 % longer, or 1.7 microseconds, other models 0 to 2 % (benchmarks/activation_map.py). As a step on the
    way to the logits, in place of the dense layer and with its bias inside, it took conv-tiny 2 to 4 %, and the logits
    would be others; x itself as an output took 3 to 6 %.
    """
    head = producer_of(graph, LOGITS)
    features = None if head is None else _averaged(graph, head)
    kernel = None if head is None or features is None else constant_of(graph, head.input[1])
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in graph.value_info}
    if head is None or features is None or kernel is None or len(shapes.get(features, ())) != 4:
        return
    name, classes = f"{head.name}/Conv", kernel.shape[1]
    at_positions = add_constant(graph, f"{name}/kernel", np.ascontiguousarray(kernel.T[:, :, np.newaxis, np.newaxis]))
    graph.node.append(
        helper.make_node("Conv", [features, at_positions], [ACTIVATION_MAP], name=name, kernel_shape=[1, 1])
    )
    graph.output.append(
        helper.make_tensor_value_info(ACTIVATION_MAP, TensorProto.FLOAT, ["N", classes, *shapes[features][2:]])
    )


def _averaged(graph: Graph, head: Node) -> str | None:
    """What a dense layer is given the average of, over all positions; None where it is given anything else."""
    pool = producer_of(graph, head.input[0]) if head.op_type == "Gemm" and not head.attribute else None
    while pool is not None and pool.op_type in ("Squeeze", "Flatten"):  # [N, C, 1, 1] -> [N, C]
        pool = producer_of(graph, pool.input[0])
    return str(pool.input[0]) if pool is not None and pool.op_type == "GlobalAveragePool" else None
