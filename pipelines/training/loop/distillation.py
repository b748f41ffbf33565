"""A teacher is an export: distillation asks its file, through onnxruntime, about each batch of the student."""

from __future__ import annotations

from zoo.data import DataSet
from zoo.data.batches import Teacher
from zoo.errors import RecipeError
from zoo.recipe import Recipe
from zoo.runtime import Classifier, load


def teacher_of(recipe: Recipe, data_set: DataSet) -> Teacher | None:
    """The recipe's teacher; None where it names none.

    Raises ExportError where there is no such export, RecipeError where it knows other classes, channels or columns.
    """
    if not recipe.teacher:
        return None
    classifier = load(recipe.teacher, provider="cpu")
    same_input = (classifier.channels, classifier.columns) == (data_set.channels, data_set.columns)
    if classifier.labels != data_set.labels or not same_input:
        raise RecipeError(
            f"the teacher {recipe.teacher} was trained on the classes {', '.join(classifier.labels[:5])}… of "
            f"{_described(classifier)}, expected the classes and {'columns' if data_set.columns else 'channels'} of "
            f"{data_set.name}: name another"
        )
    return classifier.probabilities


def _described(classifier: Classifier) -> str:
    columns = len(classifier.columns)
    return f"rows of {columns} columns" if columns else f"images of {classifier.channels} channels"
