"""`zoo verify`: what an export promises, checked one promise after the other, down to each image of the test set."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx

from pipelines.core.provenance.reading import Located, find_data_set
from pipelines.evaluation.corruptions import as_learned
from pipelines.evaluation.held_out import answers_from
from pipelines.evaluation.predictions import Answers, answers_of
from pipelines.evaluation.robustness import CorruptedMetrics, measure_corrupted, suite_of
from pipelines.exporting.checks import (
    check_activation_map,
    check_batch_sizes,
    check_contract,
    check_gaps,
    check_graph,
    check_image_sizes,
    check_manifest,
    check_metrics,
    check_precision,
    check_samples,
    check_test_set,
    tested_metrics,
)
from pipelines.exporting.familiarity.check import check_familiarity
from pipelines.exporting.held_out import check_held_out
from zoo.contract import MODEL_FILE, MODEL_FILES, Metadata, read_manifest
from zoo.data import DataSet, Split
from zoo.runtime import load as load_classifier
from zoo.runtime.loading import find_export, whole


@dataclass(frozen=True)
class Check:
    """One promise, and how it was found kept."""

    name: str
    result: str


@dataclass(frozen=True)
class Tested:
    """What a file was found to answer: to each image of the test set, and how it fared on corrupted ones.

    findings: of the check of its data set, a sentence each.
    """

    test: Split
    answers: Answers
    corrupted: tuple[CorruptedMetrics, ...]
    findings: tuple[str, ...]


@dataclass(frozen=True)
class Verification:
    """All promises of an export, found kept.

    path: the folder or the file that was verified. accuracy: what the file reached on the whole test set just now,
    0..1; None where its images aren't known.
    """

    path: Path
    metadata: Metadata
    checks: tuple[Check, ...]
    accuracy: float | None = None


def verify(
    path: str | os.PathLike[str], *, data: str | Located | DataSet | None = None, corrupted: bool = True
) -> Verification:
    """Check an export's folder, with its files of all precisions, or a single .onnx file that `zoo export` wrote.

    data: the data set with the test images, by its name or as a folder; by default the one that the file names, if
    it is a known data set.
    corrupted: whether to measure the accuracy on corrupted images again, too, for which the file runs on up to 130,000
    more images.
    Raises VerificationError for the first promise that isn't kept, and says by how much; ExportError for what isn't an
    export or is damaged; DataError if the data set can't be loaded.
    """
    return verify_and_keep(path, data=data, corrupted=corrupted)[0]


def verify_and_keep(
    path: str | os.PathLike[str], *, data: str | Located | DataSet | None = None, corrupted: bool = True
) -> tuple[Verification, Tested | None]:
    """As `verify`, and what the float32 file answered, for those who have more to compare it with."""
    return whole(lambda: _verify(find_export(path), data, corrupted), path)


def _verify(found: Path, data: str | Located | DataSet | None, corrupted: bool) -> tuple[Verification, Tested | None]:
    classifier = load_classifier(found, provider="cpu")
    file = found / MODEL_FILE if found.is_dir() else found
    model = onnx.load(file, load_external_data=False)
    checks = [
        Check("contract", check_contract(model, file)),
        Check("file", check_graph(model, file)),
        Check("batch sizes", check_batch_sizes(classifier, file)),
    ]
    if classifier.columns:
        checks.append(Check("gaps", check_gaps(classifier, file)))
    else:
        checks.append(Check("image sizes", check_image_sizes(model, classifier, file)))
    if classifier.map_size:
        checks.append(Check("activation map", check_activation_map(model, classifier, file)))
    if found.is_dir():
        checks.append(Check("manifest", check_manifest(found)))
        checks.append(Check("samples", check_samples(classifier, found)))
    accuracy, answers, tested = None, None, None
    data_set = find_data_set(classifier.metadata, data)
    test = data_set.test if data_set else None
    if data_set is None or test is None:
        place = "table" if classifier.columns else "folder"
        result = f"not checked, {classifier.metadata.data_set!r} isn't a known data set: name its {place} with --data"
        checks.append(Check("test set", result))
    else:
        answers = answers_of(classifier, test.inputs)
        result, accuracy = check_test_set(classifier.metadata, file, test, answers)
        checks.append(Check("test set", result))
        if classifier.metadata.calibration or classifier.metadata.sets:
            answer_from = answers_from(read_manifest(found).metrics) if found.is_dir() else {}
            checks.append(Check("held-out images", check_held_out(classifier, file, data_set, answer_from)))
        if found.is_dir() and tested_metrics(read_manifest(found).metrics):
            suite = suite_of(read_manifest(found).metrics) if corrupted else ()
            ask = partial(answers_of, classifier)
            # Which weights were kept isn't in the file: where no kind counted as seen, those of the head alone.
            alone = bool(classifier.metadata.source) and "test_robust_seen" not in read_manifest(found).metrics
            learned = as_learned(classifier.metadata.recipe, head_alone=alone)
            each = measure_corrupted(test, ask, learned, suite)
            tested = Tested(test, answers, each, data_set.findings)
            checks.append(Check("metrics", check_metrics(found, test, answers, each)))
    if classifier.metadata.familiarity:
        checks.append(Check("familiarity", check_familiarity(model, classifier, file, test, _accepted(found))))
    if found.is_dir():
        for precision in read_manifest(found).precisions[1:]:
            kept = [check_precision(found, precision, test, answers)]
            other = load_classifier(found, provider="cpu", precision=precision)
            if data_set is not None and (other.metadata.calibration or other.metadata.sets):
                kept.append(check_held_out(other, found / MODEL_FILES[precision], data_set))
            if other.metadata.familiarity:
                file, share = found / MODEL_FILES[precision], _accepted(found, f"{precision}_")
                kept.append(check_familiarity(onnx.load(file, load_external_data=False), other, file, test, share))
            checks.append(Check(precision, "; ".join(kept)))
    return Verification(found, classifier.metadata, tuple(checks), accuracy), tested


def _accepted(found: Path, prefix: str = "") -> float | None:
    """The share of the test set that the manifest says is accepted; None where it doesn't, or there is none."""
    return read_manifest(found).metrics.get(f"{prefix}familiarity_accepted") if found.is_dir() else None
