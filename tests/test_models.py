"""What holds for every registered model, and what the registry refuses. A new model is tested by existing."""

from __future__ import annotations

import re
from functools import cache

import keras
import numpy as np
import pytest

from zoo.errors import ModelError
from zoo.models import build, definition, definitions, layers, model

NAMES = [m.name for m in definitions()]


@cache
def seeded(name: str) -> keras.Model:
    """For images of 8x8x1 and three classes, from seed 7; built once for all that only look at it."""
    keras.utils.set_random_seed(7)
    return build(name, 8, 8, 1, 3)


@pytest.mark.parametrize("name", NAMES)
# Three channels are in test_graph, for each model.
@pytest.mark.parametrize(
    "size",
    [(8, 8, 1), *(pytest.param(size, marks=pytest.mark.slow) for size in ((28, 28, 1), (33, 40, 3)))],
    ids=str,
)
def test_every_model_takes_raw_pixels_of_any_size_and_gives_probabilities(
    name: str, size: tuple[int, int, int]
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    classes = 3 if size == (8, 8, 1) else 4
    outputs = (seeded(name) if size == (8, 8, 1) else build(name, *size, classes))(images)
    probabilities, logits = np.asarray(outputs["probabilities"]), np.asarray(outputs["logits"])
    assert probabilities.shape == logits.shape == (3, classes)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_formula_in_the_docstring_is_what_keras_counts(name: str) -> None:
    text = definition(name).architecture.__doc__ or ""
    formula, total = re.search(r"28x28x1, K = 10: (.+?) = ([\d,]+) parameters", text, re.DOTALL).groups()
    arithmetic = formula.replace(",", "")
    assert re.fullmatch(r"[\d\s+*()]+", arithmetic), arithmetic
    counted = build(name, 28, 28, 1, 10).count_params()
    assert eval(" ".join(arithmetic.split())) == int(total.replace(",", "")) == counted


@pytest.mark.parametrize("name", NAMES)
def test_every_model_trains_in_bfloat16_and_still_gives_float32(name: str) -> None:
    trained = build(name, 8, 8, 1, 3, precision="mixed_bfloat16")
    assert {tensor.dtype for tensor in trained.output.values()} == {"float32"}
    assert {weight.dtype for weight in trained.weights} == {"float32"}
    assert [w.path for w in seeded(name).weights] == [w.path for w in trained.weights], (
        "weights can be copied to float32"
    )


@pytest.mark.parametrize("name", NAMES)
def test_layer_names_are_the_same_each_time_and_the_seed_decides_the_initial_weights(name: str) -> None:
    models = [seeded(name)]
    for seed in (7, 8):
        keras.utils.set_random_seed(seed)
        models.append(build(name, 8, 8, 1, 3))
    names = [[layer.name for layer in model.layers] for model in models]
    first, same, other = (model.get_weights() for model in models)
    assert names[0] == names[1] == names[2]
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_each_family_is_there_and_says_what_it_is() -> None:
    assert {m.family for m in definitions()} == {"dense", "conv", "hybrid"}
    assert all(m.summary.endswith(".") for m in definitions())


def test_an_unknown_model_names_the_nearest_ones() -> None:
    with pytest.raises(ModelError, match="no model is called 'lenet': did you mean lenet5"):
        build("lenet", 28, 28, 1, 10)


def test_a_name_used_twice_and_a_family_that_there_isnt_are_refused() -> None:
    with pytest.raises(ModelError, match="two models are called 'lenet5'"):
        model("lenet5", family="hybrid")(lambda images, classes: images)
    with pytest.raises(ModelError, match="family 'transformer': expected one of dense, conv, hybrid"):
        model("vit", family="transformer")(lambda images, classes: images)


def test_an_image_too_small_for_the_poolings_is_told_in_one_sentence(registered) -> None:
    @registered("four-poolings", family="conv")
    def four_poolings(images, classes):
        for _ in range(4):
            images = layers.MaxPooling2D(2)(images)
        return layers.Dense(classes)(layers.Flatten()(images))

    build("four-poolings", 16, 16, 1, 2)
    with pytest.raises(ModelError, match=r"four-poolings .* 4x4x1: Computed output size .*; take larger") as caught:
        build("four-poolings", 4, 4, 1, 2)
    assert "\n" not in str(caught.value)


def test_a_diagram_that_gives_no_logits_is_told(registered) -> None:
    @registered("maps-only", family="conv")
    def maps_only(images, classes):
        return layers.Conv2D(classes, 3)(images)

    with pytest.raises(ModelError, match=r"maps-only gives .*expected logits \[N, 5\]"):
        build("maps-only", 8, 8, 1, 5)


@pytest.mark.parametrize(("channels", "classes", "message"), [(2, 10, "1 channel"), (1, 1, "at least 2 classes")])
def test_channels_and_classes_that_make_no_sense_are_refused(channels: int, classes: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build("softmax", 8, 8, channels, classes)
