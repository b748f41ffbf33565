"""Use an export: `zoo predict`, `zoo placement`, `zoo benchmark`, `zoo demo`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.cli import arguments
from pipelines.cli.console import Table, show, show_json, show_lines
from pipelines.cli.registry import argument, command
from zoo.contract import FLOAT32, MODEL_FILES
from zoo.errors import InputError, printable

if TYPE_CHECKING:
    from pipelines.inference.predict import BadImage, BadRow, PredictedImage, PredictedRow
    from pipelines.inference.results import Benchmark
    from pipelines.publishing.demo import Demo

# --- zoo predict ---------------------------------------------------------------------------------------------------


@command(
    "predict",
    "classify images, or the rows of a table, with an export",
    arguments.EXPORT,
    argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="an image, a folder of images, or a table as CSV; with --out also a table of paths as .csv or .jsonl, tar "
        "shards as 'part-*.tar', or a .parquet file with images",
    ),
    arguments.PROVIDER.noted("default: auto"),
    arguments.THREADS.noted("default: onnxruntime's choice", type=int),
    arguments.PRECISION.noted(
        "`zoo quantize` writes the int8 and float16 files; default: float32",
        choices=tuple(MODEL_FILES),
        default=FLOAT32,
    ),
    arguments.ON_BAD.noted(
        "or rows; a skipped one prints its reason, and the exit code is 1; default: skip", default="skip"
    ),
    argument("--top", type=arguments.count, metavar="N", help="labels to print for each image (default: 3)"),
    argument(
        "--coverage",
        type=float,
        metavar="SHARE",
        help="instead of the top labels, print a set that includes the true one in that share of cases, such as 0.95",
    ),
    argument(
        "--by-class",
        action="store_true",
        help="with --coverage: include the true label in that share of cases for each class",
    ),
    argument(
        "--explain",
        nargs="?",
        type=Path,
        const=Path("explained"),
        metavar="DIR",
        help="save images that show which regions support each label, in a folder (default: explained); put it last",
    ),
    argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="for many images: write the predictions to a .csv, .jsonl, or .parquet file, one row per image. The same "
        "command continues after an interruption. The exit code is 1 if no image can be read",
    ),
    arguments.PROCESSES.noted("with --out; default: one per core"),
    argument(
        "--ray",
        metavar="ADDRESS",
        help="with --out: read and classify on a Ray cluster, HOST:PORT as `ray start --head` prints it, or local for "
        "one of this machine",
    ),
    arguments.IMAGES.noted("with --out"),
    arguments.FOLLOW_LINKS.noted("with --out"),
    group="use",
)
def predict(options: argparse.Namespace) -> None:
    """Works where an onnxruntime alone is installed."""
    how: dict[str, Any] = {"provider": options.provider, "threads": options.threads, "precision": options.precision}
    how |= {"coverage": options.coverage, "by_class": options.by_class, "on_bad": options.on_bad}
    if options.out is not None:
        _predict_all(options, how)
        return
    if options.processes or options.ray is not None or options.images or options.follow_links:
        options.error("--processes, --ray, --images, and --follow-links require --out")
    if options.top and (options.json or options.coverage is not None):
        options.error("--top can't be combined with --json, which has all labels, or with --coverage")
    from pipelines.inference.predict import BadImage, BadRow, predict

    results = predict(options.export, options.paths, **how, explain=options.explain)
    bad = [result for result in results if isinstance(result, BadImage | BadRow)]
    if options.json:
        show_json(results)
    elif len(results) > len(bad) or len(bad) > 1:
        width = max(len(printable(str(result))) for result in results)
        for result in results:
            show_lines([f"{printable(str(result)):{width}}  {_answer(result, options.top or 3)}"])
    if bad:
        first, kind = bad[0].error, "images" if isinstance(bad[0], BadImage) else "rows"
        have = "has" if len(bad) == 1 else "have"
        raise InputError(
            first if len(results) == 1 else f"{len(bad):,} of {len(results):,} {kind} {have} no answer: {first}"
        )


def _predict_all(options: argparse.Namespace, how: dict[str, Any]) -> None:
    from pipelines.inference.bulk.predict_all import predict_all

    if options.explain or options.top:
        options.error("--explain and --top can't be combined with --out")
    how |= {"images": options.images, "follow_links": options.follow_links}
    how |= {"processes": options.processes, "ray": options.ray}
    answers = predict_all(options.export, options.paths, options.out, **how)
    if options.json:
        show_json(answers)
    else:
        kept = f", {answers.resumed:,} of them before" if answers.resumed else ""
        show_lines([f"{answers.out}: {answers.images - answers.unreadable:,} of {answers.images:,} answered{kept}"])
        if answers.unreadable:
            show_lines([f"{answers.unreadable:,} can't be read, the column error says why: {answers.error}"])
    if answers.unreadable == answers.images:
        raise InputError(f"none of {answers.images:,} images can be read: {answers.error}")


def _answer(result: PredictedImage | BadImage | PredictedRow | BadRow, top: int) -> str:
    from pipelines.inference.predict import BadImage, BadRow

    if isinstance(result, BadImage | BadRow):
        return f"no answer: {result.error}"
    in_set = [each for each in result.ranking if each[0] in result.labels]  # none where no coverage was asked for
    shown = in_set or result.ranking[:top]
    ranking = "  ".join(f"{label} {probability:.1%}" for label, probability in shown)
    if result.familiarity is not None:
        ranking = f"{'' if result.known else 'none of these; nearest: '}{ranking}  familiarity {result.familiarity:.2f}"
    file = getattr(result, "explanation", None)
    return ranking + (f"  {file}" if file else "")


# --- zoo placement -------------------------------------------------------------------------------------------------


@command(
    "placement",
    "show which nodes of an export run on which provider",
    arguments.EXPORT,
    arguments.PROVIDER.noted("default: auto"),
    group="use",
)
def placement(options: argparse.Namespace) -> None:
    """Works where an onnxruntime alone is installed."""
    from pipelines.inference.placement import placement

    found = placement(options.export, provider=options.provider)
    if options.json:
        show_json(found)
        return
    for provider, nodes in found.places.items():
        show_lines([f"{provider}: {len(nodes)} of {found.nodes} nodes"])
        show_lines(f"  {node.operation:20} {node.name}" for node in nodes)


# --- zoo benchmark -------------------------------------------------------------------------------------------------


@command(
    "benchmark",
    "measure latency, throughput, and memory of exports on this machine, optionally against other libraries",
    arguments.SEVERAL_EXPORTS,
    arguments.PROVIDER.noted("default: cpu", type=arguments.names, default=["cpu"], metavar="NAME,…"),
    argument(
        "--batch",
        type=arguments.counts,
        default=[1, 8, 64, 256],
        metavar="N,…",
        help="batch sizes, in images or rows (default: 1,8,64,256)",
    ),
    arguments.PRECISION.noted("default: float32", type=arguments.names, default=[FLOAT32], metavar="NAME,…"),
    arguments.THREADS.noted(
        "the fastest number counts; default: 1, 2, 4 and so on, and all cores",
        type=arguments.counts,
        default=[],
        metavar="N,…",
    ),
    argument(
        "--seconds",
        type=arguments.seconds,
        default=1.0,
        help="how long to measure each cell of the table, spread over rounds (default: 1)",
    ),
    argument(
        "--peers",
        action="store_true",
        help="also run the model without familiarity, and in plain tf2onnx on onnxruntime, TensorFlow, Keras, LiteRT, "
        "and OpenVINO",
    ),
    arguments.PLOT,
    argument("--log", action="store_true", help="log the metrics to the run in MLflow that made the export"),
    group="use",
)
def benchmark(options: argparse.Namespace) -> None:
    """Ends with a sentence for each library that couldn't run."""
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
    show(result, options.json, benchmark_table)
    if not options.json:
        show_lines(note for export in result.exports for note in export.notes)


