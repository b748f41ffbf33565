"""`zoo promote EXPORT|RUN` and `zoo demote DATA`: which version of a data set's registered model an alias names.

The gates, all of which have to be passed before anything is written:

parity       the export keeps each promise that `zoo verify` checks, and predicts what Keras does on every test image
accuracy     on the same test images as the version that holds the alias: refused where fewer are correct, and McNemar's
             test shows that this is no chance (p < 0.05). With a margin: where the lower end of the difference's 95 %
             interval (Newcombe) is below it, so that what isn't known well enough is refused, too
latency      the median for one image, or row, on one thread, within the budget, if there is one
size         of model.onnx, within the budget, if there is one
calibration  the calibration error on the test images, within the budget, if there is one
robustness   the mean accuracy on corrupted images, measured again, reaches what is asked for, if anything is
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipelines import tracking
from pipelines.core.metrics.paired import paired_test
from pipelines.core.provenance.reading import Located, find_test_set, read_as
from pipelines.core.support.markdown import row, table
from pipelines.evaluation.latency import THREADS, measure_latencies
from pipelines.evaluation.predictions import answers_of
from pipelines.exporting.verify import verify
from pipelines.tracking import Version
from pipelines.tracking.store import is_run
from zoo.contract import MODEL_FILE, MODEL_FILES, PARITY_TOLERANCE, Manifest, Metadata, read_manifest, sha256
from zoo.data import Split, data_sets
from zoo.errors import DataError, ExportError, TrackingError, VerificationError, printable
from zoo.runtime import Classifier, load
from zoo.runtime.loading import find_export

logger = logging.getLogger("zoo.publishing")

CHAMPION = "champion"
CALIBRATION, ROBUSTNESS = "test_mass_calibration_error", "test_robust_mean"  # metrics, of which a gate each
SIGNIFICANT = 0.05  # of McNemar's p: what is less is no chance


@dataclass(frozen=True)
class Gate:
    """One condition. found: what was measured; wanted: what it had to be; both as people read them."""

    name: str
    found: str
    wanted: str
    passed: bool


@dataclass(frozen=True)
class Promotion:
    """What became of a model at the gates.

    model: DATA SET/MODEL. registered: the name of the registered model. before: the version that held the alias, None
    where none did. version: the one that does now; None where a gate wasn't passed, and nothing was written.
    """

    model: str
    registered: str
    alias: str
    before: int | None
    version: int | None
    gates: tuple[Gate, ...]

    @property
    def refusal(self) -> str:
        """Why the alias stays where it is, in one sentence; "" where it doesn't."""
        failed = [f"{gate.name} ({gate.found}; wanted: {gate.wanted})" for gate in self.gates if not gate.passed]
        if not failed:
            return ""
        stays = f"stays version {self.before}" if self.before else "stays free"
        return printable(f"{self.model} isn't promoted, {self.alias} of {self.registered} {stays}: {'; '.join(failed)}")


@dataclass(frozen=True)
class Demotion:
    """An alias that went back.

    before: the version that held it; version: the one that held it earlier, and does now.
    """

    registered: str
    alias: str
    before: int
    version: int


