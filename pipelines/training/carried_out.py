"""A recipe as it was carried out: what a run records of each field, where that isn't what the recipe says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.training.stages import Schedule, Stage
from zoo.data import DataSet
from zoo.recipe import Recipe


def carried_out(
    recipe: Recipe, data_set: DataSet, schedule: Schedule, stages: Sequence[Stage], precision: str, views: int = 0
) -> dict[str, str | int | float]:
    """The fields of a recipe that data and machine decide, as they decided; the others happen as they are stated.

    data_set: what is learned from. views: that the head learns from, before the first stage.
    A field that has no part in the training has the value that changes nothing.
    """
    epochs = stages[-1].last
    frozen = sum(stage.last - stage.first for stage in stages if stage.frozen and not views)
    mirrored = data_set.mirrored if recipe.mirrored == "auto" else recipe.mirrored == "yes"
    mirrored = mirrored and recipe.augmentation != "none" and not data_set.columns
    batch_size = min(recipe.batch_size, len(data_set.train))
    cutmix = recipe.cutmix if batch_size > 1 else 0.0  # an image alone has no neighbor to take anything of
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "warmup": recipe.warmup if all(_warms_up(recipe, schedule, stage) for stage in stages) else 0.0,
        "augmentation": "none" if recipe.augmentation == "mirror" and not mirrored else recipe.augmentation,
        "mirrored": "yes" if mirrored else "no",
        "mixup": recipe.mixup if batch_size > 1 and cutmix < 1 else 0.0,
        "cutmix": cutmix,
        "teacher_share": recipe.teacher_share if recipe.teacher else 0.0,
        "frozen": frozen / epochs if epochs else 1.0,
        "views": views,
        "fine_rate": stages[-1].learning_rate / recipe.learning_rate,
        "precision": precision,
    }


def _warms_up(recipe: Recipe, schedule: Schedule, stage: Stage) -> bool:
    """Whether a stage has an update in which the rate climbs."""
    return math.floor((stage.last - stage.first) * schedule.steps * recipe.warmup) > 0
