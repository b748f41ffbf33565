"""From a diagram to a Keras model that takes raw pixels, so that no two models can disagree about them."""

from __future__ import annotations

import re
from typing import Any

from zoo.contract import INPUT, LOGITS, PROBABILITIES
from zoo.errors import ModelError
from zoo.models.backend import start_keras
from zoo.models.registry import definition


def build(name: str, height: int, width: int, channels: int, classes: int, precision: str = "float32") -> Any:
    """The registered model as a `keras.Model`, with new weights from Keras' global seed.

    In: images [N, height, width, channels], raw pixels 0..255, any number type.
    Out: {"probabilities": [N, classes] float32, "logits": [N, classes] float32}.
    precision: the Keras dtype policy of the layers, "float32" or "mixed_bfloat16"; logits are float32 all the same.
    Raises ModelError for an unknown name, or pictures too small for the model's poolings.
    """
    model = definition(name)  # before Keras is imported: a mistyped name is told at once
    if channels not in (1, 3):
        raise ModelError(f"pictures have 1 channel (grey) or 3 (RGB), received {channels}")
    if classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes, received {classes}")

    keras = start_keras()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        images = keras.Input((height, width, channels), name=INPUT)
        scaled = keras.layers.Rescaling(1 / 255, name="scaling")(images)
        logits = model.diagram(scaled, classes)
        logits = keras.layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
        probabilities = keras.layers.Softmax(dtype="float32", name=PROBABILITIES)(logits)
    except ValueError as error:
        raise ModelError(
            f"{name} can't be built for pictures of {height}x{width}x{channels}: {_reason(error)}; "
            "take larger pictures (--size) or another model"
        ) from None
    finally:
        keras.config.set_dtype_policy(policy)
    if logits.shape != (None, classes):
        raise ModelError(f"{name} gives {tuple(logits.shape)}, expected logits [N, {classes}]")
    return keras.Model(images, {PROBABILITIES: probabilities, LOGITS: logits}, name=name.replace("-", "_"))


def _reason(error: ValueError) -> str:
    """The one line of a Keras error that says what happened, without colours and the list of arguments around it."""
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception encountered")]
    return told[0].rstrip(".") if told else type(error).__name__
