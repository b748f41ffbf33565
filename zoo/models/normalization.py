"""Each image to one brightness and one contrast, inside of the model: what light and camera did to it is undone."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from zoo.models.registry import Tensor

FLOOR = 1.0  # shades of 255, beside the deviation: rounding alone makes half of one, which isn't to be made an image


@keras.saving.register_keras_serializable(package="zoo")
class ImageNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Raw pixels [N, H, W, C] -> float32 of mean 0 and deviation 1 in each image: (x - mean) / √(variance + 1).

    Mean and variance are over all pixels and channels, so that colors stay what they are to each other. An image of one
    shade is all zeros. Images x and a · x + b come out the same, but for rounding, for what was cut off at 0 and 255,
    and for the 1 where the deviation is but a few shades.
    In float32 whatever the policy: a sum over all pixels needs its digits.
    """

    def __init__(self, **others: Any) -> None:
        super().__init__(**{**others, "dtype": "float32"})

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes: Keras leaves the name out where the signature doesn't have it."""
        return {**super().get_config(), "name": self.name}

    def call(self, images: Tensor) -> Tensor:
        """[N, H, W, C] -> [N, H, W, C]"""
        centered = images - ops.mean(images, axis=(1, 2, 3), keepdims=True)
        variance = ops.mean(centered * centered, axis=(1, 2, 3), keepdims=True)
        return centered / ops.sqrt(variance + FLOOR**2)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The same."""
        return input_shape
