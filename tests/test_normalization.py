"""normalize=image: light and contrast of an image change no answer, in Keras as in the file, which comes back too."""

from __future__ import annotations

import json
from functools import cache
from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from pipelines import tracking
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.architecture import summarize
from pipelines.exporting.convert import convert
from pipelines.exporting.export import export
from pipelines.exporting.from_onnx import rebuild
from pipelines.exporting.verify import verify
from pipelines.training.loop.learner import build_for
from pipelines.training.train import train
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.contract import LOGITS, PARITY_TOLERANCE, PROBABILITIES, Metadata, read_manifest
from zoo.errors import ModelError, RecipeError
from zoo.models import build
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

MODELS = ("mlp-small", "conv-tiny", "lenet5")  # dense, conv, hybrid
SIDE = 16
PAIRS = list(product(MODELS, (1, 3)))


@cache
def made(name, channels, normalize="image"):
    """A model with random weights, biases and norms included, and what it was converted to."""
    start_keras().utils.set_random_seed(1)
    model, random = build(name, SIDE, SIDE, channels, 5, normalize=normalize), np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1:
            scales = weight.name in ("gamma", "moving_variance")
            weight.assign(random.uniform(*((0.5, 1.5) if scales else (-0.1, 0.1)), weight.shape))
    return model, convert(model)


def some_images(channels, count=9):
    """Waves of another length and direction each, of even values in the middle half of the range."""
    down, right = np.mgrid[:SIDE, :SIDE]
    waves = [np.sin((k + 1) * (down * np.cos(k) + right * np.sin(k)) / 5) for k in range(count)]
    tints = np.linspace(0.5, 1, channels)
    return (2 * np.rint(64 + 30 * np.stack(waves)[..., None] * tints)).astype(np.uint8)


def constant(channels):
    return np.stack([np.full((SIDE, SIDE, channels), value, np.uint8) for value in (0, 1, 127, 254, 255)])


def in_keras(name, channels):
    return lambda images: [np.asarray(made(name, channels)[0](images)[each]) for each in (PROBABILITIES, LOGITS)]


def in_onnxruntime(name, channels):
    session = onnxruntime.InferenceSession(made(name, channels)[1].SerializeToString())
    return lambda images: session.run([PROBABILITIES, LOGITS], {"images": images})


WAYS = {"Keras": in_keras, "ONNX": in_onnxruntime}


LIGHTS = {"half the contrast": (0.5, 70), "brighter": (1, 60), "darker": (1, -60), "half, and dark": (0.5, -30)}


def largest_change(answer, images):
    """Of a logit when the light changes, as a share of what it changes by from image to image."""
    logits, found = answer(images)[1], []
    for factor, added in LIGHTS.values():
        changed = factor * images.astype(float) + added
        assert (changed.min() >= 0, changed.max() <= 255, (changed % 1 == 0).all()) == (True,) * 3
        found.append(np.abs(answer(changed.astype(np.uint8))[1] - logits).max())
    return max(found) / np.ptp(logits, axis=0).max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "channels"), PAIRS)
def test_contrast_and_brightness_change_no_answer(name, channels, way):
    assert largest_change(WAYS[way](name, channels), some_images(channels)) < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_they_change_those_of_a_model_that_scales_alone(name):
    model, _ = made(name, 1, "none")
    assert largest_change(lambda images: [None, np.asarray(model(images)[LOGITS])], some_images(1)) > 0.2


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "channels"), PAIRS)
def test_an_image_of_one_shade_has_one_answer_whatever_the_shade(name, channels, way):
    probabilities, logits = WAYS[way](name, channels)(constant(channels))
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(probabilities, probabilities[:1].repeat(5, axis=0), atol=1e-5)


@pytest.mark.parametrize(("name", "channels"), PAIRS)
def test_the_file_answers_as_keras_does_and_so_does_the_reference(name, channels):
    images = np.concatenate([some_images(channels), constant(channels)])
    expected, found = (WAYS[way](name, channels)(images) for way in ("Keras", "ONNX"))
    reference = ReferenceEvaluator(made(name, channels)[1]).run([PROBABILITIES, LOGITS], {"images": images})
    for answers in (found, reference):
        np.testing.assert_allclose(answers[0], expected[0], atol=PARITY_TOLERANCE, rtol=0)
        np.testing.assert_allclose(answers[1], expected[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "channels"), PAIRS)
def test_nothing_is_folded_into_the_first_weights_that_does_not_belong_there(name, channels):
    model, converted = made(name, channels)
    operators = [node.op_type for node in converted.graph.node]
    assert operators[1:9] == ["Cast", "ReduceMean", "Sub", "Mul", "ReduceMean", "Add", "Sqrt", "Div"]
    if name == "conv-tiny":  # whose first weights take a norm in
        return
    first = next(layer for layer in model.layers if layer.weights)
    stored = next(c for c in converted.graph.initializer if c.name == f"{first.name}/kernel")
    values = np.sort(numpy_helper.to_array(stored), axis=None)
    np.testing.assert_allclose(values, np.sort(np.asarray(first.kernel), axis=None), rtol=1e-6)


