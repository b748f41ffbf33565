"""`--time 20m`: as many epochs as this machine trains in that time, planned before the training begins.

What is trained is a plan with that number of epochs, as if somebody had stated it: its schedule reaches its end, and a
run that is resumed or reproduced looks at no clock.
"""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.support.duration import written
from pipelines.core.support.to_json import digest_of
from pipelines.training.fingerprint import fingerprint
from pipelines.training.loop.averaging import Averaging
from pipelines.training.loop.distillation import teacher_of
from pipelines.training.loop.fit import state_of, validation_of
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import Schedule, Stage, learned_from, make_schedule, make_stages
from pipelines.training.transfer.head import learn_head
from pipelines.training.transfer.transfer import make_transfer
from zoo.data import DataSet
from zoo.data.batches import training_batches
from zoo.errors import RecipeError
from zoo.models.backend import start_keras

logger = logging.getLogger("zoo.training")

PLANNED = "planned_from"  # a tag of a run: what was asked for, of which its plan was made
CALL = 8  # steps that are measured at once, at most: where a step takes seconds, 32 would be the budget
CALLS = 10  # that are measured, at most
SHARE = 0.05  # of the time goes into measuring, where a few calls take less
MARGIN = 0.05  # of the time is left for what goes slower than it was measured
# Seconds around the steps: the run is begun, the kept model is built, measured and logged. What has to be imported for
# that takes about as long as Keras does, where that isn't loaded yet.
AROUND = 5.0


@dataclass(frozen=True)
class Speed:
    """How fast a plan trains on this machine, in seconds. start: until a stage's first step, compiling above all.

    step: of the optimizer. validation: what is done after the epochs of a validation interval. head: what one takes
    that learns first, from frozen features; these are in the cache by then.
    """

    start: float
    step: float
    validation: float
    head: float = 0.0


def check_time(settings: Mapping[str, Any] | None) -> None:
    """Raise RecipeError where somebody states the epochs that a time is to decide."""
    for name in ("epochs", "least_updates"):
        if name in (settings or {}):
            raise RecipeError(f"--time determines the number of epochs: use either --time or --set {name}")


def within(plan: Plan, seconds: float, began: float | None = None) -> tuple[Plan, dict[str, str]]:
    """The plan with as many epochs as can be trained in a time, and what its run is to note down of that, as tags.

    began: when that time began, as `time.monotonic` had it; None for now. Raises RecipeError where it isn't enough for
    one epoch.
    """
    began = time.monotonic() if began is None else began
    learned = learned_from(plan.recipe, load_data(plan))
    loading = time.monotonic()
    start_keras()
    around = AROUND + time.monotonic() - loading
    transfer = make_transfer(plan, learned)
    if plan.recipe.views and plan.recipe.frozen == 1 and transfer and transfer.has_new:
        logger.info("%s has no epochs to plan: only its head is trained, on frozen features", plan.model)
        return plan, {"time_budget": written(seconds)}
    logger.info("measuring how fast %s trains here", plan.model)
    speed, stages = measure(plan, learned, seconds)
    left = seconds * (1 - MARGIN) - (time.monotonic() - began) - around - speed.head - stages * speed.start
    schedule = make_schedule(replace(plan.recipe, epochs=1, least_updates=0), learned)
    epochs = epochs_within(left, speed, schedule)
    if not epochs:
        epoch = schedule.steps * speed.step + speed.validation
        before = seconds * (1 - MARGIN) - left
        raise RecipeError(
            f"one epoch of {plan.model} on {learned.name} takes {written(epoch)} here, and what comes before and after "
            f"it {written(before)}: --time {written(seconds)} is too short, give "
            f"{written(math.ceil((before + epoch) / (1 - MARGIN)))} or more"
        )
    logger.info(
        "%s in %s: %d epochs, at %.3g ms a step and %.3g s a validation",
        plan.model,
        written(seconds),
        epochs,
        speed.step * 1e3,
        speed.validation,
    )
    recipe = replace(plan.recipe, epochs=epochs, least_updates=0)
    tags = {
        PLANNED: asked(plan, seconds),
        "time_budget": written(seconds),
        "measured_step": f"{speed.step:.4g}",
        "measured_validation": f"{speed.validation:.4g}",
        "measured_start": f"{speed.start:.4g}",
    }
    return replace(plan, recipe=recipe), tags


