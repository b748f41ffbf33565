"""Batch normalization as TensorFlow's own kernel computes it, for training alone."""

from __future__ import annotations

from functools import cache
from typing import Any

from zoo.models.backend import start_keras


def with_fused_norms(model: Any) -> Any:
    """A copy of a `keras.Model`, with the same names and weights, whose batch normalizations are one kernel each.

    Keras writes them as a dozen operations in float32, also between layers of bfloat16: on two cores they took as long
    as all convolutions of conv-small, whose training runs 1.7 times as fast without them. Only training uses the copy:
    what is kept and exported is the plain model, which any Keras can load.
    """
    keras = start_keras()

    def copied(layer: Any) -> Any:
        kind = type(layer)
        return (_fused() if kind is keras.layers.BatchNormalization else kind).from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=copied)
    copy.set_weights(model.get_weights())
    return copy


@cache
def _fused() -> Any:
    """The layer's class; made when it is first needed, since importing Keras takes seconds."""
    keras = start_keras()
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        """The same weights and, but for rounding, the same outputs; statistics are float32 whatever the inputs are.

        Departure: the running variance takes in the unbiased variance of a batch, as PyTorch's does.
        """

        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG002
            """inputs [N, C] or [N, H, W, C] -> the same shape and type."""
            images = inputs if len(inputs.shape) == 4 else inputs[:, None, None, :]
            learns = bool(training and self.trainable)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=images,
                scale=self.gamma,
                offset=self.beta,
                mean=[] if learns else self.moving_mean,
                variance=[] if learns else self.moving_variance,
                epsilon=self.epsilon,
                is_training=learns,
            )
            if learns:
                for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                    moving.assign(moving * self.momentum + now * (1 - self.momentum))
            return outputs if images is inputs else outputs[:, 0, 0, :]

    return FusedBatchNormalization
