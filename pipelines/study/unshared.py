"""A locally connected layer: a convolution without weight sharing, with other filters at each position."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class UnsharedConv2D(keras.layers.Layer):  # type: ignore[misc]
    """A locally connected layer (LeCun 1989) without bias: [N, H, W, C] -> [N, H/s, W/s, F].

    h*w*k*k*C*F parameters for h x w output positions, where a convolution has k*k*C*F. Zero padding as of
    `padding="same"`.
    """

    def __init__(self, filters: int, kernel: int = 3, stride: int = 1, **others: Any) -> None:
        super().__init__(**others)
        self.filters, self.kernel, self.stride = filters, kernel, stride

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Weights [h, w, k*k*C, F], initialized at each position as a convolution's are."""
        _, height, width, channels = self._patches_shape(shape)
        # Glorot & Bengio 2010, with the fans of one position: Keras would count all positions.
        spread = (6 / (channels + self.kernel**2 * self.filters)) ** 0.5
        self.weight = self.add_weight(
            shape=(height, width, channels, self.filters),
            initializer=keras.initializers.RandomUniform(-spread, spread),
            name="kernel",
        )

    def call(self, x: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H/s, W/s, F]"""
        patches = ops.image.extract_patches(x, self.kernel, strides=self.stride, padding="same")
        return ops.einsum("nhwp,hwpf->nhwf", patches, self.weight)

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """[N, H, W, C] -> [N, H/s, W/s, F]"""
        return (*self._patches_shape(shape)[:3], self.filters)

    def _patches_shape(self, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        batch, height, width, channels = shape
        return batch, -(-height // self.stride), -(-width // self.stride), channels * self.kernel**2  # type: ignore

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "filters": self.filters, "kernel": self.kernel, "stride": self.stride}
