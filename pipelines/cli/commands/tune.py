"""Search recipes: `zoo sweep`."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Table, show, show_lines
from pipelines.cli.registry import argument, command

if TYPE_CHECKING:
    from pipelines.search.result import Swept
    from pipelines.search.trials import Trial

SHOWN = 10  # of the trials


@command(
    "sweep",
    "search for a better recipe in many trials, and confirm the winner with new seeds",
    arguments.MODEL.but(names=("models",), nargs="*", default=[]),
    argument(
        "--search",
        action="append",
        default=[],
        metavar="FIELD=SPACE",
        completer=arguments.fields,
        help="a field of the recipe with a range (learning_rate=1e-4..1e-2:log) or choices (augmentation=none,light), "
        "or 'default' for the fields that suit the model; repeatable (default: default)",
    ),
    argument("--trials", type=arguments.count, metavar="N", help="stop the search after N trials"),
    argument("--join", metavar="NAME", help="take part in a sweep that another process, or another machine, leads"),
    argument("--sweep-name", metavar="NAME", help="a name for the sweep (default: made from its data and models)"),
    argument(
        "--storage",
        metavar="URL",
        help="the database that workers share, such as postgresql://USER@HOST/NAME (default: mlruns/sweeps.db, for one "
        "machine)",
    ),
    argument(
        "--objective",
        type=arguments.names,
        default=["accuracy"],
        metavar="NAME,…",
        help="what to search for: accuracy, parameters, multiply_accumulates, size, or latency; with several, the "
        "Pareto front (default: accuracy)",
    ),
    arguments.WHERE.noted("on the winner, with the names that --objective takes"),
    argument("--sampler", default="tpe", metavar="NAME", help="how values are chosen: tpe or random (default: tpe)"),
    argument(
        "--pruner",
        metavar="NAME",
        help="how unpromising trials are stopped early: median, hyperband, or none (default: median for accuracy, "
        "none for other objectives)",
    ),
    arguments.SEEDS.noted(
        "in a sweep, only the winners, with new seeds; at most five of a Pareto front; default: 3", default=3
    ),
    *(
        arguments.TIME.noted("then running trials are stopped; retraining the winner takes extra time")
        if each.names == arguments.TIME.names
        else each
        for each in arguments.TRAINING
        if each.names != ("--recipe-file",)
    ),
    group="train",
    description="Search for a better recipe in many trials, which are compared on the validation images. Only the "
    "winners, which are trained again with new seeds, are evaluated on the test images. The same command continues an "
    "interrupted sweep.",
)
def sweep(options: argparse.Namespace) -> None:
    """Ends with the command that takes the winner the whole way."""
    from pipelines.search.sweep import sweep

    found = sweep(
        options.models,
        options.data,
        search=options.search or ["default"],
        trials=options.trials,
        time=options.time,
        sweep_name=options.sweep_name,
        storage=options.storage,
        join=options.join,
        seeds=options.seeds,
        objective=options.objective,
        where=options.where,
        sampler=options.sampler,
        pruner=options.pruner,
        settings=arguments.chosen_settings(options),
        source=options.source,
        **arguments.chosen_reading(options),
    )
    show(found, options.json, trials_table)
    if not options.json:
        show_lines(conclusion(found, options))


def trials_table(swept: Swept) -> Table:
    """The best trials first; with several objectives, those of the front."""
    from pipelines.search.objective import OBJECTIVES

    costs = [name for name in swept.objectives if name != "accuracy"]
    table = Table(">trial", "model", "values", ">validation accuracy", *(f">{each}" for each in costs), ">epochs")
    finished = [each for each in swept.trials if each.state == "finished"]
    chosen = [each for each in finished if each.number in swept.front] if swept.front else finished
    more, _ = OBJECTIVES[swept.objectives[0]]
    chosen.sort(key=lambda each: each.measured[swept.objectives[0]], reverse=more)
    chosen.sort(key=lambda each: each.number != swept.best)  # which meets the conditions, as others may not
    for each in chosen[:SHOWN]:
        costing = [f"{each.measured[name]:,.6g}" for name in costs]
        table.add(str(each.number), each.model, _values(each), f"{each.accuracy:.2%}", *costing, f"{each.epochs:,}")
    counts = ", ".join(f"{count} {state}" for state, count in swept.counts.items())
    table.caption.append(f"sweep {swept.name}: {counts or 'no trial yet'}")
    if swept.front:
        table.caption.append("no other trial is better in all objectives than one of these")
    return table


def _values(trial: Trial) -> str:
    written = ((name, f"{value:.3g}" if isinstance(value, float) else value) for name, value in trial.values.items())
    return " ".join(f"{name}={value}" for name, value in written)


def conclusion(swept: Swept, options: argparse.Namespace) -> Iterator[str]:
    """What the winners are worth, and how to go on with them."""
    from statistics import fmean  # 4 ms, which all commands would wait for

    from pipelines.search.result import MOST_CONFIRMED

    if not swept.confirmed:
        yield "the process that leads the sweep confirms its winner"
        return
    trials = {each.number: each for each in swept.trials}
    for each in swept.confirmed:
        number, best = len(each.seeds), each.trial == swept.best
        yield (
            f"{'best' if best else 'of the front'}: trial {each.trial}, validation accuracy "
            f"{trials[each.trial].accuracy:.2%}; with {number} new seed{'s' if number > 1 else ''} "
            f"{fmean(each.validation):.2%}, and test accuracy {each.spread or f'{each.test[0]:.2%}'}"
        )
    if (left := len(swept.front) - len(swept.confirmed)) > 0:  # the front of one objective is empty
        yield f"{left} more trials are on the Pareto front: at most {MOST_CONFIRMED}, spread evenly, are trained again"
    reading = arguments.given_to("", options, without=_OF_THE_SEARCH)
    for each in swept.confirmed:
        size = [] if each.size is None or options.size else ["--size", "x".join(map(str, each.size))]
        command = ["zoo", "run", trials[each.trial].model, *reading, *size, "--recipe-file", str(each.recipe)]
        yield f"next: {shlex.join(command)}"


_OF_THE_SEARCH = (
    "models",
    "search",
    "trials",
    "join",
    "sweep_name",
    "storage",
    "objective",
    "where",
    "sampler",
    "pruner",
    "seeds",
    "time",
    "set",
    "patience",
    "json",
)
