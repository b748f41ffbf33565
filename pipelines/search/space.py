"""What a sweep searches: fields of a recipe, each with a range or with choices, as `--search` writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from zoo.contract import OLD_NAMES
from zoo.errors import RecipeError, unknown
from zoo.recipe import Recipe

DEFAULT = "default"

# Searched by default, where the field has a part in the training. learning_rate, weight_decay: half a decade and more
# to either side of what the recipes state.
_RATES = ("learning_rate=3e-4..1e-2:log", "weight_decay=1e-3..0.3:log")
_OF_FAMILY = {
    "dense": ("label_smoothing=0.0..0.2", "mixup=0.0..0.4"),
    "conv": ("optimizer=adamw,muon", "augmentation=none,light,strong"),
    "hybrid": ("optimizer=adamw,muon", "augmentation=none,light,strong", "label_smoothing=0.0..0.2"),
}
_OF_A_TABLE = ("label_smoothing=0.0..0.2",)  # its rows are learned as they are
_OF_PRETRAINED = ("fine_rate=0.05..1.0:log", "augmentation=none,light,strong")

# Why a field isn't one to search.
_NOT_SEARCHED = {
    "seed": "the best of many seeds is luck: --seeds trains the winner with several",
    "images": "trials are judged by validation images, which are not to be learned from",
}


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included. log: small ones as often as large ones, by factors."""

    field: str
    low: float
    high: float
    log: bool = False

    def __str__(self) -> str:
        return f"{self.field}={self.low!r}..{self.high!r}{':log' if self.log else ''}"

    def __contains__(self, value: Any) -> bool:
        return not isinstance(value, str) and bool(self.low <= value <= self.high)

    def suggest(self, trial: Any) -> int | float:
        """A value of it, by an Optuna trial."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return int(trial.suggest_int(self.field, self.low, self.high, log=self.log))
        return float(trial.suggest_float(self.field, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choices:
    """Two values or more."""

    field: str
    values: tuple[int | float | str, ...]

    def __str__(self) -> str:
        return f"{self.field}={','.join(map(str, self.values))}"

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def suggest(self, trial: Any) -> Any:
        """A value of it, by an Optuna trial."""
        return trial.suggest_categorical(self.field, self.values)


Dimension: TypeAlias = Range | Choices


def parse_dimension(text: str) -> Dimension:
    """`learning_rate=1e-4..1e-2:log` or `augmentation=none,light,strong`.

    Raises RecipeError for a field that there isn't, with the nearest names, or that is not to be searched; for a value
    that it can't have; for a range that is empty or inverted, and for fewer than two choices.
    """
    name, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not name or not values:
        raise RecipeError(
            f"--search takes a field with a range (learning_rate=1e-4..1e-2:log) or choices (augmentation=none,light), "
            f"or {DEFAULT}, not {text!r}"
        )
    name, usual = OLD_NAMES.get(name, name), Recipe().to_json()
    if name not in usual:
        raise RecipeError(unknown("recipe field", name, usual))
    if name in _NOT_SEARCHED:
        raise RecipeError(f"{name} is not searched: {_NOT_SEARCHED[name]}")
    if ".." in values and not isinstance(usual[name], str):
        return _range(name, values, text)
    chosen = [_read(name, part.strip()) for part in values.split(",")]
    if len(set(chosen)) < len(chosen):
        raise RecipeError(f"{text!r} names a value twice: name each once")
    if len(chosen) < 2:
        raise RecipeError(f"{text!r} leaves nothing to search: state one value with --set {name}={chosen[0]}")
    return Choices(name, tuple(chosen))


def _range(name: str, values: str, text: str) -> Range:
    span, _, scale = values.partition(":")
    if scale not in ("", "log"):
        raise RecipeError(f"{text!r} ends in {scale!r}, expected :log or nothing behind the range")
    first, last = span.split("..", 1)
    low, high = _read(name, first), _read(name, last)
    if low > high:
        raise RecipeError(f"{text!r} is inverted: write {name}={last.strip()}..{first.strip()}")
    if low == high:
        raise RecipeError(f"{text!r} is empty: state one value with --set {name}={low}")
    if scale and low <= 0:
        raise RecipeError(f"{text!r} can't be searched by factors from {low}: begin above 0, or leave out :log")
    return Range(name, low, high, bool(scale))


def _read(name: str, value: str) -> Any:
    """The value as the field's type. RecipeError where the field can't have it."""
    found = getattr(Recipe().with_values({name: value}), name)
    if isinstance(found, float) and not math.isfinite(found):
        raise RecipeError(f"{name} must be a number, received {value!r}")
    return found


def parse_search(texts: Sequence[str], *, family: str, table: bool, pretrained: bool) -> tuple[Dimension, ...]:
    """The space of a model: `default` is what its family has, which the other texts complete, or replace by field.

    table: whether it learns rows. pretrained: whether its features were trained before. Raises RecipeError as
    `parse_dimension` does, and for a field that is named twice.
    """
    own = [parse_dimension(text) for text in texts if text != DEFAULT]
    named = [each.field for each in own]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise RecipeError(f"--search names {twice} twice: name each field once")
    usual = _RATES + (_OF_A_TABLE if table else _OF_PRETRAINED if pretrained else _OF_FAMILY[family])
    asked = [parse_dimension(text) for text in usual] if DEFAULT in texts else []
    return (*own, *(each for each in asked if each.field not in named))


def suggest(dimensions: Sequence[Dimension], trial: Any) -> dict[str, Any]:
    """A value for each field, by an Optuna trial."""
    return {each.field: each.suggest(trial) for each in dimensions}


def holds(dimensions: Sequence[Dimension], recipe: Recipe) -> bool:
    """Whether a recipe lies in a space."""
    return all(getattr(recipe, each.field) in each for each in dimensions)


def values_of(dimensions: Sequence[Dimension], recipe: Recipe) -> Mapping[str, Any]:
    """What a recipe has in the fields of a space."""
    return {each.field: getattr(recipe, each.field) for each in dimensions}
