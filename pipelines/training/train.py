"""`zoo train`: from a plan to a run in the store, with Keras' own `fit`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.provenance.environment import machine_facts
from pipelines.core.provenance.machine import choose_precision, compiles_steps
from pipelines.core.provenance.plan import DataOptions, Plan, fingerprint, load_data, make_plan, read_plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.core.support.progress import progress
from pipelines.datasets.report import log_data
from pipelines.training import checkpoint
from pipelines.training.artifacts import log_augmented
from pipelines.training.checkpoint import Best, Checkpoint
from pipelines.training.distillation import teacher_of
from pipelines.training.fused_norms import with_fused_norms
from pipelines.training.optimizer import make_optimizer
from pipelines.training.schedule import Stage, make_stages
from pipelines.training.transfer.transfer import Transfer, find_source, make_transfer
from zoo.contract import LOGITS
from zoo.data import DataSet, Split
from zoo.data.pixels import in_chunks
from zoo.data.stream.batches import Teacher, plain_batches, steps_per_epoch, training_batches
from zoo.data.tables.reading import scales
from zoo.errors import RecipeError, TrackingError, ZooError
from zoo.models import build, build_for_table, definition
from zoo.models.backend import start_keras
from zoo.models.ledger import read_ledger
from zoo.recipe import Recipe

logger = logging.getLogger("zoo.training")

# Steps that TensorFlow takes in one call: a call costs as much as a step of a small model. Also the least between two
# looks at the validation images, which would otherwise cost more than the training where images are few.
STEPS_PER_CALL = 32
VALIDATION_BATCH = 512  # images
WEIGHTS_TAG = "weights_sha256"  # of a run: the digest of the weights that it kept


@dataclass(frozen=True)
class Trained:
    """A finished training.

    run: its id in the store. parameters: of the model. epochs: passes over the training images. best_epoch: the one
    whose weights were kept. validation_accuracy: 0..1, of those; None where the recipe learns from the validation
    images, too. seconds: of this call. unsent: records of the run that the store doesn't have yet, 0 where all went
    well; they wait on disk, and `zoo sync` sends them.
    """

    run: str
    model: str
    data: str
    family: str
    parameters: int
    epochs: int
    best_epoch: int
    validation_accuracy: float | None
    seconds: float
    unsent: int = 0


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


def train(
    model: str | None = None,
    data: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    plan: Plan | Path | None = None,
    resume: str | None = None,
    tags: Mapping[str, str] | None = None,
    **reading: Unpack[DataOptions],
) -> Trained:
    """Train a model on a data set, or make the run of a plan again, or go on with a run that was interrupted.

    settings: fields of the model's recipe to change. source: an export or a run whose features the model starts from:
    they are frozen at first, then trained on, as the recipe's `frozen` and `fine_rate` say. The best weights by
    validation accuracy are kept, in float32; the last ones where the recipe learns from the validation images, too.
    tags: what the new run is to be found by, beside its own.
    Raises any ZooError; KeyboardInterrupt, with the command to go on, after the run was ended as KILLED.
    """
    started = time.monotonic()
    with ExitStack() as held:
        if resume is not None:
            others = (model, data, settings, source, plan, *reading.values())
            trained = _train(*_interrupted(resume, others, held), started, held, tags)
        else:
            plan = _plan(model, data, settings, source, plan, reading)
            tracking.check_store()
            trained = _train(None, plan, None, started, held, tags)
    return replace(trained, unsent=tracking.unsent(trained.run))


def _train(
    run_id: str | None,
    plan: Plan,
    begin: Checkpoint | None,
    started: float,
    held: ExitStack,
    tags: Mapping[str, str] | None,
) -> Trained:
    """Train from the beginning, or go on with a run, whose outbox is open until `held` ends."""
    data_set = load_data(plan)
    learned = learned_from(plan.recipe, data_set)
    teacher = teacher_of(plan.recipe, learned)
    schedule = make_schedule(plan.recipe, learned)
    precision = begin.precision if begin else choose_precision(plan.recipe.precision)
    transfer = make_transfer(plan, learned)
    stages = stages_of(plan.recipe, schedule, transfer)
    learner = make_learner(plan, data_set, schedule, precision, transfer)
    parameters = int(learner.count_params())

    if run_id is None:
        facts: dict[str, str | int | float] = {
            "arithmetic": precision,
            "parameters": parameters,
            "updates": schedule.updates,
            **machine_facts(),
            **(transfer.facts() if transfer else {}),
        }
        run_id = tracking.start_run(plan, data_set, facts, tags)
    else:
        tracking.reopen(run_id)
    if transfer:
        logger.info("%s", transfer)
    with _ended(run_id):
        if begin is None:
            held.enter_context(tracking.outbox_of(run_id))
            tracking.log_metrics(run_id, _costs(learner))
            begin = _beginning(learner, precision, run_id)
        with tracking.watch_machine(run_id):
            if begin.epoch == 0:  # also where it was interrupted amid these
                log_data(run_id, data_set)
                log_augmented(run_id, plan.recipe, learned)
            best = fit(learner, plan, learned, teacher, schedule, stages, begin, run_id)
            trained = _in_float32(plan, data_set, best)
            accuracy = _accuracy(trained, learned.validation) if learned.validation else None
            tracking.log_tags(run_id, {WEIGHTS_TAG: weights_sha256(trained)})  # `zoo reproduce` asks for the same again
            tracking.log_keras_model(run_id, trained)
            tracking.log_metrics(run_id, {"best_epoch": best.epoch})
            if accuracy is not None:
                of_best = {"best_validation_accuracy": accuracy}
                tracking.log_metrics(run_id, of_best, model=tracking.KERAS_MODEL, split="validation")
    checkpoint.delete(run_id)
    return Trained(
        run=run_id,
        model=plan.model,
        data=data_set.name,
        family=definition(plan.model).family,
        parameters=parameters,
        epochs=schedule.epochs,
        best_epoch=best.epoch,
        validation_accuracy=accuracy,
        seconds=time.monotonic() - started,
    )


def _plan(
    model: str | None,
    data: str | None,
    settings: Mapping[str, Any] | None,
    source: str | None,
    plan: Plan | Path | None,
    reading: DataOptions,
) -> Plan:
    if plan is None:
        if model is None or data is None:
            raise ZooError("a training needs a model and a data set, or a plan, or a run to resume")
        origin = find_source(source, model) if source else None
        return make_plan(model, data, settings=settings, source=origin, **reading)
    if any((model, data, settings, source, *reading.values())):
        raise ZooError("a plan says all of a training: give no model, data, size, setting or source beside it")
    found = plan if isinstance(plan, Plan) else read_plan(plan)
    definition(found.model)
    return found


def _interrupted(run: str, others: tuple[Any, ...], held: ExitStack) -> tuple[str, Plan, Checkpoint]:
    """The run to go on with, its plan, and where it stopped. TrackingError where it can't come to the same weights.

    From here on no other process can go on with it, until `held` ends.
    """
    if any(others):
        raise ZooError("a run is resumed as it was begun: give no model, data, plan, size, setting or source beside it")
    run_id = tracking.find_run(run)
    held.enter_context(tracking.outbox_of(run_id, resumed=True))
    tracked = tracking.load_run(run_id)
    if tracked.status == "FINISHED":
        raise TrackingError(f"run {tracked.run_id} is finished: there is nothing to resume")
    load_data(tracked.plan, digest=tracked.data_digest)
    if fingerprint(tracked.plan) != tracked.fingerprint:
        raise TrackingError(f"the code or its libraries have changed since run {tracked.run_id} began: train anew")
    return tracked.run_id, tracked.plan, checkpoint.load(tracked.run_id)


@contextmanager
def _ended(run_id: str) -> Iterator[None]:
    """Whatever happens inside of the block, the run ends in the store as what it was."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(TrackingError):  # what ended the run is the thing to tell
            tracking.finish(run_id, "KILLED")
        raise KeyboardInterrupt(f"interrupted; to go on: zoo train --resume {run_id[:8]}") from None
    except BaseException:
        with suppress(TrackingError):
            tracking.finish(run_id, "FAILED")
        raise
    tracking.finish(run_id, "FINISHED")