@pytest.mark.parametrize(("name", "channels"), PAIRS)
def test_a_file_comes_back_as_the_keras_model_that_answers_alike(name, channels, tmp_path):
    model, converted = made(name, channels)
    recipe = Recipe(normalize="image").to_json()
    about = ("noise", "0" * 64, tuple("abcde"), SIDE, SIDE, channels, recipe, "0" * 32, "", "0" * 64, 0.5)
    stored = onnx.ModelProto()
    stored.CopyFrom(converted)
    onnx.helper.set_model_props(stored, Metadata(name, "conv", *about).to_properties())
    (tmp_path / "model.onnx").write_bytes(stored.SerializeToString())
    images = some_images(channels)
    again = rebuild(tmp_path / "model.onnx")[0]
    np.testing.assert_allclose(*(np.asarray(each(images)[LOGITS]) for each in (again, model)), atol=1e-4)


def test_the_layer_is_numpys_and_computes_in_float32_whatever_the_policy():
    model = build("conv-tiny", SIDE, SIDE, 3, 5, precision="mixed_bfloat16", normalize="image")
    layer, images = model.get_layer("normalization"), some_images(3)
    centered = images - images.mean(axis=(1, 2, 3), keepdims=True)
    expected = centered / np.sqrt(images.var(axis=(1, 2, 3), keepdims=True) + 1)
    found = np.asarray(layer(images.astype(np.float32)))
    assert (layer.compute_dtype, found.dtype) == ("float32", np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not any(layer.name == "scaling" for layer in model.layers)
    assert "each image to mean 0, standard deviation 1" in summarize(model)


def test_a_model_of_before_is_built_as_before():
    keras = start_keras()
    models = []
    for settings in ({}, {"normalize": "none"}):
        keras.utils.set_random_seed(1)
        models.append(build("lenet5", SIDE, SIDE, 1, 5, **settings))
    assert json.dumps(models[0].get_config()) == json.dumps(models[1].get_config())
    assert [layer.name for layer in models[0].layers][:2] == ["images", "scaling"]
    assert "normalize" not in Recipe().decisive()


@pytest.mark.parametrize("normalize", ["batch", "", None, ["image"], 1])
def test_another_normalization_is_refused(normalize):
    with pytest.raises(ModelError, match="normalize must be none or image, received"):
        build("softmax", 8, 8, 1, 10, normalize=normalize)


def test_the_rows_of_a_table_are_not_normalized(shared_store):
    (shared_store / "rows.csv").write_text("a,b,label\n" + "".join(f"{k},{k % 7},{k % 2}\n" for k in range(60)))
    assert make_plan("softmax", "rows.csv", label="label").recipe.normalize == "none"
    plan = make_plan("softmax", "rows.csv", label="label", settings={"normalize": "image"})
    with pytest.raises(RecipeError, match=r"is a table, whose columns are scaled one by one.*: set normalize=none"):
        build_for(plan, load_data(plan))


# --- from a run to an export, and on from there --------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(shared_store):
    """A run of two epochs with all that is new, evaluated and exported."""
    run = train("lenet5", "digits", settings={"epochs": 2, "normalize": "image", "degrade": 0.5}).run
    evaluation = evaluate(run)
    return run, evaluation, export(run)


def test_an_export_is_verified_by_what_it_says_of_itself(trained):
    run, evaluation, exported = trained
    manifest = read_manifest(exported.folder)
    assert manifest.metadata.recipe["normalize"] == "image"
    assert {"test_robust_mean", "test_robust_seen", "test_robust_unseen"} <= manifest.metrics.keys()
    assert manifest.metrics["test_robust_mean"] == evaluation.robust_accuracy
    checks = {check.name: check.result for check in verify(exported.folder).checks}
    assert "robust_mean, robust_seen, robust_unseen" in checks["metrics"]
    weights, rebuilt = tracking.load_keras_model(run).get_weights(), rebuild(exported.folder)[0].get_weights()
    assert all(map(np.array_equal, weights[:-2], rebuilt[:-2])), "no norm, and nothing folded"
    temperature = manifest.metadata.calibration["temperature"]
    for last, found in zip(weights[-2:], rebuilt[-2:], strict=True):  # but what calibrates
        np.testing.assert_allclose(found, last / temperature, rtol=1e-6)


def test_its_kinds_are_told_apart_by_its_recipe(trained):
    _, evaluation, _ = trained
    seen = {each.kind for each in evaluation.corrupted if each.seen}
    assert seen == {"shift", "brightness", "contrast", "Gaussian noise", "shot noise", "Gaussian blur"}
    accuracy = {(each.kind, each.severity): each.accuracy for each in evaluation.corrupted}
    assert abs(accuracy["contrast", 2] - evaluation.accuracy) < 0.02, "half the contrast"


def test_features_go_where_images_are_normalized_alike(trained):
    _, _, exported = trained
    source = find_source(str(exported.folder), "lenet5")
    same = make_plan("lenet5", "digits", source=source, settings={"normalize": "image"})
    assert len(make_transfer(same, load_data(same)).layers) == 5
    other = make_plan("lenet5", "digits", source=source, settings={"normalize": "none"})
    message = "learned its features with normalize=image, which mean nothing with normalize=none: set normalize=image"
    with pytest.raises(RecipeError, match=message):
        make_transfer(other, load_data(other))
