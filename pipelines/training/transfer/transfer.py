"""`--from`: the features of a trained model (an export, a run, a published one) as the first layers of a new one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.provenance.plan import Origin, Plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.exporting.from_onnx import KERNELS, rebuild
from pipelines.tracking.store import is_run
from pipelines.training.transfer.pretrained import check_published, published_features, published_file
from zoo.contract import LOGITS, MODEL_FILE, sha256
from zoo.data import DataSet
from zoo.data.pixels import Inputs
from zoo.errors import RecipeError
from zoo.models import build, pretrained_definitions
from zoo.models.backend import start_keras
from zoo.runtime.loading import find_export

Weights = list[NDArray[np.float32]]  # of a layer, in Keras' order
_Read = tuple[Any, tuple[str, ...], str, str]  # a `keras.Model`, its class names, its title, and its weights' SHA-256

IMAGENET = "imagenet"  # as a source: the published weights of the model's own features
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601-2: how `zoo.images` makes an image gray
NORM_IMAGES = 512  # that tell a norm its statistics: with all their positions, numbers enough
NORM_BATCH = 16  # images: what all norms are given at once, of large ones, has to fit into memory
ALIKE = ("kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "epsilon", "axis")


@dataclass(frozen=True)
class Transfer:
    """What a training takes from its source.

    layers: the weights of each layer by its name. of: how many layers with weights the new model has. parameters: in
    the layers that were transferred. channels: those of the source's images and of the new ones.
    """

    origin: Origin
    layers: Mapping[str, Weights]
    of: int
    parameters: int
    channels: tuple[int, int]

    def facts(self) -> dict[str, str | int | float]:
        """What a run logs."""
        return {"source": self.origin.title, "source_layers": len(self.layers), "source_parameters": self.parameters}

    def __str__(self) -> str:
        """One line for the terminal."""
        told = f"{len(self.layers)} of {self.of} layers ({self.parameters:,} parameters) start from {self.origin.title}"
        if self.channels == (1, 3):
            told += ", the first one made to see RGB as the gray that it knows"
        elif self.channels == (3, 1):
            told += ", the first one made to see gray as the RGB that it knows"
        return told


def find_source(name: str, model: str) -> Origin:
    """What `--from` names for a model that is to start from it.

    An export (a name, a folder, an .onnx file), a run (its id, the beginning of it), or imagenet: the published weights
    of the model's features, which are called imagenet/MODEL.
    Raises ExportError, TrackingError or ModelError where it isn't there, or can't be read into Keras.
    """
    if name == IMAGENET:
        check_published(model)
        name = f"{IMAGENET}/{model}"
    return _read(name)[0]


def make_transfer(plan: Plan, data_set: DataSet) -> Transfer | None:
    """The weights that the plan's model takes from the plan's source; None where it has none.

    Layers are transferred from the images on, as far as names, shapes and settings agree; what follows is new, and so
    is the layer of the logits where the classes are others. Norms are adapted to the data set's training images.
    Raises RecipeError where nothing fits, or the source isn't what it was, and what `find_source` raises.
    """
    if plan.source is None:
        return None
    if data_set.columns:
        raise RecipeError(f"{data_set.name} is a table, whose columns no other model has learned from: train it anew")
    origin, source, labels = _read(plan.source.name)
    if origin.digest != plan.source.digest:
        raise RecipeError(
            f"{plan.source.name} holds other weights than when the plan was made "
            f"(digest {origin.digest[:12]}, expected {plan.source.digest[:12]}): restore it, or train anew"
        )
    start_keras().utils.set_random_seed(plan.recipe.seed)  # the size of new kernels is part of what is transferred
    model = build(plan.model, data_set.height, data_set.width, data_set.channels, data_set.classes)
    shared = _shared(source, model, same_classes=labels == data_set.labels)
    if not shared:
        raise RecipeError(
            f"{origin.title} has no features for {plan.model}: expected {_first(model)} next to the images, "
            f"received {_first(source)}; name a source with the same first layers"
        )
    fresh = {name: _size(model.get_layer(name)) for name in shared}
    for name, weights in shared.items():
        model.get_layer(name).set_weights(weights)
    _adapt_norms(model, fresh, data_set.train.inputs)
    return Transfer(
        origin=plan.source,
        layers={name: model.get_layer(name).get_weights() for name in shared},
        of=sum(bool(layer.weights) for layer in model.layers),
        parameters=sum(model.get_layer(name).count_params() for name in shared),
        channels=(int(source.input_shape[-1]), data_set.channels),
    )


def _read(name: str) -> tuple[Origin, Any, tuple[str, ...]]:
    """What a name means, its `keras.Model`, and its class names."""
    published = name.removeprefix(f"{IMAGENET}/")
    if published != name and published in (model.name for model in pretrained_definitions()):
        file = published_file(published)
        model, labels, title, digest = _read_published(published, file, sha256(file))
    elif is_run(name):
        run_id = tracking.find_run(name)
        model, labels, title, digest = _read_run(run_id)
        name = f"runs:/{run_id}"
    else:
        path = find_export(name)
        file = path / MODEL_FILE if path.is_dir() else path
        model, labels, title, digest = _read_export(path, sha256(file) if file.is_file() else "")
        if os.path.exists(name):  # noqa: PTH110 (it never raises)
            name = str(Path(name).resolve())  # a later command may start elsewhere
    return Origin(name, title, digest), model, labels


# A command asks for its source when it makes its plan, before it trains, and when it trains: it is read once, as long
# as it is the same.


@lru_cache(maxsize=1)
def _read_published(model: str, file: Path, file_sha256: str) -> _Read:  # noqa: ARG001 (another file, other weights)
    features = published_features(model, file)
    return features, (), f"{IMAGENET}/{model}", weights_sha256(features)


@lru_cache(maxsize=1)
def _read_run(run_id: str) -> _Read:
    run = tracking.load_run(run_id)
    model = tracking.load_keras_model(run.run_id)
    return model, tracking.labels_of(run_id), f"{run.data_set}/{run.plan.model}", weights_sha256(model)


@lru_cache(maxsize=1)
def _read_export(path: Path, file_sha256: str) -> _Read:  # noqa: ARG001 (as above)
    model, metadata = rebuild(path)
    return model, metadata.labels, f"{metadata.data_set}/{metadata.model}", weights_sha256(model)


# --- which layers --------------------------------------------------------------------------------------------------


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


def _first(model: Any) -> str:
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
