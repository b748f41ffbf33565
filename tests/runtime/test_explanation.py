"""Why a classifier answers as it does: the map that its file carries, over the image as it was handed over."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from pipelines.cli import main
from pipelines.inference.predict import predict


@pytest.fixture(scope="module")
def explains(pooled: Path) -> zoo.Classifier:
    return zoo.load(pooled)


@pytest.fixture(scope="module")
def three(pooled: Path) -> Path:
    return pooled / "samples" / "3.png"


def resizing_by(classifier: zoo.Classifier, resizing: str, height: int, width: int) -> zoo.Classifier:
    """What says of itself that it brings images to another size, in another way."""
    return replace(classifier, metadata=replace(classifier.metadata, resizing=resizing, height=height, width=width))


def test_the_map_explains_the_predicted_label(explains: zoo.Classifier, three: Path) -> None:
    found = explains.explain(three)
    assert found.prediction == explains.predict(three)
    assert found.label == found.prediction.label
    assert found.probability == found.prediction.probability
    assert found.map.shape == explains.map_size == (8, 8)
    assert found.map.dtype == np.float32


def test_values_and_bias_add_up_to_the_logit_of_every_label(explains: zoo.Classifier, three: Path) -> None:
    pixels = np.asarray(Image.open(three))[np.newaxis, ..., np.newaxis]
    (logits,) = explains.session.run(["logits"], {"images": pixels})
    for label, logit in zip(explains.labels, logits[0], strict=True):
        found = explains.explain(three, label)
        assert found.label == label
        assert found.map.mean() + found.bias == pytest.approx(logit, abs=1e-4)
        nothing = explains.explain(np.zeros((8, 8), np.uint8), label)  # to which the bias is the same
        assert nothing.bias == pytest.approx(found.bias, abs=1e-4)


def test_the_map_moves_with_the_thing(explains: zoo.Classifier) -> None:
    image = np.zeros((8, 8), np.uint8)
    image[1:3, 1:4] = 255
    moved = np.roll(image, (4, 3), axis=(0, 1))
    for label in explains.labels:
        here, there = explains.explain(image, label).map, explains.explain(moved, label).map
        np.testing.assert_allclose(there, np.roll(here, (4, 3), axis=(0, 1)), atol=1e-4)
        assert np.ptp(here) > 1


def test_a_label_that_is_not_there_is_an_error(explains: zoo.Classifier, three: Path) -> None:
    with pytest.raises(zoo.InputError, match="no label is called 'three'"):
        explains.explain(three, "three")


def test_a_file_without_a_map_says_so(digits: Path, wine: Path, three: Path, tmp_path: Path, capsys) -> None:
    assert zoo.load(digits).map_size is None
    with pytest.raises(zoo.ExportError, match="digits/softmax has no activation map"):
        zoo.load(digits).explain(three)
    with pytest.raises(zoo.ExportError, match="wine/softmax has no activation map"):
        zoo.load(wine).explain({"alcohol": 13.0, "colour": None, "proline": 700})  # type: ignore[arg-type]
    assert main(["predict", str(digits), str(three), "--explain", str(tmp_path / "why")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("zoo: digits/softmax has no activation map, so its predictions can't be explained: ")
    assert not (tmp_path / "why").exists()


def noise(*size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)


def test_stretched_images_have_the_map_all_over(explains: zoo.Classifier) -> None:
    found = explains.explain(noise(40, 120))
    over = found.over_image()
    assert over.shape == (40, 120)
    np.testing.assert_allclose(over[2::5, 7::15], found.map, atol=1e-5)  # in the middle of each position
    assert np.ptp(found.map) > 1


def test_what_a_crop_left_out_has_no_value(explains: zoo.Classifier) -> None:
    found = resizing_by(explains, "crop", 8, 8).explain(noise(40, 160))
    over = found.over_image()
    assert np.isnan(over[:, :60]).all()
    assert np.isnan(over[:, 100:]).all()
    np.testing.assert_allclose(over[2::5, 62:100:5], found.map, atol=1e-5)


def test_the_margins_of_a_padded_image_are_not_on_it(explains: zoo.Classifier) -> None:
    found = resizing_by(explains, "pad", 8, 8).explain(noise(10, 40))  # which takes 2 of 8 rows
    over = found.over_image()
    assert over.shape == (10, 40)
    np.testing.assert_allclose(over[2::5, 2::5], found.map[3:5], atol=1e-5)


@pytest.mark.parametrize("resizing", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (3, 90), (57, 31), (8, 8), (480, 640)], ids=str)
def test_images_of_any_size_can_be_drawn(explains: zoo.Classifier, size: tuple[int, int], resizing: str) -> None:
    found = resizing_by(explains, resizing, 8, 8).explain(noise(*size, 3))
    over = found.over_image()
    assert over.shape == size
    assert (np.isnan(over).any()) <= (resizing == "crop")
    assert not np.isnan(over).all()
    drawn = found.draw()
    assert drawn.mode == "RGB"
    assert drawn.width == 480
    assert drawn.height <= 600


@pytest.mark.parametrize("label", ["", "a\nb\tc", "zwölf", "x" * 5000, "<b>'\""])
def test_labels_of_any_kind_can_be_drawn(explains: zoo.Classifier, three: Path, label: str) -> None:
    labels = (label, *explains.labels[1:])
    assert replace(explains, metadata=replace(explains.metadata, labels=labels)).explain(three, label).draw()


def test_what_speaks_for_a_label_is_orange_and_what_against_is_blue(explains: zoo.Classifier) -> None:
    image = np.zeros((8, 8), np.uint8)
    image[3:5, 3:5] = 255
    found = explains.explain(image)
    drawn = np.asarray(found.draw())[16:464, 16:464].astype(int)  # without its margins
    middles = drawn[28::56, 28::56]  # of each position
    red_over_blue = middles[..., 0] - middles[..., 2]
    strong = np.abs(found.map) > 0.2 * np.abs(found.map).max()
    assert strong.any()
    assert (np.sign(red_over_blue) == np.sign(found.map))[strong].all()


def test_explain_draws_each_image_into_a_folder(pooled: Path, three: Path, tmp_path: Path, capsys) -> None:
    same_name = tmp_path / "3.png"
    same_name.write_bytes((three.parent / "7.png").read_bytes())
    files = [str(three), str(same_name), str(three.parent / "8.png")]
    assert main(["predict", str(pooled), *files, "--explain", str(tmp_path)]) == 0
    made = [tmp_path / name for name in ("3.explained.png", "3-2.explained.png", "8.explained.png")]
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == list(map(str, made))
    assert sorted(tmp_path.iterdir()) == sorted([*made, same_name])
    for file, image in zip(made, files, strict=True):
        with Image.open(file) as drawn:
            np.testing.assert_array_equal(np.asarray(drawn), np.asarray(zoo.load(pooled).explain(image).draw()))
    assert same_name.read_bytes() == (three.parent / "7.png").read_bytes()


def test_explanations_of_images_with_the_longest_names_have_shorter_ones(pooled: Path, three: Path, tmp_path: Path):
    long = [tmp_path / f"x{'猫' * 80}{letter}.png" for letter in "ab"]
    for file in long:
        file.write_bytes(three.read_bytes())
    assert main(["predict", str(pooled), *map(str, long), "--explain", str(tmp_path / "explained")]) == 0
    names = [f"x{'猫' * 59}{place}.explained.png" for place in ("", "-2")]
    assert sorted(path.name for path in (tmp_path / "explained").iterdir()) == sorted(names)


def test_explain_without_a_folder_makes_one(pooled: Path, three: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(pooled), str(three), "--json", "--explain"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["explanation"] == str(Path("explained") / "3.explained.png")
    assert (tmp_path / result["explanation"]).is_file()


def test_nothing_is_drawn_where_one_image_cannot_be_read(pooled: Path, three: Path, tmp_path: Path) -> None:
    with pytest.raises(zoo.ImageError, match="no image at"):
        predict(pooled, [three, tmp_path / "missing.png"], on_bad="fail", explain=tmp_path / "why")
    assert not (tmp_path / "why").exists()


def test_a_folder_that_cannot_be_one_is_an_error(pooled: Path, three: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "taken").write_text("a file")
    assert main(["predict", str(pooled), str(three), "--explain", str(tmp_path / "taken")]) == 1
    assert "taken can't take explanations (File exists): name a folder" in capsys.readouterr().err
    assert (tmp_path / "taken").read_text() == "a file"
