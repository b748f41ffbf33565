"""What a table needs in front of a dense model: numbers to one scale, categories to switches, gaps filled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from zoo.models.registry import Scale, Tensor


@keras.saving.register_keras_serializable(package="zoo")
class Columns(keras.layers.Layer):  # type: ignore[misc]
    """Raw features [N, F] float32 -> [N, numbers + all categories] float32: the numbers first.

    scales: for each of the F columns (median, mean, deviation) where it is numeric: NaN becomes the median, then the
    value its distance from the mean in deviations. Else how many categories it has: a 1 for the row's own among zeros,
    which is all zeros for a category that nobody knew.
    In float32 whatever the policy: raw values may need all their digits.
    """

    def __init__(self, scales: Sequence[Scale], **others: Any) -> None:
        super().__init__(**{**others, "dtype": "float32"})
        self.scales = [scale if isinstance(scale, int) else list(scale) for scale in scales]
        self.numbers = [(place, *scale) for place, scale in enumerate(scales) if not isinstance(scale, int)]
        self.categories = [(place, scale) for place, scale in enumerate(scales) if isinstance(scale, int)]

    def call(self, features: Tensor) -> Tensor:
        """[N, F] -> [N, numbers + all categories]"""
        parts = []
        if self.numbers:
            places, *scales = zip(*self.numbers, strict=True)
            median, mean, deviation = (np.array(values, np.float32) for values in scales)
            values = ops.take(features, list(places), axis=1) if len(places) < features.shape[1] else features
            values = ops.where(ops.isnan(values), median, values)
            parts.append((values - mean) * (1 / deviation))
        if self.categories:
            switches = [place for place, count in self.categories for _ in range(count)]
            codes = np.array([code for _, count in self.categories for code in range(count)], np.float32)
            parts.append(ops.cast(ops.equal(ops.take(features, switches, axis=1), codes), "float32"))
        return ops.concatenate(parts, axis=1) if len(parts) > 1 else parts[0]

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, int]:
        """[N, F] -> [N, numbers + all categories]"""
        return input_shape[0], len(self.numbers) + sum(count for _, count in self.categories)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "scales": self.scales}
