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
Diagram = Callable[[Tensor, int], Tensor]  # images [N, H, W, C] float32 in 0..1, number of classes -> logits [N, K]
# Of a column of a table: median, mean and deviation of its numbers, or how many categories it has.
Scale = tuple[float, float, float] | int
Family = Literal["dense", "conv", "hybrid"]


@dataclass(frozen=True)
class ModelDefinition:
    """A registered model: its name, family, diagram, and the recipe that it is trained with unless told otherwise."""

    name: str
    family: Family
    diagram: Diagram
    recipe: Recipe

    @property
    def summary(self) -> str:
        """The first line of the diagram's docstring."""
        return (self.diagram.__doc__ or "").strip().partition("\n")[0]


_models: dict[str, ModelDefinition] = {}


def model(name: str, family: Family, recipe: Recipe = Recipe()) -> Callable[[Diagram], Diagram]:  # noqa: B008
    """Register a diagram under a name. ModelError where the name is taken or the family isn't one of the three."""

    def register(diagram: Diagram) -> Diagram:
        if name in _models:
            raise ModelError(f"two models are called {name!r}: give one of them another name")
        if family not in get_args(Family):
            raise ModelError(f"model {name!r} is of family {family!r}: expected one of {', '.join(get_args(Family))}")
        _models[name] = ModelDefinition(name, family, diagram, recipe)
        return diagram

    return register


def definition(name: str) -> ModelDefinition:
    """The model of that name; ModelError with the nearest names where there is none."""
    if name not in _models:
        raise ModelError(unknown("model", name, _models))
    return _models[name]


def definitions() -> tuple[ModelDefinition, ...]:
    """All models: dense, then conv, then hybrid, each in the order of registration."""
    families = get_args(Family)
    return tuple(sorted(_models.values(), key=lambda m: families.index(m.family)))
