"""A float32 graph in float16: half the size. docs/providers.md has what it gains on graphics cards."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pipelines.exporting.familiarity.features import Placed, add_features
from pipelines.exporting.graph.edit import Model, attribute_of
from zoo.contract import FAMILIARITY, IR_VERSION, LOGITS, OPSET, Metadata


def to_float16(model: Model) -> Model:
    """The same model with weights and values in float16, and the contract's inputs and outputs.

    model: an exported one, float32; it stays as it is. The logits become float32 before the softmax, so that
    probabilities add up to 1 as before. Numbers beyond 65,504 become infinite: whoever calls looks at the answers.
    """
    half = type(model)()
    half.CopyFrom(model)
    graph = half.graph
    for constant in graph.initializer:
        if constant.data_type == TensorProto.FLOAT:
            constant.CopyFrom(
                numpy_helper.from_array(numpy_helper.to_array(constant).astype(np.float16), constant.name)
            )
    for node in graph.node:
        if node.op_type == "Cast" and attribute_of(node, "to") == TensorProto.FLOAT:
            node.attribute[0].i = TensorProto.FLOAT16
    last = next(node for node in graph.node if LOGITS in node.output)
    last.output[:] = [f"{LOGITS}/half"]
    place = list(graph.node).index(last) + 1
    graph.node.insert(place, helper.make_node("Cast", [f"{LOGITS}/half"], [LOGITS], name=LOGITS, to=TensorProto.FLOAT))
    finished = helper.make_model(
        helper.make_graph(graph.node, graph.name, graph.input, graph.output, graph.initializer),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="classifier-zoo",
    )
    return onnx.shape_inference.infer_shapes(finished, check_type=True, strict_mode=True, data_prop=True)


def add_features_of_half(model: Model, metadata: Metadata) -> Placed:
    """Put the features for FAMILIARITY into a graph in float16; what is computed of them is float32."""
    name, sizes = add_features(model.graph, metadata)
    wide = f"{FAMILIARITY}/float"
    model.graph.node.append(helper.make_node("Cast", [name], [wide], name=wide, to=TensorProto.FLOAT))
    return wide, sizes
