"""Temperature, sets of labels and thresholds of answers: what is fitted, and what it promises of other images."""

from __future__ import annotations

import logging
from math import ceil

import numpy as np
import pytest

from pipelines.core.metrics.calibration import accuracy_by_share, cross_entropy, equal_mass_error
from pipelines.core.metrics.conformal import threshold
from pipelines.core.metrics.resampling import percentiles, resampled_means
from pipelines.core.metrics.temperature import LEAST_IMAGES, SIDES, fit_temperature
from pipelines.evaluation.held_out import (
    COVERAGES,
    HeldOut,
    answer_metrics,
    answers_from,
    cooled,
    fit,
)
from pipelines.evaluation.reliability import by_class, decisions, reliability_metrics, within_sets
from zoo.checked import checked_metrics
from zoo.contract.reliability import unreliable
from zoo.data import Split
from zoo.errors import ExportError
from zoo.runtime.label_sets import images_needed

CLASSES = 5


def drawn(images: int, temperature: float = 1.0, seed: int = 0):
    """Logits [N, K] float32, too sure by a temperature, and labels that are as likely as without it."""
    random = np.random.RandomState(seed)
    true = random.normal(size=(images, CLASSES)) * 2
    probabilities = np.exp(true) / np.exp(true).sum(axis=1, keepdims=True)
    labels = (random.random((images, 1)) > probabilities.cumsum(axis=1)).sum(axis=1).clip(0, CLASSES - 1)
    return (true * temperature).astype(np.float32), labels.astype(np.int64)


def split(labels):
    return Split(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, tuple(map(str, range(len(labels)))))


# --- the temperature -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_logits_were_multiplied_by_is_found(temperature):
    logits, labels = drawn(20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("images", [LEAST_IMAGES, 60, 200, 1000])
@pytest.mark.parametrize("seed", range(5))
def test_the_cross_entropy_of_the_held_out_images_never_gets_worse(images, seed):
    logits, labels = drawn(images, 1.2, seed)
    temperature = fit_temperature(logits, labels)
    assert cross_entropy(logits / temperature, labels) <= cross_entropy(logits, labels)


def test_a_few_images_that_are_all_correct_make_nothing_certain():
    logits, _ = drawn(LEAST_IMAGES)
    temperature = fit_temperature(logits, logits.argmax(axis=1))
    assert SIDES[0] < temperature < 1  # without the image of which nothing is known it would be the bound
    assert cooled(logits, temperature)[1].max(axis=1).mean() < 0.99


@pytest.mark.parametrize("logits", [np.zeros((60, 3)), np.full((60, 3), 1e30), np.eye(3)[np.arange(60) % 3] * 1e4])
def test_strange_logits_have_a_temperature_within_bounds(logits):
    found = fit_temperature(logits.astype(np.float32), np.arange(60) % 3)
    assert SIDES[0] <= found <= SIDES[1]


def test_too_few_images_calibrate_nothing_and_that_is_told(caplog):
    logits, labels = drawn(LEAST_IMAGES - 1)
    with caplog.at_level(logging.WARNING):
        fitted = fit(logits, labels, "softmax")
    assert (fitted.calibration, fitted.temperature, fitted.answer_from) == ({}, 1.0, {})
    assert "softmax: 49 held-out images are too few for calibration, which takes 50" in caplog.text
    assert max(fitted.sets["thresholds"]) == "0.98"  # 49 images carry that, and no more
    with pytest.raises(ValueError, match="expected 50 images or more, received 49"):
        fit_temperature(logits, labels)


def test_calibrated_probabilities_come_true_on_other_images():
    (logits, labels), (others, truth) = drawn(2000, 3.0), drawn(4000, 3.0, seed=1)
    fitted = fit(logits, labels, "softmax")
    before, after = (reliability_metrics(split(truth), cooled(others, t), {}, {}) for t in (1.0, fitted.temperature))
    assert before["test_mass_calibration_error_low"] > 0.1
    assert after["test_mass_calibration_error_low"] == 0
    assert after["test_mass_calibration_error"] < 0.03
    assert after["test_loss_high"] < before["test_loss_low"]


# --- the calibration error -----------------------------------------------------------------------------------------


def test_the_error_in_bins_of_equal_mass_is_that_by_hand():
    confidence = np.repeat([0.6, 0.9], 15)
    correct = np.tile([True, True, False], 10)
    # Bins of two images each, the last of the one value and the first of the other in one: |sum of gaps| / 30 in all.
    gaps = np.array([np.sum(confidence[k : k + 2] - correct[k : k + 2]) for k in range(0, 30, 2)])
    assert equal_mass_error(confidence, correct).error == pytest.approx(np.abs(gaps).sum() / 30)


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_begins_at_0_where_probabilities_are_true_and_above_where_they_are_not(seed):
    random = np.random.RandomState(seed)
    confidence = random.uniform(0.5, 1, 3000)
    true = equal_mass_error(confidence, random.random(3000) < confidence)
    false = equal_mass_error(confidence, random.random(3000) < confidence - 0.1)
    assert true.low == 0 < true.error < true.high < 0.05
    assert 0.04 < false.low < 0.09 < false.high < 0.15


def test_resampling_finds_the_standard_error():
    values = np.random.RandomState(1).normal(size=500)
    low, high = percentiles(resampled_means(values))
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 500**0.5, rel=0.1)
    assert (resampled_means(values) == resampled_means(values)).all()


