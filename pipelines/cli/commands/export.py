"""Export to ONNX: `zoo export`, `zoo verify`, `zoo quantize`, `zoo gallery`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Table, family, or_blank, show, show_json
from pipelines.cli.registry import argument, command
from zoo.contract import FLOAT16, INT8

if TYPE_CHECKING:
    from pipelines.exporting.export import Exported
    from pipelines.exporting.quantization.quantize import Quantized
    from pipelines.exporting.verify import Verification
    from pipelines.publishing.gallery import Gallery
    from pipelines.publishing.triton import TritonModel

# --- zoo export ----------------------------------------------------------------------------------------------------


@command(
    "export",
    "export a run to a verified ONNX file, or an export to the layout of a model server",
    arguments.RUN.noted("with --layout triton, also an export"),
    arguments.EXPORTS,
    *arguments.LICENSES,
    argument(
        "--layout",
        choices=("zoo", "triton"),
        default="zoo",
        help="zoo: the folder that zoo.load reads; triton: a model for Triton and KServe (default: zoo)",
    ),
    argument("--repository", type=Path, metavar="DIR", help="Triton's model repository to write to (default: models)"),
    argument(
        "--no-familiarity",
        action="store_true",
        help="leave out the output that detects images of unknown classes",
    ),
    group="export",
)
def export(options: argparse.Namespace) -> None:
    """Written whole, or not at all."""
    stated = {"license": options.license, "data_license": options.data_license}
    familiarity = not options.no_familiarity
    if options.layout == "triton":
        from pipelines.publishing.triton import triton

        repository = options.repository or Path("models")
        model = triton(options.run, exports=options.exports, repository=repository, familiarity=familiarity, **stated)
        show(model, options.json, triton_summary)
        return
    if options.repository:
        options.error("--repository requires --layout triton: --exports names the folder of exports")
    from pipelines.exporting.export import export

    show(export(options.run, exports=options.exports, familiarity=familiarity, **stated), options.json, export_summary)


def export_summary(exported: Exported) -> str:
    """Where the export is, and what was verified."""
    metadata = exported.metadata
    parity = metadata.parity["largest_difference"]
    return (
        f"{exported.folder}: verified, test accuracy {metadata.test_accuracy:.2%}, "
        f"largest difference from Keras {parity:.0e}"
    )


def triton_summary(model: TritonModel) -> str:
    """Where the model is in the repository, and how the server is started on it."""
    about = f"{model.metadata.data_set}/{model.metadata.model}"
    start = f"tritonserver --model-repository={model.folder.parent}"
    return f"{model.folder}: {about} for Triton Inference Server; {start}, and README.md there"


# --- zoo verify ----------------------------------------------------------------------------------------------------


@command(
    "verify",
    "check exports: the file, its contract, and every image of the test set",
    argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="EXPORT",
        completer=arguments.EXPORT.completer,
        help="an export's folder, or an .onnx file",
    ),
    argument(
        "--all",
        action="store_true",
        help="all of them (every export in a folder, with its card and the page of exports)",
    ),
    arguments.EXPORTS.noted("with --all", default=None),
    arguments.DATA.noted("default: the one in the file's metadata"),
    *arguments.WHERE_IT_LIES,
    group="export",
)
def verify(options: argparse.Namespace) -> None:
    """Each is shown as soon as it is verified."""
    from pipelines.exporting.verify import verify

    if bool(options.paths) == options.all:
        options.error("name exports to verify or use --all, not both" if options.all else "name an EXPORT, or --all")
    if options.exports and not options.all:
        options.error("--exports requires --all: named exports are looked up as they are")
    if options.all:
        from pipelines.publishing.verify_all import verify_all

        found = verify_all(options.exports or arguments.folder_of_exports(""), data=arguments.chosen_data(options))
        show(found, options.json, verifications_table)
    elif options.json:
        several = [verify(path, data=arguments.chosen_data(options)) for path in options.paths]
        show_json(several if len(several) > 1 else several[0])  # one document, whatever their number
    else:
        for path in options.paths:
            show(verify(path, data=arguments.chosen_data(options)), False, verification_table)


def verification_table(verification: Verification) -> Table:
    """A line a check."""
    table = Table("check", "result")
    for check in verification.checks:
        table.add(check.name, check.result)
    table.title = f"{verification.path}: verified"
    return table


def verifications_table(verifications: tuple[Verification, ...]) -> Table:
    """A line an export: the accuracy that its file reached just now, and where the same is written."""
    table = Table("family", "export", ">accuracy found", ">manifest", "card", "page", "of the test set")
    for found in verifications:
        metadata, results = found.metadata, {check.name: check.result for check in found.checks}
        table.add(
            family(metadata.family),
            f"{metadata.data_set}/{metadata.model}",
            or_blank(found.accuracy, ".2%"),
            f"{metadata.test_accuracy:.2%}",
            "same" if "card" in results else "none",
            "same" if "page" in results else "none",
            results["test set"],
        )
    table.caption.append(f"all {len(verifications)} verified" if len(verifications) > 1 else "verified")
    return table


# --- zoo quantize --------------------------------------------------------------------------------------------------


@command(
    "quantize",
    "quantize exports to int8 and float16, within a margin of accuracy",
    arguments.SEVERAL_EXPORTS,
    arguments.PRECISION.noted(
        "int8 is faster on CPUs, float16 has half the size; default: both", choices=(INT8, FLOAT16)
    ),
    arguments.MARGIN.noted("default: 0.3", default=0.3, type=float),
    argument(
        "--calibration",
        type=arguments.count,
        default=1000,
        metavar="N",
        help="number of training images for calibrating int8 (default: 1000)",
    ),
    arguments.DATA.noted("default: the one in the exports' metadata"),
    *arguments.WHERE_IT_LIES,
    group="export",
)
def quantize(options: argparse.Namespace) -> None:
    """Each is shown as soon as it is written."""
    from pipelines.exporting.quantization.quantize import quantize

    chosen = {"margin": options.margin, "calibration": options.calibration}
    if options.precision:
        chosen["precisions"] = [options.precision]
    found = []
    for each in options.exports:
        found.append(quantize(each, data=arguments.chosen_data(options), **chosen))
        if not options.json:
            show(found[-1], False, quantized_table)
    if options.json:
        show_json(found if len(found) > 1 else found[0])


def quantized_table(quantized: Quantized) -> Table:
    """A line a file: what it costs in accuracy, and what it gains."""
    table = Table(
        "file",
        ">test accuracy",
        ">points",
        ">95% interval",
        ">same top class",
        ">size",
        ">of float32",
        ">speed, batch 1",
        ">speed, batch 64",
    )
    for found in quantized.files:
        difference = found.difference
        table.add(
            found.file.name,
            f"{found.accuracy:.2%}",
            f"{100 * difference.difference:+.2f}",
            f"{100 * difference.low:+.2f} to {100 * difference.high:+.2f}",
            f"{found.same_top_class:.2%}",
            f"{found.size / 1000:,.0f} kB",
            f"{found.share:.0%}",
            *(f"{speedup:.2f}×" for speedup in found.speedups.values()),
        )
    table.title = f"{quantized.folder}: verified"
    table.caption.append(
        "against model.onnx: points of accuracy on the test set; speed on one thread of this processor"
    )
    for found in quantized.files:
        if found.made:
            kept = ", ".join(found.made["float32_layers"]) or "none"
            table.caption.append(
                f"{found.precision}: calibrated by {found.made['calibration']}; layers kept in float32: {kept}"
            )
        if found.speedups and max(found.speedups.values()) < 1:
            table.caption.append(f"{found.precision} is slower here than float32: it only saves space")
    if quantized.note:
        table.caption.append(quantized.note)
    return table


# --- zoo gallery ---------------------------------------------------------------------------------------------------


@command(
    "gallery",
    "write a page of all exports, with charts, from their manifests",
    arguments.EXPORTS,
    group="export",
)
def gallery(options: argparse.Namespace) -> None:
    """README.md in the folder of exports."""
    from pipelines.publishing.gallery import gallery

    show(gallery(options.exports), options.json, gallery_summary)


def gallery_summary(gallery: Gallery) -> str:
    """Where the page and its charts are."""
    return f"{gallery.page}: {gallery.exports} exports, {', '.join(map(str, gallery.charts))}"
