"""The ledger against Keras' own count, the textbook's worked examples, and receptive fields worked out by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from zoo.models import build, definitions, layers
from zoo.models.ledger import ledger, read_ledger


@pytest.mark.parametrize("name", [m.name for m in definitions()])
@pytest.mark.parametrize("size", [pytest.param((28, 28, 1), marks=pytest.mark.slow), (17, 24, 3)], ids=str)
def test_totals_equal_keras_and_each_formula_its_number(name: str, size: tuple[int, int, int]) -> None:
    found = ledger(name, *size, classes=7)
    assert found.parameters == build(name, *size, classes=7).count_params()
    for layer in found.layers:
        assert eval(layer.formula.replace("×", "*") or "0") == layer.parameters, layer


@pytest.mark.parametrize(
    ("layer", "input_shape", "weights", "biases", "formula"),
    [
        (lambda bias: layers.Dense(100, use_bias=bias), (30_000,), 3_000_000, 100, "30000×100 + 100"),
        (lambda bias: layers.Conv2D(32, 3, use_bias=bias), (64, 64, 3), 864, 32, "3×3×3×32 + 32"),
        (lambda bias: layers.Dense(100, use_bias=bias), (784,), 78_400, 100, "784×100 + 100"),
        (lambda bias: layers.Conv2D(8, 3, use_bias=bias), (28, 28, 1), 72, 8, "3×3×1×8 + 8"),
    ],
    ids=["dense 30,000 to 100", "32 filters of 3x3x3", "dense 784 to 100", "3x3, 1 to 8"],
)
def test_the_four_worked_examples(layer, input_shape, weights: int, biases: int, formula: str) -> None:
    for bias, expected in ((True, weights + biases), (False, weights)):
        images = keras.Input(input_shape)
        (entry,) = read_ledger(keras.Model(images, layer(bias)(images)))
        assert entry.parameters == expected
        assert entry.formula == (formula if bias else formula.partition(" + ")[0])


@pytest.mark.parametrize(
    ("name", "expected"), [("mlp-small", None), ("conv-small", 23), ("lenet5", 16), ("separable-small", 53)]
)
def test_the_receptive_field_of_the_features(name: str, expected: int | None) -> None:
    # conv-small: 3, 5, 7 (stride 2), 11, 15 (stride 2), 23; LeNet-5: 5, 6 (stride 2), 14, 16, as worked out by hand.
    assert ledger(name, 28, 28, 1, 10).receptive_field == expected


@pytest.mark.parametrize("name", ["conv-small", "lenet5", pytest.param("separable-small", marks=pytest.mark.slow)])
def test_a_pixel_outside_of_the_receptive_field_changes_nothing(name: str) -> None:
    """The oracle: move one pixel of a large image and see how far its effect reaches in the last feature map."""
    found = ledger(name, 64, 64, 1, 2)
    last = [layer.name for layer in found.layers if layer.receptive_field == found.receptive_field][-1]
    full = build(name, 64, 64, 1, 2)
    features = keras.Model(full.input, full.get_layer(last).output)
    images = np.full((64 + 1, 64, 64, 1), 128, np.float32)
    for row in range(64):
        images[row + 1, row, 32] = 255  # one image for each row of the column in the middle
    maps = np.asarray(features(images))
    middle = maps.shape[1] // 2
    moved = np.abs(maps[1:, middle] - maps[0, middle]).max(axis=(1, 2)) > 0
    rows = np.flatnonzero(moved)
    assert 0 < rows.max() - rows.min() + 1 <= found.receptive_field


def test_multiply_accumulates_by_hand() -> None:
    # LeNet-5: 28*28*5*5*6 + 10*10*5*5*6*16 + 400*120 + 120*84 + 84*10
    assert ledger("lenet5", 28, 28, 1, 10).multiply_accumulates == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert ledger("softmax", 28, 28, 1, 10).multiply_accumulates == 7_840
