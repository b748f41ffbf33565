"""The int8 model: its calibration, and the layers that stay in float32, chosen by the validation images alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from pipelines.core.support.progress import progress
from pipelines.evaluation.predictions import BATCH_VALUES, Answers
from pipelines.exporting.familiarity.features import Placed, with_features
from pipelines.exporting.graph.edit import Array
from pipelines.exporting.quantization.answers import allowed_losses, answers_in_memory, divergence, lost
from pipelines.exporting.quantization.calibration import METHODS, observe
from pipelines.exporting.quantization.qdq import Range, to_int8, values_to_observe, weighted_layers
from zoo.contract import Metadata
from zoo.data import DataSet, Split
from zoo.data.pixels import in_chunks, take
from zoo.errors import DataError, VerificationError

logger = logging.getLogger("zoo.exporting")

# Where answers are further from float32's than this (nats), up to so many of the layers that matter most are kept in
# float32, though no image may be lost: half a point is within chance on some hundred validation images, and the
# divergence is seen on fewer. That of efficientnet-lite0 on emoji falls from 0.019 to 0.005 by its first two.
CLOSE, FEW = 0.01, 3


@dataclass(frozen=True)
class QuantizedModel:
    """A model of another precision that isn't measured yet. made, tried: as of a `QuantizedFile`.

    features: that the graph computes for FAMILIARITY; None where the float32 file hasn't that output.
    """

    model: Any  # onnx.ModelProto
    made: Mapping[str, Any]
    tried: Mapping[str, float]
    features: Placed | None = None


def quantize_to_int8(
    model: Any, data_set: DataSet, metadata: Metadata, margin: float, calibration: int
) -> QuantizedModel:
    """The model in int8. margin, calibration, and what is raised: as of `quantize`."""
    layers = weighted_layers(model.graph)
    images = calibration_images(data_set.train, calibration)
    # All that is observed is kept of so many images at once.
    at_once = max(1, min(64, BATCH_VALUES // prod(images.shape[1:])))
    seen = observe(model, values_to_observe(model.graph), lambda: in_chunks(images, at_once))
    means = {value: seen[value].means for value in seen}
    ranges = {method: {value: cut(seen[value]) for value in seen} for method, cut in METHODS.items()}

    validation = data_set.validation
    expected = answers_in_memory(model, validation)
    answers: dict[str, Answers] = {}
    for method in METHODS:
        logger.info("calibrating by %s", method)
        answers[method] = answers_in_memory(to_int8(model, ranges[method], (), means), validation)
    tried = {method: divergence(expected, found) for method, found in answers.items()}
    method = min(tried, key=tried.__getitem__)

    in_float: list[str] = []
    allowed = allowed_losses(margin, len(validation))
    missing = lost(expected, answers[method], validation)
    far = tried[method]
    if missing > allowed or far > CLOSE:
        logger.info(
            "%d of %d validation images are lost, the divergence is %.3f: measuring which layers to keep in float32",
            missing,
            len(validation),
            far,
        )
        order = _most_sensitive_first(model, ranges[method], means, layers, expected, validation)
        while (missing > allowed or (far > CLOSE and len(in_float) < FEW)) and len(in_float) < len(layers) - 1:
            in_float.append(order[len(in_float)])
            found = answers_in_memory(to_int8(model, ranges[method], in_float, means), validation)
            missing, far = lost(expected, found, validation), divergence(expected, found)
    if missing > allowed:
        raise VerificationError(
            f"{metadata.data_set}/{metadata.model} loses {missing:,} of {len(validation):,} validation images in int8 "
            f"({100 * missing / len(validation):.2f} points, the margin is {margin:g}) with all layers but one in "
            "float32: it stays in float32, or allow more with --margin"
        )
    made = {
        "calibration": method,
        "calibration_images": len(images),
        "float32_layers": in_float,
        "margin": margin,
        # Choosing among methods by images that the model was trained on is choosing without the test set all the same.
        "validation_learned": metadata.recipe.get("images") in ("all", "most"),
        "onnxruntime": _onnxruntime_version(),
    }
    whole, features = with_features(model, metadata) if metadata.familiarity else (model, None)
    return QuantizedModel(to_int8(whole, ranges[method], in_float, means), made, tried, features)


def calibration_images(train: Split, count: int) -> Any:
    """`count` training images [count, H, W, C] uint8, drawn from all; the same ones each time.

    Raises DataError where they are of one class: the values of the others would not be observed.
    """
    if count < 1:
        raise DataError(f"the calibration takes 1 training image or more, not {count}")
    drawn = np.random.default_rng(0).permutation(len(train))[:count]
    drawn.sort()
    classes = len(np.unique(train.labels[drawn]))
    if classes < 2:
        raise DataError(
            f"the {len(drawn)} training images to calibrate by are all of one class, expected two classes or more: "
            "take more with --calibration, or other images"
        )
    return take(train.inputs, drawn)


def _most_sensitive_first(
    model: Any,
    ranges: Mapping[str, Range],
    means: Mapping[str, Array],
    layers: Sequence[str],
    expected: Answers,
    validation: Split,
) -> list[str]:
    """The layers, in the order of how far answers are from float32's when each alone is quantized.

    Alone quantized, not alone in float32: a value that bytes can't hold is as bad whichever of the layers that make and
    read it is quantized, and only with both in float32 all is well.
    """
    alone = {}
    with progress("sensitivity of layers") as advance:
        for done, layer in enumerate(layers, start=1):
            others = [other for other in layers if other != layer]
            alone[layer] = divergence(expected, answers_in_memory(to_int8(model, ranges, others, means), validation))
            advance(done, len(layers), f"{done} of {len(layers)} layers")
    return sorted(layers, key=alone.__getitem__, reverse=True)


def _onnxruntime_version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)
