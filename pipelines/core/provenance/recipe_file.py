"""A recipe as a file: one JSON object of its fields, as a sweep writes its best and `--recipe-file` takes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.to_json import to_json
from zoo.checked import read_json
from zoo.contract import renamed
from zoo.errors import ExportError, RecipeError
from zoo.recipe import Recipe


def read_recipe(path: Path) -> dict[str, Any]:
    """The fields that a file states, each with a value that it can have; it may leave out any.

    Raises RecipeError where the file isn't one, holds an unknown field, or a value that a field can't have.
    """
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise RecipeError(
            f"{path} doesn't exist: expected a file of a recipe's fields, as `zoo sweep` writes"
        ) from None
    except ExportError:
        raise RecipeError(f"{path} can't be read as JSON: expected an object of a recipe's fields") from None
    if not isinstance(found, dict) or not found:
        raise RecipeError(f'{path} holds no recipe: expected an object such as {{"epochs": 20}}')
    try:
        stated = renamed(found)
        recipe = Recipe().with_values(stated)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    return {name: getattr(recipe, name) for name in stated}


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write all fields."""
    with atomic_file(path) as partial:
        partial.write_text(to_json(recipe.to_json()) + "\n", encoding="utf-8")
