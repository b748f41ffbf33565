"""The passes that turn tf2onnx's graph into the one that is shipped: small, named by Keras' layers, and fast.

A pass edits the graph that it is given, and leaves alone what it doesn't know: a model that a pass can't improve is
exported as tf2onnx wrote it. Names are tidied once, at the end, so passes need not care for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import onnx
from onnx import TensorProto, helper

from pipelines.exporting.graph.activation_map import add_activation_map
from pipelines.exporting.graph.arithmetic import (
    dense_as_gemm,
    drop_zero_additions,
    fold_norms,
    fold_scaling,
)
from pipelines.exporting.graph.edit import Graph, Model, constants_as_initializers, drop_unused
from pipelines.exporting.graph.layout import (
    cancel_transposes,
    dense_from_the_left,
    lay_out_bytes,
    plain_reshapes,
    reorder_rows,
)
from pipelines.exporting.graph.names import name_after_layers
from pipelines.exporting.graph.operators import dense_on_positions, gelus, layer_norms
from pipelines.exporting.graph.resizing import take_any_image
from zoo.contract import FEATURES, IR_VERSION, LOGITS, OPSET, PROBABILITIES

PASSES: tuple[Callable[[Graph], None], ...] = (
    constants_as_initializers,
    drop_zero_additions,
    dense_on_positions,
    plain_reshapes,
    layer_norms,
    drop_unused,
    cancel_transposes,
    drop_unused,
    reorder_rows,
    fold_scaling,
    dense_from_the_left,
    dense_as_gemm,
    fold_norms,
    gelus,
)


def simplify(model: Model, shape: Sequence[int], resizing: str, layers: Iterable[str]) -> Model:
    """The shipped graph of what tf2onnx wrote for float32 pixels, or for the rows of a table.

    model: images [N, height, width, C] float32, 0..255, or features [N, F] -> logits and probabilities [N, K] float32;
    it stays as it is. shape: (height, width, C), or (F,).
    resizing: how images of other sizes come to that one: stretch, crop or pad.
    layers: the names of the Keras layers, which become the names of the nodes.
    Returns images [N, H, W, C] uint8, or features as they were -> probabilities and logits [N, K] float32, with shapes
    along every edge; and the activation map [N, K, h, w], where the model ends in a way that has one.
    """
    simple = onnx.version_converter.convert_version(model, OPSET)  # a copy
    for improve in PASSES:
        improve(simple.graph)
    if len(shape) == 3:
        take_any_image(simple.graph, shape[0], shape[1], resizing)
        lay_out_bytes(simple.graph)
    else:
        take_any_rows(simple.graph, shape[0])
    drop_unused(simple.graph)
    name_after_layers(simple.graph, layers)
    finished = finish(simple)
    add_activation_map(finished.graph)
    return with_shapes(finished)


def take_any_rows(graph: Graph, columns: int) -> None:
    """N for the batch of a table's rows, where tf2onnx has a name of its own."""
    rows = helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", columns])
    del graph.input[:], graph.value_info[:]
    graph.input.append(rows)


def finish(model: Model) -> Model:
    """Outputs in the contract's order, N for the batch, shapes along every edge, IR and opset for old runtimes."""
    graph = model.graph
    classes = next(o for o in graph.output if o.name == LOGITS).type.tensor_type.shape.dim[1].dim_value
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes]) for name in (PROBABILITIES, LOGITS)
    ]
    finished = helper.make_model(
        helper.make_graph(graph.node, graph.name, graph.input, outputs, graph.initializer, value_info=graph.value_info),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="classifier-zoo",
    )
    return with_shapes(finished)


def with_shapes(model: Model) -> Model:
    """A copy with shapes along every edge."""
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
