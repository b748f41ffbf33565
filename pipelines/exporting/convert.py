"""From a Keras model to the ONNX graph that is shipped: tf2onnx's translation, then the passes of graph."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import onnx

from pipelines.exporting.graph.arithmetic import erfc_as_erf
from pipelines.exporting.graph.simplify import simplify
from pipelines.exporting.graph.temperature import divide_logits
from zoo.contract import LOGITS, PROBABILITIES
from zoo.errors import ExportError

# The last opset in which tf2onnx keeps an average over all positions as GlobalAveragePool; the passes go on to 18.
TRANSLATED_OPSET = 17


def convert(model: Any, resizing: str = "stretch", temperature: float = 1.0) -> Any:
    """The `onnx.ModelProto` of a `keras.Model` that `zoo.models.build` made, under the contract, without metadata.

    In: images [N, H, W, C] uint8, raw pixels, N, H and W free; of a model for a table features [N, F] float32.
    Out: probabilities and logits [N, K] float32.
    resizing: how images of other sizes than the model's come to it, as in `zoo.images.resize`. temperature: what the
    model's logits are divided by, in its last dense layer.
    Same weights, same bytes. Raises ExportError for a model that isn't float32 or holds what ONNX can't express.
    """
    policies = {layer.compute_dtype for layer in model.layers}
    if policies != {"float32"}:
        other = ", ".join(sorted(policies - {"float32"}))
        raise ExportError(f"{model.name} computes in {other}, expected float32: build it again and copy its weights")
    translated = _translate(model)
    layers = [layer.name for layer in model._flatten_layers()]
    try:
        converted = simplify(translated, model.inputs[0].shape[1:], resizing, layers)
        if temperature != 1:
            divide_logits(converted.graph, temperature)
        onnx.checker.check_model(converted, full_check=True)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ExportError(f"{model.name} has no valid ONNX form ({reason}): use other layers") from None
    return converted


def _translate(model: Any) -> Any:
    """tf2onnx's own graph: images [N, height, width, C] float32, 0..255, or rows -> logits and probabilities [N, K]."""
    import tensorflow as tf
    import tf2onnx

    def answer(inputs: Any) -> dict[str, Any]:
        outputs = model(inputs, training=False)
        return {name: outputs[name] for name in (LOGITS, PROBABILITIES)}

    # uint8 would put a Cast in front of everything, which the passes would have to move out of the way again.
    signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32, name=model.inputs[0].name)]
    with _quiet("tf2onnx"):
        translated, _ = tf2onnx.convert.from_function(
            tf.function(answer), input_signature=signature, opset=TRANSLATED_OPSET
        )
    erfc_as_erf(translated.graph)
    # tf2onnx logs what it can't translate and writes it all the same.
    strange = {node.op_type for node in translated.graph.node if not _is_standard(node)}
    if strange:
        raise ExportError(f"{model.name} uses {', '.join(sorted(strange))}, which has no ONNX form: use another layer")
    return translated


def _is_standard(node: Any) -> bool:
    return node.domain == "" and bool(onnx.defs.has(node.op_type, max_inclusive_version=TRANSLATED_OPSET))


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """What a logger says is kept from the terminal."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)
