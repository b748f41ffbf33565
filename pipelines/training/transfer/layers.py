"""Which layers of one model start from another's, and how they are made to fit: pure functions of two Keras models."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.exporting.from_onnx import KERNELS
from zoo.contract import LOGITS
from zoo.data.pixels import Inputs
from zoo.models.backend import start_keras

Weights = list[NDArray[np.float32]]  # of a layer, in Keras' order

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2: how `zoo.images` makes an image gray
NORM_IMAGES = 512  # that give a norm its statistics: with all their positions, numbers enough
NORM_BATCH = 16  # images: what all norms are given at once, of large ones, has to fit into memory
ALIKE = ("kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "epsilon", "axis")


def transfer_layers(source: Any, model: Any, images: Inputs, *, same_classes: bool) -> dict[str, Weights]:
    """The weights that a new `keras.Model` takes over from a trained one, by layer, as far as the two agree.

    images: [N, H, W, C] uint8 that it is to learn from, to which norms are adapted. same_classes: whether the layer of
    the logits fits, too. The new model is left with these weights.
    """
    shared = _shared(source, model, same_classes=same_classes)
    fresh = {name: _size(model.get_layer(name)) for name in shared}
    for name, weights in shared.items():
        model.get_layer(name).set_weights(weights)
    _adapt_norms(model, fresh, images)
    return {name: model.get_layer(name).get_weights() for name in shared}


def _shared(source: Any, model: Any, *, same_classes: bool) -> dict[str, Weights]:
    """The weights that the model's layers take, in its order.

    A layer behind a new one is new as well: what it learned was about features that aren't there.
    """
    known = {layer.name: layer for layer in source.layers}
    head = None if same_classes else _last_with_weights(model)
    pixels: dict[str, bool] = {}  # whether a layer's input is the images, scaled or moved around, and nothing more
    trained: dict[str, bool] = {}  # whether all weights up to and including the layer's come from the source
    found: dict[str, Weights] = {}
    for layer in model.layers:
        before = _before(layer)
        pixels[layer.name] = all(pixels[name] for name in before)
        trained[layer.name] = all(trained[name] for name in before)
        if layer.weights:
            fitting = layer.name != head and trained[layer.name] and layer.name in known
            weights = _fitted(known[layer.name], layer, pixels[layer.name]) if fitting else None
            pixels[layer.name], trained[layer.name] = False, weights is not None
            if weights is not None:
                found[layer.name] = weights
    return found


def _before(layer: Any) -> list[str]:
    """The names of the layers that a layer reads; none for the input."""
    if type(layer).__name__ == "InputLayer":
        return []
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [each._keras_history.operation.name for each in inputs]


def _last_with_weights(model: Any) -> str:
    """The layer that the logits come from."""
    layer = model.get_layer(LOGITS)
    while not layer.weights:
        layer = model.get_layer(_before(layer)[0])
    return str(layer.name)


def _fitted(source: Any, layer: Any, sees_pixels: bool) -> Weights | None:
    """The source layer's weights, if they do in the layer what they did; None if not."""
    if type(source) is not type(layer) or any(_setting(source, name) != _setting(layer, name) for name in ALIKE):
        return None
    weights = source.get_weights()
    if sees_pixels and type(layer).__name__ in ("Conv2D", "Dense"):
        weights[0] = _for_channels(weights[0], source, layer)
    shapes = [tuple(weight.shape) for weight in layer.weights]
    return weights if [weight.shape for weight in weights] == shapes else None


def _setting(layer: Any, name: str) -> Any:
    return layer.get_config().get(name)


def _for_channels(kernel: NDArray[np.float32], source: Any, layer: Any) -> NDArray[np.float32]:
    """A kernel [..., C, F] or [P * C, F] on pixels, for images of other channels, seen as those that it knows.

    Of a RGB image a gray model sees the luma; of a gray image an RGB model sees three equal channels. As it is
    where the channels are the same, or nothing else is.
    """
    shape = tuple(layer.kernel.shape)
    if kernel.shape == shape:
        return kernel
    own, other = _channels(source), _channels(layer)
    if own == other or kernel.size * other != prod(shape) * own:
        return kernel
    by_channel = kernel.reshape(-1, own, kernel.shape[-1])
    seen = by_channel * LUMA[:, np.newaxis] if own == 1 else by_channel.sum(axis=1, keepdims=True)
    return seen.reshape(shape)


def _channels(layer: Any) -> int:
    """Of the images that a layer is given, which may be flat by then."""
    while type(layer).__name__ != "InputLayer":
        layer = layer.input._keras_history.operation
    return int(layer.output.shape[-1])


def first_layer(model: Any) -> str:
    """The first layer with weights, with their shapes."""
    layer = next(layer for layer in model.layers if layer.weights)
    return f"{layer.name} {[list(weight.shape) for weight in layer.weights]}"


def _size(layer: Any) -> float:
    """Of a layer's first weights, the kernel where it has one: the root of their mean square."""
    return float(np.sqrt(np.mean(np.square(layer.get_weights()[0], dtype=np.float64))))


# --- norms ---------------------------------------------------------------------------------------------------------


def _adapt_norms(model: Any, sizes: Mapping[str, float], images: Inputs) -> None:
    """Give batch normalizations the statistics of these images, and scale and offset such that they answer as before.

    In training a norm computes with its batch. With statistics of other images, or of none, as an exported file has
    them, the features would be others as soon as they are trained on. Kernels in front of a norm get the size of new
    ones, which changes no answer: a step moves them by the same amount whatever their size, and folded ones of
    conv-small were 2 to 15 times as large, so that training them changed next to nothing.
    sizes: of new weights, for each layer that was transferred. images: [N, H, W, C] uint8.
    """
    keras = start_keras()
    norms = [layer for layer in model.layers if layer.name in sizes and type(layer).__name__ == "BatchNormalization"]
    for norm in norms:
        layer = norm.input._keras_history.operation
        if type(layer).__name__ in KERNELS and len(layer._outbound_nodes) == 1 and _size(layer) > 0:
            factor = sizes[layer.name] / _size(layer)
            layer.set_weights([weights * factor for weights in layer.get_weights()])
            gamma, beta, mean, variance = norm.get_weights()
            variance = variance * factor**2 + (factor**2 - 1) * norm.epsilon  # of variance + epsilon it is the factor
            norm.set_weights([gamma, beta, mean * factor, variance])
    if not norms:
        return
    seen = keras.Model(model.input, {norm.name: norm.input for norm in norms})
    places = np.unique(np.linspace(0, len(images) - 1, min(len(images), NORM_IMAGES)).round().astype(np.int64))
    sums = {norm.name: np.zeros((2, norm.input.shape[-1])) for norm in norms}  # of values and of their squares
    counts = dict.fromkeys(sums, 0)
    for start in range(0, len(places), NORM_BATCH):
        for name, values in seen.predict_on_batch(images[places[start : start + NORM_BATCH]]).items():
            rows = values.reshape(-1, values.shape[-1]).astype(np.float64)
            sums[name] += rows.sum(axis=0), (rows**2).sum(axis=0)
            counts[name] += len(rows)
    for norm in norms:
        mean, square = sums[norm.name] / counts[norm.name]
        variance = np.maximum(square - mean**2, 0)
        gamma, beta, old_mean, old_variance = (weight.astype(np.float64) for weight in norm.get_weights())
        factor = gamma / np.sqrt(old_variance + norm.epsilon)
        offset = beta + factor * (mean - old_mean)
        norm.set_weights([factor * np.sqrt(variance + norm.epsilon), offset, mean, variance])
