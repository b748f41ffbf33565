"""The model that learns: built for a plan, with the weights that it starts from, and compiled for a stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from pipelines.core.provenance.machine import compiles_steps
from pipelines.core.provenance.plan import Plan
from pipelines.training.loop.fused_norms import with_fused_norms
from pipelines.training.loop.optimizer_and_schedule import make_optimizer
from pipelines.training.loop.stages import Schedule, Stage
from zoo.contract import LOGITS
from zoo.data import DataSet
from zoo.data.tables.reading import scales
from zoo.errors import RecipeError
from zoo.models import build, build_for_table
from zoo.models.backend import start_keras
from zoo.recipe import OF_ROWS, Recipe

Weights = Sequence[NDArray[Any]]  # of a layer, in Keras' order


def make_learner(
    plan: Plan,
    data_set: DataSet,
    schedule: Schedule,
    stage: Stage,
    precision: str,
    transferred: Mapping[str, Weights] | None = None,
) -> Any:
    """The Keras model from images, or rows, to logits, compiled for its first stage.

    Initial weights depend on the recipe's seed alone, but for those that are transferred from a source.
    """
    keras = start_keras()
    keras.utils.set_random_seed(plan.recipe.seed)
    model = with_fused_norms(build_for(plan, data_set, precision))
    learner = keras.Model(model.input, model.get_layer(LOGITS).output)
    for name, weights in (transferred or {}).items():
        learner.get_layer(name).set_weights(weights)
    enter(learner, plan.recipe, schedule, stage)
    return learner


def enter(learner: Any, recipe: Recipe, schedule: Schedule, stage: Stage) -> None:
    """Compile a learner for a stage: what is frozen in it, and an optimizer that knows nothing yet."""
    keras = start_keras()
    for layer in learner.layers:
        layer.trainable = layer.name not in stage.frozen
    updates = max(1, schedule.steps * (stage.last - stage.first))  # of an empty stage none happens
    recipe = replace(recipe, learning_rate=stage.learning_rate)
    learner.compile(
        optimizer=make_optimizer(recipe, updates, learner.trainable_weights),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=compiles_steps(),
        steps_per_execution=schedule.call,
    )
    learner.optimizer.build(learner.trainable_variables)  # its variables are part of the first checkpoint


def build_for(plan: Plan, data_set: DataSet, precision: str = "float32") -> Any:
    """The plan's model for the data set's images, or for its columns as the training rows scale them.

    Raises RecipeError for a recipe that normalizes the rows of a table as if they were images.
    """
    normalize = plan.recipe.normalize
    if data_set.columns:
        if normalize != OF_ROWS["normalize"]:
            raise RecipeError(
                f"{data_set.name} is a table, whose columns are scaled one by one, and normalize={normalize} is for "
                "images: set normalize=none"
            )
        return build_for_table(plan.model, scales(data_set), data_set.classes, precision)
    size = (data_set.height, data_set.width, data_set.channels)
    return build(plan.model, *size, data_set.classes, precision, normalize)
