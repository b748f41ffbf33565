"""Test claims: `zoo study`."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Table, aligned, show
from pipelines.cli.registry import argument, command

if TYPE_CHECKING:
    from pipelines.study import Claim, Studied
    from pipelines.study.finding import Effect

logger = logging.getLogger("zoo.cli")


@command(
    "study",
    "test claims about dense and conv layers: experiments, verdicts, a report",
    argument("names", nargs="*", metavar="NAME", help="an experiment, such as translation (default: all)"),
    argument("--list", action="store_true", help="list the experiments with their claims and verdicts"),
    arguments.SEEDS.noted("default: 5, the minimum; with --quick 3, at least 2"),
    argument("--quick", action="store_true", help="fewer images and updates: takes minutes, with wide intervals"),
    argument("--models", action="store_true", help="keep the models that experiments mark for `zoo demo`"),
    argument("--report", action="store_true", help="only write the report of existing results"),
    argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="the folder of results (default: exports/study, with --quick mlruns/study)",
    ),
    group="study",
)
def study(options: argparse.Namespace) -> None:
    """What was measured before isn't measured again."""
    from pipelines.study import claims, study

    if options.list:
        if any((options.seeds, options.quick, options.models, options.report, options.folder)):
            options.error("--list shows the verdicts of the full study: leave out all other options")
        show(claims(options.names), options.json, claims_table)
        return
    if options.report and (options.seeds or options.models):
        options.error("--report trains nothing: leave out --seeds and --models")
    found = study(
        options.names,
        seeds=options.seeds,
        quick=options.quick,
        report=options.report,
        folder=options.folder,
        models=options.models,
    )
    show(found, options.json, study_table)
    if not options.json:
        logger.info("the report: %s", found[0].page)


def claims_table(claims: tuple[Claim, ...]) -> Table:
    """Each experiment's name, verdict and claim."""
    table = Table("experiment", "verdict", "|claim")
    for each in claims:
        table.add(each.name, str(each.verdict or ""), each.claim)
    return table


def study_table(studied: tuple[Studied, ...]) -> Table:
    """A line for each effect of each experiment, the numbers aligned at their decimal points."""
    effects = [effect for each in studied for effect in each.effects]
    numbers = zip(aligned([effect.rounded(effect.mean) for effect in effects]), _intervals(effects), strict=True)
    table = Table("experiment", "verdict", "|effect", "mean", "95% interval", "unit", "claimed", "result")
    for each in studied:
        first = [each.name, f"{each.verdict} (in full: {each.in_full})" if each.in_full else str(each.verdict)]
        for effect in each.effects:
            unit = effect.unit.strip("()")  # (exponent), (cosine): what a ratio or a similarity has for a unit
            table.add(*first, effect.name, *next(numbers), unit, effect.bounds, str(effect.judgement))
            first = ["", ""]
    return table


def _intervals(effects: list[Effect]) -> list[str]:
    """Their ends below each other."""
    ends = [effect.between.partition(" to ") for effect in effects]
    wide = max((len(low) for low, _, high in ends if high), default=0)
    return [f"{low:>{wide}} to {high}" if high else low for low, _, high in ends]
