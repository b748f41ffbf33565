"""The claims about reliability: what they measure, on models of which it is known, and that they come to a finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.exporting.from_onnx import rebuild
from pipelines.study import experiments
from pipelines.study.claims.reliability import (
    accuracy_by_contrast,
    activations_and_logits,
    at_equal_accuracy,
    calibration,
    told_apart,
    with_activations,
)
from pipelines.study.images import FOREIGN, foreign
from pipelines.study.lab import Lab, Results
from pipelines.study.record import Record
from zoo.data import load
from zoo.data.known.fashion_mnist import DEBIAN_FOLDER
from zoo.models import build

EXPORTS = Path(__file__).parent.parent / "exports" / "digits"


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def conv():
    """A Keras model that knows its digits, and its accuracy."""
    model, metadata = rebuild(EXPORTS / "conv-small")
    return model, metadata.test_accuracy


def test_a_temperature_mends_what_larger_logits_spoil(digits):
    model, metadata = rebuild(EXPORTS / "softmax")
    found = calibration(model, digits)
    assert found["accuracy"] == pytest.approx(100 * metadata.test_accuracy)
    layer = next(each for each in reversed(model.layers) if each.weights)
    layer.set_weights([8 * weights for weights in layer.get_weights()])
    surer = calibration(model, digits)
    assert surer["accuracy"] == found["accuracy"]
    assert surer["as trained"] > surer["temperature"] == pytest.approx(found["temperature"], abs=0.1)


def test_another_metric_is_read_at_equal_accuracy(tmp_path):
    def measured(*values):
        return [{"accuracy": accuracy, "error": error} for accuracy, error in values]

    results = Results(
        {
            "dense": measured((80, 9), (70, 9), (99, 9)),
            "small": measured((75, 1), (75, 1), (90, 4)),
            "large": measured((85, 3), (85, 3), (80, 2)),  # of the third seed it is the less accurate one
        },
        Record(tmp_path / "none.json"),
    )
    assert at_equal_accuracy(results, "error", "dense", ["small", "large"]).tolist() == [2, 1, 4]


def test_activations_are_averaged_over_positions_and_foreign_images_lie_farther(conv, digits):
    model, accuracy = conv
    extended, sizes = with_activations(model)
    found, logits = activations_and_logits(extended, digits.test.inputs[:3])
    assert found.shape == (3, sum(sizes)) and 1 < len(sizes) <= 4 and found.min() >= 0
    assert np.allclose(logits, model.predict_on_batch(digits.test.inputs[:3])["logits"], atol=1e-4)
    told = told_apart(model, digits)
    assert told["accuracy"] == pytest.approx(100 * accuracy)
    assert {f"activations on {kind}" for kind in FOREIGN} < told.keys()
    assert told["activations on noise"] > 99 and told["activations on photographs"] > 90
    assert abs(told["activations on digits"] - 50) < 20, "these are of the same kind, the training images among them"


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_images_are_the_same_each_time(kind):
    images = foreign(kind, 20, 28)
    assert images.shape == (20, 28, 28, 1) and images.dtype == np.uint8
    assert np.array_equal(images, foreign(kind, 20, 28)) and len(np.unique(images, axis=0)) == 20
    assert images.std() > 20


def test_a_normalized_model_answers_alike_at_half_the_contrast(conv, digits):
    model, accuracy = conv
    found = accuracy_by_contrast(model, digits, (1.0, 0.5))
    assert found["contrast 1"] == pytest.approx(100 * accuracy)
    assert abs(found["contrast 1"] - found["contrast 0.5"]) < 1


def test_a_model_of_raw_pixels_loses_with_the_contrast(digits):
    train, test = ((split.inputs.reshape(len(split), -1) / 255, split.labels) for split in (digits.train, digits.test))
    means = np.stack([train[0][train[1] == digit].mean(axis=0) for digit in range(10)])  # the nearest one is the answer
    model = build("softmax", 8, 8, 1, 10)
    next(each for each in model.layers if each.weights).set_weights([means.T, -(means**2).sum(axis=1) / 2])
    nearest = ((test[0][:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    raw = accuracy_by_contrast(model, digits, (1.0, 0.15))
    assert raw["contrast 1"] == pytest.approx(100 * (nearest == test[1]).mean()) and raw["contrast 1"] > 85
    assert raw["contrast 0.15"] < raw["contrast 1"] - 5


class Tiny(Lab):
    """So little of everything that a training takes seconds."""

    @property
    def usual(self):
        return 300, 5


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("name", ["calibration", "foreign-images", "contrast"])
def test_a_tiny_study_comes_to_a_finding_and_is_drawn_again_from_its_record(name, store):
    """Slow: it trains up to six models twice, for real."""
    (each,) = experiments([name])
    record = Record(store / f"{name}.json")
    lab = Tiny(name, (1, 2), True, record)
    finding = each.run(lab)
    assert all(np.isfinite(effect.sample).all() and len(effect.sample) == 2 for effect in finding.effects)
    assert finding.chart.svg()
    again = each.run(replace(lab, record=Record(record.path), replay=True))
    assert [effect.mean for effect in again.effects] == [effect.mean for effect in finding.effects]
