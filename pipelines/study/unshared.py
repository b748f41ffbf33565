"""A convolution whose filters aren't shared: each position has its own."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="zoo")
class UnsharedConv2D(keras.layers.Layer):  # type: ignore[misc]
    """Locally connected, as LeCun 1989 had it: [N, H, W, C] -> [N, H/s, W/s, F], and no bias.

    h*w*k*k*C*F parameters for h x w positions of the output, where a convolution has k*k*C*F. Margins of zeros keep the
    size, as `padding="same"` does.
    """

    def __init__(self, filters: int, kernel: int = 3, stride: int = 1, **others: Any) -> None:
        super().__init__(**others)
        self.filters, self.kernel, self.stride = filters, kernel, stride

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Weights [h, w, k*k*C, F], each position's drawn as a convolution's would be."""
        _, height, width, channels = self._patches_shape(shape)
        # Glorot & Bengio 2010, with the fans of one position: Keras' own would count all positions in.
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
