"""The loop: Keras' own `fit`, from a checkpoint to the end of the last stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.plan import Plan
from pipelines.training.loop.averaging import Averaging, averaged
from pipelines.training.loop.checkpoint import Average, Best, Checkpoint
from pipelines.training.loop.learner import enter
from pipelines.training.loop.stages import Schedule, Stage, out_of_patience
from zoo.data import DataSet
from zoo.data.batches import Teacher, plain_batches, training_batches
from zoo.errors import RecipeError, TrackingError
from zoo.models.backend import start_keras

VALIDATION_BATCH = 512  # images


class Observer(Protocol):
    """Whoever follows a training. It changes nothing of what is learned, but for when that ends."""

    def on_step(self, epochs: float, best: Best | None) -> None:
        """After each call of Keras'. epochs: passes seen by now, in parts."""

    def on_validation(self, checkpoint: Checkpoint, metrics: Mapping[str, float]) -> str:
        """After each validation. checkpoint: from which the training goes on to the same weights, if it isn't over.

        Returns why the training ends here, which is the checkpoint's own reason or another; "" where it goes on.
        """


@dataclass(frozen=True)
class Fitted:
    """How a training ended. epochs: passes seen. stopped: why it ended before its last epoch, "" if it didn't."""

    best: Best
    epochs: int
    stopped: str


def fit(
    learner: Any,
    plan: Plan,
    data_set: DataSet,
    teacher: Teacher | None,
    schedule: Schedule,
    stages: Sequence[Stage],
    begin: Checkpoint,
    observer: Observer,
) -> Fitted:
    """Train from a checkpoint to the end of the last stage, with a learner that is compiled for the first.

    It ends earlier where the recipe's patience is at its end, or the observer says so. Where the recipe averages, the
    weights of a validation are the better of those that learn and their average.
    Returns the best weights by validation. Raises RecipeError where the loss stops being a number.
    """
    last = stages[-1]
    stages = [stage for stage in stages if begin.epoch < stage.last]
    if begin.best is not None and (begin.stopped or not stages):  # nothing was left but to keep what it learned
        return Fitted(begin.best, begin.epoch, begin.stopped)
    if stages[0].first > 0:
        enter(learner, plan.recipe, schedule, stages[0])
    _restore(learner, begin, stages[0])
    best, seen, stopped = begin.best, begin.epoch, ""
    kind, average = plan.recipe.average, Average() if begin.epoch == stages[0].first else begin.average
    averaging = None if kind == "none" else Averaging(learner, plan.recipe, data_set, validation_of(data_set))

    def after_call(step: int, logs: object) -> None:  # noqa: ARG001 (Keras names it)
        """`step` is the last in it, counted from 0 since the last validation."""
        nonlocal average
        if averaging is not None:
            updates, of = ((epoch - stage.first) * schedule.steps for epoch in (seen, stage.last))
            now = learner.get_weights()
            average = averaged(kind, average, now, updates=updates + step + 1, of=of, call=schedule.call)
        observer.on_step(seen + (step + 1) / schedule.steps, best)

    def after_validation(epoch: int, logs: Mapping[str, float]) -> None:  # noqa: ARG001
        nonlocal best, seen, stopped
        seen += schedule.validation_interval
        if not math.isfinite(logs["loss"]):
            raise RecipeError(
                f"the training of {plan.model} diverged in epoch {seen} (its loss is {logs['loss']}): "
                f"lower its learning rate, as with --set learning_rate={plan.recipe.learning_rate / 4:g}"
            )
        here = Best(seen, logs.get("val_accuracy"), logs.get("val_loss"), tuple(learner.get_weights()))
        if best is None or here.is_better_than(best):
            best = here
        metrics = {**_history(logs), "learning_rate": float(learner.optimizer.learning_rate)}
        if averaging is not None:
            there, measured = _average_of(averaging, average, stage, seen)
            if there is not None and there.is_better_than(best):
                best = there
            metrics |= measured
        stopped = out_of_patience(plan.recipe, schedule, last, seen, best.epoch)
        state = Checkpoint(seen, begin.precision, state_of(learner), best, stopped, average)
        stopped = observer.on_validation(state, metrics)
        learner.stop_training = bool(stopped)

    keras = start_keras()
    for stage in stages:
        if stage is not stages[0]:
            average = Average()
            enter(learner, plan.recipe, schedule, stage)
        learner.fit(
            training_batches(
                data_set.train,
                data_set.classes,
                plan.recipe,
                mirrored=data_set.mirrored,
                first_epoch=seen,
                epochs=stage.last - seen,
                teacher=teacher,
            ),
            initial_epoch=seen // schedule.validation_interval,
            epochs=stage.last // schedule.validation_interval,
            steps_per_epoch=schedule.steps * schedule.validation_interval,
            validation_data=validation_of(data_set),
            callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=after_call, on_epoch_end=after_validation)],
            verbose=0,
            shuffle=False,  # the stream is in its order already
        )
        if stopped:
            break
    assert best is not None  # noqa: S101 (a schedule has an epoch at least)
    return Fitted(best, seen, stopped)


def validation_of(data_set: DataSet) -> Any:
    """A tf.data.Dataset of the validation images, as `training_batches` has them; None where there are none."""
    validation = data_set.validation
    return plain_batches(validation, data_set.classes, VALIDATION_BATCH) if len(validation) else None


def _average_of(
    averaging: Averaging, average: Average, stage: Stage, epoch: int
) -> tuple[Best | None, dict[str, float]]:
    """Averaged weights as a candidate, and what is logged of them: not a number as long as there are none."""
    weights, found = averaging.validated(average.weights, stage) if average.count else ((), {})
    candidate = Best(epoch, found.get("accuracy"), found.get("loss"), weights, averaged=True) if weights else None
    if not averaging.validates:
        return candidate, {}
    return candidate, {f"averaged_validation_{name}": found.get(name, math.nan) for name in ("loss", "accuracy")}


def _history(logs: Mapping[str, float]) -> dict[str, float]:
    """Keras' names for what an epoch measured, as ours; without a validation there is nothing of it."""
    ours = {"loss": "train_loss", "accuracy": "train_accuracy"}
    ours |= {"val_loss": "validation_loss", "val_accuracy": "validation_accuracy"}
    return {ours[name]: value for name, value in logs.items() if name in ours}


def _variables(learner: Any) -> list[Any]:
    """All that a step changes: weights, statistics of norms, random generators, and the optimizer's moments."""
    return [*learner.variables, *learner.optimizer.variables]


def state_of(learner: Any) -> tuple[NDArray[Any], ...]:
    """What a checkpoint keeps of a learner."""
    return tuple(np.asarray(variable) for variable in _variables(learner))


def _restore(learner: Any, begin: Checkpoint, stage: Stage) -> None:
    """Put a checkpoint's values back. A stage begins with an optimizer of its own: that of the one before is left."""
    variables = learner.variables if begin.epoch == stage.first else _variables(learner)
    values = begin.variables[: len(variables)] if begin.epoch == stage.first else begin.variables
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise TrackingError("the checkpoint doesn't fit the model, it is damaged: train again")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
