"""What the tracking store holds: `zoo runs`, `zoo promote`, `zoo demote`, `zoo sync`, `zoo gc`, `zoo ui`."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Styled, Table, family, or_blank, show, show_lines
from pipelines.cli.registry import argument, command
from zoo.errors import PromotionError, TrackingError

if TYPE_CHECKING:
    from pipelines.maintenance.gc import Collected
    from pipelines.maintenance.runs import Runs
    from pipelines.maintenance.stale import StaleRun
    from pipelines.maintenance.sync import Synced
    from pipelines.publishing.promote import Demotion, Promotion

STATUS_STYLES = {"finished": "green4", "running": "dodger_blue2", "failed": "red3", "killed": "dark_orange"}

# --- zoo runs ------------------------------------------------------------------------------------------------------


@command(
    "runs",
    "list the runs in the store, latest first",
    argument("--model", metavar="MODEL", completer=arguments.MODEL.completer, help="only runs of a model"),
    arguments.DATA.noted("only runs on it"),
    argument("--status", metavar="STATUS", help="only runs that are running, finished, failed, or killed"),
    arguments.WHERE.noted("any metric of a run and any field of the recipe: 'test_accuracy>90%%', 'seed=2'"),
    arguments.SORT.noted("such as test_accuracy, latency, export_size, or started"),
    argument("--most", type=arguments.count, default=50, metavar="N", help="maximum number of rows (default: 50)"),
    argument("--stale", action="store_true", help="end runs that are marked as running but whose process is gone"),
    group="track",
)
def runs(options: argparse.Namespace) -> None:
    """Imports neither TensorFlow nor MLflow."""
    if options.stale:
        if any((options.model, options.data, options.status, options.where, options.sort)):
            options.error("--stale checks all runs that are marked as running: don't combine it with a condition")
        from pipelines.maintenance.stale import stale

        show(stale(), options.json, stale_table)
        return
    from pipelines.maintenance.runs import runs

    found = runs(
        model=options.model,
        data=options.data,
        status=options.status,
        where=options.where,
        sort=options.sort,
        most=options.most,
    )
    show(found, options.json, runs_table)


def runs_table(runs: Runs) -> Table:
    """A line a run."""
    asked = sorted({name for run in runs.runs for name in run.asked})
    table = Table(
        "run",
        "started",
        "status",
        "family",
        "name",
        "data set",
        ">parameters",
        ">multiply-acc.",
        ">test accuracy",
        ">latency",
        ">export",
        *(f">{name}" for name in asked),
    )
    for run in runs.runs:
        table.add(
            run.run[:8],
            f"{datetime.fromisoformat(run.started).astimezone():%Y-%m-%d %H:%M}",
            Styled(run.status, STATUS_STYLES.get(run.status, "")),
            family(run.family),
            run.name,
            run.data_set,
            or_blank(run.parameters, ","),
            or_blank(run.multiply_accumulates, ","),
            or_blank(run.test_accuracy, ".2%"),
            "" if run.latency is None else f"{1000 * run.latency:,.0f} µs",
            "" if run.export_size is None else f"{run.export_size / 1000:,.0f} kB",
            *(_asked(run.asked.get(name)) for name in asked),
        )
    shown = len(runs.runs)
    several = "run" if runs.found == 1 else "runs"
    table.caption.append(
        f"{shown:,} of {runs.found:,} runs: --most shows more" if shown < runs.found else f"{shown:,} {several}"
    )
    return table


def _asked(value: float | str | None) -> str:
    return value if isinstance(value, str) else or_blank(value, ".6g")


def stale_table(stale: tuple[StaleRun, ...]) -> Table | str:
    """What was found and ended, and how each goes on."""
    if not stale:
        return "no run is stale"
    table = Table("run", "model", "data set", "host", ">process", "last seen", "why", "to go on")
    for each in stale:
        on = each.resume or "no checkpoint here: train again"
        seen = f"{datetime.fromtimestamp(each.seen).astimezone():%Y-%m-%d %H:%M}"
        table.add(each.run[:8], each.model, each.data_set, each.host, str(each.process), seen, each.reason, on)
    return table


# --- zoo promote, zoo demote ---------------------------------------------------------------------------------------


@command(
    "promote",
    "register a model and make it the champion, if it passes the gates",
    argument(
        "name",
        metavar="EXPORT|RUN",
        completer=arguments.EXPORT.completer,
        help="a folder, a name such as digits/lenet5, a run, or models:/NAME@ALIAS",
    ),
    arguments.ALIAS,
    argument(
        "--max-latency",
        type=arguments.positive,
        metavar="MS",
        help="maximum latency of one image on one thread, in milliseconds",
    ),
    argument(
        "--max-size",
        type=arguments.size_in_bytes,
        metavar="BYTES",
        help="maximum size of model.onnx, such as 500kB or 2MB",
    ),
    arguments.MARGIN.noted("refuse unless the 95%% interval of the difference is within it"),
    argument(
        "--max-calibration-error",
        type=arguments.percent,
        metavar="PERCENT",
        help="maximum calibration error on the test images, such as 2",
    ),
    argument(
        "--min-robust-accuracy",
        type=arguments.percent,
        metavar="PERCENT",
        help="minimum mean accuracy on corrupted images, such as 85; it is measured again",
    ),
    arguments.DATA.noted("default: the one in the export's metadata"),
    *arguments.WHERE_IT_LIES,
    group="track",
    description="Register a model and move an alias to it, if it passes six gates: parity with Keras, accuracy, "
    "latency, size, calibration, and robustness. It fails on accuracy if it classifies fewer of the same test images "
    "correctly than the current model and McNemar's test finds the difference significant (p < 0.05). If a gate fails, "
    "nothing is written, and the exit code is 1.",
)
def promote(options: argparse.Namespace) -> None:
    """Fails where a gate isn't passed."""
    from pipelines.publishing.promote import promote
    from pipelines.tracking.store import serving_command

    promotion = promote(
        options.name,
        alias=options.alias,
        max_latency=options.max_latency,
        max_size=options.max_size,
        margin=options.margin,
        max_calibration_error=options.max_calibration_error,
        min_robust_accuracy=options.min_robust_accuracy,
        data=arguments.chosen_data(options),
    )
    show(promotion, options.json, promotion_table)
    if not options.json and promotion.version is not None:  # below the table, whose caption would break the lines
        uri = f"models:/{promotion.registered}@{promotion.alias}"
        show_lines([f'load it:   zoo.load("{uri}")', f"serve it:  {serving_command(uri)}"])
    if promotion.refusal:
        raise PromotionError(promotion.refusal)


