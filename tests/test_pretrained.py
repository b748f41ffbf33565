"""Models whose features are those of `keras.applications`, from new weights and from published ones."""

from __future__ import annotations

import hashlib
import re
import threading
from dataclasses import replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from inspect import ismodule
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
from keras.src.legacy.saving import legacy_h5_format

from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.exporting.convert import convert
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.errors import ModelError
from zoo.models import build, definition, definitions, pretrained_definitions, registry
from zoo.models.backend import start_keras
from zoo.models.ledger import ledger
from zoo.models.registry import KerasFile

NAMES = [model.name for model in pretrained_definitions()]
# The smallest stands for all where a test takes its time.
SLOWLY = [name if name == "mobilenet-v2" else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
KERAS_APPLICATIONS = [
    name for name in SLOWLY if isinstance(definition(getattr(name, "values", [name])[0]).published.weights, KerasFile)
]


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


@cache
def lively(name: str, channels: int = 3):
    """A model at 64x64 with random weights, statistics of norms and biases included."""
    start_keras().utils.set_random_seed(1)
    model, random = build(name, 64, 64, channels, 4), np.random.default_rng(2)
    for weight in model.weights:
        if weight.path.endswith(("gamma", "moving_variance")):
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
        elif len(weight.shape) == 1:
            weight.assign(random.normal(0, 0.1, weight.shape))
    return model


# --- the models ------------------------------------------------------------------------------------------------------


def test_images_smaller_than_keras_takes_are_told():
    with pytest.raises(ModelError, match=r"8x8x1: Input size must be at least 32x32.*take larger images \(--size\)"):
        build("mobilenet-v2", 8, 8, 1, 10)


def test_they_are_apart_from_the_models_that_learn_from_the_first_weight_on():
    assert not set(NAMES) & {model.name for model in definitions()}
    assert {model.family for model in pretrained_definitions()} == {"hybrid"}


@pytest.mark.parametrize("name", SLOWLY)
def test_what_is_known_of_a_models_cost_is_what_its_ledger_counts(name):
    formula, total = re.search(r"K = 10: (.+?) = ([\d,]+) parameters", definition(name).architecture.__doc__).groups()
    published = definition(name).published
    counted = ledger(name, published.size, published.size, 3, 10)
    assert eval(formula.replace(",", "")) == int(total.replace(",", "")) == counted.parameters
    pool = [layer.name for layer in counted.layers].index("head_pool")
    features = replace(counted, layers=counted.layers[:pool])
    assert features.parameters == published.parameters
    assert features.multiply_accumulates == published.multiply_accumulates


@pytest.mark.parametrize("name", KERAS_APPLICATIONS)
def test_raw_pixels_come_to_the_features_as_keras_says_that_they_have_to(name):
    keras, images = start_keras(), noise(2, 64, 64, 3)
    model = lively(name)
    application = getattr(keras.applications, definition(name).published.weights.application)
    own = application(include_top=False, weights=None, input_shape=(64, 64, 3))
    taken = {layer.name: layer for layer in model.layers}
    for layer in own.layers:
        if layer.name in taken:
            layer.set_weights(taken[layer.name].get_weights())
    module = next(m for m in vars(keras.applications).values() if ismodule(m) and application in vars(m).values())
    expected = own(module.preprocess_input(images.astype(np.float32))).numpy().mean((1, 2))
    found = keras.Model(model.input, model.get_layer("head_pool").output)(images).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_grey_image_is_seen_as_three_equal_channels():
    gray, model = noise(2, 64, 64, 1), build("mobilenet-v2", 64, 64, 1, 4)
    model.set_weights(lively("mobilenet-v2").get_weights())
    colored = lively("mobilenet-v2")(np.repeat(gray, 3, 3))["logits"]
    np.testing.assert_allclose(model(gray)["logits"], colored, rtol=1e-4)


@pytest.mark.slow  # that of efficientnet-lite0 names photographs in test_efficientnet_lite
@pytest.mark.parametrize("name", NAMES)
def test_the_exported_file_answers_as_keras_does(name):
    images, model = noise(4, 64, 64, 3), lively(name)
    session = onnxruntime.InferenceSession(convert(model).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"images": images})
    expected = np.asarray(model(images)["logits"])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


