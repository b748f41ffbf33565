"""`zoo study`: claims about dense and conv layers as experiments that anyone can run.

Each experiment is a function in one of the files in claims/, grouped by topic. experiment: its form. finding: effects,
and how the verdict follows. lab: trainings, done once each. models, images: the material of experiments. record: the
results. report: the page.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines import tracking
from pipelines.core.support.locks import FileLock, Locked
from pipelines.study.experiment import QUICK_SEEDS, SEEDS, Experiment, experiments
from pipelines.study.finding import Effect, Finding, Verdict
from pipelines.study.keep import MODELS_FOLDER
from pipelines.study.lab import Lab
from pipelines.study.record import Record
from pipelines.study.report import PAGE_FILE, QUICK, is_quick, write_report
from zoo.discovery import import_modules
from zoo.errors import StudyError

logger = logging.getLogger("zoo.study")

import_modules("pipelines.study.claims")  # each registers its experiments

FOLDER = Path("exports") / "study"  # results of the full study, which are kept
QUICK_FOLDER = Path("mlruns") / "study"  # of the quick one, which aren't
LEAST_QUICK_SEEDS = 2


@dataclass(frozen=True)
class Studied:
    """An experiment and its result. page: the report that it is part of.

    in_full: for a quick one, the verdict of the full study, if there is one.
    """

    name: str
    claim: str
    verdict: Verdict
    effects: tuple[Effect, ...]
    page: Path
    in_full: Verdict | None = None


@dataclass(frozen=True)
class Claim:
    """What an experiment tests. verdict: of the full study; None if that wasn't run."""

    name: str
    claim: str
    refuted_if: str
    verdict: Verdict | None


def claims(names: Sequence[str] = ()) -> tuple[Claim, ...]:
    """List the experiments of those names, or all, in their order. Raises StudyError for an unknown name."""
    chosen = experiments(names)
    verdicts = {each.name: finding.verdict for each, finding, _ in _found(FOLDER, ())}
    return tuple(Claim(each.name, each.claim, each.refuted_if, verdicts.get(each.name)) for each in chosen)


def study(
    names: Sequence[str] = (),
    *,
    seeds: int | None = None,
    quick: bool = False,
    report: bool = False,
    folder: Path | None = None,
    models: bool = False,
) -> tuple[Studied, ...]:
    """Run the experiments of those names, or all, and write the report of everything that has been measured.

    seeds: how many, by default and at least 5, or 3 and 2 if it is quick; an experiment that has more keeps them.
    quick: fewer images, updates, and conditions, which takes minutes and gives wide intervals. report: train nothing,
    only write the report. folder: of the results and the report. models: keep the models that experiments mark for it
    as exports, in the folder models, for `zoo demo`; if they were trained before, they are trained once more.
    What was measured before isn't trained again, and an interruption only loses the model that is being trained.
    Each step is logged to `zoo.study`.
    Raises StudyError for an unknown name, for too few seeds, if a folder has results of the other kind (full or quick),
    and if there are no results to report.
    """
    usual = QUICK_FOLDER if quick else FOLDER
    folder = folder or usual
    least = LEAST_QUICK_SEEDS if quick else SEEDS
    count = (QUICK_SEEDS if quick else SEEDS) if seeds is None else seeds
    if count < least:
        raise StudyError(
            f"an experiment needs {least} seeds or more, received {count}: "
            + ("one has no spread" if quick else "fewer will do with --quick, to see how it goes")
        )
    chosen = experiments(names)
    if not report:
        for place, each in enumerate(chosen, start=1):
            logger.info("study %s%s", each.name, f" ({place} of {len(chosen)})" if len(chosen) > 1 else "")
            _run(each, folder, count, quick, models)
    found = _found(folder, chosen)
    if report and quick and (full := next((record for _, _, record in found if not record.quick), None)):
        raise StudyError(f"{full.path} holds results of the full study: leave out --quick, or name another --folder")
    drawn = [experiment for experiment, _, _ in found]
    missing = [each.name for each in chosen if each not in drawn]
    if report and (not found or (names and missing)):
        of = f" of {', '.join(missing)}" if names else ""
        wanted = [*(missing if names else ()), *(("--quick",) if quick else ())]
        command = " ".join(["zoo study", *wanted, *(() if folder == usual else ("--folder", str(folder)))])
        raise StudyError(f"{folder} holds no results{of}: run `{command}` first")
    in_full = {each.name: finding.verdict for each, finding, _ in _found(FOLDER, ())} if quick else {}
    write_report(folder, found, in_full)
    if is_quick(found):
        logger.info("%s", QUICK)
    return tuple(
        Studied(each.name, each.claim, finding.verdict, finding.effects, folder / PAGE_FILE, in_full.get(each.name))
        for each, finding, _ in found
        if each in chosen
    )


