"""Images that can be looked at: whole files, readable names, words for those who don't see them."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from few_images_plot import few_images
from inference_plot import AGAINST, roof
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from pipelines.core.metrics.calibration import calibration_bins
from pipelines.core.metrics.classification import confusion_matrix
from pipelines.evaluation.comparison.plots import comparison
from pipelines.evaluation.comparison.rows import Row
from pipelines.evaluation.corruptions import SUITE
from pipelines.evaluation.learning_curves import curves
from pipelines.evaluation.plots import confusion, corruptions, reliability
from pipelines.evaluation.robustness import CorruptedMetrics
from pipelines.plotting.points import Point, label_points
from pipelines.plotting.style import short_names
from pipelines.plotting.tiles import augmented, errors, first_layer
from pipelines.publishing.catalog import Shipped
from pipelines.publishing.literature import Published
from pipelines.publishing.plots import costs
from pipelines.training.planning.plots import rate_curve

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

random = np.random.default_rng(5)
LABELS = ["cat", "dog", "newt"]
TRUTH = random.integers(0, 3, 200)
ANSWER = np.where(random.uniform(size=200) < 0.8, TRUTH, random.integers(0, 3, 200))
CONFIDENCE = random.uniform(0.4, 1, 200).astype(np.float32)
IMAGES = random.integers(0, 256, (200, 12, 9, 3), dtype=np.uint8)
HISTORY = {
    "epoch": (2, 4, 6),
    "train_loss": (1.0, 0.5, 0.4),
    "validation_loss": (0.9, 0.6, 0.5),
    "train_accuracy": (0.5, 0.8, 0.85),
    "validation_accuracy": (0.55, 0.9, 0.88),
}
AVERAGED = {
    "averaged_validation_loss": (np.nan, 0.55, 0.4),
    "averaged_validation_accuracy": (np.nan, 0.91, 0.93),
}
UNVALIDATED = {name: values for name, values in HISTORY.items() if not name.startswith("validation")}
AFTER_A_HEAD = {
    "epoch": (0, 1, 2),
    "train_loss": (np.nan, 0.5, 0.4),
    "validation_loss": (0.5, 0.6, 0.5),
    "train_accuracy": (np.nan, 0.8, 0.85),
    "validation_accuracy": (0.95, 0.9, 0.88),
}
ROW = Row("pets/lenet5", "hybrid", 61_706, 0.91, 0.90, 0.92, 250_000, 0.04, 1e-7)

SHIPPED = Shipped(
    folder=Path("exports/pets/lenet5"),
    model="lenet5",
    family="hybrid",
    data_set="pets",
    parameters=61_706,
    multiply_accumulates=416_520,
    receptive_field=14,
    accuracy=0.91,
    low=0.90,
    high=0.92,
    seeds={},
    robust_accuracy=None,
    calibration_error=None,
    size=250_000,
    teacher=None,
    recipe={},
    card=True,
)
PUBLISHED = (Published("people", 0, 0.835, ""), Published("a net", 1_000_000, 0.93, ""))

SPEED = {"export": "pets/lenet5", "family": "hybrid", "batch": 64, "ms": 1.0, "other_ms": 1.5, "share": 0.2}
SPEED |= {"against": f"{AGAINST}LiteRT"}

DRAWINGS = {
    "curves": (curves, (HISTORY, 4)),
    "curves of training alone": (curves, (UNVALIDATED, 6)),
    "curves of averaged weights": (partial(curves, averaged=True), ({**HISTORY, **AVERAGED}, 6)),
    "curves after a head": (curves, (AFTER_A_HEAD, 0)),
    "learning rates": (
        rate_curve,
        ("lenet5 on pets", np.geomspace(1e-6, 0.1, 6), [2.3, 2.2, 2, 0.9, 0.5, 9], 1e-2, 1e-3),
    ),
    "confusion": (confusion, (confusion_matrix(TRUTH, ANSWER, 3), LABELS)),
    "errors": (errors, (IMAGES, LABELS, TRUTH, ANSWER, CONFIDENCE)),
    "augmented": (augmented, (IMAGES[:8], np.stack([IMAGES[8:16]] * 2), "light")),
    "filters": (first_layer, (random.normal(size=(3, 3, 1, 24)), "filter")),
    "neurons": (first_layer, (random.normal(size=(12, 9, 3, 3)), "neuron", LABELS)),
    "reliability": (reliability, (calibration_bins(CONFIDENCE, TRUTH == ANSWER),)),
    "corruptions": (
        corruptions,
        ([CorruptedMetrics(c.kind, c.severity, "", 0.2 + k / 99, 9, seen=k > 40) for k, c in enumerate(SUITE)], 0.9),
    ),
    "costs": (costs, ([SHIPPED, replace(SHIPPED, model="all", accuracy=1.0, high=1.0)], PUBLISHED)),
    "few images": (few_images, ([5, 20], {"new": [(0.6, 0.5, 0.7), (0.8, 0.75, 0.85)]}, "clothes")),
    "roof": (roof, ([SPEED, SPEED | {"against": f"{AGAINST}OpenVINO", "other_ms": 0.8}], 64)),
    "comparison": (comparison, ([ROW, replace(ROW, name="pets/softmax", family="dense", parameters=7850)],)),
}


def size(path):
    with Image.open(path) as image:
        return image.size


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_a_whole_image_with_words(tmp_path, name):
    draw, arguments = DRAWINGS[name]
    text = draw(tmp_path / "drawn.png", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["drawn.png"]
    with Image.open(tmp_path / "drawn.png") as image:
        image.load()
        assert image.format == "PNG"
        assert 500 < image.width < 2500
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50, "more than an empty sheet"
    assert len(text) > 30


def test_same_numbers_give_the_same_bytes(tmp_path):
    draw, arguments = DRAWINGS["confusion"]
    for name in ("one.png", "other.png"):
        draw(tmp_path / name, *arguments)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_curves_say_where_nothing_was_held_out(tmp_path):
    text = curves(tmp_path / "curves.png", UNVALIDATED, 6)
    assert text.endswith("none was held out to validate on, and the weights of epoch 6 were kept.")
    assert "validation" in curves(tmp_path / "curves.png", HISTORY, 4)


def test_a_drawing_that_fails_leaves_the_old_image_and_nothing_else(tmp_path):
    path = tmp_path / "drawn.png"
    path.write_bytes(b"old")
    with pytest.raises(KeyError):
        curves(path, {"epoch": (1,)}, 1)
    assert path.read_bytes() == b"old"
    with pytest.raises(OSError, match=r"drawn\.png"):
        curves(tmp_path / "absent" / "drawn.png", HISTORY, 4)
    assert [file.name for file in tmp_path.iterdir()] == ["drawn.png"]


def test_any_class_name_can_be_drawn(tmp_path):
    """Formulas aren't formulas, and what no font can write doesn't warn: warnings are errors here."""
    odd = ["$5 to $10", r"$\frac{$", "猫", "two\nlines", "", "x" * 200, "a\tb", "\x07", "😀", "<b>"]
    truth = np.arange(100) % 10
    matrix = confusion_matrix(truth, (truth + (np.arange(100) < 9)) % 10, 10)
    assert "'$5 to $10'" in confusion(tmp_path / "confusion.png", matrix, odd)
    images = np.zeros((100, 8, 8, 1), np.uint8)
    errors(tmp_path / "errors.png", images, odd, truth, (truth + 1) % 10, np.full(100, 0.5, np.float32))


def test_long_names_keep_their_beginning_and_their_end():
    short = short_names(["drawings of ships 001", "drawings of ships 002", "ship"], 12)
    assert short == ["drawi…ps 001", "drawi…ps 002", "ship"]


def test_names_that_no_font_has_become_numbers():
    assert short_names(["a", "\U000f0000", "  "], 12) == ["a", "class 1", "class 2"]


def test_latency_is_in_microseconds(tmp_path):
    assert "lenet5 (hybrid): 91.00% (90.00% to 92.00%) with 61,706 parameters, 40 µs per image" in comparison(
        tmp_path / "comparison.png", [ROW]
    )


def test_the_most_confident_error_is_named_first(tmp_path):
    confidence = np.linspace(0.5, 0.6, 200).astype(np.float32)
    wrong = np.flatnonzero(TRUTH != ANSWER)
    confidence[wrong[3]] = 0.987
    confidence[np.flatnonzero(TRUTH == ANSWER)[0]] = 0.999  # correct, however confident
    text = errors(tmp_path / "errors.png", IMAGES, LABELS, TRUTH, ANSWER, confidence)
    assert f"The 24 most confident of {len(wrong)} errors on 200 test images" in text
    named = f"{LABELS[TRUTH[wrong[3]]]!r} as {LABELS[ANSWER[wrong[3]]]!r} with probability 0.987"
    assert named in text


def test_no_error_is_something_to_report(tmp_path):
    text = errors(tmp_path / "errors.png", IMAGES, LABELS, TRUTH, TRUTH, CONFIDENCE)
    assert text == "None of the 200 test images was misclassified."
    assert size(tmp_path / "errors.png")[1] < 200


@pytest.mark.parametrize("classes", [2, 21, 60])
def test_a_confusion_matrix_fits_any_number_of_classes(tmp_path, classes):
    matrix = np.diag(np.full(classes, 7))
    matrix[1, 0] = 2
    text = confusion(tmp_path / "confusion.png", matrix, [f"class number {k}" for k in range(classes)])
    assert text.endswith("2 of 'class number 1' classified as 'class number 0'.")
    assert max(size(tmp_path / "confusion.png")) < 2000


def test_names_cover_neither_each_other_nor_a_point():
    crowd = [(7_850, 0.845), (235_146, 0.897), (96_490, 0.929), (37_706, 0.921), (61_706, 0.925), (284_754, 0.93)]
    # Too many to have all their names right beside them.
    crowd += [(parameters * 1.15, accuracy + 0.001) for parameters, accuracy in crowd[2:]]
    points = [Point(cost, accuracy, accuracy - 0.005, accuracy, "black", "o") for cost, accuracy in crowd]
    names = [f"fashion-mnist/model-{k}" for k in range(len(points))]
    ax = Figure(figsize=(10, 4)).subplots()
    ax.set(xscale="log", xlim=(5_000, 900_000), ylim=(0.83, 0.94))
    label_points(ax, points, names)
    boxes = [Text.get_window_extent(label) for label in ax.texts]  # without the lines that lead there
    assert [label.get_text() for label in ax.texts] == names
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    places = ax.transData.transform([(point.cost, point.accuracy) for point in points])
    assert not any(box.contains(*place) for box in boxes for place in places)
