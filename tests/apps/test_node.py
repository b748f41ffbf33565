"""examples/node, for real: its packages as its lock names them, and the same predictions as Python's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from blocks import code_blocks
from environments import ROOT, reseal
from onnx import helper
from PIL import Image, ImageCms

import zoo

pytestmark = pytest.mark.apps
TOLERANCE = 1e-5  # of a probability
COLOR = ROOT / "tests" / "runtime" / "fixture" / "tinted-digits" / "softmax"


@pytest.fixture(scope="module")
def node(installed_example: Callable[[str], Path]) -> Path:
    return installed_example("node")


def classify(node: Path, export: Path, *images: Path) -> subprocess.CompletedProcess[str]:
    command = ["node", node / "classify.js", export, *images, "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def predictions(node: Path, export: Path, *images: Path) -> list[dict[str, Any]]:
    done = classify(node, export, *images)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def probabilities(prediction: dict[str, Any]) -> dict[str, float]:
    return {one["label"]: one["probability"] for one in prediction["ranking"]}


def test_each_sample_is_predicted_as_expected(node: Path, exports3, samples_of) -> None:
    for export in exports3:
        samples = samples_of(export)
        found = predictions(node, export, *(file for file, *_ in samples))
        for prediction, (file, _, expected) in zip(found, samples, strict=True):
            assert prediction["image"] == str(file)
            assert probabilities(prediction) == pytest.approx(expected, abs=TOLERANCE)
            assert prediction["label"] == max(expected, key=expected.__getitem__)
            assert prediction["probability"] == max(probabilities(prediction).values())


def test_what_the_page_shows_works(node: Path, exports3, samples_of) -> None:
    """The page's lines as they stand, beside images with the names that it gives them."""
    (block,) = (each for each in code_blocks(ROOT / "examples" / "node" / "README.md") if each.language == "js")
    file, label, _ = samples_of(exports3[1])[9]
    Image.open(file).save(node / "shirt.jpg", quality=95)
    Image.effect_noise((64, 64), 80).save(node / "cat.jpg")
    code = block.code.replace("../../exports/fashion-mnist/conv-small", str(exports3[1]))
    shown = "console.log(JSON.stringify({ label, labels, known, familiarity }));"
    (node / "page.mjs").write_text(f"{code}{shown}\n", encoding="utf-8")
    found = json.loads(subprocess.run(["node", "page.mjs"], cwd=node, capture_output=True, timeout=100).stdout)
    assert (found["label"], found["known"]) == (label, False)
    assert label in found["labels"]
    assert found["familiarity"] == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("options", [["--coverage", "0.95"], ["--coverage", "0.941", "--by-class"]])
