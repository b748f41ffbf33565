"""What a training has ready before its first step: images, schedule, stages, and the model that learns."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.core.provenance.plan import Plan, load_data
from pipelines.training.device import device, unused_gpu
from pipelines.training.loop.distillation import teacher_of
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import Schedule, Stage, learned_from, make_stages, schedule_for
from pipelines.training.parallel.learner import spread
from pipelines.training.parallel.team import Team
from pipelines.training.transfer.transfer import Transfer, make_transfer
from zoo.data import DataSet
from zoo.data.batches import Teacher, training_batches
from zoo.errors import RecipeError
from zoo.recipe import Recipe

logger = logging.getLogger("zoo.training")


@dataclass(frozen=True)
class Prepared:
    """A training that is ready to begin.

    learned: the data set as the recipe divides it. views: of each image, that a new head learns from; 0 where it
    doesn't. learner: on the devices of the team, if there is one, compiled for the first stage. alone: as it was before
    it was spread over them, for what isn't a step of the team; without a team, the same.
    """

    data_set: DataSet
    learned: DataSet
    teacher: Teacher | None
    schedule: Schedule
    transfer: Transfer | None
    stages: tuple[Stage, ...]
    views: int
    learner: Any
    alone: Any

    @property
    def layers(self) -> Mapping[str, Any]:
        """The weights of the layers that come trained, by name."""
        return self.transfer.layers if self.transfer else {}


def prepare(plan: Plan, precision: str, team: Team | None) -> Prepared:
    """Load, plan and build what a plan says. Raises any ZooError."""
    data_set = load_data(plan)
    learned = learned_from(plan.recipe, data_set)
    _check_validated(plan.recipe, learned)
    _check_halves(plan.recipe, data_set)
    if learned.columns:  # what can't be done to rows is refused before anything is written
        training_batches(learned.train, learned.classes, plan.recipe, mirrored=False, first_epoch=0, epochs=1)
    teacher = teacher_of(plan.recipe, learned)
    schedule = schedule_for(plan.recipe, learned)
    logger.info("%s trains on %s", plan.model, f"{team}: {device(precision)}" if team else device(precision))
    if reason := unused_gpu():
        logger.warning("%s", reason)
    transfer = make_transfer(plan, learned)
    layers, norms, new = (transfer.layers, transfer.norms, transfer.has_new) if transfer else ({}, (), True)
    stages = make_stages(plan.recipe, schedule, layers, norms, new=new)
    views = plan.recipe.views if layers and new else 0
    _check_teacher(plan.recipe, stages, views)
    if layers and new and not views and plan.recipe.frozen > 0 and not any(stage.frozen for stage in stages):
        logger.warning(
            "frozen=%g has no effect: all %d epochs lie between two validations; train for more epochs, or with views",
            plan.recipe.frozen,
            schedule.epochs,
        )
    if plan.recipe.patience and stages[-1].last:
        often = "each epoch" if schedule.validation_interval == 1 else f"every {schedule.validation_interval} epochs"
        logger.info("patience %d: validations come after %s", plan.recipe.patience, often)
    alone = make_learner(plan, data_set, schedule, stages[0], precision, layers)
    learner = alone if team is None else spread(alone, team, plan.recipe, schedule, stages[0])
    return Prepared(data_set, learned, teacher, schedule, transfer, stages, views, learner, alone)


def _check_validated(recipe: Recipe, learned: DataSet) -> None:
    """Raise RecipeError where validations decide when a training ends, and there is nothing to validate with."""
    if recipe.patience and not len(learned.validation):
        raise RecipeError(
            f"patience={recipe.patience} ends a training by its validation {learned.kind}, of which {learned.name} "
            "has none: set patience=0"
        )


def _check_halves(recipe: Recipe, data_set: DataSet) -> None:
    """Raise RecipeError where the validation images are to be halved one by one, and some of them belong together."""
    if recipe.images == "most" and data_set.grouped:
        raise RecipeError(
            f"images=most halves the validation {data_set.kind} one by one, which would tear apart the groups of "
            f"{data_set.name}: set images=train or images=all, or leave groups aside with --groups none"
        )
    if recipe.images == "most" and data_set.repeated:
        raise RecipeError(
            f"images=most halves the validation {data_set.kind} one by one, and some of {data_set.name} are duplicates "
            "of others, which would be learned from and held out: set images=train or images=all, or remove them"
        )


def _check_teacher(recipe: Recipe, stages: Sequence[Stage], views: int) -> None:
    """Raise RecipeError where a teacher is named, and a head alone learns, which it does from labels."""
    if recipe.teacher and views and not stages[-1].last:
        raise RecipeError(
            "with frozen=1 and views only the head is trained, on labels: leave out the teacher, or set views=0"
        )
