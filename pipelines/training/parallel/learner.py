"""A learner on several devices: to the loop it is a Keras model like any other, with steps that devices take together.

Keras' own `fit` (3.15) divides batches without synchronizing what looks beyond an image, fails on validation images
that don't divide, and doesn't run on several machines at all (keras#20585).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

from pipelines.training.loop.learner import enter
from pipelines.training.loop.stages import Schedule, Stage
from pipelines.training.parallel.layers import copy_for_pieces, piece_of, whole_batch
from pipelines.training.parallel.team import Team
from zoo.errors import RecipeError
from zoo.models.backend import start_keras
from zoo.recipe import Recipe


def spread(learner: Any, team: Team, recipe: Recipe, schedule: Schedule, stage: Stage) -> Any:
    """A copy of a learner whose steps all devices of a team take together, compiled for a stage.

    It is what `pipelines.training.loop.fit.fit` takes, outside of the strategy's scope; weights are those that one
    device would come to, but for rounding. Raises ModelError for a layer that can't be divided; its `fit` raises
    RecipeError where a step has fewer images than there are devices.
    """
    with team.strategy.scope():
        copy = copy_for_pieces(learner)
        spread = _spread_model()(copy.input, copy.output)
        spread.on(team)
    enter(spread, recipe, schedule, stage)
    return spread


@cache
def _spread_model() -> Any:
    """The class; made when it is first needed, since importing Keras takes seconds."""
    keras = start_keras()
    import tensorflow as tf

    class SpreadModel(keras.Model):  # type: ignore[misc, name-defined]
        """A Keras model whose variables lie on each device of a strategy, and stay equal there."""

        def on(self, team: Team) -> None:
            """Say which team's it is, in the scope of whose strategy it was made."""
            self.team, self.strategy = team, team.strategy
            self.measured = tf.Variable(  # sums of losses, of images that were right, and of all images
                np.zeros(3),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.SUM,
            )
            self.functions: dict[str, Any] = {}

        def compile(self, optimizer: Any, steps_per_execution: int, **settings: Any) -> None:
            """As Keras has it, with an optimizer whose moments lie where the weights do."""
            with self.strategy.scope():
                there = type(optimizer).from_config(optimizer.get_config())
                free = [weight for weight in self.trainable_weights if not optimizer._use_weight_decay(weight)]
                there.exclude_from_weight_decay(free)
                there.build(self.trainable_weights)
                super().compile(optimizer=there, **settings)
            self.steps_in_call = steps_per_execution
            self.functions = {}

        def fit(
            self,
            batches: Any,
            *,
            steps_per_epoch: int,
            epochs: int,
            initial_epoch: int = 0,
            validation_data: Any = None,
            callbacks: Sequence[Any] = (),
            **_: Any,
        ) -> None:
            """What `keras.Model.fit` does, as far as the loop asks for it. batches: of all devices together."""
            size = int(batches.element_spec[0].shape[0])
            if size < self.strategy.num_replicas_in_sync:
                raise RecipeError(
                    f"a step of {size} images can't be divided among {self.strategy.num_replicas_in_sync} devices: "
                    "train on fewer"
                )
            whole_batch(self, size)
            self.team.values_of_chief([*self.variables, *self.optimizer.variables])
            stream = iter(self._divided(batches, _piece))
            self.stop_training = False
            for epoch in range(initial_epoch, epochs):
                self.measured.assign(np.zeros(3))
                for step in range(0, steps_per_epoch, self.steps_in_call):
                    count = min(self.steps_in_call, steps_per_epoch - step)
                    self._steps("train", lambda *piece: self._learn(size, *piece))(stream, tf.constant(count))
                    for callback in callbacks:
                        callback.on_train_batch_end(step + count - 1, {})
                    if self.stop_training:
                        break
                logs = self._means("")
                if validation_data is not None:
                    logs |= self._validated(validation_data)
                for callback in callbacks:
                    callback.on_epoch_end(epoch, logs)
                if self.stop_training:
                    break

        def _learn(self, size: int, images: Any, targets: Any) -> None:
            """One device's part in a step. size: of the whole batch."""
            with tf.GradientTape() as tape:
                logits = self(images, training=True)
                losses = keras.losses.categorical_crossentropy(targets, tf.cast(logits, tf.float32), from_logits=True)
                own = sum(self.losses) / self.strategy.num_replicas_in_sync  # of regularizers, the same everywhere
                loss = tf.reduce_sum(losses) / size + own
            weights = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)  # their sum over all devices
            self._measure(losses, logits, targets, tf.ones_like(losses))

        def _validate(self, images: Any, targets: Any, counts: Any) -> None:
            logits = self(images, training=False)
            losses = keras.losses.categorical_crossentropy(targets, tf.cast(logits, tf.float32), from_logits=True)
            self._measure(losses, logits, targets, counts)

        def _measure(self, losses: Any, logits: Any, targets: Any, counts: Any) -> None:
            """Add up. counts [N]: 1 for an image, 0 for one that only fills its piece."""
            right = tf.cast(tf.argmax(logits, -1) == tf.argmax(targets, -1), counts.dtype)
            sums = [tf.reduce_sum(each) for each in (losses * counts, right * counts, counts)]
            self.measured.assign_add(tf.cast(tf.stack(sums), tf.float64))

        def _validated(self, batches: Any) -> dict[str, float]:
            self.measured.assign(np.zeros(3))
            stream = iter(self._divided(batches, _filled_piece))
            self._steps("validate", self._validate)(stream, tf.constant(int(batches.cardinality())))
            return self._means("val_")

        def _means(self, prefix: str) -> dict[str, float]:
            if "read" not in self.functions:
                self.functions["read"] = tf.function(self.measured.read_value)  # a sum over all workers, see `Team`
            with self.strategy.scope():
                losses, right, images = self.functions["read"]().numpy()
            return {f"{prefix}loss": float(losses / images), f"{prefix}accuracy": float(right / images)}

        def _steps(self, name: str, step: Callable[..., None]) -> Any:
            """The function that takes a stream and a number of steps. Kept: TensorFlow compiles each anew."""
            if name not in self.functions:

                @tf.function  # type: ignore[untyped-decorator]
                def steps(stream: Any, count: Any) -> None:
                    for _ in tf.range(count):
                        self.strategy.run(step, args=next(stream))

                self.functions[name] = steps
            return self.functions[name]

        def _divided(self, batches: Any, piece: Callable[..., Any]) -> Any:
            """The batches as this process' devices get them, without an end: to look for one costs a message a step."""

            def of_process(context: Any) -> Any:
                count = context.num_replicas_in_sync
                own = count // context.num_input_pipelines
                first = context.input_pipeline_id * own

                def pieces(images: Any, targets: Any) -> Any:
                    return tf.data.Dataset.range(first, first + own, output_type=tf.int32).map(
                        lambda index: piece(images, targets, count, index)
                    )

                return batches.repeat().flat_map(pieces).prefetch(2 * own)

            return self.strategy.distribute_datasets_from_function(of_process)

    return SpreadModel


def _piece(images: Any, targets: Any, count: int, index: Any) -> tuple[Any, Any]:
    begin, end = piece_of(images.shape[0], count, index)
    return images[begin:end], targets[begin:end]


def _filled_piece(images: Any, targets: Any, count: int, index: Any) -> tuple[Any, Any, Any]:
    """One of `count` of the same size, and which of its images count: the last is repeated where they don't divide."""
    import tensorflow as tf

    size = tf.shape(images)[0]
    each = (size + count - 1) // count
    places = index * each + tf.range(each)
    taken = tf.minimum(places, size - 1)
    return tf.gather(images, taken), tf.gather(targets, taken), tf.cast(places < size, tf.float32)
