"""`--from`: the features of a trained model (an export, a run, a published one) as the first layers of a new one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.core.provenance.plan import Origin, Plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.exporting.from_onnx import rebuild
from pipelines.tracking.store import is_run
from pipelines.training.transfer.layers import Weights, first_layer, transfer_layers
from pipelines.training.transfer.pretrained import check_published, published_features, published_file
from zoo.contract import MODEL_FILE, sha256
from zoo.data import DataSet
from zoo.errors import RecipeError
from zoo.models import build, pretrained_definitions
from zoo.models.backend import start_keras
from zoo.runtime.loading import find_export

_Read = tuple[Any, tuple[str, ...], str, str]  # a `keras.Model`, its class names, its title, and its weights' SHA-256

IMAGENET = "imagenet"  # as a source: the published weights of the model's own features


@dataclass(frozen=True)
class Transfer:
    """What a training takes from its source.

    layers: the weights of each layer by its name. norms: the names of those that have statistics. of: how many layers
    with weights the new model has. parameters: in the layers that were transferred. channels: those of the source's
    images and of the new ones.
    """

    origin: Origin
    layers: Mapping[str, Weights]
    norms: tuple[str, ...]
    of: int
    parameters: int
    channels: tuple[int, int]

    @property
    def has_new(self) -> bool:
        """Whether the model has layers that no other has trained."""
        return len(self.layers) < self.of

    def facts(self) -> dict[str, str | int | float]:
        """What a run logs."""
        return {"source": self.origin.title, "source_layers": len(self.layers), "source_parameters": self.parameters}

    def __str__(self) -> str:
        """One line for the terminal."""
        text = f"{len(self.layers)} of {self.of} layers ({self.parameters:,} parameters) start from {self.origin.title}"
        if self.channels == (1, 3):
            text += ", the first one reads RGB as its luma"
        elif self.channels == (3, 1):
            text += ", the first one reads gray as three equal channels"
        return text


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
        raise RecipeError(
            f"{data_set.name} is a table, whose columns no other model has learned from: leave out --from"
        )
    origin, source, labels = _read(plan.source.name)
    if origin.digest != plan.source.digest:
        raise RecipeError(
            f"{plan.source.name} holds other weights than when the plan was made "
            f"(digest {origin.digest[:12]}, expected {plan.source.digest[:12]}): restore it, or train again"
        )
    if (normalized := _normalize(source)) != plan.recipe.normalize:
        raise RecipeError(
            f"{origin.title} learned its features with normalize={normalized}, which mean nothing with "
            f"normalize={plan.recipe.normalize}: set normalize={normalized}, or start from another source"
        )
    model, layers = with_weights_of(source, labels, plan, data_set)
    if not layers:
        raise RecipeError(
            f"{origin.title} has no features for {plan.model}: expected {first_layer(model)} next to the images, "
            f"received {first_layer(source)}; name a source with the same first layers"
        )
    return Transfer(
        origin=plan.source,
        layers=layers,
        norms=tuple(name for name in layers if type(model.get_layer(name)).__name__ == "BatchNormalization"),
        of=sum(bool(layer.weights) for layer in model.layers),
        parameters=sum(model.get_layer(name).count_params() for name in layers),
        channels=(int(source.input_shape[-1]), data_set.channels),
    )


def _normalize(model: Any) -> str:
    """The recipe's `normalize` that a model was built with."""
    return "image" if any(type(layer).__name__ == "ImageNormalization" for layer in model.layers) else "none"


def with_weights_of(
    source: Any, labels: tuple[str, ...], plan: Plan, data_set: DataSet
) -> tuple[Any, dict[str, Weights]]:
    """The plan's new model, and the weights by layer that it takes from the source, whose class names are `labels`."""
    start_keras().utils.set_random_seed(plan.recipe.seed)  # the size of new kernels is part of what is transferred
    size = (data_set.height, data_set.width, data_set.channels)
    model = build(plan.model, *size, data_set.classes, normalize=plan.recipe.normalize)
    return model, transfer_layers(source, model, data_set.train.inputs, same_classes=labels == data_set.labels)


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
