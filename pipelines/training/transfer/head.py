"""A new head on frozen features: it learns in seconds, with the decay that does best on the validation images."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.training.loop.checkpoint import Best
from pipelines.training.loop.optimizer_and_schedule import make_optimizer
from pipelines.training.transfer.features import Rows, apart, features_of
from zoo.data import DataSet, Split
from zoo.data.batches import steps_per_epoch, training_batches
from zoo.models.backend import start_keras
from zoo.recipe import LEARNED_AS_THEY_ARE, Recipe

BATCH = 128  # rows
PASSES = 40  # over each image, in all of its views
LEAST_UPDATES = 1_000
DECAYS = (0.01, 0.1, 1.0, 4.0)  # of AdamW: those of a head that may do as it likes, up to one that hardly dares
CALL = 50  # steps that TensorFlow takes in one call


@dataclass(frozen=True)
class Learned:
    """A head that has learned.

    best: the weights of the whole model with it, at epoch 0. decay: that it learned with. accuracies: 0..1, of the
    validation images, with each decay; none where there are no such images. seconds: for all of it. learning: those of
    the head alone.
    """

    best: Best
    decay: float
    accuracies: Mapping[float, float]
    seconds: float
    learning: float

    def __str__(self) -> str:
        """One line for the terminal."""
        tried = ", ".join(f"{accuracy:.2%} with {decay:g}" for decay, accuracy in self.accuracies.items())
        found = f" (validation accuracy {tried})" if tried else ""
        return f"the head has learned from frozen features in {self.seconds:,.0f} s, weight decay {self.decay:g}{found}"


def learn_head(learner: Any, frozen: Collection[str], recipe: Recipe, data_set: DataSet) -> Learned:
    """Train the layers of a model that aren't frozen, on the features that the others give; it is left with the best.

    The decay is chosen by validation accuracy, then by loss; it is the recipe's where there are no such images.
    RecipeError as of `apart` and `features_of`.
    """
    started = time.monotonic()
    extractor, head = apart(learner, frozen)
    train, validation = features_of(extractor, recipe, data_set)
    computed = time.monotonic()
    learns = {layer.name: layer.trainable for layer in head.layers}
    for layer in head.layers:  # also those behind a dropout, by which features differ each time
        layer.trainable = layer.name not in frozen
    beginning = [np.asarray(variable) for variable in head.variables]
    found: dict[float, Best] = {}
    for decay in DECAYS if len(validation) else (recipe.weight_decay,):
        for variable, value in zip(head.variables, beginning, strict=True):
            variable.assign(value)
        _fit(head, train, recipe.with_values({"weight_decay": decay}), data_set)
        accuracy, loss = _tested(head, validation, data_set.validation.labels)
        found[decay] = Best(0, accuracy, loss, tuple(learner.get_weights()))
    for layer in head.layers:
        layer.trainable = learns[layer.name]
    decay, best = next(iter(found.items()))
    for other, here in found.items():
        if here.is_better_than(best):
            decay, best = other, here
    learner.set_weights(best.weights)
    accuracies = {each: here.accuracy for each, here in found.items() if here.accuracy is not None}
    now = time.monotonic()
    return Learned(best, decay, accuracies, now - started, now - computed)


def _fit(head: Any, rows: Rows, recipe: Recipe, data_set: DataSet) -> None:
    """Train it from rows of features; their labels come again with each view."""
    views = len(rows) // len(data_set.train)
    labels = np.tile(data_set.train.labels, views)
    split = Split(rows, labels, ("",) * len(rows))
    recipe = recipe.with_values({**LEARNED_AS_THEY_ARE, "batch_size": BATCH})  # the views were augmented
    steps = steps_per_epoch(split, BATCH)
    epochs = max(math.ceil(PASSES / views), math.ceil(LEAST_UPDATES / steps))
    keras = start_keras()
    head.compile(
        optimizer=make_optimizer(recipe, steps * epochs, head.trainable_weights),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        steps_per_execution=max(k for k in range(1, CALL + 1) if steps * epochs % k == 0),
    )
    batches = training_batches(split, data_set.classes, recipe, mirrored=False, first_epoch=0, epochs=epochs)
    head.fit(batches, epochs=1, steps_per_epoch=steps * epochs, verbose=0, shuffle=False)


def _tested(head: Any, rows: Rows, labels: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Accuracy and log loss; None of no rows."""
    if not len(rows):
        return None, None
    logits = np.asarray(head.predict_on_batch(rows[:]), np.float64)
    highest = logits.max(axis=1, keepdims=True)
    of_label = logits[np.arange(len(labels)), labels]
    losses = np.log(np.exp(logits - highest).sum(axis=1)) + highest[:, 0] - of_label
    return float(np.mean(logits.argmax(axis=1) == labels)), float(losses.mean())
