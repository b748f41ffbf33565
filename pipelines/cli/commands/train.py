"""Train and evaluate: `zoo run`, `zoo train`, `zoo evaluate`, `zoo reproduce`."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.commands.compare import comparison_table, show_pairs
from pipelines.cli.console import Table, show, show_lines
from pipelines.cli.registry import argument, command
from zoo.contract import SAMPLES_FILE, SAMPLES_FOLDER, read_manifest
from zoo.errors import ReproductionError

if TYPE_CHECKING:
    from pipelines.evaluation.comparison.rows import Comparison
    from pipelines.evaluation.evaluate import Evaluation
    from pipelines.evaluation.unknown import Unknown
    from pipelines.training.planning.find_rate import FoundRate
    from pipelines.training.reproduce import Reproduction
    from pipelines.training.train import Trained

# --- zoo run -------------------------------------------------------------------------------------------------------


@command(
    "run",
    "train, evaluate, export, verify, and compare models in one go",
    arguments.MODEL.but(names=("models",), nargs="*", default=[]).noted("default: auto, chosen by the data"),
    argument(
        "--all",
        action="store_true",
        help="all of them (every model that isn't pretrained, each with its own recipe)",
    ),
    *(each.but(required=True) if each is arguments.DATA else each for each in arguments.TRAINING),
    arguments.EXPORTS,
    *arguments.LICENSES,
    arguments.SEEDS.noted("default: 1", default=1),
    argument("--again", action="store_true", help="retrain models that are already trained and exported"),
    group="train",
)
def run(options: argparse.Namespace) -> None:
    """Ends with how to go on."""
    from pipelines.run import run
    from zoo.models import definitions
    from zoo.models.registry import AUTO

    if options.all and options.models:
        options.error(f"--all trains every model: leave out {' '.join(options.models)}, or --all")
    try:
        comparison = run(
            [model.name for model in definitions()] if options.all else options.models or [AUTO],
            options.data,
            settings=arguments.chosen_settings(options),
            source=options.source,
            exports=options.exports,
            seeds=options.seeds,
            time=options.time,
            again=options.again,
            license=options.license,
            data_license=options.data_license,
            **arguments.chosen_reading(options),
        )
    except KeyboardInterrupt as interrupt:
        if options.again:  # which would train anew what is trained by now
            raise
        said = str(interrupt).partition("to continue: ")[2]
        alone = f", or {said} for this training alone" if said else ""
        raise KeyboardInterrupt(f"interrupted; to continue: the same command again{alone}") from None
    show(comparison, options.json, comparison_table)
    if not options.json:
        show_pairs(comparison)
        show_lines(next_steps(comparison, options.exports))


def next_steps(comparison: Comparison, exports: Path) -> list[str]:
    """The two lines that a first run ends with: how to browse, how to load."""
    best = max(comparison.rows, key=lambda row: row.accuracy)
    folder = exports / best.name
    loaded = f'zoo.load("{folder.as_posix()}")'
    if read_manifest(folder).metadata.columns:
        row = f'json.load(open("{(folder / SAMPLES_FILE).as_posix()}", encoding="utf-8"))[0]["row"]'
        call = f"import json, zoo; print({loaded}.predict({row}))"
    else:
        sample = next(iter(sorted((folder / SAMPLES_FOLDER).glob("*.png"))), "image.png")
        call = f'import zoo; print({loaded}.predict("{sample}"))'
    # After `make demo` nothing is on the path yet.
    zoo, python = ("zoo", "python") if shutil.which("zoo") else map(os.path.relpath, (sys.argv[0], sys.executable))
    if Path(zoo).name == "__main__.py":
        zoo = f"{python} -m pipelines.cli"
    plot = ["", f"plot of the comparison: {comparison.plot}"] if comparison.plot else []
    return [*plot, f"browse the runs:  {zoo} ui", f"load in an app:   {python} -c '{call}'"]


# --- zoo train -----------------------------------------------------------------------------------------------------


def _devices(text: str) -> int | str:
    """A number, or all of them."""
    return text if text == "all" else arguments.count(text)


@command(
    "train",
    "train a model and log the run to MLflow",
    arguments.MODEL.but(nargs="?"),
    *arguments.TRAINING,
    argument("--plan", type=Path, metavar="FILE", help="repeat a run from its plan.json"),
    argument("--resume", metavar="RUN", help="continue an interrupted run"),
    argument(
        "--find-rate",
        action="store_true",
        help="try learning rates in a few hundred steps and suggest one, without training (Smith 2017)",
    ),
    arguments.PLOT.noted("with --find-rate; default: learning-rate.png"),
    argument(
        "--devices",
        type=_devices,
        metavar="N|all",
        help="train on several GPUs of this machine at once; each step is divided among them",
    ),
    argument(
        "--workers",
        metavar="HOST:PORT,...",
        help="train on several machines at once: the addresses of all, the first of which writes to MLflow and disk; "
        "tf-config: those in the environment variable TF_CONFIG",
    ),
    argument("--worker", type=int, metavar="K", help="which of --workers this one is, counted from 0"),
    group="train",
)
def train(options: argparse.Namespace) -> None:
    """Ends with the id of the run, which the next commands take."""
    from pipelines.core.support.watched import end_with_watcher, is_watched

    if options.find_rate:
        _find_rate(options)
        return
    if options.plot:
        options.error("--plot requires --find-rate")
    if options.workers is not None:
        if not is_watched():
            _watch(options)
            return
        end_with_watcher()
    from pipelines.training.train import train

    trained = train(
        options.model,
        options.data,
        settings=arguments.chosen_settings(options),
        source=options.source,
        plan=options.plan,
        resume=options.resume,
        time=options.time,
        devices=options.devices,
        workers=options.workers,
        worker=options.worker,
        **arguments.chosen_reading(options),
    )
    show(trained, options.json, training_summary)


def _watch(options: argparse.Namespace) -> None:
    """The same command, in a process that this one watches over."""
    from rich.console import Console

    from pipelines.training.parallel.asking import checked_cluster
    from pipelines.training.parallel.watching import watch

    asked = {"devices": options.devices, "time": options.time, "resume": options.resume}
    cluster = checked_cluster(options.workers, options.worker, **asked)
    command = [sys.executable, "-P", "-m", "pipelines.cli", *options.words]
    try:
        code = watch(cluster, command)
    finally:
        Console(stderr=True).show_cursor()  # a progress bar that was ended had hidden it
    if code:
        sys.exit(code)


def _find_rate(options: argparse.Namespace) -> None:
    from pipelines.training.planning.find_rate import find_rate

    others = (options.plan, options.resume, options.time, options.devices, options.workers)
    if any(others) or options.worker is not None or not (options.model and options.data):
        options.error(
            "--find-rate requires a model and --data, and can't be combined with --plan, --resume, --time, --devices, "
            "--workers, or --worker"
        )
    found = find_rate(
        options.model,
        options.data,
        settings=arguments.chosen_settings(options),
        source=options.source,
        plot=options.plot or Path("learning-rate.png"),
        **arguments.chosen_reading(options),
    )
    words = arguments.given_to("zoo train", options, without=("find_rate", "plot", "json"))
    show(found, options.json, lambda found: rate_summary(found, words))


def rate_summary(found: FoundRate, words: Sequence[str]) -> str:
    """The rate, where to see why, and the command that trains with it. words: of the command that asked."""
    again = shlex.join([*words, "--set", f"learning_rate={found.rate:g}"])
    return (
        f"{found.model} on {found.data}: suggested learning rate {found.rate:g}, a tenth of the rate with the lowest "
        f"loss{f', divided by fine_rate={found.share:g}' if found.share != 1 else ''}\n"
        f"plot: {found.plot}\nnext: {again}"
    )


def training_summary(trained: Trained) -> str:
    """What came out, and the commands that go on from there."""
    alone = "" if trained.epochs else "only the head, on frozen features"
    if trained.validation_accuracy is None:
        found = f"trained without validation, {alone or f'{trained.epochs} epochs'}"
    else:
        averaged = ", averaged weights" if trained.averaged else ""
        best = f"best of {trained.epochs} epochs: {trained.best_epoch}{averaged}"
        best = best if trained.best_epoch else f"only the head, better than after any of {trained.epochs} epochs"
        found = f"validation accuracy {trained.validation_accuracy:.2%} ({alone or best})"
    after = f"stopped early, after epoch {trained.epochs} of {trained.planned_epochs}: {trained.ended_early}\n"
    return (
        f"{trained.model} on {trained.data}: {found} in {trained.seconds:,.0f} s\n"
        f"{after if trained.ended_early else ''}"
        f"run {trained.run}; next: zoo evaluate {trained.run[:8]}, zoo export {trained.run[:8]}"
    )


# --- zoo evaluate --------------------------------------------------------------------------------------------------


@command(
    "evaluate",
    "evaluate a run on its whole test set, or an export on images of unknown classes",
    arguments.RUN.noted("with --unknown, an export"),
    argument(
        "--unknown",
        type=Path,
        metavar="FOLDER",
        help="a folder of images that belong to none of the classes: measure how well each export detects them",
    ),
    arguments.DATA.noted("with --unknown; default: the one in the export's metadata"),
    *arguments.WHERE_IT_LIES,
    group="train",
)
def evaluate(options: argparse.Namespace) -> None:
    """Logs the metrics to the run."""
    if options.unknown is not None:
        from pipelines.evaluation.unknown import evaluate_unknown

        found = evaluate_unknown(options.run, options.unknown, data=arguments.chosen_data(options))
        show(found, options.json, unknown_summary)
        return
    if arguments.chosen_data(options) is not None:
        options.error("--data requires --unknown: a run is evaluated on the test set of its own data")
    from pipelines.evaluation.evaluate import evaluate

    show(evaluate(options.run), options.json, evaluation_table)


def unknown_summary(found: Unknown) -> str:
    """How well the two kinds of images are told apart, and what the export answers."""
    return (
        f"{found.folder}: {found.images:,} images, {found.none_of_these:.1%} of which are predicted 'none of these', "
        f"as are {found.test_none_of_these:.1%} of {found.test_images:,} test images; AUROC {found.auroc:.3f}; "
        f"{found.false_positives:.1%} look as familiar as 95% of the test images"
    )


SURE = 0.99  # of the accuracies that thresholds were found for, the one that is printed


def evaluation_table(evaluation: Evaluation) -> Table:
    """Metrics by class, with those of the whole in the caption."""
    kind = "rows" if evaluation.robust_accuracy is None else "images"
    table = Table("class", f">{kind}", ">precision", ">recall", ">F1")
    for row in evaluation.classes:
        table.add(row.label, f"{row.images:,}", *(f"{v:.2%}" for v in (row.precision, row.recall, row.f1)))
    corrupted = "" if evaluation.robust_accuracy is None else f", {evaluation.robust_accuracy:.2%} on corrupted ones"
    table.caption += [
        f"accuracy {evaluation.accuracy:.2%} ({evaluation.low:.2%} - {evaluation.high:.2%})",
        f"on {evaluation.images:,} test {kind}{corrupted}",
    ]
    if evaluation.balanced_accuracy is not None:
        table.caption.append(
            f"classes weighted equally: balanced accuracy {evaluation.balanced_accuracy:.2%}, macro F1 "
            f"{evaluation.macro_f1:.2%}"
        )
    if fitted := evaluation.held_out.calibration:
        table.caption.append(
            f"calibrated on {fitted['images']:,} held-out {kind}, temperature {fitted['temperature']:.4g}: calibration "
            f"error {evaluation.calibration_error:.2%}"
        )
    for each in (each for each in evaluation.decisions if each.target == SURE):
        table.caption.append(
            f"for an accuracy of {each.target:.0%}, accept predictions with a probability of at least "
            f"{each.threshold:.4f}: {each.answered:.1%} of the test {kind}, {each.accuracy:.2%} of them correct"
        )
    return table


# --- zoo reproduce -------------------------------------------------------------------------------------------------


@command("reproduce", "train a run again, and check whether the weights are the same", arguments.RUN, group="train")
def reproduce(options: argparse.Namespace) -> None:
    """Fails where they aren't, bit for bit."""
    from pipelines.training.reproduce import reproduce

    found = reproduce(options.run)
    show(found, options.json, reproduction_summary)
    if not found.same:
        raise ReproductionError(f"run {found.run[:8]} was not reproduced bit for bit")


def reproduction_summary(found: Reproduction) -> str:
    """What came out, and the new run."""
    return f"{found.model} on {found.data}, run {found.run[:8]} again as {found.again[:8]}: {found}"
