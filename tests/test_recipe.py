"""Recipes: what can be set, and the sentence for what can't."""

from __future__ import annotations

import json

import pytest

from zoo.errors import RecipeError
from zoo.models import definitions
from zoo.recipe import Recipe, parse_settings


def test_text_from_the_command_line_becomes_numbers() -> None:
    recipe = Recipe().with_values(parse_settings(["epochs=3", "learning_rate=1e-2", "augmentation = strong"]))
    assert (recipe.epochs, recipe.learning_rate, recipe.augmentation) == (3, 0.01, "strong")


@pytest.mark.parametrize("recipe", [m.recipe for m in definitions()], ids=[m.name for m in definitions()])
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epoch=3", "no recipe field is called 'epoch': did you mean epochs"),
        ("epochs=three", "epochs must be a whole number, received 'three'"),
        ("epochs=1.5", "epochs must be"),
        ("epochs=0", "epochs must be 1 or more, received 0"),
        ("learning_rate=0", "learning_rate must be above 0"),
        ("warmup=1", "warmup must be from 0 to below 1"),
        ("augmentation=heavy", "augmentation must be one of none, mirror, light, strong, received 'heavy'"),
        ("precision=int8", "precision must be one of"),
        ("optimizer=sgd", "optimizer must be one of adamw, muon"),
        ("frozen=1.5", "frozen must be from 0 to 1"),
        ("fine_rate=0", "fine_rate must be above 0 and at most 1"),
        ("balance=weights", "balance must be one of none, classes"),
        ("epochs", "--set takes field=value"),
        ("=3", "--set takes field=value"),
        ("learning_rate=nan", "learning_rate must be"),
        ("learning_rate=inf", "learning_rate must be"),
        ("seed=5000000000", r"seed must be from 0 to below 2\*\*32"),
        ("seed=-1", "seed must be"),
    ],
)
def test_a_setting_that_makes_no_sense_is_told(setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe().with_values(parse_settings([setting]))


def test_json_of_the_wrong_type_is_told() -> None:
    with pytest.raises(RecipeError, match=r"epochs must be a whole number, received 1\.5"):
        Recipe.from_json({"epochs": 1.5})
    with pytest.raises(RecipeError, match="epochs must be a whole number, received None"):
        Recipe.from_json({"epochs": None})
    with pytest.raises(RecipeError, match="epochs must be a whole number, received inf"):
        Recipe.from_json({"epochs": float("inf")})