def benchmark_table(benchmark: Benchmark) -> Table:
    """A line for each entry at each batch size; what is the same for all batch sizes is in its first line."""
    from pipelines.inference.harness import ratio  # which imports NumPy: `zoo list` is faster without

    table = Table(
        "export",
        "runs in",
        "precision",
        ">batch",
        ">threads",
        ">latency, ms",
        ">rounds from .. to",
        ">p95",
        ">p99",
        ">a second",
        ">× first",
        ">of peak",
        ">cold start",
        ">memory",
        ">size",
    )
    for export in benchmark.exports:
        first = export.entries[0]
        for each in export.entries:
            of_all = (f"{each.cold_start:.2f} s", f"{each.peak_memory / 1e6:,.0f} MB", f"{each.size / 1000:,.0f} kB")
            for line, timing in enumerate(each.timings):
                table.add(
                    export.name if line == 0 and each is first else "",
                    each.name if line == 0 else "",
                    each.precision if line == 0 else "",
                    f"{timing.batch:,}",
                    f"{timing.threads}",
                    f"{timing.median:.3g}",
                    f"{min(timing.rounds):.3g} .. {max(timing.rounds):.3g}",
                    f"{timing.p95:.3g}",
                    f"{timing.p99:.3g}",
                    f"{timing.throughput:,.0f}",
                    "" if each is first else f"{ratio(first.at(timing.batch), timing).ratio:.2f}",
                    "" if timing.share is None else f"{timing.share:.1%}",
                    *(of_all if line == 0 else ()),
                )
    peak = max(export.peak for export in benchmark.exports) / 1e9
    table.caption += [
        f"{benchmark.machine}; {benchmark.date}",
        "latency: of a batch, the median; from .. to: the medians of the rounds; × first: time over the first one's",
        f"of peak: multiply-accumulates a second, of {peak:,.0f} billion in a matrix product in float32 on all cores",
        "threads: the number that was fastest; cold start: a new process, from import to the first prediction",
    ]
    return table


# --- zoo demo ------------------------------------------------------------------------------------------------------


@command(
    "demo",
    "write a web page that compares exports side by side, as a single file",
    arguments.SEVERAL_EXPORTS,
    arguments.HTML.noted("default: demo.html", default=Path("demo.html"), formerly=["--out"]),
    argument("--webgpu", action="store_true", help="let the page use the GPU, if there is one"),
    group="use",
)
def demo(options: argparse.Namespace) -> None:
    """Holds the models, the runtime and samples."""
    from pipelines.publishing.demo import demo

    show(demo(options.exports, options.html, webgpu=options.webgpu), options.json, demo_summary)


def demo_summary(demo: Demo) -> str:
    """Where the page is, and what to do with it."""
    size = f"{demo.size / 1e6:.1f} MB"
    return f"{demo.page}: {', '.join(demo.exports)}, {size}; open it in a browser, or put it online"
