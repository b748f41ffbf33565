"""`zoo study`: every claim about dense and conv layers as an experiment that anyone can run.

An experiment is a function in one of the files beside this one, grouped by idea. experiment: its form, and how the
verdict follows. lab: where trainings are done, once each. models, pictures: what experiments are made of. record: what
was measured. report: the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import tracking
from pipelines.study import (  # noqa: F401  (each registers its experiments, in this order)
    budgets,
    catching_up,
    counting,
    hybrids,
    locality,
    misunderstandings,
    relations,
    scale,
    tables,
    translation,
)
from pipelines.study.experiment import Effect, Experiment, Finding, Verdict, experiments
from pipelines.study.keep import MODELS_FOLDER
from pipelines.study.lab import Lab
from pipelines.study.record import Record
from pipelines.study.report import PAGE_FILE, QUICK, write_report
from zoo.errors import StudyError

FOLDER = Path("exports") / "study"  # results of the full study, which are kept
QUICK_FOLDER = Path("mlruns") / "study"  # of the quick one, which aren't
SEEDS, QUICK_SEEDS = 5, 3


@dataclass(frozen=True)
class Studied:
    """An experiment and what it came to. page: the report that it is part of.

    in_full: of a quick one, the verdict of the full study, where that is there.
    """

    name: str
    claim: str
    verdict: Verdict
    effects: tuple[Effect, ...]
    page: Path
    in_full: Verdict | None = None


def study(
    names: Sequence[str] = (),
    *,
    seeds: int | None = None,
    quick: bool = False,
    report: bool = False,
    folder: Path | None = None,
    models: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[Studied, ...]:
    """Run the experiments of those names, or all, and write the report of all that has been measured.

    seeds: how many, 5 by default and 3 where it is quick. quick: fewer pictures, updates and conditions: minutes, and
    wide intervals. report: train nothing, draw what is there. folder: where results and report lie.
    models: keep those that are worth a look as exports in its folder models, for `zoo demo`; they are trained once more
    where they were trained before.
    What was measured before isn't trained again; an interruption loses the training that it interrupts.
    Raises StudyError for an unknown name, or where a report has no results to draw.
    """
    folder = folder or (QUICK_FOLDER if quick else FOLDER)
    count = seeds or (QUICK_SEEDS if quick else SEEDS)
    if count < 2:
        raise StudyError(f"an experiment needs 2 seeds or more, received {count}: one has no spread")
    chosen = experiments(names)
    if not report:
        for each in chosen:
            tell(f"study {each.name}")
            record = Record(folder / f"{each.name}.json")
            _run(each, record, tuple(range(1, count + 1)), quick, folder / MODELS_FOLDER if models else None)
    found = _found(folder, chosen, tell)
    if report and not found:
        raise StudyError(f"{folder} holds no results: run `zoo study` first")
    in_full = {each.name: finding.verdict for each, finding, _ in _found(FOLDER, (), tell)} if quick else {}
    write_report(folder, found, quick=quick, in_full=in_full)
    if quick:
        tell(QUICK)
    return tuple(
        Studied(each.name, each.claim, finding.verdict, finding.effects, folder / PAGE_FILE, in_full.get(each.name))
        for each, finding, _ in found
        if each in chosen
    )


def _run(each: Experiment, record: Record, seeds: tuple[int, ...], quick: bool, models: Path | None) -> None:
    parent = tracking.start_study(each.name, {"quick": str(quick).lower()})
    ended = "FAILED"
    try:
        each.run(Lab(each.name, seeds, quick, record, parent, models=models))
        ended = "FINISHED"
    finally:
        tracking.finish(parent, ended)
    record.finished(seeds, quick=quick)


def _found(
    folder: Path, chosen: Sequence[Experiment], tell: Callable[[str], None]
) -> list[tuple[Experiment, Finding, Record]]:
    """The experiments that were run to their end, drawn from what was measured alone: in the words and by the criteria
    of the code as it is now.
    """
    found = []
    for each in experiments():
        try:
            record = Record(folder / f"{each.name}.json")
            if record.seeds:
                lab = Lab(each.name, record.seeds, record.quick, record, replay=True)
                found.append((each, each.run(lab), record))
        except StudyError as error:  # of an older version of an experiment that nobody asked for
            if each in chosen:
                raise
            tell(f"left out of the report: {error}")
    return found
