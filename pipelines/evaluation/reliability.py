"""How far a model's answers can be relied on, by the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.calibration import cross_entropies, cross_entropy, equal_mass_error
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.metrics.resampling import percentiles, resampled_means
from pipelines.evaluation.held_out import cooled, temperature_of
from pipelines.evaluation.predictions import Answers
from zoo.data import Split

MEASURED = ("0.90", "0.95", "0.99")  # coverages whose sets are looked at


def reliability_metrics(
    test: Split, answers: Answers, calibration: Mapping[str, Any], sets: Mapping[str, Any]
) -> dict[str, float]:
    """What the manifest has of it, by name: calibration and cross-entropy with intervals, before and after, and sets.

    answers: calibrated ones. calibration, sets: of the file's metadata; empty for none.
    """
    probabilities = answers[1]
    found = _of_answers("test", answers, test)
    if calibration:
        before = cooled(answers[0], 1 / temperature_of(calibration))
        found |= _of_answers("test_uncalibrated", before, test)
    for coverage in MEASURED:
        if coverage in sets.get("thresholds", ()):
            within = within_sets(probabilities, sets["thresholds"][coverage])
            percent = coverage.removeprefix("0.")
            found[f"test_coverage_{percent}"] = float(within[np.arange(len(test)), test.labels].mean())
            found[f"test_mean_set_{percent}"] = float(within.sum(axis=1).mean())
    return found


def _of_answers(prefix: str, answers: Answers, test: Split) -> dict[str, float]:
    logits, probabilities = answers
    losses = cross_entropies(logits, test.labels)
    low, high = percentiles(resampled_means(losses))
    error = equal_mass_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels)
    return {
        f"{prefix}_loss": float(losses.mean()),
        f"{prefix}_loss_low": low,
        f"{prefix}_loss_high": high,
        f"{prefix}_mass_calibration_error": error.error,
        f"{prefix}_mass_calibration_error_low": error.low,
        f"{prefix}_mass_calibration_error_high": error.high,
    }


def loss_and_error(answers: Answers, test: Split) -> dict[str, float]:
    """The two that stand for the calibration of a file of another precision, without intervals."""
    logits, probabilities = answers
    error = equal_mass_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels)
    return {"loss": cross_entropy(logits, test.labels), "mass_calibration_error": error.error}


def within_sets(probabilities: NDArray[np.float32], least: float | Sequence[float]) -> NDArray[np.bool_]:
    """[N, K]: which labels are in the sets, as `zoo.runtime.label_sets` draws them; least: of all, or by class [K]."""
    within: NDArray[np.bool_] = probabilities.astype(np.float64) >= np.asarray(least)
    within[np.arange(len(within)), probabilities.argmax(axis=1)] = True
    return within


@dataclass(frozen=True)
class ClassReliability:
    """The answers for a class, and the sets of its images.

    answers: test images that were taken for it. precision: share of them that are correct, its 95 % interval from low
    to high (Wilson). confidence: their mean probability, and before calibration. coverage: share of the class's images
    whose set for a coverage of 0.95 holds it; by_class: of sets with thresholds by class. All 0..1; None where there is
    nothing to say.
    """

    label: str
    answers: int
    precision: float | None
    low: float
    high: float
    confidence: float | None
    uncalibrated_confidence: float | None
    coverage: float | None
    coverage_by_class: float | None


def by_class(
    test: Split, answers: Answers, labels: Sequence[str], calibration: Mapping[str, Any], sets: Mapping[str, Any]
) -> tuple[ClassReliability, ...]:
    """For each class, in the order of the outputs. answers: calibrated ones."""
    logits, probabilities = answers
    before = cooled(logits, 1 / temperature_of(calibration))[1] if calibration else None
    answer, highest = probabilities.argmax(axis=1), probabilities.max(axis=1)
    highest_before = None if before is None else before.max(axis=1)

    def mean(values: NDArray[Any] | None, those: NDArray[np.bool_]) -> float | None:
        return float(values[those].mean(dtype=np.float64)) if values is not None and those.any() else None

    def held(kind: str) -> NDArray[np.bool_] | None:
        """[N]: whether an image's set holds its label."""
        least = sets.get(kind, {}).get("0.95")
        return None if least is None else within_sets(probabilities, least)[np.arange(len(test)), test.labels]

    of_all, of_class = held("thresholds"), held("by_class")
    found = []
    for k, label in enumerate(labels):
        taken = answer == k
        correct = taken & (test.labels == k)
        low, high = wilson_interval(int(correct.sum()), int(taken.sum()))
        found.append(
            ClassReliability(
                label=label,
                answers=int(taken.sum()),
                precision=mean(correct, taken),
                low=low,
                high=high,
                confidence=mean(highest, taken),
                uncalibrated_confidence=mean(highest_before, taken),
                coverage=mean(of_all, test.labels == k),
                coverage_by_class=mean(of_class, test.labels == k),
            )
        )
    return tuple(found)


@dataclass(frozen=True)
class Decision:
    """What comes of answering where the probability reaches a threshold, and asking a person otherwise.

    target: the accuracy that the threshold was chosen for, on held-out images. answered: share of the test images;
    accuracy: of those, with its 95 % interval from low to high (Wilson). All 0..1.
    """

    target: float
    threshold: float
    answered: float
    accuracy: float
    low: float
    high: float


def decisions(test: Split, answers: Answers, answer_from: Mapping[str, float]) -> tuple[Decision, ...]:
    """One for each accuracy that a threshold was found for. answer_from: as of HeldOut."""
    probabilities = answers[1]
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == test.labels
    found = []
    for target, least in answer_from.items():
        sure = confidence >= np.float32(least)
        number, right = int(sure.sum()), int(correct[sure].sum())
        if number:
            low, high = wilson_interval(right, number)
            found.append(Decision(float(target), least, number / len(test), right / number, low, high))
    return tuple(found)
