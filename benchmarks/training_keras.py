"""The entries of training.py that Keras trains: its own `fit` with all defaults, ours bare, and our whole pipeline.

A turn is an epoch of `fit`, so that what a fit costs once (building, tracing, compiling) falls into the first turn.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np
from turns import Turns, tell, wait_for_the_end

from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.plan import Plan, load_data, make_plan
from pipelines.training import preparing
from pipelines.training.loop.fit import VALIDATION_BATCH, validation_of
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import make_stages, schedule_for
from pipelines.training.train import train
from zoo.contract import LOGITS
from zoo.data import DataSet, Split, data_set
from zoo.data.batches import training_batches
from zoo.models import build
from zoo.models.backend import start_keras


@data_set("random-pixels")
def random_pixels(folder: Any, on_progress: Any) -> DataSet:  # noqa: ARG001 (what every loader takes)
    """As many images as Fashion-MNIST has, of noise, where Fashion-MNIST isn't at hand: enough for a speed."""
    random = np.random.default_rng(1)

    def split(count: int) -> Split:
        images = random.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
        return Split(images, random.integers(0, 10, count), tuple(map(str, range(count))))

    return DataSet("random-pixels", tuple("0123456789"), split(55_000), split(5_000), split(100), True, "random")


def main() -> None:
    settings = json.loads(sys.argv[1])
    plan = make_plan(settings["model"], settings["data"], settings=settings["recipe"])
    ENTRIES[settings["entry"]](plan, settings)
    wait_for_the_end()


def in_turns(warming: int) -> list[Any]:
    """The callbacks that make a turn of each epoch of a fit; the validation is a part of it."""
    keras, turns = start_keras(), Turns(warming)
    begin = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda *_: turns.begin(),
        on_train_batch_end=lambda step, logs: turns.stepped(step + 1),  # noqa: ARG005 (Keras names it)
    )
    return [begin, keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: turns.end())]


# --- Keras' own fit -------------------------------------------------------------------------------------------------


def keras_defaults(plan: Plan, settings: Any) -> None:
    """float32, one step a call, XLA where Keras chooses it, NumPy arrays: what one gets who changes nothing."""
    _plain(plan, settings)


def keras_without_xla(plan: Plan, settings: Any) -> None:
    """The same with jit_compile=False: on a processor XLA costs more than it brings."""
    _plain(plan, settings, jit_compile=False)


def keras_in_bfloat16(plan: Plan, settings: Any) -> None:
    """The same, and in mixed precision: what ours has where the recipe says so, and few set."""
    _plain(plan, settings, "mixed_bfloat16", jit_compile=False)


def _plain(plan: Plan, settings: Any, precision: str = "float32", **compiling: Any) -> None:
    keras, data, recipe = start_keras(), load_data(plan), plan.recipe
    ours = _learner(plan, data, "float32").optimizer
    keras.utils.set_random_seed(recipe.seed)
    model = build(plan.model, data.height, data.width, data.channels, data.classes, precision)
    model = keras.Model(model.input, model.get_layer(LOGITS).output)
    optimizer = type(ours).from_config(ours.get_config())  # the same rule and the same schedule
    optimizer.exclude_from_weight_decay([weight for weight in model.trainable_weights if len(weight.shape) < 2])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"], **compiling)

    count = settings["steps"] * recipe.batch_size
    images, labels = data.train.inputs[:count], data.train.labels[:count]
    model.fit(
        images,
        labels,
        batch_size=recipe.batch_size,
        epochs=settings["turns"],
        callbacks=in_turns(settings["warming"]),
        verbose=0,
    )
    if settings["accuracy"]:
        tell(accuracy=_accuracy(model, data))


def _learner(plan: Plan, data: DataSet, precision: str) -> Any:
    """A model that is compiled as ours are, for a training from the beginning."""
    schedule = schedule_for(plan.recipe, data)
    return make_learner(plan, data, schedule, make_stages(plan.recipe, schedule, (), new=True)[0], precision, {})