# --- what is fitted ------------------------------------------------------------------------------------------------


def learned_from(recipe: Recipe, data_set: DataSet) -> DataSet:
    """The data set as the recipe divides it: with `images` "all", nothing is left to validate with."""
    return data_set.without_validation() if recipe.images == "all" else data_set


def make_schedule(recipe: Recipe, data_set: DataSet) -> Schedule:
    """Epochs enough for the recipe's least number of updates, and calls that divide them."""
    steps = steps_per_epoch(data_set.train, recipe.batch_size)
    validation_interval = math.ceil(STEPS_PER_CALL / steps)
    epochs = max(recipe.epochs, math.ceil(recipe.least_updates / steps))
    epochs = math.ceil(epochs / validation_interval) * validation_interval
    # Keras would take the rest of the last call out of the next epoch.
    call = max(k for k in range(1, 2 * STEPS_PER_CALL) if steps * validation_interval % k == 0)
    return Schedule(steps, epochs, validation_interval, call)


def stages_of(recipe: Recipe, schedule: Schedule, transfer: Transfer | None) -> tuple[Stage, ...]:
    """One, or two where layers are transferred from a source."""
    layers = transfer.layers if transfer else {}
    return make_stages(
        recipe, schedule.epochs, schedule.validation_interval, layers, new=not transfer or len(layers) < transfer.of
    )


