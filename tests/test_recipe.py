"""Recipes: what can be set, and the sentence for what can't."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.errors import RecipeError
from zoo.models import definitions
from zoo.recipe import Field, Recipe, _report_old_name, parse_settings


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
        (
            "augmentation=heavy",
            "augmentation must be one of none, mirror, light, strong, photo, randaugment, received 'heavy'",
        ),
        ("normalize=batch", "normalize must be one of none, image, received 'batch'"),
        ("rotation=181", "rotation must be from 0 to 180, received 181"),
        ("scale=-0.1", "scale must be from 0 to 1, received -0.1"),
        ("cutmix=1.5", "cutmix must be from 0 to 1, received 1.5"),
        ("precision=int8", "precision must be one of"),
        ("optimizer=sgd", "optimizer must be one of adamw, muon"),
        ("frozen=1.5", "frozen must be from 0 to 1"),
        ("fine_rate=0", "fine_rate must be above 0 and at most 1"),
        ("balance=weights", "balance must be one of none, classes"),
        ("epochs", "--set takes field=value"),
        ("=3", "--set takes field=value"),
        ("learning_rate=nan", "learning_rate must be"),
        ("learning_rate=inf", "learning_rate must be"),
        ("seed=5000000000", "seed must be from 0 to below 4,294,967,296, received 5000000000"),
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


def test_a_field_that_is_called_by_its_old_name_is_set_and_reported_once(caplog) -> None:
    _report_old_name.cache_clear()
    for _ in range(2):
        assert Recipe().with_values(parse_settings(["pictures=all"])).images == "all"
    assert caplog.messages == ["the recipe field pictures is called images now: the old name is deprecated"]
    assert Recipe.from_json({**Recipe().to_json(), "pictures": "all"}).images == "all"


def test_each_field_is_described_with_its_value_range_and_reason() -> None:
    found = {field.name: field for field in Recipe(warmup=0.25).described()}
    assert list(found) == list(Recipe().to_json())
    warmup = found["warmup"]
    assert (warmup.value, warmup.default, warmup.type) == (0.25, 0.1, "number")
    assert warmup.allowed == "from 0 to below 1"
    assert found["images"].allowed == "one of train, all, most"
    assert [name for name, field in found.items() if not re.fullmatch(r"\S.+\.", field.reason)] == []


@given(st.floats(allow_nan=True), st.sampled_from([f for f in Recipe().described() if f.type == "number"]))
def test_a_number_is_taken_exactly_where_it_is_in_the_range_in_words(value: float, field: Field) -> None:
    low, high = (float(bound) for bound in re.findall(r"[\d.]+", field.allowed))
    inside = low <= value <= high
    inside &= value != low or field.allowed.startswith("from")
    inside &= value != high or "below" not in field.allowed
    try:
        assert getattr(Recipe(**{field.name: value}), field.name) == value
        taken = True
    except RecipeError as error:
        assert f"{field.name} must be {field.allowed}, received" in str(error)
        taken = False
    assert taken is inside
