"""Averaged weights beside those that learn, in the same training: a moving average, or the mean of its last quarter.

They are validated with batch norms of their own: the running statistics of a training are those of other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.machine import compiles_steps
from pipelines.training.loop.checkpoint import Average
from pipelines.training.loop.stages import Stage
from zoo.data import DataSet
from zoo.data.batches import steps_per_epoch, training_batches
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

MEMORY = 1 / 20  # of a stage's updates: how far back "ema" looks, as the inverse of what each update takes in
QUARTER = 1 / 4  # of a stage's updates, the last ones: what "last" is the mean of
FOR_NORMS = 2048  # training images, at most, that the statistics of batch norms are measured on


def averaged(
    kind: str, average: Average, weights: Sequence[NDArray[Any]], *, updates: int, of: int, call: int
) -> Average:
    """The average with one more: the weights after `updates` of a stage's steps, `call` after those before.

    kind: "ema" (Polyak & Juditsky 1992), which begins as a plain mean, or else its first weights would stay in it for
    long; or "last", the mean over the last quarter (Izmailov et al. 2018; departure: along a cosine, and after each
    call of Keras', not each epoch). of: steps of the stage. Anything that isn't floating point is the last one's.
    """
    if kind == "last" and updates <= (1 - QUARTER) * of:
        return average
    share = 1 / (average.count + 1)
    if kind == "ema":
        share = max(share, 1 - max(0.0, 1 - 1 / (MEMORY * of)) ** call)
    before = average.weights or tuple(weights)
    pairs = zip(before, weights, strict=True)
    mixed = tuple(old + (new - old) * new.dtype.type(share) if new.dtype.kind == "f" else new for old, new in pairs)
    return Average(average.count + 1, mixed)


class Averaging:
    """A model of its own for averaged weights, beside the learner, of which nothing changes."""

    def __init__(self, learner: Any, recipe: Recipe, data_set: DataSet, validation: Any) -> None:
        """validation: as Keras' `evaluate` takes it; None where there is none."""
        keras = start_keras()
        plain = keras.Model(learner.input, learner.output)  # not compiled: the optimizer would be cloned, too
        self._model = keras.models.clone_model(plain)
        self._model.compile(
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
            jit_compile=compiles_steps(),
        )
        norms = keras.layers.BatchNormalization
        self._norms = [layer for layer in self._model.layers if isinstance(layer, norms)]
        weights = {id(weight) for weight in self._model.weights}
        self._seeds = [variable for variable in self._model.variables if id(variable) not in weights]
        self._recipe, self._data_set, self._validation = recipe, data_set, validation

    @property
    def validates(self) -> bool:
        """Whether there is anything to validate with."""
        return self._validation is not None

    def validated(
        self, average: Sequence[NDArray[Any]], stage: Stage
    ) -> tuple[tuple[NDArray[Any], ...], dict[str, float]]:
        """The weights with the statistics that their batch norms have, and what Keras measures of them: loss, accuracy.

        What is frozen in the stage keeps its statistics. The same weights come to the same, whenever that is.
        """
        self._model.set_weights(average)
        learning = [norm for norm in self._norms if norm.name not in stage.frozen]
        if learning:
            for layer in self._model.layers:
                layer.trainable = layer.name not in stage.frozen
            self._measure(learning)
        measured = (
            {} if self._validation is None else self._model.evaluate(self._validation, verbose=0, return_dict=True)
        )
        return tuple(self._model.get_weights()), measured

    def _measure(self, norms: Sequence[Any]) -> None:
        """Let statistics be the mean over the first training images, as the first epoch shows them."""
        for seed in self._seeds:  # of dropout
            seed.assign(np.zeros(seed.shape))
        split, batch_size = self._data_set.train, min(self._recipe.batch_size, len(self._data_set.train))
        batches = training_batches(
            split,
            self._data_set.classes,
            self._recipe,
            mirrored=self._data_set.mirrored,
            first_epoch=0,
            epochs=1,
        ).take(max(1, min(steps_per_epoch(split, batch_size), FOR_NORMS // batch_size)))
        for before, (images, _) in enumerate(batches):
            for norm in norms:
                norm.momentum = before / (before + 1)
            self._model(images, training=True)
