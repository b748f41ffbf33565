"""From an exported file back to the Keras model: what `convert` folded together is put apart again, and proven."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from pipelines.exporting.graph.edit import Graph, Node, consumers_of, producer_of
from pipelines.exporting.graph.layout import LAYOUT
from zoo.contract import INPUT, LOGITS, MODEL_FILE, Metadata
from zoo.errors import ExportError
from zoo.models.build import build_for_images
from zoo.runtime import Classifier, load

Array = NDArray[np.float32]

SHADES = 255  # what `build` divides pixels by, and `fold_scaling` the first weights
KERNELS = ("Conv2D", "DepthwiseConv2D", "Dense")
MAPS = ("Conv", "MaxPool", "AveragePool")  # operators of ONNX whose outputs are [N, C, H, W]
PROOFS = 4  # images that the model has to answer as the file does
# Of the largest logit: the same weights in another order of additions differ by 1e-6 of it, wrong ones by all of it.
TOLERANCE = 1e-4


def rebuild(export: Path) -> tuple[Any, Metadata]:
    """The `keras.Model`, float32, that answers as an export does, and what the export says of itself.

    export: its folder, or its .onnx file.

    A batch normalization that the file holds no more, folded into the layer before it, comes back as one that adds the
    bias and changes nothing else: its statistics are lost. Weights are read as numbers, nothing in the file is run but
    by onnxruntime, whose logits are compared on images of noise.
    Raises ExportError for a file that isn't ours, is damaged, or holds weights that Keras' layers can't take back;
    ModelError where its model isn't registered.
    """
    classifier = load(export, provider="cpu")  # the file is whole, ours, and under the contract
    file, metadata = export / MODEL_FILE if export.is_dir() else export, classifier.metadata
    graph = onnx.load(file, load_external_data=False).graph  # a path in a file may lead anywhere
    if any(constant.data_location == onnx.TensorProto.EXTERNAL for constant in graph.initializer):
        raise _cannot(file, "its weights lie outside of it")
    if metadata.columns:
        raise _cannot(file, "it was trained on a table")
    model = build_for_images(metadata)
    stored = {constant.name: constant for constant in graph.initializer}
    pixels = _reached_by_pixels(graph)
    for layer in model.layers:
        if layer.weights:
            weights = _weights_of(layer, graph, stored, layer.name in pixels, file)
            if [each.shape for each in weights] != [tuple(weight.shape) for weight in layer.weights]:
                raise _cannot(file, f"{layer.name} has weights of other shapes than {metadata.model} gives it today")
            layer.set_weights(weights)
    _prove(model, classifier, file)
    return model, metadata


def _cannot(file: Path, reason: str) -> ExportError:
    return ExportError(f"{file} can't be read back into Keras ({reason}): name the run that made it instead")


# --- the weights of a layer ----------------------------------------------------------------------------------------


def _weights_of(layer: Any, graph: Graph, stored: dict[str, Any], first: bool, file: Path) -> list[Array]:
    """A layer's weights in Keras' order. stored: the file's constants by name. first: whether it is given pixels."""

    def constant(name: str, size: int, otherwise: float) -> Array:
        """[size] float32; a bias or an offset of zeros may have been left out."""
        if name not in stored:
            return np.full(size, otherwise, np.float32)
        return np.asarray(numpy_helper.to_array(stored[name]), np.float32).reshape(-1)

    kind, channels = type(layer).__name__, int(layer.output.shape[-1])
    if kind in KERNELS:
        name = f"{layer.name}/kernel"
        node = next((node for node in graph.node if name in node.input), None)
        if node is None or name not in stored:
            raise _cannot(file, f"it holds no {name}")
        kernel = _kernel(layer, node, numpy_helper.to_array(stored[name]), graph)
        kernel = (kernel * SHADES if first else kernel).astype(np.float32)
        return [kernel, constant(f"{layer.name}/bias", channels, 0)] if layer.use_bias else [kernel]
    if kind == "BatchNormalization":
        before = layer.input._keras_history.operation
        if type(before).__name__ not in KERNELS:
            raise _cannot(file, f"{layer.name} has no layer before it that it could have been folded into")
        bias = np.zeros(channels, np.float32) if before.use_bias else constant(f"{before.name}/bias", channels, 0)
        ones = np.ones(channels, np.float32)
        return [ones, bias, ones * 0, ones * np.float32(1 - layer.epsilon)]  # gamma, beta, mean, variance
    if kind == "LayerNormalization":
        return [constant(f"{layer.name}/gamma", channels, 1), constant(f"{layer.name}/beta", channels, 0)]
    raise _cannot(file, f"nobody has written how to read a {kind}, as {layer.name} is one")


def _kernel(layer: Any, node: Node, values: NDArray[Any], graph: Graph) -> NDArray[Any]:
    """A kernel in Keras' layout, from ONNX's."""
    if node.op_type == "Conv":  # [Cout, Cin / groups, k, k]
        if type(layer).__name__ == "DepthwiseConv2D":
            rows, columns, channels, multiplier = layer.kernel.shape
            return values.reshape(channels, multiplier, rows, columns).transpose(2, 3, 0, 1)
        return values.transpose(2, 3, 1, 0)
    if f"{layer.name}/kernel" == node.input[0]:  # Kᵀ · x
        return values.T
    flatten = layer.input._keras_history.operation
    while type(flatten).__name__ == "Dropout":
        flatten = flatten.input._keras_history.operation
    if type(flatten).__name__ == "Flatten" and _flattens_maps(graph, node):
        *_, height, width, channels = flatten.input.shape
        if prod((height, width, channels)) == len(values):  # its rows are those of [C, H, W]
            return values.reshape(channels, height, width, -1).transpose(1, 2, 0, 3).reshape(values.shape)
    return values


def _flattens_maps(graph: Graph, node: Node) -> bool:
    """Whether what a dense layer multiplies came as [N, C, H, W]; pixels come as [N, H, W, C], and so do Transposes."""
    before = producer_of(graph, node.input[0])
    while before is not None and before.op_type not in ("Transpose", "Cast", "Reshape"):
        if before.op_type in MAPS:
            return True
        before = producer_of(graph, before.input[0])
    return False


def _reached_by_pixels(graph: Graph) -> set[str]:
    """The nodes that multiply pixels with weights; none where the file scales pixels by itself."""
    found: set[str] = set()
    values = ["pixels"]
    while values:
        for node in consumers_of(graph, values.pop()):
            if node.op_type in (*LAYOUT, "Pad"):
                values += node.output
            elif node.op_type in ("Conv", "Gemm", "MatMul"):
                found.add(node.name)
    return found


# --- the proof -----------------------------------------------------------------------------------------------------


def _prove(model: Any, classifier: Classifier, file: Path) -> None:
    """Raise ExportError where the model's logits aren't the file's."""
    shape = (PROOFS, classifier.height, classifier.width, classifier.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    (expected,) = classifier.session.run([LOGITS], {INPUT: images})
    found = np.asarray(model(images, training=False)[LOGITS])
    if not np.allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(expected).max()))):
        difference = float(np.abs(found - expected).max())
        raise _cannot(file, f"its weights, put into Keras' layers, give logits that differ by {difference:.2g}")