def test_the_surest_answers_come_first():
    answered, accuracy = accuracy_by_share(np.array([0.5, 0.9, 0.7]), np.array([False, True, False]))
    assert answered.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert accuracy.tolist() == pytest.approx([1, 1 / 2, 1 / 3])


# --- sets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coverage", "images"), [(0.8, 4), (0.9, 9), (0.95, 19), (0.99, 99)])
def test_the_images_that_a_coverage_takes_are_as_many_as_it_says(coverage, images):
    own = np.random.RandomState(0).random(images)
    assert images_needed(coverage) == images
    assert threshold(own, coverage) == pytest.approx(own.min(), abs=1e-6) and threshold(own, coverage) <= own.min()
    with pytest.raises(ValueError, match=f"expected {images} images or more, received {images - 1}"):
        threshold(own[1:], coverage)


@pytest.mark.parametrize("images", [19, 50, 1000])
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_the_threshold_leaves_out_as_many_as_the_correction_allows(images, coverage):
    own = np.random.RandomState(images).random(images)
    left_out = int((own < threshold(own, coverage)).sum())
    assert images - left_out == ceil((images + 1) * coverage)


@pytest.mark.parametrize("images", [25, 100, 400])
def test_sets_hold_the_true_label_as_often_as_they_promise_whatever_few_images_they_rest_on(images):
    """On the mean over draws, with the temperature fitted on the same images, as it is done."""
    held = {coverage: [] for coverage in ("0.80", "0.90", "0.95")}
    others, truth = drawn(4000, 2.0, seed=999)
    for seed in range(150):
        logits, labels = drawn(images, 2.0, seed)
        fitted = fit(logits, labels, "softmax")
        _, probabilities = cooled(others, fitted.temperature)
        for coverage, found in held.items():
            within = within_sets(probabilities, fitted.sets["thresholds"][coverage])
            found.append(within[np.arange(len(truth)), truth].mean())
    for coverage, found in held.items():
        assert np.mean(found) >= float(coverage) - 3 * np.std(found) / len(found) ** 0.5 - 0.005
        assert np.mean(found) <= float(coverage) + 1 / (images + 1) + 0.02


def test_thresholds_fall_with_the_coverage_and_are_what_a_file_may_hold():
    logits, labels = drawn(3000)
    fitted = fit(logits, labels, "softmax")
    found = [fitted.sets["thresholds"][coverage] for coverage in COVERAGES]
    assert found == sorted(found, reverse=True)
    assert [*fitted.sets["by_class"]] == [*COVERAGES]
    assert unreliable({"calibration": fitted.calibration, "sets": fitted.sets, "familiarity": {}}, CLASSES) == []


