"""From an architecture to a Keras model that takes raw pixels, so that no two models can disagree about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from zoo.contract import FEATURES, INPUT, LOGITS, PROBABILITIES, Metadata
from zoo.errors import ModelError
from zoo.models.backend import start_keras
from zoo.models.registry import Architecture, Scale, definition

_ADVICE = "a table takes dense models, such as mlp-small"


def build(
    name: str,
    height: int,
    width: int,
    channels: int,
    classes: int,
    precision: str = "float32",
    normalize: str = "none",
) -> Any:
    """The registered model as a `keras.Model`, with new weights from Keras' global seed.

    In: images [N, height, width, channels], raw pixels 0..255, any number type.
    Out: {"probabilities": [N, classes] float32, "logits": [N, classes] float32}.
    precision: the Keras dtype policy of the layers, "float32" or "mixed_bfloat16"; logits are float32 all the same.
    normalize: what the architecture is given: "none" for pixels scaled to 0..1, "image" for images of mean 0 and
    deviation 1 each, as `zoo.models.normalization` makes them.
    Raises ModelError for an unknown name, or images too small for the model's poolings.
    """
    architecture = definition(name).architecture  # before Keras is imported: a mistyped name is reported at once
    if channels not in (1, 3):
        raise ModelError(f"images have 1 channel (gray) or 3 (RGB), received {channels}")
    return build_architecture(architecture, name, height, width, channels, classes, precision, normalize)


def build_for_images(metadata: Metadata) -> Any:
    """`build` of the model that an export of images holds, as it says of itself, with new weights."""
    size = (metadata.height, metadata.width, metadata.channels)
    return build(metadata.model, *size, len(metadata.labels), normalize=metadata.recipe.get("normalize", "none"))


def build_architecture(
    architecture: Architecture,
    name: str,
    height: int,
    width: int,
    channels: int,
    classes: int,
    precision: str = "float32",
    normalize: str = "none",
) -> Any:
    """`build` of an architecture that nobody registered, under a name of letters, digits and dashes."""
    if normalize not in ("none", "image"):
        raise ModelError(f"normalize must be none or image, received {normalize!r}")
    keras = start_keras()
    try:
        images = keras.Input((height, width, channels), name=INPUT)
        return _completed(architecture, name, images, lambda: _scaling(normalize), classes, precision)
    except ValueError as error:
        raise ModelError(
            f"{name} can't be built for images of {height}x{width}x{channels}: {_reason(error)}; "
            "take larger images (--size) or another model"
        ) from None


def _scaling(normalize: str) -> Any:
    """The layer between raw pixels and an architecture."""
    if normalize == "image":
        from zoo.models.normalization import ImageNormalization  # the class of a layer needs Keras

        return ImageNormalization(name="normalization")
    return start_keras().layers.Rescaling(1 / 255, name="scaling")


def build_for_table(name: str, scales: Sequence[Scale], classes: int, precision: str = "float32") -> Any:
    """The same for the rows of a table, of which the dense models take any.

    In: features [N, F], raw values, F = len(scales). Out, and precision: as of `build`.
    scales: what the training rows say of each column, as `zoo.models.preprocessing.Columns` takes it.
    Raises ModelError for an unknown name, or a model that looks at images.
    """
    check_takes_tables(name)
    keras = start_keras()
    from zoo.models.preprocessing import Columns  # the class of a layer needs Keras

    try:
        features = keras.Input((len(scales),), name=FEATURES)
        architecture = definition(name).architecture
        return _completed(architecture, name, features, lambda: Columns(scales, name="columns"), classes, precision)
    except ValueError as error:
        reason = _reason(error).partition(". ")[0]
        raise ModelError(f"{name} can't be built for the rows of a table ({reason}): {_ADVICE}") from None


def check_takes_tables(name: str) -> None:
    """Raise ModelError for a model of a family that looks at images, without a wait for Keras."""
    family = definition(name).family
    if family != "dense":
        raise ModelError(f"{name} is of the {family} family, whose models look at images: {_ADVICE}")


def _completed(
    architecture: Architecture, name: str, raw: Any, scaling: Callable[[], Any], classes: int, precision: str
) -> Any:
    """The `keras.Model` from raw values to the answers. ValueError where the architecture doesn't fit the input.

    scaling: makes the layer in front, which is of the precision that is set here.
    """
    if classes < 2:
        raise ModelError(f"a classifier needs at least 2 classes, received {classes}")
    keras = start_keras()
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        logits = architecture(scaling()(raw), classes)
        logits = keras.layers.Activation("linear", dtype="float32", name=LOGITS)(logits)
        probabilities = keras.layers.Softmax(dtype="float32", name=PROBABILITIES)(logits)
    finally:
        keras.config.set_dtype_policy(policy)
    if logits.shape != (None, classes):
        raise ModelError(f"{name} gives {tuple(logits.shape)}, expected logits [N, {classes}]")
    return keras.Model(raw, {PROBABILITIES: probabilities, LOGITS: logits}, name=name.replace("-", "_"))


def _reason(error: ValueError) -> str:
    """The one line of a Keras error that says what happened, without colors and the list of arguments around it."""
    lines = [re.sub(r"\x1b\[\d+m", "", line).strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith("Exception encountered")]
    return kept[0].rstrip(".") if kept else type(error).__name__
