"""How long a training goes on, and in which stages: epochs, updates, and when what is frozen begins to learn.

Within a stage the learning rate climbs and falls: `optimizer_and_schedule` says how.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from zoo.data import DataSet
from zoo.data.batches import steps_per_epoch
from zoo.data.held_out import learned_images
from zoo.recipe import Recipe

# Steps that TensorFlow takes in one call: a call costs as much as a step of a small model. Also the least between two
# looks at the validation images, which would otherwise cost more than the training where images are few.
STEPS_PER_CALL = 32

OF_A_SOURCE = ("frozen", "fine_rate", "views")  # fields of a recipe that mean nothing where nothing is transferred


@dataclass(frozen=True)
class Schedule:
    """How long a training goes on.

    steps: of the optimizer in an epoch. epochs: in all. validation_interval: epochs between two
    validations. call: steps in a call.
    """

    steps: int
    epochs: int
    validation_interval: int
    call: int

    @property
    def updates(self) -> int:
        """Steps of the optimizer in all."""
        return self.steps * self.epochs


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
    recipe: Recipe, schedule: Schedule, transferred: Collection[str], norms: Collection[str] = (), *, new: bool
) -> tuple[Stage, ...]:
    """One stage for a training that starts anew; else as the recipe's `frozen`, `views` and `fine_rate` say.

    A stage ends with a validation; it is empty where nothing learns but the head, which does so from views before.
    transferred: names of the layers that come trained. norms: of those that have statistics. new: whether there are
    others.
    """
    rate, epochs, interval = recipe.learning_rate, schedule.epochs, schedule.validation_interval
    if not transferred:
        return (Stage(0, epochs, rate),)
    if recipe.views and new:
        return (Stage(0, 0 if recipe.frozen == 1 else epochs, rate * recipe.fine_rate, frozenset(norms)),)
    change = round(recipe.frozen * epochs / interval) * interval
    if recipe.frozen < 1:
        change = min(max(change, interval if recipe.frozen else 0), epochs - interval)  # each stage has its validation
    if not new:
        change = 0  # a frozen stage would have nothing to learn
    frozen, fine = Stage(0, change, rate, frozenset(transferred)), Stage(change, epochs, rate * recipe.fine_rate)
    return tuple(stage for stage in (frozen, fine) if stage.first < stage.last)


def out_of_patience(recipe: Recipe, schedule: Schedule, stage: Stage, epoch: int, best_epoch: int) -> str:
    """Why a training ends after an epoch before its last, as the recipe's patience says; "" where it goes on.

    stage: its last one. best_epoch: of the best weights by then. Nothing else counts, so that a training that was
    interrupted ends where it would have ended.
    """
    waited = (epoch - max(best_epoch, stage.first)) // schedule.validation_interval
    if not recipe.patience or waited < recipe.patience or epoch == schedule.epochs:
        return ""
    return f"{waited} validation{'s in a row were' if waited > 1 else ' was'} no better than that of epoch {best_epoch}"


def learned_from(recipe: Recipe, data_set: DataSet) -> DataSet:
    """The data set as the recipe divides it: with `images` "all" or "most", nothing is left to validate with."""
    return learned_images(data_set, recipe.images)


def make_schedule(recipe: Recipe, data_set: DataSet) -> Schedule:
    """Epochs enough for the recipe's least number of updates, and calls that divide them."""
    steps = steps_per_epoch(data_set.train, recipe.batch_size)
    validation_interval = math.ceil(STEPS_PER_CALL / steps)
    epochs = max(recipe.epochs, math.ceil(recipe.least_updates / steps))
    epochs = math.ceil(epochs / validation_interval) * validation_interval
    # Keras would take the rest of the last call out of the next epoch.
    call = max(k for k in range(1, 2 * STEPS_PER_CALL) if steps * validation_interval % k == 0)
    return Schedule(steps, epochs, validation_interval, call)


def schedule_for(recipe: Recipe, data_set: DataSet) -> Schedule:
    """The schedule of a training, with exactly the epochs that a recipe states where it asks for no number of updates.

    Validations then are as far apart as divides them, at most as far as in `make_schedule`, and calls within.
    """
    schedule = make_schedule(recipe, data_set)
    if recipe.least_updates or schedule.epochs == recipe.epochs:
        return schedule
    interval = max(k for k in range(1, schedule.validation_interval + 1) if recipe.epochs % k == 0)
    call = max(k for k in range(1, 2 * STEPS_PER_CALL) if schedule.steps * interval % k == 0)
    return Schedule(schedule.steps, recipe.epochs, interval, call)
