"""Statistics against published numbers, SciPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom, binomtest
from sklearn import metrics

from pipelines.core.metrics.calibration import calibration_bins, calibration_error, cross_entropy
from pipelines.core.metrics.classification import confusion_matrix, precision_recall_f1, top_accuracy
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.metrics.paired import holm, mcnemar, paired_test

CLASSES = 5


@pytest.fixture(scope="module")
def answers():
    """300 images of classes 0 to 3, and logits that are right more often than not; class 4 is never meant."""
    random = np.random.default_rng(7)
    truth = random.integers(0, CLASSES - 1, 300)
    logits = random.normal(size=(300, CLASSES)).astype(np.float32)
    logits[np.arange(300), truth] += 1.5
    return truth, logits


@pytest.mark.parametrize("correct, n", [(0, 10), (10, 10), (1, 3), (9255, 10000), (355, 360)])
def test_wilson_interval_is_scipys(correct, n):
    expected = binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson_interval(correct, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_knows_nothing_without_images():
    assert wilson_interval(0, 0) == (0, 1)


def test_wilson_interval_narrows_with_less_confidence():
    expected = binomtest(90, 100).proportion_ci(0.68, method="wilson")
    assert wilson_interval(90, 100, confidence=0.68) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_interval_refuses_more_right_answers_than_images():
    with pytest.raises(ValueError, match="received 11 of 10"):
        wilson_interval(11, 10)


def test_confusion_matrix_is_scikit_learns(answers):
    truth, logits = answers
    expected = metrics.confusion_matrix(truth, logits.argmax(1), labels=range(CLASSES))
    np.testing.assert_array_equal(confusion_matrix(truth, logits.argmax(1), CLASSES), expected)


def test_precision_recall_and_f1_are_scikit_learns(answers):
    truth, logits = answers
    expected = metrics.precision_recall_fscore_support(truth, logits.argmax(1), labels=range(CLASSES), zero_division=0)
    found = precision_recall_f1(confusion_matrix(truth, logits.argmax(1), CLASSES))
    np.testing.assert_allclose(found, expected[:3], atol=1e-12)


def test_a_class_that_never_was_the_answer_has_no_precision():
    precision, recall, f1 = precision_recall_f1(np.array([[4, 0], [3, 0]]))
    assert (precision[1], recall[1], f1[1]) == (0, 0, 0)
    assert precision[0] == pytest.approx(4 / 7)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_top_accuracy_is_scikit_learns(answers, k):
    truth, logits = answers
    expected = metrics.top_k_accuracy_score(truth, logits, k=k, labels=range(CLASSES))
    assert top_accuracy(logits, truth, k) == pytest.approx(expected)


def test_cross_entropy_is_scikit_learns(answers):
    truth, logits = answers
    expected = metrics.log_loss(truth, softmax(logits.astype(np.float64), axis=1), labels=range(CLASSES))
    assert cross_entropy(logits, truth) == pytest.approx(expected, abs=1e-9)


def test_cross_entropy_of_a_hopeless_answer_is_finite():
    assert cross_entropy(np.array([[500.0, 0.0]], np.float32), np.array([1])) == pytest.approx(500)


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    bins = calibration_bins(confidence, right, bins=10)
    assert [(b.images, b.correct, b.accuracy) for b in bins] == [(2, 1, 0.5), (4, 3, 0.75)]
    assert calibration_error(bins) == pytest.approx(4 / 6 * 0.20 + 2 / 6 * 0.05)


def test_the_surest_answers_fall_into_the_last_bin():
    bins = calibration_bins(np.ones(3, np.float32), np.ones(3, bool))
    assert [(b.images, b.confidence) for b in bins] == [(3, 1.0)]
    assert calibration_error(bins) == 0


def test_probabilities_that_say_how_often_they_are_right_are_calibrated():
    random = np.random.default_rng(3)
    confidence = random.uniform(0.2, 1, 200_000)
    bins = calibration_bins(confidence, random.uniform(size=200_000) < confidence)
    assert calibration_error(bins) < 0.01


def paired(both, only_first, only_second, neither):
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return paired_test(first, second)


@pytest.mark.parametrize("only_first, only_second", [(1, 7), (0, 0), (3, 3), (0, 24), (11, 12)])
def test_mcnemar_of_few_is_the_binomial_test(only_first, only_second):
    n = only_first + only_second
    expected = binomtest(only_first, n).pvalue if n else 1
    assert mcnemar(only_first, only_second) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("only_first, only_second", [(10, 20), (25, 0), (200, 151), (40, 40), (4000, 3500)])
def test_mcnemar_of_many_is_mid_p(only_first, only_second):
    n, fewer = only_first + only_second, min(only_first, only_second)
    expected = 2 * binom.cdf(fewer, n, 0.5) - binom.pmf(fewer, n, 0.5)
    assert mcnemar(only_first, only_second) == mcnemar(only_second, only_first) == pytest.approx(expected, rel=1e-9)


# The examples of Newcombe 1998, and of Bentur et al. 2009 in the book of Fagerland, Lydersen & Laake 2017.
@pytest.mark.parametrize(
    "counts, low, high", [((36, 12, 2, 0), 0.0569, 0.3404), ((1, 1, 7, 12), -0.507, -0.026)], ids=["newcombe", "bentur"]
)
def test_the_interval_of_a_paired_difference_is_the_published_one(counts, low, high):
    found = paired(*counts)
    digits = {"abs": 0.0005 if low < 0 else 0.00005}
    assert (found.low, found.high) == (pytest.approx(low, **digits), pytest.approx(high, **digits))


def test_a_paired_test_counts_what_only_one_gets_right():
    found = paired(900, 60, 30, 10)
    assert (found.images, found.only_first, found.only_second, found.difference) == (1000, 60, 30, 0.03)
    assert found.low < 0.03 < found.high
    assert found.p == mcnemar(60, 30) < 0.01
    other = paired(900, 30, 60, 10)
    assert (other.low, other.high) == pytest.approx((-found.high, -found.low))


@pytest.mark.parametrize("counts", [(50, 0, 0, 0), (0, 0, 0, 50), (0, 50, 0, 0), (20, 0, 0, 30)])
def test_a_paired_interval_is_not_empty_at_the_ends(counts):
    found = paired(*counts)
    assert -1 <= found.low <= found.difference <= found.high <= 1
    assert found.low < found.high or counts == (20, 0, 0, 30)


def test_holms_adjustment_is_that_of_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005, 0.9), "holm") in R 4
    assert holm([0.01, 0.04, 0.03, 0.005, 0.9]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.9])
    assert (holm([]), holm([0.2])) == ([], [0.2])


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    random = np.random.default_rng(11)
    chances = [0.80, 0.08, 0.05, 0.07]
    tables = random.multinomial(400, chances, size=2000)
    held = [found.low <= 0.03 <= found.high for found in (paired(*table) for table in tables)]
    assert 0.93 < np.mean(held) < 0.975