def make_learner(
    plan: Plan, data_set: DataSet, schedule: Schedule, precision: str, transfer: Transfer | None = None
) -> Any:
    """The Keras model from images, or rows, to logits, compiled for its first stage.

    Initial weights depend on the recipe's seed alone, but for those that are transfer from a source.
    """
    keras = start_keras()
    keras.utils.set_random_seed(plan.recipe.seed)
    model = with_fused_norms(_built(plan, data_set, precision))
    learner = keras.Model(model.input, model.get_layer(LOGITS).output)
    for name, weights in (transfer.layers if transfer else {}).items():
        learner.get_layer(name).set_weights(weights)
    enter(learner, plan.recipe, schedule, stages_of(plan.recipe, schedule, transfer)[0])
    return learner


def enter(learner: Any, recipe: Recipe, schedule: Schedule, stage: Stage) -> None:
    """Compile a learner for a stage: what is frozen in it, and an optimizer that knows nothing yet."""
    keras = start_keras()
    for layer in learner.layers:
        layer.trainable = layer.name not in stage.frozen
    updates = schedule.steps * (stage.last - stage.first)
    recipe = recipe.with_values({"learning_rate": stage.learning_rate})
    learner.compile(
        optimizer=make_optimizer(recipe, updates, learner.trainable_weights),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=compiles_steps(),
        steps_per_execution=schedule.call,
    )
    learner.optimizer.build(learner.trainable_variables)  # its variables are part of the first checkpoint


def _built(plan: Plan, data_set: DataSet, precision: str = "float32") -> Any:
    """The plan's model for the data set's images, or for its columns as the training rows scale them."""
    if data_set.columns:
        return build_for_table(plan.model, scales(data_set), data_set.classes, precision)
    return build(plan.model, data_set.height, data_set.width, data_set.channels, data_set.classes, precision)


# --- the fit -------------------------------------------------------------------------------------------------------


