"""`zoo export RUN`: a trained model becomes a folder that an app can load, verified before anybody sees it."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.metrics.seed_spread import METRIC as SEED_METRIC
from pipelines.core.provenance.machine import versions
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import weights_sha256
from pipelines.core.support.atomic import atomic_folder
from pipelines.evaluation.evaluate import EVALUATION_FOLDER, read_evaluation
from pipelines.evaluation.held_out import ANSWER_FROM, temperature_of
from pipelines.evaluation.latency import measure_latencies
from pipelines.evaluation.predictions import familiarity_of
from pipelines.exporting.architecture import summarize
from pipelines.exporting.card import write_card
from pipelines.exporting.convert import convert
from pipelines.exporting.familiarity.check import accepted
from pipelines.exporting.familiarity.output import give_familiarity
from pipelines.exporting.licenses import check_licenses, licenses_of
from pipelines.exporting.parity import check_parity, compare_with_keras
from pipelines.exporting.verify import Check, Verification, verify
from pipelines.tracking import TrackedRun
from zoo.contract import (
    CONTRACT,
    FLOAT32,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    RESIZINGS,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Manifest,
    Metadata,
    describe_file,
    read_manifest,
)
from zoo.data import DataSet, Split, data_sets
from zoo.data.registry import is_catalogued
from zoo.errors import ExportError, TrackingError
from zoo.images import Pixels
from zoo.models import definition
from zoo.models.ledger import Ledger, read_ledger
from zoo.models.registry import Family
from zoo.runtime import Classifier, load
from zoo.tables import decode, encode

logger = logging.getLogger("zoo.exporting")

SAMPLES = 10  # images: enough to show each digit once, few enough to look at


@dataclass(frozen=True)
class Exported:
    """An export, where it lies, what it says of itself, and how it was verified.

    metrics: those of the manifest. verification: its checks, and the parity with Keras among them.
    """

    folder: Path
    metadata: Metadata
    metrics: Mapping[str, float]
    verification: Verification


def export(
    run: str,
    *,
    exports: Path = Path("exports"),
    license: str = "",  # noqa: A002 (as everybody calls it)
    data_license: str = "",
    familiarity: bool = True,
) -> Exported:
    """Export a run's model to exports/DATA SET/MODEL, with its card and samples, and log the ONNX model to the run.

    The folder appears when everything in it is verified, and replaces the export that was there before.
    run: its id, or the beginning of it. license, data_license: of the weights, and of your own data, for the manifest
    and the card; "" if unknown. familiarity: whether the file has the output that detects unknown classes, if the
    recipe holds images out of training to fit it on.
    Raises TrackingError for a run that doesn't exist, ExportError for a run that isn't evaluated or a folder that can't
    be written, DataError if its images have changed, and VerificationError if its predictions differ from Keras'.
    """
    tracked = tracking.load_run(run)
    if "test_accuracy" not in tracked.metrics:
        raise ExportError(f"run {tracked.run_id} has no accuracy yet: `zoo evaluate {tracked.run_id[:8]}` first")
    check_licenses(tracked.data_set, license, data_license)
    data_set = load_data(tracked.plan, digest=tracked.data_digest)
    model, source = tracking.load_keras_model(tracked.run_id), tracked.plan.source
    metadata = replace(
        metadata_of(tracked, data_set, model),
        test_accuracy=tracked.metrics["test_accuracy"],
        versions=versions(),
        groups=tracked.plan.groups or "",
        source={"name": source.title, "weights_sha256": source.digest} if source else {},
    )
    metrics = tested_metrics(tracked)
    goal = exports / data_set.name / tracked.plan.model  # not by the names in the store: they may lead anywhere
    if replaced := check_place(goal, tracked.plan):
        logger.warning("%s: the model of other %s there (run %s) is replaced", goal, data_set.kind, replaced[:8])
    if quantized := _quantized(goal):
        logger.warning("%s: %s are removed with the model they are of: `zoo quantize` makes others", goal, quantized)
    with tempfile.TemporaryDirectory() as temporary:
        evaluation = tracking.fetch_folder(tracked.run_id, EVALUATION_FOLDER, Path(temporary))
        fitted = read_evaluation(evaluation).held_out
        if "test_mass_calibration_error" not in tracked.metrics:
            logger.warning(
                "%s was evaluated before calibration existed, so its probabilities aren't calibrated: `zoo evaluate "
                "%s` first to calibrate them",
                goal,
                tracked.run_id[:8],
            )
        metadata = replace(metadata, calibration=fitted.calibration, sets=fitted.sets)

        def describe(folder: Path, manifest: Manifest) -> None:
            write_card(folder, manifest, evaluation, summarize(model))

        licenses, reading = licenses_of(metadata, license, data_license), _reading(tracked.plan)
        exported = write_export(
            goal, model, data_set, metadata, metrics, describe, licenses, reading, familiarity=familiarity
        )
    of_file = {name: exported.metrics[name] for name in ("multiply_accumulates", *exported.metadata.parity)}
    logged = {**_tested(tracked), **of_file, "export_size": exported.metrics["size"], "latency": _latency(exported)}
    tracking.log_folder(tracked.run_id, exported.folder, "export")  # with the card, for who browses the runs
    # Last: who finds these metrics in a run finds its export, too.
    tracking.log_export(tracked.run_id, onnx.load(exported.folder / MODEL_FILE), logged, first_sample(exported.folder))
    return exported


def metadata_of(tracked: tracking.TrackedRun, data_set: DataSet, model: Any) -> Metadata:
    """What a file of a run says of itself before anything was tested: its accuracy is 0."""
    return Metadata(
        model=tracked.plan.model,
        family=definition(tracked.plan.model).family,
        data_set=tracked.data_set,
        data_digest=tracked.data_digest,
        labels=data_set.labels,
        height=data_set.height,
        width=data_set.width,
        channels=data_set.channels,
        columns=data_set.columns,
        label_column=data_set.label_column,
        recipe=tracked.plan.recipe.to_json(),
        run_id=tracked.run_id,
        commit=tracked.commit,
        weights_sha256=weights_sha256(model),
        test_accuracy=0.0,
        resizing=data_set.resizing,
        white=data_set.white,
    )


def _address(data: str) -> str:
    """What a reader elsewhere gives as --data: of a catalog its name there, of a path the last name."""
    catalog, _, name = data.partition(":")
    if not is_catalogued(data):
        return f"path/to/{Path(data).name}"
    return f"{catalog}:path/to/{Path(name).name}" if Path(name).is_absolute() else data


def _reading(plan: Plan) -> dict[str, str]:
    """The options of `zoo run` by which a plan reads its data; of a path its last name alone."""
    found = {
        "data": "" if plan.data in data_sets() else _address(plan.data),
        "label": plan.label,
        "images": f"path/to/{Path(plan.images).name}" if plan.images else "",
        "size": "x".join(map(str, plan.size or ())),
        "resize": "" if plan.resizing == RESIZINGS[0] else plan.resizing,
        "groups": plan.groups,
        "name": plan.name,
    }
    stated = {option: value for option, value in found.items() if value}
    return stated | ({"follow-links": ""} if plan.follow_links else {})


def check_place(goal: Path, plan: Plan) -> str:
    """What an export of the plan would replace that learned other images: its run's id, "" where nothing.

    Raises ExportError where those images may be somebody else's. They aren't where its run learned images from the same
    place, which have changed since, or where the plan states the name.
    """
    data_set = load_data(plan)
    try:
        before = read_manifest(goal).metadata
    except ExportError:  # none, or one that nobody can load
        return ""
    if before.data_digest == data_set.digest:
        return ""
    if plan.name is None and plan.data not in data_sets() and _place_of(before.run_id) != plan.data:
        raise ExportError(
            f"{goal} holds a model of other {data_set.kind} of that name: give these a name of their own with --name, "
            "write elsewhere with --exports, or remove that folder first"
        )
    return before.run_id


def _quantized(goal: Path) -> str:
    """The files of other precisions that an export there has, in words; "" where there are none."""
    try:
        return " and ".join(MODEL_FILES[each] for each in read_manifest(goal).precisions if each != FLOAT32)
    except ExportError:
        return ""


def _place_of(run_id: str) -> str | None:
    try:
        return tracking.load_run(tracking.find_maker(run_id)).plan.data
    except TrackingError:
        return None


def tested_metrics(run: TrackedRun) -> dict[str, float]:
    """What an export of an evaluated run says of its test, by name: the run's own metrics, and the accuracy by seed."""
    by_seed = tracking.accuracies_by_seed(run)
    return _tested(run) | {f"{SEED_METRIC}{seed}": accuracy for seed, accuracy in by_seed.items()}


