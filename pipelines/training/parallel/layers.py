"""Layers that look beyond their own image, in a form for a batch that lies on several devices.

A replica, as TensorFlow calls a device's copy of a model, has a piece of each batch. All other layers of a classifier
compute the same whatever else is in the batch.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from zoo.errors import ModelError
from zoo.models.backend import start_keras


def copy_for_pieces(model: Any) -> Any:
    """A copy of a `keras.Model`, with the same names, weights and states of its random generators.

    On one device it computes, bit for bit, what the model does; on several, what that computes on the whole batch, but
    for rounding. Variables are made in the strategy whose scope it is called in. Raises ModelError for a layer that
    draws random numbers in a way that can't be divided.
    """
    keras = start_keras()

    def copied(layer: Any) -> Any:
        kind: Any = type(layer)
        if isinstance(layer, keras.layers.BatchNormalization):
            kind = _synchronized(kind)
        elif kind is keras.layers.Dropout:
            kind = _of_whole_batch()
        elif getattr(layer, "seed_generator", None) is not None:
            raise ModelError(
                f"the layer {layer.name} ({kind.__name__}) draws random numbers for each batch, which can't be "
                "divided among devices: train on one, or use Dropout"
            )
        return kind.from_config(layer.get_config())

    plain = keras.Model(model.input, model.output)  # not compiled: the optimizer would be cloned, too
    copy = keras.models.clone_model(plain, clone_function=copied)
    for new, old in zip(copy.variables, model.variables, strict=True):
        new.assign(old)
    return copy


def whole_batch(model: Any, size: int) -> None:
    """Let the dropout of a copy know how many images all devices have together in a step."""
    for layer in model.layers:
        if isinstance(layer, _of_whole_batch()):
            layer.whole = size


def piece_of(size: Any, count: int, index: Any) -> tuple[Any, Any]:
    """Where a piece of a batch begins and ends: `index` of `count`, which differ by an image at most."""
    return index * size // count, (index + 1) * size // count


def _replicas() -> tuple[int, Any]:
    """How many there are, and which one is computing: an int32 tensor. (1, 0) where the whole batch is in one place."""
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return 1, 0
    return context.num_replicas_in_sync, context.replica_id_in_sync_group


@cache
def _synchronized(kind: Any) -> Any:
    """A class of batch normalizations, ours or Keras', with the statistics of the whole batch."""
    import tensorflow as tf

    class SynchronizedBatchNormalization(kind):  # type: ignore[misc]
        """The same weights and, but for rounding, the same outputs and running statistics as on one device.

        Means and sums of squares of the pieces are put together as by Chan, Golub & LeVeque 1983: E[x²] - E[x]² would
        lose digits. The running variance takes in the unbiased one, as in `fused_norms`.
        """

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            """inputs [N, C] or [N, H, W, C] -> the same shape and type."""
            count, index = _replicas()
            if count == 1 or not (training and self.trainable):
                return super().call(inputs, training=training, mask=mask)
            axes = list(range(len(inputs.shape) - 1))
            values = tf.cast(inputs, tf.float32)
            size = tf.cast(tf.size(values) / tf.shape(values)[-1], tf.float32)
            mean = tf.reduce_mean(values, axes)
            squares = tf.reduce_sum(tf.math.squared_difference(values, mean), axes)
            own = tf.stack([tf.fill(tf.shape(mean), size), mean, squares])  # [3, C]
            rows = tf.one_hot(index, count)[:, None, None] * own  # [replicas, 3, C], all but its own are 0
            sizes, means, squares = tf.unstack(
                tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows), axis=1
            )
            size = tf.reduce_sum(sizes, 0)  # [C]
            mean = tf.reduce_sum(sizes * means, 0) / size
            spread = tf.reduce_sum(squares + sizes * tf.math.squared_difference(means, mean), 0)
            variance, unbiased = spread / size, spread / tf.maximum(size - 1, 1)
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
            outputs = tf.nn.batch_normalization(values, mean, variance, self.beta, self.gamma, self.epsilon)
            return tf.cast(outputs, inputs.dtype)

    return SynchronizedBatchNormalization


@cache
def _of_whole_batch() -> Any:
    """The class of dropout; made when it is first needed, since importing Keras takes seconds."""
    keras = start_keras()
    import tensorflow as tf

    class DropoutOfWholeBatch(keras.layers.Dropout):  # type: ignore[misc, name-defined]
        """What is dropped is drawn for the whole batch on each device, which takes its piece of it.

        whole: images that all devices have together.
        """

        whole = 0

        def call(self, inputs: Any, training: bool = False) -> Any:
            """inputs [N, ...] -> the same shape and type."""
            count, index = _replicas()
            if count == 1 or not training or not self.rate:
                return super().call(inputs, training=training)
            ones = tf.ones([self.whole, *inputs.shape[1:]], inputs.dtype)
            kept = keras.random.dropout(ones, self.rate, noise_shape=self.noise_shape, seed=self.seed_generator)
            begin, end = piece_of(self.whole, count, index)
            return inputs * kept[begin:end]

    return DropoutOfWholeBatch
