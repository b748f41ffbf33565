"""The command `zoo`: it parses, calls the function of the same name, and prints. Nothing else happens here.

Results go to standard output (as JSON with --json), progress to standard error. Exit codes: 0 done, 1 an error that one
sentence tells, 2 a wrong command line, 130 interrupted. Each command imports what it needs when it runs, so that
`zoo predict` works where no TensorFlow is installed and `zoo list` answers at once.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipelines.cli.log import log_to_terminal
from zoo.contract import FLOAT16, FLOAT32, INT8, MODEL_FILES, RESIZINGS
from zoo.errors import (
    DataError,
    MissingExtraError,
    PromotionError,
    ReproductionError,
    TrackingError,
    ZooError,
    printable,
)
from zoo.recipe import Recipe, parse_settings

logger = logging.getLogger("zoo.cli")

# What TensorFlow logs at its start (instruction sets, absent CUDA) is nothing that a user of ours can act on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        with log_to_terminal():
            options.command(options)
    except ZooError as error:
        print(f"zoo: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `zoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _TRAINING_PACKAGES:
            raise
        print(f"zoo: {MissingExtraError(package, 'train')}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"zoo: {error.filename or 'a file'} can't be used ({error.strerror or error})", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"zoo: {str(interrupt) or 'interrupted'}", file=sys.stderr)
        return 130
    return 0


_TRAINING_PACKAGES = {"tensorflow", "keras", "tf2onnx", "onnx", "mlflow", "matplotlib", "sklearn", "psutil", "rich"}


# --- commands ------------------------------------------------------------------------------------------------------


def _data_check(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.datasets.check import data_check
    from zoo.data.folders.findings import obstacle
    from zoo.data.report import Report

    report = data_check(options.path, label=options.label, groups=options.groups, page=options.html)
    if isinstance(report, Report):
        terminal.show(report, options.json, terminal.data_summary)
    else:
        terminal.show(report, options.json, terminal.columns_table)
    if not options.json:
        terminal.show_data(report) if isinstance(report, Report) else terminal.show_table(report)
    if reason := obstacle(report.findings):
        raise DataError(reason)


def _run(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.run import run
    from zoo.models import definitions

    comparison = run(
        [model.name for model in definitions()] if options.all else options.models,
        options.data,
        settings=_settings(options),
        source=options.source,
        exports=options.exports,
        seeds=options.seeds,
        again=options.again,
        **_reading(options),
    )
    terminal.show(comparison, options.json, terminal.comparison_table)
    if not options.json:
        terminal.show_pairs(comparison)
        terminal.next_steps(comparison, options.exports)


def _train(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.training.train import train

    trained = train(
        options.model,
        options.data,
        settings=_settings(options),
        source=options.source,
        plan=options.plan,
        resume=options.resume,
        **_reading(options),
    )
    terminal.show(trained, options.json, terminal.training_summary)


def _reproduce(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.training.reproduce import reproduce

    found = reproduce(options.run)
    terminal.show(found, options.json, terminal.reproduction_summary)
    if not found.same:
        raise ReproductionError(f"run {found.run[:8]} was not reproduced bit for bit")


def _evaluate(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.evaluation.evaluate import evaluate

    terminal.show(evaluate(options.run), options.json, terminal.evaluation_table)


def _export(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal

    if options.layout == "triton":
        from pipelines.publishing.triton import triton

        model = triton(options.run, exports=options.exports, repository=options.repository or Path("models"))
        terminal.show(model, options.json, terminal.triton_summary)
        return
    if options.repository:
        options.error("--repository is for --layout triton: --exports says where exports go")
    from pipelines.exporting.export import export

    terminal.show(export(options.run, exports=options.exports), options.json, terminal.export_summary)


def _verify(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.exporting.verify import verify

    if bool(options.paths) == options.all:
        options.error(
            "name exports to verify, or --all of them, not both" if options.all else "name an EXPORT, or --all"
        )
    if options.exports and not options.all:
        options.error("--exports goes with --all; exports that are named are looked up as they are")
    if options.all:
        from pipelines.publishing.verify_all import verify_all

        found = verify_all(options.exports or Path("exports"), data=options.data)
        terminal.show(found, options.json, terminal.verifications_table)
    elif options.json:
        several = [verify(path, data=options.data) for path in options.paths]
        print(_json(several if len(several) > 1 else several[0]))  # one document, whatever their number
    else:
        for path in options.paths:  # each is shown as soon as it is verified
            terminal.show(verify(path, data=options.data), options.json, terminal.verification_table)


def _quantize(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.exporting.quantization.quantize import quantize

    chosen = {"margin": options.margin, "calibration": options.calibration}
    if options.precision:
        chosen["precisions"] = [options.precision]
    found = []
    for export in options.exports:  # each is shown as soon as it is written
        found.append(quantize(export, data=options.data, **chosen))
        if not options.json:
            terminal.show(found[-1], False, terminal.quantized_table)
    if options.json:
        print(_json(found if len(found) > 1 else found[0]))


def _predict(options: argparse.Namespace) -> None:
    from pipelines.inference.predict import predict

    how = {"provider": options.provider, "threads": options.threads, "precision": options.precision}
    results = predict(options.export, options.paths, **how, explain=options.explain)
    if options.json:
        print(_json(results))
        return
    width = max((len(str(result)) for result in results), default=0)
    for result in results:
        ranking = "  ".join(f"{label} {probability:.1%}" for label, probability in result.ranking[: options.top])
        file = getattr(result, "explanation", None)
        print(f"{result!s:{width}}  {ranking}" + (f"  {file}" if file else ""))


def _placement(options: argparse.Namespace) -> None:
    from pipelines.inference.placement import placement

    found = placement(options.export, provider=options.provider)
    if options.json:
        print(_json(found))
        return
    for provider, nodes in found.places.items():
        print(f"{provider}: {len(nodes)} of {found.nodes} nodes")
        for node in nodes:
            print(f"  {node.operation:20} {printable(node.name)}")


def _compare(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.evaluation.comparison.compare import compare

    comparison = compare(options.models, image=options.image, data=options.data, page=options.html, log=options.log)
    terminal.show(comparison, options.json, terminal.comparison_table)
    if not options.json:
        terminal.show_pairs(comparison)
        if comparison.page:
            logger.info("the page: %s", comparison.page)


def _demo(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.demo import demo

    terminal.show(demo(options.exports, options.out, webgpu=options.webgpu), options.json, terminal.demo_summary)


def _benchmark(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.inference.benchmark import benchmark

    if options.peers:
        from pipelines.inference.peers import PEERS
    result = benchmark(
        options.exports,
        providers=options.provider,
        precisions=options.precision,
        batches=options.batch,
        threads=options.threads,
        seconds=options.seconds,
        peers=tuple(PEERS) if options.peers else (),
        plot=options.plot,
        log=options.log,
    )
    terminal.show(result, options.json, terminal.benchmark_table)
    if not options.json:
        terminal.show_notes(note for export in result.exports for note in export.notes)


def _study(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.study import claims, study

    if options.list:
        terminal.show(claims(options.names), options.json, terminal.claims_table)
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
    terminal.show(found, options.json, terminal.study_table)
    if not options.json:
        logger.info("the report: %s", found[0].page)


def _gallery(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.gallery import gallery

    terminal.show(gallery(options.exports), options.json, terminal.gallery_summary)


def _list(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.list_models import list_models

    found = list_models(
        options.exports, sort=options.sort, family=options.family, data=options.data, where=options.where
    )
    terminal.show(found, options.json, terminal.roster_table)


def _runs(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal

    if options.stale:
        if any((options.model, options.data, options.status, options.where, options.sort)):
            options.error("--stale looks at all runs that count as running: give no condition beside it")
        from pipelines.maintenance.stale import stale

        terminal.show(stale(), options.json, terminal.stale_table)
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
    terminal.show(found, options.json, terminal.runs_table)


def _describe(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.describe import describe

    if options.data is not None and (options.input or options.classes):
        options.error("--data says what goes in and how many classes there are: leave out --input and --classes")
    height, width, channels = options.input or (28, 28, 1)
    found = describe(
        options.model,
        size=(height, width),
        channels=channels,
        classes=options.classes or 10,
        data=options.data,
        label=options.label,
    )
    terminal.show(found, options.json, terminal.ledger_table)


def _promote(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.promote import promote

    promotion = promote(
        options.name,
        alias=options.alias,
        max_latency=options.max_latency,
        max_size=options.max_size,
        margin=options.margin,
        data=options.data,
    )
    terminal.show(promotion, options.json, terminal.promotion_table)
    if promotion.refusal:
        raise PromotionError(promotion.refusal)


def _demote(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.publishing.promote import demote

    terminal.show(demote(options.data, alias=options.alias), options.json, terminal.demotion_summary)


def _sync(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.maintenance.sync import sync

    found = sync()
    terminal.show(found, options.json, terminal.synced_table)
    if waiting := [each for each in found if each.waiting]:
        raise TrackingError(
            f"what {len(waiting)} of {len(found)} runs logged still waits in mlruns/outbox, in a folder "
            "by the run's id: `zoo sync` tries again; remove the folder of one to give it up"
        )


def _gc(options: argparse.Namespace) -> None:
    from pipelines.cli import console as terminal
    from pipelines.maintenance.gc import gc

    terminal.show(gc(yes=options.yes, days=options.days), options.json, terminal.collected_table)


def _ui(options: argparse.Namespace) -> None:
    from pipelines.maintenance.ui import ui

    ui(host=options.host, port=options.port)


# --- the command line ------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="zoo",
        description="Train dense, conv and hybrid image classifiers, log them to MLflow, export them to ONNX.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(
        name: str, function: Any, text: str, *, json: bool = True, among: Any = commands
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = among.add_parser(name, help=text, description=text)
        added.set_defaults(command=function, error=added.error)
        if json:
            added.add_argument("--json", action="store_true", help="print the result as JSON")
        return added

    def takes_groups(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--groups",
            metavar="COLUMN",
            help="a table's column, or 'folder' for sub-folders of a class: images that stay together when train, "
            "validation and test are drawn (default: a column named group)",
        )

    def takes_data(added: argparse.ArgumentParser, *, required: bool) -> None:
        added.add_argument(
            "--data",
            required=required,
            help="digits, fashion-mnist, a folder with one sub-folder for each class, a .csv or .jsonl table of "
            "images with the columns path and label, an .npz file of arrays, or a .csv table of values",
        )
        added.add_argument("--label", metavar="COLUMN", help="of a table, the column that holds the class")
        added.add_argument("--data-folder", type=Path, metavar="DIR", help="where the files of a known data set lie")
        added.add_argument("--size", type=_size, metavar="HxW", help="image size to train at, such as 64x64")
        added.add_argument(
            "--resize",
            dest="resizing",
            choices=RESIZINGS,
            help="how images of other sizes come to it: stretched, cropped to its proportions, or padded with black "
            "(default: stretch)",
        )
        takes_groups(added)
        added.add_argument(
            "--on-bad",
            choices=("skip", "fail"),
            help="leave out images that can't be read, up to 5%%, or train on none (default: skip)",
        )
        added.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="FIELD=VALUE",
            help=f"change a field of the recipe: {', '.join(field.name for field in fields(Recipe))}",
        )
        added.add_argument(
            "--from",
            dest="source",
            metavar="EXPORT|RUN|imagenet",
            help="start from the features of a trained model, frozen at first: for few images; imagenet means the "
            "weights that Keras' authors publish for mobilenet-v2, efficientnet-v2-b0 and resnet50-v2",
        )

    def takes_exports(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--exports", type=Path, default=Path("exports"), metavar="DIR", help="folder of exports (default: exports)"
        )

    data = commands.add_parser("data", help="look at images, or at a table, before they are learned from")
    actions = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    added = command(
        "check", _data_check, "say what lies in a folder of images or a table, and what is wrong", among=actions
    )
    added.add_argument("path", type=Path, metavar="PATH", help="a folder, a .csv or .jsonl table, or an .npz file")
    added.add_argument("--label", metavar="COLUMN", help="of a table of values, the column that holds the class")
    added.add_argument("--html", type=Path, metavar="FILE", help="write the report on images as a page, too")
    takes_groups(added)

    added = command("run", _run, "train, evaluate, export, verify and compare models in one go")
    which = added.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "models", nargs="*", default=[], metavar="MODEL", help="such as conv-small; `zoo list` names them all"
    )
    which.add_argument(
        "--all", action="store_true", help="every model that learns from the first weight on, each by its own recipe"
    )
    takes_data(added, required=True)
    takes_exports(added)
    added.add_argument(
        "--seeds",
        type=_count,
        default=1,
        metavar="N",
        help="train each N times, to tell how accuracy varies (default: 1)",
    )
    added.add_argument("--again", action="store_true", help="train anew what has been trained and exported already")

    added = command("train", _train, "train a model and log the run to MLflow")
    added.add_argument("model", nargs="?", metavar="MODEL", help="such as conv-small; `zoo list` names them all")
    takes_data(added, required=False)
    added.add_argument("--plan", type=Path, metavar="FILE", help="make the run of a plan.json again")
    added.add_argument("--resume", metavar="RUN", help="go on with a run that was interrupted")

    added = command("reproduce", _reproduce, "train a run again, and say whether the same weights come out")
    added.add_argument("run", metavar="RUN", help="a run's id, or the first digits of it")

    added = command("evaluate", _evaluate, "measure a run on its whole test set")
    added.add_argument("run", metavar="RUN", help="a run's id, or the first digits of it")

    added = command("export", _export, "write a run as a verified ONNX export, or an export as a server takes it")
    added.add_argument(
        "run", metavar="RUN", help="a run's id, or the first digits of it; with --layout triton an export, too"
    )
    takes_exports(added)
    added.add_argument(
        "--layout",
        choices=("zoo", "triton"),
        default="zoo",
        help="zoo: the folder that zoo.load takes; triton: a model of Triton's and KServe's (default: zoo)",
    )
    added.add_argument(
        "--repository", type=Path, metavar="DIR", help="Triton's model repository to write to (default: models)"
    )

    added = command("verify", _verify, "check exports: the file, its contract, and every image of the test set")
    added.add_argument("paths", nargs="*", type=Path, metavar="EXPORT", help="an export's folder, or an .onnx file")
    added.add_argument("--all", action="store_true", help="every export of a folder, with its card and its line there")
    added.add_argument(
        "--exports", type=Path, metavar="DIR", help="the folder that --all goes through (default: exports)"
    )
    added.add_argument("--data", help="the data set to check against (default: the one that the file names)")

    added = command("quantize", _quantize, "make the int8 and float16 files of exports, as accurate as is stated")
    added.add_argument("exports", nargs="+", metavar="EXPORT", help="a folder, or a name such as digits/lenet5")
    added.add_argument(
        "--precision",
        choices=(INT8, FLOAT16),
        help="what to make: int8, faster on processors, or float16, half the size (default: both)",
    )
    added.add_argument(
        "--margin",
        type=float,
        default=0.3,
        metavar="POINTS",
        help="refuse where accuracy falls by more points than that (default: 0.3)",
    )
    added.add_argument(
        "--calibration",
        type=_count,
        default=1000,
        metavar="N",
        help="training images to calibrate int8 by (default: 1000)",
    )
    added.add_argument("--data", help="the data set of the exports (default: the one that they name)")

    added = command("predict", _predict, "classify images, or the rows of a table, with an export")
    added.add_argument("export", metavar="EXPORT", help="a folder, an .onnx file, or a name such as digits/lenet5")
    added.add_argument("paths", nargs="+", type=Path, metavar="IMAGE", help="an image, or a table as CSV")
    added.add_argument("--provider", default="auto", help="where to run: auto, cpu, cuda, openvino, ...")
    added.add_argument("--threads", type=int, help="processor threads to use (default: onnxruntime's choice)")
    added.add_argument(
        "--precision",
        choices=tuple(MODEL_FILES),
        default=FLOAT32,
        help="the export's file to take, those that `zoo quantize` makes among them (default: float32)",
    )
    added.add_argument("--top", type=_count, default=3, metavar="N", help="labels to print for each image (default: 3)")

    added.add_argument(
        "--explain",
        nargs="?",
        type=Path,
        const=Path("explained"),
        metavar="FOLDER",
        help="draw what in each image speaks for its answer, into a folder (default: explained); put it last",
    )

    added = command("placement", _placement, "show which nodes of an export run on which provider")
    added.add_argument("export", metavar="EXPORT", help="a folder, an .onnx file, or a name such as digits/lenet5")
    added.add_argument("--provider", default="auto", help="where to run: auto, cpu, cuda, openvino, ...")

    added = command("compare", _compare, "put models side by side: accuracy, size, latency, curves, and by image")
    added.add_argument(
        "models",
        nargs="+",
        metavar="EXPORT|RUN|EXPERIMENT",
        help="a folder or a name such as digits/lenet5; a run's id, or the first digits of it; an experiment such as "
        "digits, for the latest finished run of each of its models",
    )
    added.add_argument("--html", type=Path, metavar="FILE", help="write a page that shows it, too, in one file")
    added.add_argument("--log", metavar="RUN", help="add that page to the artifacts of a run")
    added.add_argument("--image", type=Path, metavar="FILE", help="save the comparison as a PNG")
    added.add_argument("--data", help="the data set to compare on (default: the one that the models name)")

    added = command("demo", _demo, "write a page that shows exports side by side, in one file, for any browser")
    added.add_argument("exports", nargs="+", metavar="EXPORT", help="a folder, or a name such as digits/lenet5")
    added.add_argument(
        "--out", type=Path, default=Path("demo.html"), metavar="FILE", help="the page to write (default: demo.html)"
    )
    added.add_argument("--webgpu", action="store_true", help="let the page use the graphics card, where there is one")

    added = command("benchmark", _benchmark, "measure how fast exports answer on this machine, beside other libraries")
    added.add_argument("exports", nargs="+", metavar="EXPORT", help="a folder, or a name such as digits/lenet5")
    added.add_argument(
        "--provider", type=_names, default=["cpu"], metavar="NAME,…", help="where to run: cpu, openvino, cuda, ..."
    )
    added.add_argument(
        "--batch",
        type=_counts,
        default=[1, 8, 64, 256],
        metavar="N,…",
        help="images or rows at a time (default: 1,8,64,256)",
    )
    added.add_argument(
        "--precision",
        type=_names,
        default=["float32"],
        metavar="NAME,…",
        help="float32, int8, float16 (default: float32)",
    )
    added.add_argument(
        "--threads",
        type=_counts,
        default=[],
        metavar="N,…",
        help="numbers to try, of which the fastest counts (default: 1, 2, 4 and so on, and all cores)",
    )
    added.add_argument(
        "--seconds", type=_seconds, default=1.0, help="for each cell of the table (default: 1), spread over rounds"
    )
    added.add_argument(
        "--peers",
        action="store_true",
        help="run the same model in plain tf2onnx on onnxruntime, TensorFlow, Keras, LiteRT and OpenVINO, too",
    )
    added.add_argument("--plot", type=Path, metavar="FILE", help="save latency and throughput as a PNG")
    added.add_argument("--log", action="store_true", help="add the metrics to the run in MLflow that made the export")

    added = command("study", _study, "test what is said of dense and conv layers: experiments, verdicts, a report")
    added.add_argument("names", nargs="*", metavar="NAME", help="an experiment, such as translation (default: all)")
    added.add_argument("--list", action="store_true", help="name the experiments, their claims and verdicts")
    added.add_argument(
        "--seeds", type=_count, metavar="N", help="trainings of each model (default: 5 and at least, quick: 3 and 2)"
    )
    added.add_argument("--quick", action="store_true", help="fewer images and updates: minutes, and wide intervals")
    added.add_argument(
        "--models", action="store_true", help="keep those that are worth a look as exports, for `zoo demo`"
    )
    added.add_argument("--report", action="store_true", help="train nothing, write the report of what is there")
    added.add_argument(
        "--folder", type=Path, help="where results lie (default: exports/study, and mlruns/study of a quick one)"
    )

    added = command(
        "promote",
        _promote,
        "register a model, and let the alias champion name it, if it passes the gates",
    )
    added.description = (
        "Register a model, and let an alias name it, if it passes four gates: parity with Keras; accuracy, refused "
        "where it gets fewer of the same test images right than the present one and McNemar's test says that this is "
        "no chance (p < 0.05); latency; and size. Else nothing is written, and the exit code is 1."
    )
    added.add_argument(
        "name", metavar="EXPORT|RUN", help="a folder, a name such as digits/lenet5, a run, or models:/NAME@ALIAS"
    )
    added.add_argument("--alias", default="champion", metavar="NAME", help="the alias to move (default: champion)")
    added.add_argument(
        "--max-latency", type=_positive, metavar="MS", help="milliseconds for one image on one thread, at most"
    )
    added.add_argument("--max-size", type=_bytes, metavar="SIZE", help="of model.onnx, such as 500kB or 2MB, at most")
    added.add_argument(
        "--margin",
        type=_positive,
        metavar="POINTS",
        help="refuse unless the 95%% interval says that accuracy falls by at most so many points",
    )
    added.add_argument("--data", help="the data set with the test images (default: the one that the export names)")

    added = command("demote", _demote, "let the alias champion name the version that it named before")
    added.add_argument("data", metavar="DATA", help="the data set, such as fashion-mnist")
    added.add_argument("--alias", default="champion", metavar="NAME", help="the alias to move (default: champion)")

    added = command("gallery", _gallery, "write the page that shows all exports, and its charts, from their manifests")
    takes_exports(added)

    added = command("list", _list, "list the models, and the exports that there are of them")
    takes_exports(added)
    added.add_argument("--sort", metavar="FIELD", help="such as accuracy, parameters, multiply_accumulates or name")
    added.add_argument("--family", help="only dense, conv or hybrid ones")
    added.add_argument("--data", metavar="NAME", help="only exports of this data set")
    added.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only where it holds, such as 'parameters<100k' or 'accuracy>=93%%'; can be given several times",
    )

    added = command("runs", _runs, "list the trainings in the store, the latest first")
    added.add_argument("--model", help="only those of a model")
    added.add_argument("--data", metavar="NAME", help="only those on a data set")
    added.add_argument("--status", help="only those that are running, finished, failed or killed")
    added.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="CONDITION",
        help="only where it holds, such as 'test_accuracy>90%%', 'parameters<100k' or 'seed=2'; can be given several "
        "times; any figure of a run and any field of the recipe will do",
    )
    added.add_argument("--sort", metavar="FIELD", help="such as test_accuracy, latency, export_size or started")
    added.add_argument("--most", type=_count, default=50, metavar="N", help="rows at most (default: 50)")
    added.add_argument(
        "--stale", action="store_true", help="those that count as running though their process is gone; they are ended"
    )

    added = command("describe", _describe, "show a model layer by layer: shapes, parameters by formula, cost, sight")
    added.add_argument("model", metavar="MODEL")
    added.add_argument("--input", type=_input, metavar="HxWxC", help="of images (default: 28x28x1)")
    added.add_argument("--classes", type=_count, metavar="K", help="default: 10")
    added.add_argument("--data", help="a data set whose size and classes count, or a .csv table of values")
    added.add_argument("--label", metavar="COLUMN", help="of a table, the column that holds the class")

    command("sync", _sync, "send what trainings have kept for a tracking server that was away")

    added = command("gc", _gc, "tell what deleted and finished runs have left behind, and remove it with --yes")
    added.add_argument("--yes", action="store_true", help="remove what was told")
    added.add_argument(
        "--days", type=float, default=30.0, metavar="N", help="that a run may wait to be resumed (default: 30)"
    )

    added = command("ui", _ui, "open the MLflow UI on the store that holds the runs", json=False)
    added.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    added.add_argument("--port", type=int, choices=range(1, 65536), metavar="PORT", default=5000, help="default: 5000")
    return parser


def _settings(options: argparse.Namespace) -> dict[str, str]:
    return parse_settings(options.set)


def _reading(options: argparse.Namespace) -> dict[str, Any]:
    """How images are read, as `pipelines.core.provenance.plan.DataOptions`: what the user chose, and nothing else."""
    names = ("data_folder", "size", "resizing", "groups", "on_bad", "label")
    chosen = {name: getattr(options, name) for name in names}
    return {name: value for name, value in chosen.items() if value is not None}


def _count(text: str) -> int:
    (number,) = _numbers(text, 1, "3")
    return number


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, received {text!r}")
    return number


def _bytes(text: str) -> int:
    number, unit = text.strip().lower().removesuffix("b"), 1
    for letter, factor in (("k", 1000), ("m", 1000_000)):
        if number.endswith(letter):
            number, unit = number.removesuffix(letter), factor
    try:
        return int(_positive(number) * unit)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a size such as 500kB or 2MB, received {text!r}") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise argparse.ArgumentTypeError(f"expected a time in seconds such as 0.5, received {text!r}")
    return seconds


def _size(text: str) -> tuple[int, int]:
    height, width = _numbers(text, 2, "64x64")
    return height, width


def _input(text: str) -> tuple[int, int, int]:
    height, width, channels = _numbers(text, 3, "28x28x1")
    return height, width, channels


def _numbers(text: str, count: int, example: str) -> list[int]:
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != count or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected something like {example}, received {text!r}")
    return [int(part) for part in parts]


def _json(result: Any) -> str:
    from pipelines.core.support.to_json import to_json

    return to_json(result)