def promotion_table(promotion: Promotion) -> Table:
    """A line a gate, and what became of the model."""
    table = Table("gate", "passed", "found", "required")
    for gate in promotion.gates:
        table.add(gate.name, "yes" if gate.passed else "no", gate.found, gate.wanted)
    before = f"version {promotion.before}" if promotion.before else "none"
    became = (
        f"not promoted, {promotion.alias} stays {before}"
        if promotion.version is None
        else f"version {promotion.version} of {promotion.registered}, now {promotion.alias} (before: {before})"
    )
    table.title = f"{promotion.model}: {became}"
    return table


@command(
    "demote",
    "move the alias champion back to the previous version",
    argument("data", metavar="DATA", completer=arguments.DATA.completer, help="the data set, such as fashion-mnist"),
    arguments.ALIAS,
    group="track",
)
def demote(options: argparse.Namespace) -> None:
    """Undoes a promotion."""
    from pipelines.publishing.promote import demote

    show(demote(options.data, alias=options.alias), options.json, demotion_summary)


def demotion_summary(demotion: Demotion) -> str:
    """Which version the alias names now."""
    return f"{demotion.alias} of {demotion.registered}: version {demotion.version} (before: {demotion.before})"


# --- zoo sync, zoo gc, zoo ui --------------------------------------------------------------------------------------


@command("sync", "send records that runs kept while the tracking server was unreachable", group="track")
def sync(options: argparse.Namespace) -> None:
    """Fails where something still waits that no training sends itself."""
    from pipelines.maintenance.sync import sync

    found = sync()
    show(found, options.json, synced_table)
    if waiting := [each for each in found if each.waiting and not each.training]:
        raise TrackingError(
            f"{len(waiting)} of {len(found)} runs still have records in mlruns/outbox, in a folder named after the "
            "run's id: `zoo sync` tries again; remove the folder of a run to discard its records"
        )


def synced_table(synced: tuple[Synced, ...]) -> Table | str:
    """A line a run."""
    if not synced:
        return "nothing waits to be sent"
    table = Table("run", ">sent", ">waiting", "why")
    for each in synced:
        table.add(each.run[:8], str(each.sent), str(each.waiting), each.reason)
    return table


@command(
    "gc",
    "list what deleted, finished, and interrupted runs and commands left behind; --yes removes it",
    argument("--yes", action="store_true", help="remove what is listed"),
    argument(
        "--days",
        type=float,
        default=30.0,
        metavar="N",
        help="days that an interrupted run can be resumed (default: 30)",
    ),
    arguments.EXPORTS,
    group="track",
)
def gc(options: argparse.Namespace) -> None:
    """Removes nothing unasked."""
    from pipelines.maintenance.gc import gc

    show(gc(yes=options.yes, days=options.days, exports=options.exports), options.json, collected_table)


def collected_table(collected: Collected) -> Table | str:
    """What would be removed, or was, and what is left alone."""
    if not collected.leftovers and not collected.kept:
        return "nothing is left behind"
    table = Table("", "what", "run", ">size", "why")
    for verb, several in (("removed" if collected.removed else "goes", collected.leftovers), ("stays", collected.kept)):
        for each in several:
            table.add(verb, each.kind, each.run[:8], f"{each.size / 1e6:,.1f} MB", each.reason)
    verb = "were removed" if collected.removed else "would be removed: `zoo gc --yes` does it"
    table.caption.append(f"{collected.size / 1e6:,.1f} MB {verb}")
    return table


@command(
    "ui",
    "open the MLflow UI on the store that holds the runs",
    argument("--host", default="127.0.0.1", metavar="HOST", help="address (default: 127.0.0.1, only this machine)"),
    argument("--port", type=int, choices=range(1, 65536), metavar="PORT", default=5000, help="port (default: 5000)"),
    group="track",
    json=False,  # it serves until it is interrupted, and has no result
)
def ui(options: argparse.Namespace) -> None:
    """Until it is interrupted."""
    from pipelines.maintenance.ui import ui

    ui(host=options.host, port=options.port)