def _tested(run: TrackedRun) -> dict[str, float]:
    found = {name: value for name, value in run.metrics.items() if name.startswith(("test_", ANSWER_FROM))}
    if "test_robust_mean" in found:
        found.pop("test_robust_accuracy", None)  # of an earlier evaluation, on the suite of that time
    return found


def _latency(exported: Exported) -> float:
    """Milliseconds for one image or row on one thread of this machine, the median of a second or 300 answers."""
    (latency,) = measure_latencies([load(exported.folder, provider="cpu", threads=1)], seconds=1)
    return float(f"{latency:.3g}")  # a clock of another day has no more digits in common with it


def write_export(
    goal: Path,
    model: Any,
    data_set: DataSet,
    metadata: Metadata,
    metrics: Mapping[str, float],
    describe: Callable[[Path, Manifest], None] | None = None,
    licenses: Mapping[str, str] | None = None,
    reading: Mapping[str, str] | None = None,
    *,
    familiarity: bool = True,
) -> Exported:
    """Convert a `keras.Model`, prove that it answers as before, and put it into the folder `goal` with all its papers.

    metadata: complete but for parity, which is measured here. metrics: of the evaluation, by name.
    describe: writes the card and its images into the folder, which holds the model and its samples by then.
    familiarity: as of `export`.
    Raises VerificationError or ExportError, and leaves the folder as it was.
    """
    with atomic_folder(goal) as folder:
        temperature = temperature_of(metadata.calibration)
        converted = convert(model, metadata.resizing, temperature)
        parity = compare_with_keras(converted.SerializeToString(), model, data_set.test, temperature)
        kept = check_parity(parity, data_set.test, str(folder))

        said = give_familiarity(converted, metadata, data_set) if familiarity else {}
        metadata = replace(metadata, parity=parity.metrics(), familiarity=said)
        if said:  # which older contracts don't have
            metadata = replace(metadata, contract=CONTRACT)
        onnx.helper.set_model_props(converted, metadata.to_properties())
        (folder / MODEL_FILE).write_bytes(converted.SerializeToString(deterministic=True))
        classifier = load(folder / MODEL_FILE)
        _write_samples(folder, data_set, classifier)

        size = (metadata.height, metadata.width, metadata.channels)
        ledger = Ledger(metadata.model, cast(Family, metadata.family), size, data_set.classes, read_ledger(model))
        known = {
            "parameters": float(ledger.parameters),
            "multiply_accumulates": float(ledger.multiply_accumulates),
            "receptive_field": float(ledger.receptive_field or 0),  # pixels a side; 0: the whole image
            "size": float((folder / MODEL_FILE).stat().st_size),
            **parity.metrics(),
            **metrics,
        }
        if said:
            known["familiarity_accepted"] = accepted(familiarity_of(classifier, data_set.test.inputs))
        manifest = Manifest(metadata, known, (), classifier.map_size, licenses or licenses_of(metadata), reading or {})
        if describe is not None:
            describe(folder, manifest)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        manifest = replace(manifest, files=tuple(describe_file(folder, path) for path in files))
        (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
        # On corrupted images the Keras model was asked a moment ago, and the file answers as it does.
        verification = verify(folder, data=data_set, corrupted=False)
    checks = (*verification.checks, Check("Keras", kept))
    return Exported(goal, metadata, known, replace(verification, path=goal, checks=checks))


def first_sample(folder: Path) -> bytes | None:
    """One of the export's sample images, encoded; None of a table."""
    return next((path.read_bytes() for path in sorted((folder / SAMPLES_FOLDER).glob("*.png"))), None)


def _write_samples(folder: Path, data_set: DataSet, classifier: Classifier) -> None:
    """A few test images as PNG, with the file's own probabilities, so that an app in any language can test itself.

    Of a table it is rows, beside their probabilities.
    """
    (folder / SAMPLES_FOLDER).mkdir()
    samples = []
    for place, index in enumerate(_one_of_each_class(data_set.test)):
        one, label = data_set.test.inputs[index], data_set.labels[data_set.test.labels[index]]
        if data_set.columns:
            sample: dict[str, Any] = {"row": decode(one, data_set.columns)}
            one = encode(sample["row"], data_set.columns)  # a category that training didn't have is written as missing
        else:
            sample = {"file": f"{place}.png"}
            _write_image(folder / SAMPLES_FOLDER / sample["file"], one)
        probabilities = classifier.probabilities(one[np.newaxis])[0]
        samples.append({**sample, "label": label, "probabilities": probabilities.tolist()})
    (folder / SAMPLES_FILE).write_text(json.dumps(samples, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_image(file: Path, image: Pixels) -> None:
    from PIL import Image

    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file)


def _one_of_each_class(test: Split) -> NDArray[np.int64]:
    """Indices of the images that come first: one of each class, then a second of each, until there are enough."""
    seen = np.zeros(int(test.labels.max()) + 1, np.int64)
    rounds = np.empty(len(test), np.int64)  # [N]: how many of its class came before
    for index, label in enumerate(test.labels):
        rounds[index] = seen[label]
        seen[label] += 1
    return np.lexsort((test.labels, rounds))[:SAMPLES]
