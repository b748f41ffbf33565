"""`zoo compare EXPORT|RUN|EXPERIMENT|SWEEP…`: models side by side, by what is known, by the clock, by image."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipelines import tracking
from pipelines.core.metrics.seed_spread import spread
from pipelines.core.provenance.reading import Located
from pipelines.core.support.atomic import atomic_file
from pipelines.evaluation.comparison.candidates import Candidate, find_candidates
from pipelines.evaluation.comparison.paired import pair_up
from pipelines.evaluation.comparison.rows import Comparison, Reliability, Row, Unexported
from pipelines.evaluation.comparison.sweeps import notes_on
from pipelines.evaluation.latency import THREADS, measure_latencies
from pipelines.evaluation.unknown import evaluate_unknown
from pipelines.tracking import TrackedRun, resumed_by
from zoo.contract import MODEL_FILE
from zoo.data import DataSet
from zoo.errors import ExportError
from zoo.runtime import load

PAGE_FILE = "comparison.html"  # among the artifacts of a run


def compare(
    named: Sequence[str | os.PathLike[str]],
    plot: Path | None = None,
    *,
    data: str | Located | DataSet | None = None,
    page: Path | None = None,
    log_to: str | None = None,
    unknown: Path | None = None,
) -> Comparison:
    """Compare models side by side; `plot` (a PNG) and `page` (HTML) are written if they are given.

    named: exports (folders, or names such as digits/lenet5), runs, experiments, or sweeps; see `find_candidates`.
    Latencies are measured in turns, so that other load on the machine affects all models alike. Exports of the same
    data set, also those of runs, are run on its test images; a run without an export is compared by what it logged.
    data: the data set with these images, as in `verify`. log_to: a run to whose artifacts the page is added. unknown: a
    folder of images of unknown classes, on which familiarity is measured, as in `evaluate_unknown`.
    Raises ExportError for an export that doesn't exist, is damaged, or has no test metrics, if a file can't be written,
    and if `unknown` is given but no export has familiarity; TrackingError for a run that doesn't exist; and whatever
    `evaluate_unknown` raises.
    """
    goal = tracking.find_run(log_to) if log_to else None
    with tempfile.TemporaryDirectory() as temporary:
        candidates = find_candidates(named, Path(temporary))
        exported = [each for each in candidates if each.folder is not None]
        folders = [each.exported()[0] for each in exported]
        latencies = measure_latencies([load(folder, provider="cpu", threads=THREADS) for folder in folders])
        familiarity = _familiarity(exported, unknown, data) if unknown is not None else {}
        rows = tuple(
            _row(each, latency, familiarity.get(each.name)) for each, latency in zip(exported, latencies, strict=True)
        )
        runs = tuple(_unexported(each, each.run) for each in candidates if each.folder is None and each.run)
        if plot is not None:
            _draw(plot, rows)
        tested, notes = pair_up(exported, data)
        named_alone = {each.name for each in candidates if each.trial is None}
        notes += tuple(_without_export(run) for run in runs if run.name in named_alone)
        notes += notes_on([each.trial for each in candidates if each.trial])
        if unknown is not None:
            silent = [row.name for row in rows if row.name not in familiarity]
            notes += tuple(f"{name} doesn't say how familiar an image is: it has no AUROC" for name in silent)
        pairs = tuple(pair for group in tested for pair in group.pairs)
        found = Comparison(rows, plot, pairs, notes, runs, page, goal)
        if page is not None or goal is not None:
            from pipelines.evaluation.comparison.page import render_page

            _write(render_page(candidates, found, tested), page, goal)
    return found


def _draw(plot: Path, rows: Sequence[Row]) -> None:
    from pipelines.evaluation.comparison.plots import comparison

    if not rows:
        raise ExportError(f"{plot} would be empty: none of the runs was exported; `zoo export RUN` exports one")
    try:
        comparison(plot, rows)
    except OSError as error:
        raise ExportError(f"{plot} can't be written ({error.strerror}): name another file") from None


def _write(text: str, page: Path | None, run: str | None) -> None:
    """To the file and to the run, each where there is one."""
    if page is not None:
        try:
            with atomic_file(page) as partial:
                partial.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ExportError(f"{page} can't be written ({error.strerror}): choose another file with --html") from None
    if run is not None:
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / PAGE_FILE).write_text(text, encoding="utf-8")
            tracking.log_folder(run, Path(temporary))


def _familiarity(
    exported: Sequence[Candidate], unknown: Path, data: str | Located | DataSet | None
) -> dict[str, float]:
    """By name, the AUROC of those that say how familiar an image is."""
    found = {}
    for each in exported:
        folder, manifest = each.exported()
        if manifest.metadata.familiarity:
            found[each.name] = evaluate_unknown(folder, unknown, data=data).auroc
    if not found:
        raise ExportError(
            f"{unknown} can't be compared by: none of these exports has familiarity; leave --unknown out, or "
            "export runs whose recipe has images=most or images=train"
        )
    return found


def _row(candidate: Candidate, latency: float, auroc: float | None) -> Row:
    folder, manifest = candidate.exported()
    metadata, metrics = manifest.metadata, manifest.metrics
    try:
        return Row(
            name=candidate.name,
            family=metadata.family,
            parameters=int(metrics["parameters"]),
            accuracy=metrics["test_accuracy"],
            low=metrics["test_accuracy_low"],
            high=metrics["test_accuracy_high"],
            size=(folder / MODEL_FILE).stat().st_size,
            latency=latency,
            parity=metadata.parity["largest_difference"],
            spread=candidate.trial.spread if candidate.trial else spread(metrics),
            balanced_accuracy=metrics.get("test_balanced_accuracy"),
            macro_f1=metrics.get("test_macro_f1"),
            reliability=Reliability.of(metrics, auroc),
            searched=_searched(candidate),
        )
    except KeyError as error:
        raise ExportError(f"{folder} lacks the metric {error}, there is nothing to compare: export it again") from None


def _searched(candidate: Candidate) -> str:
    values = candidate.trial.values if candidate.trial else {}
    return " ".join(f"{name}={value}" for name, value in values.items())


def _unexported(candidate: Candidate, run: TrackedRun) -> Unexported:
    parameters = run.metrics.get("parameters") or run.facts.get("parameters")
    return Unexported(
        name=candidate.name,
        run=run.run_id,
        status=run.status,
        family=run.tags.get("family", ""),
        parameters=int(float(parameters)) if parameters else None,
        accuracy=run.metrics.get("test_accuracy"),
        low=run.metrics.get("test_accuracy_low"),
        high=run.metrics.get("test_accuracy_high"),
        validation_accuracy=run.metrics.get("best_validation_accuracy"),
        reliability=Reliability.of(run.metrics),
        searched=_searched(candidate),
        spread=candidate.trial.spread if candidate.trial else None,
        resume="" if run.status == "FINISHED" else resumed_by(run.run_id, run.tags),
    )


def _without_export(run: Unexported) -> str:
    missing = f"{run.name} has no export, so its latency, size, and paired tests are missing: "
    if run.status != "FINISHED":
        return f"{missing}it is {run.status}; to continue it: {run.resume}"
    if run.accuracy is None:
        return f"{missing}`zoo evaluate {run.run[:8]}` and `zoo export {run.run[:8]}` add them, and its test accuracy"
    return f"{missing}`zoo export {run.run[:8]}` adds them"
