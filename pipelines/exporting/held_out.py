"""Whether a file is calibrated, and its sets are drawn, as it says: found again by its held-out images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.temperature import LEAST_IMAGES, SIDES, fit_temperature
from pipelines.evaluation.held_out import sets_of, temperature_of
from pipelines.evaluation.predictions import answers_of
from pipelines.exporting.checks import ROUNDING
from zoo.contract import FLOAT32
from zoo.data import DataSet, Split
from zoo.data.held_out import held_out
from zoo.errors import VerificationError
from zoo.runtime import Classifier

LEFT = 0.02  # of a temperature: float16 weights are divided to three digits


def check_held_out(
    classifier: Classifier, file: Path, data_set: DataSet, answer_from: Mapping[str, float] | None = None
) -> str:
    """Fitted anew on the file's own answers, no temperature is left, and the thresholds of sets are the same.

    answer_from: accuracy -> the least probability of answers that reach it, as of HeldOut: they do.
    Returns how that was found, or why it couldn't be looked at. Raises VerificationError.
    """
    metadata = classifier.metadata
    if data_set.digest != metadata.data_digest:
        return f"not checked, these aren't the {data_set.kind} of its training"
    kept = held_out(data_set, str(metadata.recipe.get("images")))
    if kept is None:
        raise VerificationError(f"{file} was fitted on held-out {data_set.kind}, of which its recipe has none")
    said = (metadata.calibration, metadata.sets, metadata.familiarity)
    for images in (each["images"] for each in said if each):
        if images != len(kept):
            raise VerificationError(
                f"{file} says that it was fitted on {images:,} held-out {kept.kind}, there are {len(kept):,}: export "
                "the model again"
            )
    logits, probabilities = answers_of(classifier, kept.inputs)
    temperature, found = temperature_of(metadata.calibration), []
    if metadata.calibration and len(kept) >= LEAST_IMAGES:
        left = fit_temperature(logits, kept.labels)
        # At either end of what a temperature can be, the images asked for more, which is left.
        fits = left <= 1 + LEFT or temperature >= SIDES[1], left >= 1 - LEFT or temperature <= SIDES[0]
        if not all(fits):
            raise VerificationError(
                f"{file} isn't calibrated: by its {len(kept):,} held-out {kept.kind} a temperature of {left:.4g} is "
                "left in its logits, expected 1: export the model again"
            )
        found.append("temperature")
    if metadata.sets:
        if metadata.sets["images_by_class"] != np.bincount(kept.labels, minlength=len(classifier.labels)).tolist():
            raise VerificationError(
                f"{file} has wrong numbers of held-out {kept.kind} by class: export the model again"
            )
        again, tolerance = sets_of(probabilities, kept.labels), 2 * ROUNDING[metadata.precision]
        for kind in ("thresholds", "by_class"):
            _compare(metadata.sets[kind], again[kind], f"{file}: the {kind} of its sets", tolerance)
        found += ["thresholds of sets"] if again["thresholds"] else []
    for target, least in (answer_from or {}).items():
        _check_answers(probabilities, kept, float(target), least, f"{file}: answers from a probability of {least:.4f}")
    if not found:
        return f"{len(kept):,} {kept.kind}, too few to find anything again by"
    return f"{' and '.join(found)} found again by {len(kept):,} {kept.kind}"


def _compare(stated: dict[str, object], found: dict[str, object], what: str, tolerance: float) -> None:
    """Raise VerificationError for the first threshold that is another."""
    for coverage in stated.keys() | found.keys():
        both = [each.get(coverage, ()) for each in (stated, found)]
        one, other = (each if isinstance(each, list) else [each] for each in both)
        if len(one) != len(other) or any(
            not abs(a - b) <= tolerance
            for a, b in zip(one, other, strict=True)  # NaN fails, too
        ):
            raise VerificationError(
                f"{what} for {coverage} are {both[0]}, from the held-out images they are {both[1]}: export the model "
                "again"
            )


def _check_answers(probabilities: NDArray[np.float32], kept: Split, target: float, least: float, what: str) -> None:
    """Raise VerificationError where answers from that probability on are less accurate, however close ones count."""
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == kept.labels
    edge = 2 * ROUNDING[FLOAT32]
    counted = (confidence >= least + edge) | (correct & (confidence >= least - edge))
    accuracy = float(correct[counted].mean()) if counted.any() else 0.0
    if accuracy < target:
        raise VerificationError(
            f"{what} are correct on {accuracy:.2%} of the held-out {kept.kind}, expected {target:.1%} or more: export "
            "the model again"
        )
