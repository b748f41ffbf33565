"""`zoo demo`: exports that go together become one page, whole or not at all; names in it stay data."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.exporting.graph.resizing import resizing_model
from pipelines.plotting import palette
from pipelines.publishing.demo import demo
from pipelines.publishing.first_layer import first_weights
from zoo.contract import INPUT, RESIZINGS, describe_file, read_manifest
from zoo.errors import ExportError
from zoo.images import resize

EXPORTS = Path(__file__).parents[1] / "exports"
FIXTURE = Path(__file__).parent / "runtime" / "fixture"
DIGITS = FIXTURE / "digits" / "softmax"
DATA, END = '<script type="application/json" id="data">', "</script>"


def data_in(page):
    """What the page's script will read."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split(DATA, 1)[1].split(END, 1)[0])


def changed(export, folder, **metadata):
    """A copy of an export whose file and manifest have other metadata."""
    copy = shutil.copytree(export, folder / "changed")
    manifest = read_manifest(copy)
    if metadata:
        model = onnx.load(copy / "model.onnx")
        onnx.helper.set_model_props(model, replace(manifest.metadata, **metadata).to_properties())
        onnx.save(model, copy / "model.onnx")
    files = tuple(describe_file(copy, copy / known.path) for known in manifest.files)
    manifest = replace(manifest, metadata=replace(manifest.metadata, **metadata), files=files)
    (copy / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return copy


def test_a_page_holds_the_files_and_the_samples_that_its_exports_share(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ZOO_EXPORTS", str(EXPORTS))
    page = tmp_path / "page.html"
    assert main(["demo", "digits/mlp-small", "digits/lenet5", "--html", str(page), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == {"page": str(page), "size": page.stat().st_size, "exports": ["digits/mlp-small", "digits/lenet5"]}
    data = data_in(page)
    assert [model["name"] for model in data["models"]] == ["mlp-small", "lenet5"]
    assert [sample["label"] for sample in data["samples"]] == list("0123456789")
    for model in data["models"]:
        expected = json.loads((EXPORTS / "digits" / model["name"] / "samples" / "samples.json").read_text())
        assert model["expected"] == [sample["probabilities"] for sample in expected]
        assert model["first_layer"]["text"].startswith("First layer, ")
    assert data["background"] == 0
    assert list(tmp_path.iterdir()) == [page]


def test_the_same_exports_give_the_same_page(tmp_path):
    first, second = (demo([DIGITS], tmp_path / name).page.read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def test_the_page_has_the_colors_of_the_plots(tmp_path):
    assert data_in(demo([DIGITS], tmp_path / "page.html").page)["colors"]["families"] == palette.FAMILY_COLORS
    style = (Path(__file__).parents[1] / "examples" / "web" / "src" / "page.css").read_text()
    light, dark = (
        dict(re.findall(r"--(\w+): (#\w{6});", block)) for block in re.findall(r":root {(.*?)}", style, re.S)
    )
    for name in ("ink", "quiet", "rule", "paper", "tint", "good", "bad"):
        assert light[name] == getattr(palette, name.upper()).lower()
        assert dark[name] == getattr(palette, f"DARK_{name.upper()}").lower()


def test_a_page_says_how_far_to_rely_on_answers_where_its_files_do(tmp_path):
    thresholds = {"0.90": 0.4, "0.95": 0.1}
    images = {"images": 50, "images_by_class": [5] * 10}
    sets = {"method": "LAC", **images, "thresholds": thresholds, "by_class": {"0.80": [0.5] * 10}}
    exports = [DIGITS, changed(DIGITS, tmp_path, contract="2", sets=sets)]
    silent, saying = data_in(demo(exports, tmp_path / "page.html").page)["models"]
    assert (silent["sets"], silent["familiarity"]) == (None, None)
    assert (saying["sets"], saying["familiarity"]) == (thresholds, None)


def test_a_manifest_with_the_names_of_before_gives_the_same_page(tmp_path):
    export = changed(DIGITS, tmp_path)
    today = demo([export], tmp_path / "today.html").page
    manifest = json.loads((export / "manifest.json").read_text())
    figures = {name.replace("images", "pictures"): value for name, value in manifest.pop("metrics").items()}
    (export / "manifest.json").write_text(json.dumps({**manifest, "figures": figures}))
    assert "test_pictures" in figures
    assert demo([export], tmp_path / "before.html").page.read_bytes() == today.read_bytes()
    (model,) = data_in(today)["models"]
    assert f"Test accuracy {figures['test_accuracy']:.2%} on {figures['test_pictures']:,.0f} images" in model["facts"]


def test_images_on_white_are_drawn_on_white(tmp_path):
    copy = shutil.copytree(DIGITS, tmp_path / "white")
    for path in (copy / "samples").glob("*.png"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    assert data_in(demo([changed(copy, tmp_path)], tmp_path / "page.html").page)["background"] == 255


def test_no_name_can_end_its_element(tmp_path):
    names = ("</script><img src=x onerror=alert(1)>", "<!--<script>", "<!--zoo:runtime-->")
    labels = names + read_manifest(DIGITS).metadata.labels[len(names) :]
    export = changed(DIGITS, tmp_path, labels=labels, data_set="</title><script>alert(1)</script><!--zoo:data-->")
    samples = export / "samples" / "samples.json"
    listed = json.loads(samples.read_text())
    samples.write_text(json.dumps([{**sample, "label": labels[k]} for k, sample in enumerate(listed)]))
    shutil.move(export, tmp_path / "named")
    page = demo([changed(tmp_path / "named", tmp_path)], tmp_path / "page.html").page
    assert data_in(page)["labels"] == list(labels)
    text = page.read_text(encoding="utf-8")
    assert "onerror=alert(1)" in text
    assert not any(name in text for name in ("<img src=x", "<!--<script>", "<script>alert", "<!--zoo:runtime-->"))


@pytest.mark.parametrize(
    ("exports", "words"),
    [
        ([DIGITS, FIXTURE / "tinted-digits" / "softmax"], "doesn't match"),
        ([DIGITS, EXPORTS / "fashion-mnist" / "softmax"], "expected labels 0, 1,"),
        ([FIXTURE / "wine" / "softmax"], "rows of a table"),
        ([FIXTURE / "foreign.onnx"], "expected an export's folder"),
        ([FIXTURE / "nothing"], "can't be loaded"),
    ],
)
def test_exports_that_have_no_place_on_the_page_are_refused(exports, words, tmp_path):
    with pytest.raises(ExportError, match=words):
        demo(exports, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_another_resizing_is_refused(tmp_path):
    with pytest.raises(ExportError, match="expected resizing stretch, received pad"):
        demo([DIGITS, changed(DIGITS, tmp_path, resizing="pad")], tmp_path / "page.html")


def test_other_proportions_are_refused(tmp_path):
    with pytest.raises(ExportError, match="expected proportions 1:1, received 2:1"):
        demo([DIGITS, changed(DIGITS, tmp_path, height=16)], tmp_path / "page.html")


def test_models_of_several_sizes_share_a_page_of_the_largest(tmp_path):
    data = data_in(demo([DIGITS, changed(DIGITS, tmp_path, height=16, width=16)], tmp_path / "page.html").page)
    assert (data["height"], data["width"]) == (16, 16)
    assert [model["height"] for model in data["models"]] == [8, 16]
    assert "; 8 × 8 pixels; " in data["models"][0]["facts"]
    resized = onnx.load_from_string(base64.b64decode(data["resizing"])).graph.output[0].type.tensor_type.shape
    assert [side.dim_value for side in resized.dim[1:3]] == [16, 16]


def test_a_damaged_export_is_refused_and_nothing_is_written(tmp_path, capsys):
    copy = shutil.copytree(DIGITS, tmp_path / "damaged")
    (copy / "model.onnx").write_bytes(b"no model")
    assert main(["demo", str(copy), "--html", str(tmp_path / "page.html")]) == 1
    assert "isn't the file that manifest.json names" in capsys.readouterr().err
    with pytest.raises(ExportError, match="can't be read as ONNX"):
        demo([changed(copy, tmp_path)], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_reported(tmp_path, capsys):
    assert main(["demo", str(DIGITS), "--html", str(tmp_path / "nowhere" / "page.html")]) == 1
    assert "can't be written (No such file or directory): choose another file with --html" in capsys.readouterr().err


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_the_resizing_of_the_page_is_that_of_the_files(resizing):
    session = onnxruntime.InferenceSession(resizing_model(12, 16, 3, resizing).SerializeToString())
    image = np.random.default_rng(2).integers(0, 256, (31, 23, 3), dtype=np.uint8)
    (resized,) = session.run(None, {INPUT: image[np.newaxis]})
    assert np.abs(resized[0].astype(int) - resize(image, 12, 16, resizing)).max() <= 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("softmax", (28, 28, 1, 10)),
        ("mlp-small", (28, 28, 1, 256)),
        ("conv-small", (3, 3, 1, 32)),
        ("lenet5", (5, 5, 1, 6)),
    ],
)
def test_first_layers_are_found_in_the_file(name, shape):
    export = EXPORTS / "fashion-mnist" / name
    weights = first_weights(onnx.load(export / "model.onnx"), read_manifest(export).metadata)
    assert weights.shape == shape
    if name == "softmax":  # these weights alone determine how the logits of two images differ
        image = np.random.default_rng(4).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
        session = onnxruntime.InferenceSession(export / "model.onnx")
        (logits,) = session.run(["logits"], {INPUT: image})
        deviation = np.sqrt(image.var(axis=(1, 2, 3), keepdims=True) + 1)  # each image is normalized first
        normalized = (image - image.mean(axis=(1, 2, 3), keepdims=True)) / deviation
        difference = np.tensordot(normalized[1] - normalized[0], weights, 3)
        assert np.allclose(logits[1] - logits[0], difference, atol=1e-3)