def test_thresholds_by_class_take_twenty_images_of_each():
    logits, labels = drawn(3000)
    order = np.concatenate([np.flatnonzero(labels == 0)[:19], np.flatnonzero(labels != 0)])
    fitted = fit(logits[order], labels[order], "softmax")
    assert fitted.sets["by_class"] == {} and fitted.sets["images_by_class"][0] == 19
    order = np.concatenate([np.flatnonzero(labels == 0)[:20], np.flatnonzero(labels != 0)])
    fitted = fit(logits[order], labels[order], "softmax")
    assert max(fitted.sets["by_class"]) == "0.95"  # 0.96 would take 24


def test_sets_by_class_hold_each_class_where_those_of_all_do_not():
    """Of a class that is hard to tell, sets of all leave out more than its share."""
    random = np.random.RandomState(3)

    def hard(images, seed):
        logits, labels = drawn(images, seed=seed)
        logits[labels == 0] = random.normal(size=(int((labels == 0).sum()), CLASSES))
        return logits, labels

    fitted = fit(*hard(5000, 1), "softmax")
    others, truth = hard(20_000, 2)
    test, answers = split(truth), cooled(others, fitted.temperature)
    rows = by_class(test, answers, "abcde", fitted.calibration, fitted.sets)
    assert rows[0].coverage < 0.93
    assert all(0.935 < row.coverage_by_class < 0.965 for row in rows)


def test_a_set_is_never_empty():
    probabilities = np.array([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8]], np.float32)
    assert within_sets(probabilities, 0.9).tolist() == [[True, False, False], [False, False, True]]
    assert within_sets(probabilities, [0.9, 0.2, 0.9]).tolist() == [[True, True, False], [False, False, True]]


# --- answers -------------------------------------------------------------------------------------------------------


def test_thresholds_of_answers_reach_their_accuracy_on_the_held_out_images():
    logits, labels = drawn(4000)
    fitted = fit(logits, labels, "softmax")
    found = decisions(split(labels), cooled(logits, fitted.temperature), fitted.answer_from)
    assert [each.target for each in found] == [0.95, 0.97, 0.99, 0.995]
    for each in found:
        assert each.accuracy >= each.target and each.low < each.accuracy <= each.high
    assert [each.answered for each in found] == sorted((each.answered for each in found), reverse=True)
    assert answers_from(answer_metrics(fitted)) == fitted.answer_from


def test_an_accuracy_that_no_answers_reach_has_no_threshold():
    random = np.random.RandomState(0)
    fitted = fit(random.normal(size=(200, 3)).astype(np.float32), random.randint(0, 3, 200), "softmax")
    assert all(float(target) > 0 for target in fitted.answer_from) and len(fitted.answer_from) < 4


def test_the_metrics_are_such_as_a_manifest_may_hold(tmp_path):
    logits, labels = drawn(300)
    fitted = fit(logits, labels, "softmax")
    answers = cooled(logits, fitted.temperature)
    found = reliability_metrics(split(labels), answers, fitted.calibration, fitted.sets) | answer_metrics(fitted)
    assert checked_metrics(found, tmp_path) == found
    assert {"test_coverage_90", "test_mean_set_99", "test_uncalibrated_loss_low"} < found.keys()
    assert found["test_uncalibrated_loss"] == pytest.approx(cross_entropy(logits, labels), abs=1e-6)
    assert reliability_metrics(split(labels), answers, {}, {}).keys() < found.keys()
    assert HeldOut().temperature == 1


def test_a_share_of_accepted_images_is_a_share(tmp_path):
    assert checked_metrics({"familiarity_accepted": 0.95}, tmp_path) == {"familiarity_accepted": 0.95}
    with pytest.raises(ExportError, match="has a familiarity_accepted of 10, expected a number from 0 to 1"):
        checked_metrics({"familiarity_accepted": 10}, tmp_path)
