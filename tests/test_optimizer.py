"""Muon: which weights it moves, and how; AdamW for all others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.training.loop.optimizer_and_schedule import make_optimizer
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

DECAY = 0.02


@pytest.fixture(scope="module")
def steps() -> dict[str, NDArray[np.float32]]:
    """What one step of Muon at a rate of 0.01 takes from each weight of a small hybrid, by the layer's name."""
    keras = start_keras()
    keras.utils.set_random_seed(1)
    images = keras.Input((6, 6, 4))
    x = keras.layers.Conv2D(24, 3, use_bias=False, name="conv")(images)
    x = keras.layers.DepthwiseConv2D(3, use_bias=False, name="depthwise")(x)
    x = keras.layers.BatchNormalization(name="norm")(x)
    x = keras.layers.Dense(32, use_bias=False, name="hidden")(keras.layers.Flatten()(x))
    model = keras.Model(images, keras.layers.Dense(3, name="any_name")(x))
    recipe = Recipe(optimizer="muon", learning_rate=0.01, warmup=0.0, weight_decay=DECAY)
    model.compile(make_optimizer(recipe, 10, model.trainable_weights), "mse")
    before = [weight.numpy() for weight in model.trainable_weights]
    random = np.random.default_rng(1)
    model.fit(random.normal(size=(8, 6, 6, 4)), random.normal(size=(8, 3)), batch_size=8, verbose=0)
    return {
        weight.path: old - weight.numpy() - 0.01 * DECAY * old * (old.ndim > 1)
        for weight, old in zip(model.trainable_weights, before, strict=True)
    }


def _lengths(step: NDArray[Any]) -> NDArray[Any]:
    """Singular values of a step as shares of the longest, without what rounding leaves where the gradient has none."""
    found = np.linalg.svd(step.reshape(-1, step.shape[-1]), compute_uv=False)
    return found[found > 1e-3 * found[0]] / found[0]


@pytest.mark.parametrize("kernel", ["conv/kernel", "hidden/kernel"])
def test_a_matrix_moves_in_all_its_directions_alike(steps: dict[str, NDArray[Any]], kernel: str) -> None:
    # Five rounds of Newton and Schulz bring their lengths to within 0.7 and 1.2 (Jordan et al. 2024).
    assert _lengths(steps[kernel]).min() > 0.5


def test_a_kernel_moves_as_far_as_with_adamw(steps: dict[str, NDArray[Any]]) -> None:
    assert steps["conv/kernel"].std() == pytest.approx(0.2 * 0.01, rel=0.2)  # Liu et al. 2025, section 2.2


@pytest.mark.parametrize("weight", ["depthwise/kernel", "norm/gamma", "norm/beta", "any_name/kernel", "any_name/bias"])
def test_what_is_no_matrix_moves_as_with_adamw(steps: dict[str, NDArray[Any]], weight: str) -> None:
    # In Adam's first step, each weight moves by the rate, whatever its gradient is.
    moved = np.abs(steps[weight])
    assert np.quantile(moved, 0.9) == pytest.approx(0.01, rel=0.02)
