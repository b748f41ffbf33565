"""A quantized file: written with what it says of itself, and measured beside the float32 one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pipelines.core.metrics.paired import PairedTest, paired_test
from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.evaluation.held_out import fit, temperature_of
from pipelines.evaluation.predictions import Answers, familiarity_of, made_up
from pipelines.evaluation.reliability import loss_and_error
from pipelines.exporting.familiarity.check import accepted
from pipelines.exporting.familiarity.output import give_familiarity
from pipelines.exporting.graph.temperature import divide_logits
from pipelines.exporting.quantization.answers import allowed_losses, answers_in_memory, correct
from pipelines.exporting.quantization.int8 import QuantizedModel
from zoo.contract import INT8, MODEL_FILE, MODEL_FILES, Metadata
from zoo.data import DataSet, Split
from zoo.errors import ExportError, VerificationError
from zoo.runtime import load as load_classifier

BATCHES = (1, 64)  # images at once, at which the speed is measured
WARM_UP, ROUNDS, PATIENCE = 3, 100, 5.0  # turns, turns, seconds


@dataclass(frozen=True)
class QuantizedFile:
    """One file that was made, beside the float32 one.

    size: bytes; share: of the float32 file's. accuracy: on the whole test set, 0..1. difference: its accuracy less that
    of the float32 file, image by image. same_top_class: share of the test images with the same answer.
    largest_difference: of a probability. speedups: how many times as fast as float32 on this machine's processor, one
    thread, by the number of images at once; none of float16, which is for graphics processors. made: what decided how
    it was made, as the file keeps it. tried: of each method of calibration, how far its answers to the validation
    images were from the float32 file's (Kullback and Leibler's divergence, nats). accepted: the share of test images
    that are taken for one of the classes; None where it doesn't say how familiar they are.
    """

    precision: str
    file: Path
    size: int
    share: float
    accuracy: float
    difference: PairedTest
    same_top_class: float
    largest_difference: float
    speedups: Mapping[int, float]
    made: Mapping[str, Any]
    tried: Mapping[str, float]
    reliability: Mapping[str, float]
    accepted: float | None = None


def write_and_measure(
    folder: Path,
    precision: str,
    quantized: QuantizedModel,
    metadata: Metadata,
    data_set: DataSet,
    expected: Answers,
    margin: float,
    kept: Split | None,
) -> QuantizedFile:
    """Write the file with its metadata, calibrated, and compare it with the float32 one on the test images.

    It says how familiar images are where the float32 one does, by a distribution of its own.

    metadata: of the float32 file; expected: its answers. margin: points of accuracy that may be lost. kept: the
    held-out images that it is calibrated by; None where it isn't. Raises VerificationError where more accuracy is lost,
    ExportError where the file is no smaller.
    """
    test = data_set.test
    calibration, sets = _calibrate(quantized.model, kept, metadata)
    found = answers_in_memory(quantized.model, test)
    is_correct = correct(found, test)
    difference = paired_test(is_correct, correct(expected, test))
    lost = -round(difference.difference * len(test))
    name = f"{metadata.data_set}/{metadata.model}"
    if not np.isfinite(found[0]).all():
        raise VerificationError(f"{name} has values that {precision} can't hold: it stays in float32")
    if lost > allowed_losses(margin, len(test)):
        raise VerificationError(
            f"{name} is correct on {is_correct.mean():.2%} of the test set in {precision}, "
            f"{100 * lost / len(test):.2f} points less than in float32 "
            f"(95% interval {100 * -difference.high:.2f} to {100 * -difference.low:.2f}), "
            f"expected at most {margin:g} less: it stays in float32, or allow more with --margin"
        )
    same = float((found[1].argmax(axis=1) == expected[1].argmax(axis=1)).mean())
    parity = {"largest_difference": float(np.abs(found[1] - expected[1]).max()), "same_top_class": same}
    features = quantized.features
    familiarity = give_familiarity(quantized.model, metadata, data_set, features) if features else {}
    own = replace(
        metadata,
        precision=precision,
        quantization=quantized.made,
        test_accuracy=float(is_correct.mean()),
        parity=parity,
        calibration=calibration,
        sets=sets,
        familiarity=familiarity,
    )
    onnx.helper.set_model_props(quantized.model, own.to_properties())
    file, before = folder / MODEL_FILES[precision], folder / MODEL_FILE
    file.write_bytes(quantized.model.SerializeToString(deterministic=True))
    size, size_before = file.stat().st_size, before.stat().st_size
    if size >= size_before:
        raise ExportError(
            f"{name} would take {size:,} bytes in {precision}, no less than the {size_before:,} in float32: "
            "there is nothing to gain, it stays in float32"
        )
    return QuantizedFile(
        precision=precision,
        file=file,
        size=size,
        share=size / size_before,
        accuracy=own.test_accuracy,
        difference=difference,
        same_top_class=same,
        largest_difference=parity["largest_difference"],
        speedups={batch: speedup(before, file, batch) for batch in BATCHES} if precision == INT8 else {},
        made=quantized.made,
        tried=quantized.tried,
        reliability=loss_and_error(found, test) if calibration else {},
        accepted=accepted(familiarity_of(load_classifier(file, provider="cpu"), test.inputs)) if familiarity else None,
    )


def _calibrate(model: Any, kept: Split | None, metadata: Metadata) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Calibrate a model in memory by its own answers. Returns calibration and sets, as of a file's metadata."""
    if kept is None:
        return {}, {}
    before = temperature_of(metadata.calibration)  # it was made from a calibrated one
    logits = answers_in_memory(model, kept)[0] * np.float32(before)
    fitted = fit(logits, kept.labels, f"{metadata.data_set}/{metadata.model}")
    if fitted.temperature != before:
        divide_logits(model.graph, fitted.temperature / before)
    return fitted.calibration, fitted.sets


def speedup(before: Path, after: Path, batch: int) -> float:
    """How many times as fast `after` answers to so many images at once, on one thread of the processor.

    The two take turns, so that what else the machine does hits both alike; the median of the turns' ratios.
    """
    classifiers = [load_classifier(file, provider="cpu", threads=1) for file in (before, after)]
    inputs = made_up(classifiers[0].metadata, batch)
    calls = [partial(classifier.probabilities, inputs) for classifier in classifiers]
    times = seconds_in_turns(calls, ROUNDS, warm_up=WARM_UP, limit=PATIENCE)[..., 0]  # [rounds, 2]
    return round(float(np.median(times[:, 0] / times[:, 1])), 2)


def metrics_of(found: QuantizedFile) -> dict[str, float]:
    """What the manifest has of a file of another precision, by name."""
    difference = found.difference
    metrics = {
        "accuracy": found.accuracy,
        "accuracy_difference": difference.difference,
        "accuracy_difference_low": difference.low,
        "accuracy_difference_high": difference.high,
        "same_top_class": found.same_top_class,
        "largest_difference": found.largest_difference,
        "size": float(found.size),
        **{f"speedup_{batch}": value for batch, value in found.speedups.items()},
        **found.reliability,
    }
    if found.accepted is not None:
        metrics["familiarity_accepted"] = found.accepted
    return {f"{found.precision}_{name}": value for name, value in metrics.items()}
