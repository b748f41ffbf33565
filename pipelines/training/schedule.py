"""The stages of a training that starts from another model's features: first they are frozen, then everything learns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from zoo.recipe import Recipe

OF_A_SOURCE = ("frozen", "fine_rate")  # fields of a recipe that mean nothing where nothing is transfer


@dataclass(frozen=True)
class Stage:
    """Epochs with an optimizer of their own, whose rate climbs and falls within them.

    first, last: the epochs from `first` up to `last`, counted from 0, without `last` itself. learning_rate: its peak.
    frozen: names of the layers that stay as they are, statistics of norms included.
    """

    first: int
    last: int
    learning_rate: float
    frozen: frozenset[str] = frozenset()


def make_stages(
    recipe: Recipe, epochs: int, validation_interval: int, transfer: Collection[str], *, new: bool
) -> tuple[Stage, ...]:
    """One stage for a training that starts anew; else as the recipe's `frozen` and `fine_rate` say.

    epochs: in all, a multiple of `validation_interval`, the epochs between two validations, after which
    alone a stage can end.
    transfer: names of the layers that come trained. new: whether there are others that learn.
    """
    rate = recipe.learning_rate
    if not transfer:
        return (Stage(0, epochs, rate),)
    change = round(recipe.frozen * epochs / validation_interval) * validation_interval
    if recipe.frozen < 1:
        change = min(
            max(change, validation_interval if recipe.frozen else 0), epochs - validation_interval
        )  # each stage has its validation
    if not new:
        change = 0  # a frozen stage would have nothing to learn
    frozen, fine = Stage(0, change, rate, frozenset(transfer)), Stage(change, epochs, rate * recipe.fine_rate)
    return tuple(stage for stage in (frozen, fine) if stage.first < stage.last)
