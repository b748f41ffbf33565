"""What is fitted on images that a model didn't learn from, so that its answers can be relied on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.conformal import threshold
from pipelines.core.metrics.temperature import LEAST_IMAGES, fit_temperature
from pipelines.evaluation.predictions import Answers
from zoo.runtime.label_sets import images_needed, images_needed_by_class

logger = logging.getLogger("zoo.evaluation")

COVERAGES = tuple(f"0.{hundredths}" for hundredths in range(80, 100))
TARGETS = ("0.95", "0.97", "0.99", "0.995")  # accuracies that the surest answers are to reach
METHOD = "LAC"  # docs/reliability.md has the others that were measured


@dataclass(frozen=True)
class HeldOut:
    """What is fitted on images that the model didn't learn from.

    calibration, sets: as `zoo.contract.reliability` describes them; empty where there are no such images, or too few.
    answer_from: accuracy, as in TARGETS, -> the least probability of answers that reach it together.
    """

    calibration: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)
    answer_from: Mapping[str, float] = field(default_factory=dict)

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return temperature_of(self.calibration)


def temperature_of(calibration: Mapping[str, Any]) -> float:
    """Of a file, by its metadata: what the logits of its model were divided by."""
    return float(calibration.get("temperature", 1.0))


ANSWER_FROM = "answer_from_"  # and the accuracy, as metrics are called that say from which probability on to answer


def answer_metrics(fitted: HeldOut) -> dict[str, float]:
    """The thresholds of answers as a run and a manifest keep them."""
    return {f"{ANSWER_FROM}{target.removeprefix('0.')}": least for target, least in fitted.answer_from.items()}


def answers_from(metrics: Mapping[str, float]) -> dict[str, float]:
    """Accuracy -> threshold, of a run's or a manifest's metrics."""
    return {
        target: metrics[name] for target in TARGETS if (name := f"{ANSWER_FROM}{target.removeprefix('0.')}") in metrics
    }


def fit(logits: NDArray[np.float32], labels: NDArray[np.int64], name: str) -> HeldOut:
    """Temperature, thresholds of sets and of answers. logits: [n, K], labels: [n], of the held-out images.

    All rest on the same images: the temperature is one number, and changes the order of the probabilities of two images
    little. With halves of them, thresholds would rest on half as many (benchmarks/reliability.py has both measured).
    name: of the model, for the log.
    """
    calibration: dict[str, Any] = {}
    if len(labels) < LEAST_IMAGES:
        logger.warning(
            "%s: %d held-out images are too few for calibration, which takes %d", name, len(labels), LEAST_IMAGES
        )
    else:
        temperature = fit_temperature(logits, labels)
        calibration = {"temperature": temperature, "images": len(labels), "split": "validation"}
        logger.info("%s: temperature %.4g, by %d held-out images", name, temperature, len(labels))
    _, probabilities = cooled(logits, temperature_of(calibration))
    return HeldOut(calibration, sets_of(probabilities, labels), _answer_from(probabilities, labels))


def cooled(logits: NDArray[np.float32], temperature: float) -> Answers:
    """Logits [N, K] divided by a temperature, and the probabilities of those."""
    divided = logits.astype(np.float64) / temperature
    powers = np.exp(divided - divided.max(axis=1, keepdims=True))
    return divided.astype(np.float32), (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def sets_of(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, Any]:
    """The thresholds of sets of labels, as a file's metadata have them. probabilities: [n, K], labels: [n]."""
    own, classes = probabilities[np.arange(len(labels)), labels], probabilities.shape[1]
    counts = np.bincount(labels, minlength=classes)
    of_all = {c: threshold(own, float(c)) for c in COVERAGES if len(own) >= images_needed(float(c))}
    by_class = {
        c: [threshold(own[labels == k], float(c)) for k in range(classes)]
        for c in of_all
        if counts.min() >= images_needed_by_class(float(c))
    }
    return {
        "method": METHOD,
        "images": len(own),
        "images_by_class": counts.tolist(),
        "thresholds": of_all,
        "by_class": by_class,
    }


def _answer_from(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    """For each accuracy the least probability above which answers to these images reach it; none where none do."""
    if len(labels) < LEAST_IMAGES:
        return {}
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    order = np.argsort(-confidence, kind="stable")
    accuracy = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    # Equals are answered all or none.
    last = np.append(confidence[order][1:] != confidence[order][:-1], True)
    found = {}
    for target in TARGETS:
        reached = np.flatnonzero(last & (accuracy >= float(target)))
        if len(reached):
            found[target] = float(confidence[order][reached[-1]])
    return found