def _run(each: Experiment, folder: Path, count: int, quick: bool, models: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{each.name}.lock") as lock:
            try:
                record = Record(folder / f"{each.name}.json")
                _run_alone(each, record, count, quick, folder / MODELS_FOLDER if models else None)
            finally:
                with suppress(OSError):  # Windows removes no file that is open
                    lock.path.unlink()
    except Locked as other:
        raise StudyError(f"{other} runs {each.name} in {folder}: wait for it, or name another --folder") from None


def _run_alone(each: Experiment, record: Record, count: int, quick: bool, models: Path | None) -> None:
    if (record.trainings or record.observed) and record.quick != quick:
        old, new = ("quick", "full") if record.quick else ("full", "quick")
        raise StudyError(
            f"{record.path} holds results of the {old} study, which those of a {new} one would replace: name another "
            "--folder"
        )
    record.quick = quick
    seeds = tuple(range(1, max(count, len(record.seeds)) + 1))
    if len(seeds) > count:
        logger.info("%s keeps the %d seeds that it has", each.name, len(seeds))
    parent = tracking.start_study(each.name, {"quick": str(quick).lower()})
    ended = "FAILED"
    try:
        each.run(Lab(each.name, seeds, quick, record, parent, models=models))
        ended = "FINISHED"
        if models and not any(models.glob(f"{each.name}-*")):
            logger.info("%s marks no models to be kept", each.name)
    except KeyboardInterrupt:
        ended = "KILLED"
        raise KeyboardInterrupt(
            "interrupted; what was trained is kept; the same command continues from there"
        ) from None
    finally:
        tracking.finish(parent, ended)
    record.finished(seeds, quick=quick)


def _found(folder: Path, chosen: Sequence[Experiment]) -> list[tuple[Experiment, Finding, Record]]:
    """The experiments that were run to their end, drawn from what was measured alone: in the words and by the criteria
    of the code as it is now.
    """
    found = []
    for each in experiments():
        try:
            record = Record(folder / f"{each.name}.json")
            if not record.whole:
                logger.warning(
                    "left out of the report: %s, whose new trainings aren't complete: run `%s`",
                    record.path,
                    record.command,
                )
            elif record.seeds:
                found.append((each, _drawn(each, record), record))
        except StudyError as error:  # of an older version of an experiment that nobody asked for
            if each in chosen:
                raise
            logger.warning("left out of the report: %s", error)
    known = {each.name for each in experiments()}
    for path in sorted(folder.glob("*.json")):
        if path.stem not in known:
            logger.warning("left out of the report: %s, whose experiment isn't one of this command's", path)
    return found


def _drawn(each: Experiment, record: Record) -> Finding:
    try:
        finding = each.run(Lab(each.name, record.seeds, record.quick, record, replay=True))
        for drawing in (finding.chart, *finding.more):
            drawing.svg()
    except (ArithmeticError, LookupError, ValueError) as error:  # numbers that nobody measured
        raise StudyError(f"{record.path} can't be drawn ({error!r}): remove it, and run `{record.command}`") from None
    return finding