# --- ours ------------------------------------------------------------------------------------------------------------


def bare(plan: Plan, settings: Any) -> None:
    """Our learner and our stream of batches in a fit that does nothing else."""
    learner, data = _bare(plan, settings, {})
    if settings["accuracy"]:
        tell(accuracy=_accuracy(learner, data))


def bare_with_validation(plan: Plan, settings: Any) -> None:
    """The same, with the validation that the pipeline asks for after each epoch."""
    validation = validation_of(load_data(plan))
    _bare(plan, settings, {"validation_data": validation, "validation_batch_size": VALIDATION_BATCH})


def _bare(plan: Plan, settings: Any, options: dict[str, Any]) -> tuple[Any, DataSet]:
    data, recipe = load_data(plan), plan.recipe
    learner = _learner(plan, data, choose_precision(recipe.precision))
    epochs = schedule_for(recipe, data).epochs
    stream = training_batches(data.train, data.classes, recipe, mirrored=data.mirrored, first_epoch=0, epochs=epochs)
    learner.fit(
        stream,
        epochs=settings["turns"],
        steps_per_epoch=settings["steps"],
        callbacks=in_turns(settings["warming"]),
        verbose=0,
        shuffle=False,
        **options,
    )
    return learner, data


def pipeline(plan: Plan, settings: Any) -> None:
    """`pipelines.training.train.train` as it is: runs in a store, checkpoints, progress.

    The folder it works in is temporary.
    """
    os.chdir(settings["folder"])
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    marks = {}

    def watched(*arguments: Any) -> Any:
        learner = make_learner(*arguments)
        marks["learner"] = perf_counter()
        fit = learner.fit

        def fit_in_turns(*arguments: Any, callbacks: list[Any], **options: Any) -> None:
            marks["fit"] = perf_counter()
            fit(*arguments, callbacks=_watched_turns(callbacks, settings["warming"]), **options)
            marks["fitted"] = perf_counter()

        learner.fit = fit_in_turns
        return learner

    with mock.patch.object(preparing, "make_learner", watched):
        train(plan=plan)
    tell(opening=marks["fit"] - marks["learner"], closing=perf_counter() - marks["fitted"])


def _watched_turns(callbacks: list[Any], warming: int) -> list[Any]:
    """Turns that also tell how many seconds on their clock those callbacks took."""
    keras, turns = start_keras(), Turns(warming)
    inside, since = 0.0, 0.0

    def begin(*_: Any) -> None:
        nonlocal inside
        inside = 0.0
        turns.begin()

    def enter(*_: Any, **__: Any) -> None:
        nonlocal since
        since = perf_counter()

    def leave(*_: Any, **__: Any) -> None:
        nonlocal inside
        inside += perf_counter() - since

    def stepped(step: int, logs: Any) -> None:  # noqa: ARG001
        leave()
        turns.stepped(step + 1)

    def end(*_: Any) -> None:
        leave()
        turns.end(inside=inside)

    before = keras.callbacks.LambdaCallback(on_epoch_begin=begin, on_train_batch_end=enter, on_epoch_end=enter)
    after = keras.callbacks.LambdaCallback(on_train_batch_end=stepped, on_epoch_end=end)
    return [before, *callbacks, after]


def _accuracy(model: Any, data: DataSet) -> float:
    """On the validation images, 0..1."""
    logits = model.predict(data.validation.inputs, batch_size=VALIDATION_BATCH, verbose=0)
    return float(np.mean(logits.argmax(1) == data.validation.labels))


ENTRIES: dict[str, Callable[[Plan, Any], None]] = {
    "keras": keras_defaults,
    "keras without XLA": keras_without_xla,
    "keras in bfloat16": keras_in_bfloat16,
    "bare": bare,
    "bare with validation": bare_with_validation,
    "pipeline": pipeline,
}


if __name__ == "__main__":
    main()
