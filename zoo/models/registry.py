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
class Published:
    """Weights of a model's features, pretrained on ImageNet by others, for `--from imagenet`.

    application: the name in `keras.applications` of what they are the weights of. url: of a file of Keras, under whose
    name Keras' own cache has it. md5: of the file, in hex, as Keras' source has it; None where that has none. license:
    that the authors give them.
    """

    application: str
    url: str
    md5: str | None
    license: str


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


_models: dict[str, ModelDefinition] = {}


def model(
    name: str,
    family: Family,
    recipe: Recipe = Recipe(),  # noqa: B008
    published: Published | None = None,
) -> Callable[[Architecture], Architecture]:
    """Register an architecture. ModelError where the name is taken or the family isn't one of the three."""

    def register(architecture: Architecture) -> Architecture:
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