# --- published weights -----------------------------------------------------------------------------------------------


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Weights like those of mobilenet-v2, in the format, under the name and in the place of Keras' cache, with an MD5.

    A function that says where they are to be downloaded from; it gives the application that they are of.
    """
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    (tmp_path / "keras/models").mkdir(parents=True)
    name = "mobilenet-v2"
    own = definition(name).published.weights
    application = start_keras().applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    random = np.random.default_rng(4)
    for weight in application.weights:  # statistics of norms, too
        weight.assign(random.uniform(0.1, 0.2, weight.shape))
    file = tmp_path / "keras/models" / own.url.rpartition("/")[2]
    with h5py.File(file, "w") as opened:  # as Keras wrote it when the weights were published
        legacy_h5_format.save_weights_to_hdf5_group(opened, application)

    def known(url: str = "http://127.0.0.1:9/weights/" + file.name) -> Path:
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        weights = replace(definition(name).published, weights=replace(own, url=url, md5=md5))
        monkeypatch.setitem(registry._models, name, replace(definition(name), published=weights))
        return file

    known.application = application
    return known


@pytest.mark.slow  # a large network; efficientnet-lite0 does so in test_efficientnet_lite
def test_the_features_start_from_the_published_weights_and_the_head_is_new(published):
    published()
    plan = make_plan("mobilenet-v2", "digits", size=(32, 32), source=find_source("imagenet", "mobilenet-v2"))
    assert (plan.source.name, plan.source.title) == ("imagenet/mobilenet-v2", "imagenet/mobilenet-v2")
    data_set = load_data(plan)
    taken = make_transfer(plan, data_set)
    assert (len(taken.layers), taken.of, taken.parameters) == (104, 106, 2_257_984)
    assert "the first one reads gray as three equal channels" in str(taken)
    model = build("mobilenet-v2", 32, 32, 1, 10)
    for name, values in taken.layers.items():
        model.get_layer(name).set_weights(values)
    gray = data_set.test.inputs[:8]
    expected = published.application(np.repeat(gray, 3, 3) / np.float32(127.5) - 1).numpy().mean((1, 2))
    found = start_keras().Model(model.input, model.get_layer("head_pool").output)(gray).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_what_is_not_in_the_cache_is_downloaded_into_it_and_checked(published, tmp_path):
    file = published()
    elsewhere = tmp_path / "server"
    elsewhere.mkdir()
    handler = partial(SimpleHTTPRequestHandler, directory=elsewhere)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        published(f"http://127.0.0.1:{server.server_port}/{file.name}")
        moved = file.rename(elsewhere / file.name)
        origin = find_source("imagenet", "mobilenet-v2")
        assert file.read_bytes() == moved.read_bytes()
        assert origin.digest == weights_sha256(published.application)
        file.unlink()
        moved.write_bytes(moved.read_bytes()[:-1] + b"!")
        with pytest.raises(ModelError, match=r"can't be downloaded \(its MD5 is \w{32}, expected \w{32}\)"):
            find_source("imagenet", "mobilenet-v2")
        server.shutdown()
    assert list(file.parent.iterdir()) == [], "nothing half-written"


def test_without_a_network_an_error_says_what_belongs_where(published, capsys):
    file = published()
    md5 = definition("mobilenet-v2").published.weights.md5
    file.unlink()
    assert main(["run", "mobilenet-v2", "--data", "digits", "--from", "imagenet"]) == 1
    told = capsys.readouterr().err
    assert re.search(
        rf"the weights of mobilenet-v2 are not in {file.parent}, and can't be downloaded \(.*refused.*\): "
        rf"put http://127.0.0.1:9/weights/{file.name} there; its MD5 is {md5}\n",
        told,
    )


def test_a_damaged_file_in_the_cache_is_told(published):
    file = published()
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match=r"can't be used as the weights of mobilenet-v2 \(its MD5 is .*remove it"):
        find_source("imagenet", "mobilenet-v2")
    file.write_bytes(b"no weights at all")
    published()
    with pytest.raises(ModelError, match=r"can't be used as the weights of mobilenet-v2 .*remove it"):
        find_source("imagenet", "mobilenet-v2")


def test_a_model_of_our_own_has_no_published_weights():
    with pytest.raises(
        ModelError, match=r"there are no published weights for conv-small: .*mobilenet-v2, efficientnet-v2-b0"
    ):
        find_source("imagenet", "conv-small")
