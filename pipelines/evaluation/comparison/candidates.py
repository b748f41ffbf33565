"""What `zoo compare` is given: exports, runs, experiments, and sweeps; each found, and named apart."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import tracking
from pipelines.evaluation.comparison.sweeps import Trial, trials_of
from pipelines.tracking import TrackedRun
from pipelines.tracking.store import is_run
from zoo.contract import Manifest, read_manifest
from zoo.errors import ExportError, TrackingError, printable
from zoo.runtime.loading import find_export

COMPARISON_FILE, CHART_FILE = "comparison.png", "accuracy.png"  # beside the exports of a data set
EXPORT_FOLDER = "export"  # among the artifacts of a run that was exported


@dataclass(frozen=True)
class Candidate:
    """One model to compare. Either of its export and its run may be missing, not both.

    name: DATA SET/MODEL, with the run where several have that name. folder, manifest: of the export. run: of the run
    that was named; that of an export that was named is looked for by `run_of`. trial: of a sweep that was named.
    """

    name: str
    folder: Path | None
    manifest: Manifest | None
    run: TrackedRun | None
    trial: Trial | None = None

    def exported(self) -> tuple[Path, Manifest]:
        """Its export. Raises ExportError where it has none."""
        if self.folder is None or self.manifest is None:
            raise ExportError(f"{self.name} has no export: `zoo export {self.run_id[:8]}` makes one")
        return self.folder, self.manifest

    @property
    def run_id(self) -> str:
        """Of the run that made it."""
        return self.manifest.metadata.run_id if self.manifest else self.run.run_id if self.run else ""


def find_candidates(named: Sequence[str | os.PathLike[str]], into: Path) -> list[Candidate]:
    """What is meant by each name, in their order; an experiment or a sweep means several.

    named: an export's folder, or its name; a run's id, the beginning of it, or runs:/ID; the name of an experiment,
    which is that of its data set: of each of its models the latest finished run, as `tracking.latest_by_model` has it.
    Not the best one: the test set would have chosen it. The name of a sweep, or its run: its trials, as `trials_of`
    has them.
    into: a folder for the exports that runs hold.
    Raises ExportError or TrackingError where nothing is found, or what is found is damaged.
    """
    models = [each for each in named if not _lies_beside(each)]
    return _distinct([found for each in models or named for found in _meant(each, into)])


def _lies_beside(name: str | os.PathLike[str]) -> bool:
    """Whether it is what `zoo run` and `zoo gallery` write beside exports, which exports/digits/* names, too."""
    path = Path(name)
    return path.name in {COMPARISON_FILE, CHART_FILE} and path.is_file()


def run_of(candidate: Candidate) -> TrackedRun | None:
    """The run that made it; None where no store knows it. Raises TrackingError where the store fails."""
    if candidate.run is not None or not tracking.RUN_ID.fullmatch(candidate.run_id) or not tracking.store_exists():
        return candidate.run
    known = tracking.search(f"run_id = '{candidate.run_id}'")
    return tracking.load_run(candidate.run_id) if known else None


def _meant(name: str | os.PathLike[str], into: Path) -> Iterator[Candidate]:
    if isinstance(name, str) and is_run(name):
        yield from (
            _several(name, into) or _of_sweep(tracking.find_run(name), into) or [_of_run(tracking.load_run(name), into)]
        )
        return
    try:
        yield _of_export(find_export(name))
    except ExportError as error:
        several = _several(name, into) if isinstance(name, str) else []
        if not several:
            raise error from None
        yield from several


def _several(name: str, into: Path) -> list[Candidate]:
    """Those of an experiment, or of a sweep, of that name. A path is none; a store that isn't there has none."""
    if "/" in name or os.sep in name or not tracking.store_exists():
        return []
    if tracking.is_trained_on(name):
        return [_of_run(run, into) for run in _latest(name)]
    return _of_sweep(name, into)


def _of_sweep(name: str, into: Path) -> list[Candidate]:
    sweep = tracking.find_sweep(name)
    if sweep is None:
        return []
    found = ((trial, _of_run(run, into)) for trial, run in trials_of(sweep))
    return [replace(each, name=printable(f"{each.name}, {trial.title}"), trial=trial) for trial, each in found]


def _latest(experiment: str) -> tuple[TrackedRun, ...]:
    """Of each of its models the latest run that isn't damaged."""
    runs = tracking.latest_by_model(experiment)
    if not runs:
        raise TrackingError(f"each finished run of {experiment} is damaged: train its models again")
    return runs


def _of_export(folder: Path) -> Candidate:
    if folder.is_file():
        raise ExportError(f"{folder} is a file, expected an export's folder: its manifest holds what is compared")
    manifest = read_manifest(folder)
    return Candidate(printable(f"{manifest.metadata.data_set}/{manifest.metadata.model}"), folder, manifest, None)


def _of_run(run: TrackedRun, into: Path) -> Candidate:
    alone = Candidate(printable(f"{run.data_set}/{run.plan.model}"), None, None, run)
    if not run.was_exported:
        return alone
    folder = into / run.run_id
    try:
        folder.mkdir(exist_ok=True)
        exported = _of_export(tracking.fetch_folder(run.run_id, EXPORT_FOLDER, folder))
    except ExportError as error:
        raise ExportError(f"the export that run {run.run_id[:8]} logged can't be used: {error}") from None
    return replace(exported, run=run)


def _distinct(found: Sequence[Candidate]) -> list[Candidate]:
    names = [each.name for each in found]
    if len(set(names)) < len(names):
        several = {name for name, count in Counter(names).items() if count > 1}
        names = [f"{n} ({each.run_id[:8]})" if n in several else n for n, each in zip(names, found, strict=True)]
    seen: Counter[str] = Counter()
    for place, name in enumerate(names):  # the same one, named twice
        seen[name] += 1
        names[place] = f"{name} #{seen[name]}" if seen[name] > 1 else name
    return [replace(each, name=name) for each, name in zip(found, names, strict=True)]