def fit(
    learner: Any,
    plan: Plan,
    data_set: DataSet,
    teacher: Teacher | None,
    schedule: Schedule,
    stages: Sequence[Stage],
    begin: Checkpoint,
    run_id: str,
) -> Best:
    """Train from a checkpoint to the end of the last stage, with a learner that is compiled for the first.

    After each validation a line in the store and a checkpoint.
    Returns the best weights. Raises RecipeError where the loss stops being a number.
    """
    stages = [stage for stage in stages if begin.epoch < stage.last]
    if not stages and begin.best is not None:  # it was interrupted when nothing was left but to keep what it learned
        return begin.best
    if stages[0].first > 0:
        enter(learner, plan.recipe, schedule, stages[0])
    _restore(learner, begin, stages[0])
    best, seen, looked = begin.best, begin.epoch, time.monotonic()

    def say(step: int, logs: object) -> None:  # noqa: ARG001 (Keras names it)
        """After each call; `step` is the last in it, counted from 0 since the last validation."""
        now = seen + (step + 1) / schedule.steps
        said = f"epoch {math.ceil(now)} of {schedule.epochs}"
        accuracy = best.accuracy if best else None
        advance(now, schedule.epochs, said + (f", validation accuracy {accuracy:.2%}" if accuracy is not None else ""))

    def keep(epoch: int, logs: Mapping[str, float]) -> None:  # noqa: ARG001
        """After each validation."""
        nonlocal best, seen, looked
        seen, looked, seconds = seen + schedule.validation_interval, time.monotonic(), time.monotonic() - looked
        if not math.isfinite(logs["loss"]):
            raise RecipeError(
                f"the training of {plan.model} diverged in epoch {seen} (its loss is {logs['loss']}): "
                f"lower its learning rate, as with --set learning_rate={plan.recipe.learning_rate / 4:g}"
            )
        here = Best(seen, logs.get("val_accuracy"), logs.get("val_loss"), tuple(learner.get_weights()))
        best = here if here.is_better_than(best) else best
        tracking.log_epoch(run_id, seen, {**_history(logs), "learning_rate": _rate(learner), "seconds": seconds})
        checkpoint.save(Checkpoint(seen, begin.precision, _state(learner), best), run_id)

    keras = start_keras()
    with progress(f"{plan.model} on {data_set.name}", seen) as advance:
        for stage in stages:
            if stage is not stages[0]:
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
                callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=say, on_epoch_end=keep)],
                verbose=0,
                shuffle=False,  # the stream is in its order already
            )
    assert best is not None  # noqa: S101 (a schedule has an epoch at least)
    return best


def validation_of(data_set: DataSet) -> Any:
    """A tf.data.Dataset of the validation images, as `training_batches` has them; None where there are none."""
    validation = data_set.validation
    return plain_batches(validation, data_set.classes, VALIDATION_BATCH) if len(validation) else None


def _history(logs: Mapping[str, float]) -> dict[str, float]:
    """Keras' names for what an epoch measured, as ours; without a validation there is nothing of it."""
    ours = {"loss": "train_loss", "accuracy": "train_accuracy"}
    ours |= {"val_loss": "validation_loss", "val_accuracy": "validation_accuracy"}
    return {ours[name]: value for name, value in logs.items() if name in ours}


def _rate(learner: Any) -> float:
    return float(learner.optimizer.learning_rate)


def _variables(learner: Any) -> list[Any]:
    """All that a step changes: weights, statistics of norms, random generators, and the optimizer's moments."""
    return [*learner.variables, *learner.optimizer.variables]


def _state(learner: Any) -> tuple[NDArray[Any], ...]:
    return tuple(np.asarray(variable) for variable in _variables(learner))


def _restore(learner: Any, begin: Checkpoint, stage: Stage) -> None:
    """Put a checkpoint's values back. A stage begins with an optimizer of its own: that of the one before is left."""
    variables = learner.variables if begin.epoch == stage.first else _variables(learner)
    values = begin.variables[: len(variables)] if begin.epoch == stage.first else begin.variables
    if [tuple(variable.shape) for variable in variables] != [value.shape for value in values]:
        raise TrackingError("the checkpoint doesn't fit the model, it is damaged: train anew")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _beginning(learner: Any, precision: str, run_id: str) -> Checkpoint:
    """The checkpoint of a run that is about to begin: an interruption in its first epoch has one, too."""
    begin = Checkpoint(0, precision, _state(learner), None)
    checkpoint.save(begin, run_id)
    return begin


def _costs(learner: Any) -> dict[str, float]:
    """What the model costs, as numbers that a list of runs can be sorted by."""
    entries = read_ledger(learner)
    return {
        "parameters": float(learner.count_params()),
        "multiply_accumulates": float(sum(layer.multiply_accumulates for layer in entries)),
    }


# --- the result ----------------------------------------------------------------------------------------------------


def _in_float32(plan: Plan, data_set: DataSet, best: Best) -> Any:
    """The model with its best weights, computing in float32: the one that is kept, measured and exported."""
    model = _built(plan, data_set)
    model.set_weights(best.weights)
    return model


def _accuracy(model: Any, split: Split) -> float:
    """The share of a split's images that the model is right on, 0..1."""
    answers = [model.predict_on_batch(inputs)[LOGITS] for inputs in in_chunks(split.inputs, VALIDATION_BATCH)]
    return float(np.mean(np.concatenate(answers).argmax(1) == split.labels))