def asked(plan: Plan, seconds: float) -> str:
    """SHA-256, in hex, of a plan whose epochs a time is to decide, with that time: the same each time it is asked."""
    return digest_of({"plan": fingerprint(plan), "seconds": seconds})


def epochs_within(seconds: float, speed: Speed, schedule: Schedule) -> int:
    """How many epochs are trained and validated in that time; 0 where it isn't enough for one.

    They are a multiple of the schedule's validation interval, or less than one of it.
    """
    epoch, interval = schedule.steps * speed.step, schedule.validation_interval
    intervals = math.floor(seconds / (interval * epoch + speed.validation))
    return intervals * interval if intervals > 0 else max(0, math.floor((seconds - speed.validation) / epoch))


def measure(plan: Plan, learned: DataSet, seconds: float) -> tuple[Speed, int]:
    """The speed of a plan, by its first steps on a model that is thrown away; and in how many stages it trains.

    Measured is the stage in which everything learns, the slowest one. seconds: of the time that is to be kept to.
    """
    schedule = make_schedule(replace(plan.recipe, epochs=1, least_updates=0), learned)
    schedule = replace(schedule, call=min(schedule.call, CALL))
    transfer = make_transfer(plan, learned)
    layers, norms, new = (transfer.layers, transfer.norms, transfer.has_new) if transfer else ({}, (), True)
    stage = Stage(0, schedule.epochs, plan.recipe.learning_rate)
    teacher = teacher_of(plan.recipe, learned)
    begin = time.monotonic()
    learner = make_learner(plan, load_data(plan), schedule, stage, choose_precision(plan.recipe.precision), layers)
    head = 0.0
    if layers and new and plan.recipe.views:
        head = learn_head(learner, layers, plan.recipe, learned).learning
        begin = time.monotonic()
    ends = []

    def after_call(step: int, logs: object) -> None:  # noqa: ARG001 (Keras names it)
        ends.append(now := time.monotonic())
        spent = now - begin
        learner.stop_training = len(ends) > CALLS or (len(ends) > 2 and spent > SHARE * seconds)

    stream = training_batches(
        learned.train,
        learned.classes,
        plan.recipe,
        mirrored=learned.mirrored,
        first_epoch=0,
        epochs=10**6,
        teacher=teacher,
    )
    watch = start_keras().callbacks.LambdaCallback(on_train_batch_end=after_call)
    learner.fit(stream, steps_per_epoch=schedule.call * (CALLS + 1), callbacks=[watch], verbose=0, shuffle=False)
    calls = [later - earlier for earlier, later in pairwise(ends)]
    call = statistics.median(calls) if calls else ends[0] - begin
    start = max(ends[0] - begin - call, 0.0)

    averages = plan.recipe.average != "none"
    averaging = Averaging(learner, plan.recipe, learned, validation_of(learned)) if averages else None
    validations = [_validated(learner, learned, averaging, stage) for _ in range(2)]
    start += max(validations[0] - validations[1], 0.0)
    stages = make_stages(
        plan.recipe, replace(schedule, epochs=100 * schedule.validation_interval), layers, norms, new=new
    )
    return Speed(start, call / schedule.call, validations[1], head), len(stages)


def _validated(learner: Any, learned: DataSet, averaging: Averaging | None, stage: Stage) -> float:
    """The seconds of a validation, one of averaged weights among it, and of copying what goes into a checkpoint."""
    begin = time.monotonic()
    validation = validation_of(learned)
    if validation is not None:
        learner.evaluate(validation, verbose=0)
    if averaging is not None:
        averaging.validated(learner.get_weights(), stage)
    state_of(learner)
    return time.monotonic() - begin