def promote(
    name: str | os.PathLike[str],
    *,
    alias: str = CHAMPION,
    max_latency: float | None = None,
    max_size: int | None = None,
    margin: float | None = None,
    max_calibration_error: float | None = None,
    min_robust_accuracy: float | None = None,
    data: str | Located | None = None,
) -> Promotion:
    """Move an alias of the data set's registered model to this model if it passes the gates; otherwise nothing changes.

    name: an export, as a folder or a name; a run that was exported; or models:/NAME@ALIAS. max_latency: milliseconds.
    max_size: bytes. margin: points of accuracy that may be lost; None only requires that it isn't significantly worse.
    max_calibration_error, min_robust_accuracy: percent, of the manifest's `test_mass_calibration_error` and
    `test_robust_mean`; the latter takes a minute or more, because it is measured again on all corrupted images.
    data: the data set with the test images, by default the one that the export names or that its run was trained on.
    Each step is logged to `zoo.publishing`.
    Raises TrackingError, ExportError, or DataError if the model, the store, or the images can't be used.
    """
    tracking.check_alias(alias)
    with tempfile.TemporaryDirectory() as temporary:
        folder = _folder_of(str(name), Path(temporary))
        manifest = read_manifest(folder)
        metadata = manifest.metadata
        registered = tracking.registered_name(metadata.data_set)
        known = tracking.registered_data_set(registered)
        if known not in (None, metadata.data_set):
            raise TrackingError(f"{registered} is registered for the data set {known!r}, not {metadata.data_set!r}")
        before = tracking.find_holder(registered, alias)
        data = data or _data_of(metadata)

        logger.info("verifying the export")
        parity = _parity(folder, manifest, data, corrupted=min_robust_accuracy is not None)
        logger.info("comparing on the test images, and measuring latency" if before else "measuring latency")
        new = load(folder, provider="cpu", threads=THREADS)
        old = load(f"models:/{registered}/{before.number}", provider="cpu", threads=THREADS) if before else None
        latency, *other = measure_latencies([new, *([old] if old else [])])
        beside = f" (version {before.number}: {other[0]:.3g} ms)" if before else ""
        size = (folder / MODEL_FILE).stat().st_size
        gates = (
            parity,
            _accuracy(new, old, before, data, margin),
            Gate(
                "latency",
                f"{latency:.3g} ms{beside}",
                "no budget" if max_latency is None else f"at most {max_latency:g} ms",
                max_latency is None or latency <= max_latency,
            ),
            Gate(
                "size",
                f"{size / 1000:,.0f} kB",
                "no budget" if max_size is None else f"at most {max_size / 1000:,.0f} kB",
                max_size is None or size <= max_size,
            ),
            _calibration(manifest.metrics, max_calibration_error),
            _robustness(manifest.metrics, min_robust_accuracy),
        )
        number = before.number if before else None
        refused = Promotion(f"{metadata.data_set}/{metadata.model}", registered, alias, number, None, gates)
        if refused.refusal:
            return refused
        digest = sha256(folder / MODEL_FILE)
        promoted = {f"promoted_to_{alias}": datetime.now(UTC).isoformat(timespec="seconds")}
        if before is not None and before.tags.get("sha256") == digest:  # it holds the alias already
            if not promoted.keys() <= before.tags.keys():  # and was interrupted before it said so
                tracking.log_promotion(before, alias, promoted, _description(metadata, gates, alias))
            return replace(refused, version=number)
        logger.info("registering")
        run_id, model_id = tracking.adopt(folder, manifest)
        tags = {
            "model": metadata.model,
            "family": metadata.family,
            "data_digest": metadata.data_digest,
            "sha256": digest,
            "test_accuracy": f"{metadata.test_accuracy:.6f}",
            "largest_difference": f"{metadata.parity['largest_difference']:.3g}",
            "latency_ms": f"{latency:.4g}",
            "size": str(size),
            **{name: f"{value:.6f}" for name, value in manifest.metrics.items() if name in (CALIBRATION, ROBUSTNESS)},
        }
        description = _description(metadata, gates)
        version = tracking.register(registered, metadata.data_set, model_id, run_id, tags, description)
        tracking.move_alias(version, alias, before)
        tracking.log_promotion(version, alias, promoted, _description(metadata, gates, alias, before))
        return Promotion(refused.model, registered, alias, number, version.number, gates)


def demote(data: str, *, alias: str = CHAMPION) -> Demotion:
    """Move an alias of a data set's registered model back to the version that held it before.

    data: the data set, or its registered model. Raises TrackingError if there is no such version.
    """
    tracking.existing_store()
    held, holds = tracking.move_alias_back(tracking.registered_name(data), alias)
    return Demotion(held.name, alias, held.number, holds.number)


def _folder_of(name: str, temporary: Path) -> Path:
    """The export's folder, fetched from the store where a run or a version is named."""
    if name.startswith("models:/"):
        version = tracking.find_version(name)
        folder = _fetched(version.run_id, temporary)
        held = {file.sha256 for file in read_manifest(folder).files}
        if version.tags.get("sha256", "") not in {"", *held}:
            raise TrackingError(
                f"{version} isn't what run {version.run_id[:8]} holds, which was exported again: promote the run"
            )
        return folder
    if is_run(name):
        run_id = tracking.find_run(name)
        return _fetched(run_id, temporary)
    found = find_export(name)
    if found.is_file():
        raise ExportError(
            f"{found} is a file, expected an export's folder or a run: its manifest holds what is promised"
        )
    return found


def _fetched(run_id: str, temporary: Path) -> Path:
    """The export that a run holds, without what an earlier one left there: a store adds files and removes none."""
    folder = tracking.fetch_folder(run_id, "export", temporary, written_by="export")
    kept = {file.path for file in read_manifest(folder).files}
    for name in set(MODEL_FILES.values()) - kept:
        (folder / name).unlink(missing_ok=True)
    return folder


def _data_of(metadata: Metadata) -> Located | None:
    """Where the images of an export lie, by the run that made it; None for a known data set in its usual place."""
    try:
        plan = tracking.load_run(tracking.find_maker(metadata.run_id)).plan
    except TrackingError:
        return None
    if metadata.data_set in data_sets() and not (plan.data_folder and Path(plan.data_folder).is_dir()):
        return None
    return Located(plan.data, plan.label, plan.images, plan.follow_links, plan.data_folder)


def _parity(folder: Path, manifest: Manifest, data: str | Located | None, corrupted: bool) -> Gate:
    wanted = f"each check of `zoo verify`, at most {PARITY_TOLERANCE:.0e} from Keras"
    largest = manifest.metadata.parity.get("largest_difference", float("inf"))
    try:
        found = verify(folder, data=data, corrupted=corrupted)
    except VerificationError as error:
        return Gate("parity", str(error).replace(f"{folder}/", "").replace(f"{folder}", "the export"), wanted, False)
    if found.accuracy is None:
        result = f"not checked: {manifest.metadata.data_set!r} isn't a known data set, say where it is with --data"
        return Gate("parity", result, wanted, False)
    result = f"{len(found.checks)} checks kept, {largest:.0e} from Keras"
    return Gate("parity", result, wanted, largest <= PARITY_TOLERANCE)