def test_sets_of_labels_are_those_of_python(node: Path, with_sets: Path, samples_of, options: list[str]) -> None:
    files = [file for file, *_ in samples_of(with_sets)]
    command = ["node", node / "classify.js", with_sets, *files, "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    asked = {"coverage": float(options[1]), "by_class": "--by-class" in options}
    expected = zoo.load(with_sets).predict_batch(files, **asked)
    found = [json.loads(line)["labels"] for line in done.stdout.splitlines()]
    assert found == [list(each.labels) for each in expected]
    assert max(map(len, found)) > 1


def test_familiarity_is_that_of_python(node: Path, with_sets: Path, samples_of, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    files = [*(file for file, *_ in samples_of(with_sets)), tmp_path / "noise.png"]
    found, expected = predictions(node, with_sets, *files), zoo.load(with_sets).predict_batch(files)
    assert [each["known"] for each in found] == [each.known for each in expected]
    assert [each["familiarity"] for each in found] == pytest.approx([e.familiarity for e in expected], abs=1e-5)
    done = subprocess.run(
        ["node", node / "classify.js", with_sets, files[-1]], capture_output=True, text=True, timeout=100
    )
    assert "none of these; nearest: " in done.stdout


@pytest.mark.parametrize(
    ("coverage", "sentence"),
    [("1", "coverage is a share such as 0.95, received 1"), ("0.5", "gives no sets for a coverage of 0.5")],
)
def test_a_coverage_that_it_does_not_give_is_reported(
    node: Path, with_sets: Path, coverage: str, sentence: str
) -> None:
    image = with_sets / "samples" / "0.png"
    command = ["node", node / "classify.js", with_sets, image, "--coverage", coverage]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (1, "") and sentence in done.stderr and done.stderr.count("\n") == 1


def test_by_class_without_a_coverage_is_reported(node: Path, with_sets: Path) -> None:
    command = ["node", node / "classify.js", with_sets, with_sets / "samples" / "0.png", "--by-class"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (1, "") and "byClass requires a coverage" in done.stderr


@pytest.mark.parametrize(
    ("sets", "labels"),
    [
        ({"thresholds": {"0.95": 0}, "by_class": {}}, 10),  # every label reaches it
        ({"thresholds": {"0.95": "0.1"}, "by_class": {}}, 0),
        ({"thresholds": None, "by_class": {"0.95": [0.1] * 10}}, 0),
        ("sets", 0),
    ],
)
def test_thresholds_are_numbers_or_give_no_sets(node: Path, with_sets: Path, tmp_path: Path, sets, labels: int) -> None:
    copied = shutil.copytree(with_sets, tmp_path / "export")
    manifest = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    manifest["metadata"]["sets"] = sets
    (copied / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    command = ["node", node / "classify.js", copied, copied / "samples" / "0.png", "--coverage", "0.95", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if labels:
        assert len(json.loads(done.stdout)["labels"]) == labels
    else:
        assert (done.returncode, done.stdout) == (1, "") and "gives no sets for a coverage of 0.95" in done.stderr


def save_images(folder: Path) -> list[Path]:
    """A color image with fine detail in each format and mode that both sides read."""
    rows, columns = np.mgrid[0:97, 0:131]
    colors = np.stack([columns * 2 % 256, rows * 2.5 % 256, (rows + columns) * 1.3 % 256], axis=-1)
    colors = np.clip(colors + np.random.default_rng(0).integers(-20, 21, colors.shape), 0, 255).astype(np.uint8)
    alpha = np.dstack([colors, columns * 3 % 256]).astype(np.uint8)
    image, layer = Image.fromarray(colors), Image.fromarray(alpha)
    for sampling in (0, 1, 2):  # 4:4:4, 4:2:2, 4:2:0
        image.save(folder / f"sampling{sampling}.jpg", quality=85, subsampling=sampling)
    for turn in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(folder / f"turn{turn}.jpg", exif=exif)
    image.save(folder / "progressive.jpg", progressive=True)
    image.save(folder / "stray bytes.jpg")
    whole = (folder / "stray bytes.jpg").read_bytes()
    (folder / "stray bytes.jpg").write_bytes(whole[:-2] + bytes(65) + whole[-2:])  # as some cameras write
    image.convert("CMYK").save(folder / "cmyk.jpg")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"....").replace(b"bXYZ", b"rXYZ").replace(b"....", b"bXYZ")  # red for blue
    image.save(folder / "profile.jpg", icc_profile=swapped)
    for mode in ("1", "L", "LA", "RGB", "P"):
        image.convert(mode).save(folder / f"{mode}.png")
    layer.save(folder / "RGBA.png")
    image.quantize(16).save(folder / "palette-transparent.png", transparency=3)
    image.save(folder / "one-color-transparent.png", transparency=tuple(map(int, colors[0, 0])))
    deep = np.random.default_rng(1).integers(0, 65536, (50, 60)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "sixteen-bits.png")
    image.save(folder / "lossy.webp")
    layer.save(folder / "transparent.webp", quality=80)
    image.quantize(64).save(folder / "frames.gif", save_all=True, append_images=[image.rotate(180).quantize(64)])
    image.save(folder / "color.tif")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("channels", [1, 3], ids=["gray model", "color model"])
def test_images_of_all_kinds_are_predicted_as_in_python(node: Path, channels: int, exports3, tmp_path: Path) -> None:
    export = exports3[1] if channels == 1 else COLOR
    images = save_images(tmp_path)
    expected = zoo.load(export).predict_batch(images)
    for prediction, wanted in zip(predictions(node, export, *images), expected, strict=True):
        assert probabilities(prediction) == pytest.approx(dict(wanted.ranking), abs=TOLERANCE), prediction["image"]


def test_sixteen_bits_that_use_fewer_are_predicted_as_in_python(node: Path, exports3, tmp_path: Path) -> None:
    """Of a sensor with 12 bits: the file says what is white."""
    export = shutil.copytree(exports3[1], tmp_path / "twelve-bits")
    model = onnx.load(export / "model.onnx")
    helper.set_model_props(model, {each.key: each.value for each in model.metadata_props} | {"zoo.white": "4095"})
    onnx.save(model, export / "model.onnx")
    manifest = json.loads((export / "manifest.json").read_text())
    manifest["metadata"]["white"] = 4095
    (export / "manifest.json").write_text(json.dumps(manifest))
    reseal(export, export / "model.onnx")
    values = np.random.default_rng(1).integers(0, 5000, (30, 28)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    expected = zoo.load(export).predict(tmp_path / "deep.png")
    (found,) = predictions(node, export, tmp_path / "deep.png")
    assert probabilities(found) == pytest.approx(dict(expected.ranking), abs=TOLERANCE)
    assert probabilities(found) != pytest.approx(
        dict(zoo.load(exports3[1]).predict(tmp_path / "deep.png").ranking), abs=0.01
    ), "with another white"


def test_numbers_that_are_no_pixels_are_reported_as_in_python(node: Path, exports3, tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).random((28, 28), np.float32)).save(tmp_path / "float.tif")
    done = classify(node, exports3[1], tmp_path / "float.tif")
    assert (done.returncode, done.stdout) == (1, "")
    assert "holds other numbers (float), expected 8 or 16 bits: scale and convert it" in done.stderr
    with pytest.raises(zoo.ImageError, match="holds floating-point numbers"):
        zoo.load(exports3[1]).predict(tmp_path / "float.tif")


def test_an_unknown_option_is_reported_with_the_usage(node: Path, exports3) -> None:
    done = subprocess.run(
        ["node", node / "classify.js", exports3[1], "a.png", "--top", "3"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Unknown option '--top'" in done.stderr
    assert "usage: node classify.js" in done.stderr
    assert "    at " not in done.stderr


def test_an_export_that_predicts_its_sample_otherwise_is_not_used(node: Path, misled: Path) -> None:
    done = classify(node, misled, misled / "samples" / "0.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{misled} predicts its own sample 3.png differently than expected, by 2.0e-5" in done.stderr


def test_a_model_that_its_manifest_does_not_name_is_not_used(node: Path, misled: Path) -> None:
    with (misled / "model.onnx").open("ab") as file:
        file.write(b"\0")
    done = classify(node, misled, misled / "samples" / "0.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert "isn't the file that manifest.json names" in done.stderr


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "samples/samples.json", "samples/0.png"])
def test_a_damaged_export_is_reported_in_one_sentence(node: Path, file: str, exports3, tmp_path: Path) -> None:
    for fault in (None, b"", b"{}", b"[]", b"null", b"[1]", b"[" * 50_000, b" " * (4 * 2**20 + 1)):
        folder = shutil.copytree(exports3[0], tmp_path / "export")
        (folder / file).unlink()
        if fault is None:
            os.mkfifo(folder / file)
        else:
            (folder / file).write_bytes(fault)
            if file != "manifest.json":
                reseal(folder, folder / file)
        done = classify(node, folder, exports3[0] / "samples" / "0.png")
        assert (done.returncode, done.stdout) == (1, ""), fault
        assert done.stderr.startswith(str(folder)) and done.stderr.count("\n") == 1, done.stderr
        shutil.rmtree(folder)


def test_a_file_that_is_no_image_is_reported_in_one_sentence(node: Path, exports3, tmp_path: Path) -> None:
    sample = (exports3[0] / "samples" / "0.png").read_bytes()
    Image.new("1", (8001, 8000)).save(tmp_path / "large.png")
    for name, content, sentence in (
        ("empty.png", b"", "is empty (0 bytes): replace it"),
        ("page.pdf", b"%PDF-1.7\n", "is not an image: JPEG, PNG, WebP, GIF, TIFF are read"),
        ("drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>', "is not an image"),
        ("cut.png", sample[: len(sample) // 2], "is damaged, it can't be decoded"),
        ("large.png", None, "is too large, expected at most 64000000 pixels"),
        ("nowhere.png", None, "can't be read (ENOENT)"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        done = classify(node, exports3[0], tmp_path / name)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"{tmp_path / name} {sentence}")
        assert done.stderr.count("\n") == 1


def test_a_folder_that_is_no_export_is_reported_in_one_sentence(node: Path, tmp_path: Path) -> None:
    for folder, sentence in (
        (tmp_path, "manifest.json can't be read (ENOENT): name the folder of an export"),
        (COLOR.parents[1] / "wine" / "softmax", "classifies the rows of a table, expected one that classifies images"),
    ):
        done = classify(node, folder, tmp_path / "a.png")
        assert done.returncode == 1
        assert sentence in done.stderr and done.stderr.count("\n") == 1
