"""A recipe as it was carried out: what a run records of each field, where that isn't what the recipe says."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipelines.training.loop.stages import Schedule, Stage
from pipelines.training.transfer.head import BATCH
from zoo.data import DataSet
from zoo.recipe import Recipe


def effective_recipe(
    recipe: Recipe, data_set: DataSet, schedule: Schedule, stages: Sequence[Stage], precision: str, views: int = 0
) -> dict[str, str | int | float]:
    """The fields of a recipe that data and machine decide, as they decided; the others happen as they are stated.

    data_set: what is learned from. views: that the head learns from, before the first stage.
    A field that has no part in the training has the value that changes nothing.
    """
    epochs = stages[-1].last
    frozen = sum(stage.last - stage.first for stage in stages if stage.frozen and not views)
    mirrored = data_set.mirrored if recipe.mirrored == "auto" else recipe.mirrored == "yes"
    augmentation = recipe.augmentation if epochs or views > 1 else "none"
    mirrored = mirrored and augmentation != "none" and not data_set.columns
    batch_size = min(recipe.batch_size, len(data_set.train)) if epochs else min(BATCH, views * len(data_set.train))
    mixes = batch_size > 1 and epochs > 0  # an image alone has no neighbor to take anything of; views aren't mixed
    cutmix = recipe.cutmix if mixes else 0.0
    # Where the head alone learns, it does so from labels, and as long as it ever does.
    head_alone: dict[str, str | int] = {} if epochs else {"patience": 0, "average": "none"}
    still = {} if epochs or views > 1 else {"rotation": 0.0, "scale": 0.0, "degrade": 0.0}
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "warmup": recipe.warmup if views or all(_warms_up(recipe, schedule, stage) for stage in stages) else 0.0,
        "augmentation": "none" if augmentation == "mirror" and not mirrored else augmentation,
        "mirrored": "yes" if mirrored else "no",
        "mixup": recipe.mixup if mixes and cutmix < 1 else 0.0,
        "cutmix": cutmix,
        "teacher_share": recipe.teacher_share if recipe.teacher and epochs else 0.0,
        "frozen": frozen / epochs if epochs else 1.0,
        "views": views,
        "fine_rate": stages[-1].learning_rate / recipe.learning_rate if epochs else 1.0,
        "precision": precision,
        **head_alone,
        **still,
    }


def _warms_up(recipe: Recipe, schedule: Schedule, stage: Stage) -> bool:
    """Whether a stage has an update in which the rate climbs."""
    return math.floor((stage.last - stage.first) * schedule.steps * recipe.warmup) > 0