def _accuracy(
    new: Classifier, old: Classifier | None, before: Version | None, data: str | Located | None, margin: float | None
) -> Gate:
    if old is None or before is None:
        return Gate("accuracy", f"{new.metadata.test_accuracy:.2%}", "none to compare with: the first one", True)
    holder = f"version {before.number}"
    wanted = f"not fewer correct than {holder}, beyond chance (p < {SIGNIFICANT})"
    if margin is not None:
        wanted = f"at most {margin:g} points below {holder}, for sure (95% interval)"
    try:
        tests, same_images = _same_test(new.metadata, old.metadata, data)
    except (DataError, ExportError) as error:
        tests, same_images, reason = None, False, str(error)
    else:
        reason = f"{holder} knows other classes, or was tested on other images: take the alias from it in `zoo ui`"
    if tests is None:
        return Gate("accuracy", f"can't be compared ({reason})", wanted, False)
    correct = [
        answers_of(classifier, test.inputs)[1].argmax(axis=1) == test.labels
        for classifier, test in zip((new, old), tests, strict=True)
    ]
    found = paired_test(*correct)
    result = (
        f"{correct[0].mean():.2%} against {correct[1].mean():.2%}: {100 * found.difference:+.2f} points "
        f"({100 * found.low:+.2f} to {100 * found.high:+.2f}), p = {found.p:.2g}, {found.images:,} images"
    )
    if not same_images:
        result += f"; {holder} learned other images than these, among which the test images may be"
    worse = found.difference < 0 and found.p < SIGNIFICANT
    return Gate("accuracy", result, wanted, not worse if margin is None else found.low >= -margin / 100)


def _calibration(metrics: Mapping[str, float], most: float | None) -> Gate:
    """By the metrics of a manifest, which `verify` has found again. most: percent."""
    wanted = "no budget" if most is None else f"at most {most:g}%"
    if CALIBRATION not in metrics:
        return Gate("calibration", _not_measured(most), wanted, most is None)
    found, (low, high) = metrics[CALIBRATION], (metrics.get(f"{CALIBRATION}_{end}") for end in ("low", "high"))
    interval = "" if low is None or high is None else f" (95% interval: {low:.2%} to {high:.2%})"
    return Gate("calibration", f"error {found:.2%}{interval}", wanted, most is None or 100 * found <= most)


def _robustness(metrics: Mapping[str, float], least: float | None) -> Gate:
    """By the metrics of a manifest, which `verify` has found again where something is asked for. least: percent."""
    wanted = "no budget, not measured again" if least is None else f"at least {least:g}% on corrupted images"
    if ROBUSTNESS not in metrics:
        return Gate("robustness", _not_measured(least), wanted, least is None)
    kinds = {"that training imitated": "test_robust_seen", "that it didn't": "test_robust_unseen"}
    by_kind = ", ".join(f"{metrics[name]:.2%} on those {kind}" for kind, name in kinds.items() if name in metrics)
    found = f"{metrics[ROBUSTNESS]:.2%}{by_kind and f' ({by_kind})'}"
    return Gate("robustness", found, wanted, least is None or 100 * metrics[ROBUSTNESS] >= least)


def _not_measured(budget: float | None) -> str:
    return "not measured" if budget is None else "not measured: evaluate its run and export it again"


def _same_test(new: Metadata, old: Metadata, data: str | Located | None) -> tuple[tuple[Split, Split] | None, bool]:
    """The test images, as each of the two takes them: each in its own size. None where they aren't the same ones.

    Beside it whether the old one was made with the same images.
    """
    test = find_test_set(new, data)
    if test is None or old.labels != new.labels or old.columns != new.columns:
        return None, False
    if old.data_digest == new.data_digest:
        return (test, test), True
    others = read_as(old, data or new.data_set)
    same = np.array_equal(test.labels, others.test.labels) and list(test.names) == list(others.test.names)
    return ((test, others.test) if same else None), others.digest == old.data_digest


def _description(metadata: Metadata, gates: tuple[Gate, ...], alias: str = "", before: Version | None = None) -> str:
    """The gates in Markdown, as the page of the version shows them. alias: that names it by now, if one does."""
    model = tracking.shown(f"{metadata.data_set}/{metadata.model}")
    rows = (row([gate.name, tracking.shown(gate.found), tracking.shown(gate.wanted)]) for gate in gates)
    promoted = f", promoted to {alias}" if alias else ""
    instead = f" instead of version {before.number}" if before else ""
    return f"{model}{promoted}{instead}: all gates were passed.\n\n" + table(["gate", "found", "wanted"], rows) + "\n"
