"""Look at data and models: `zoo data check`, `zoo data list`, `zoo list`, `zoo describe`."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Styled, Table, family, or_blank, receptive_field, show, show_lines
from pipelines.cli.parser import report_old_option
from pipelines.cli.registry import argument, command
from zoo.errors import DataError

if TYPE_CHECKING:
    from pipelines.datasets.known import KnownDataSet
    from pipelines.publishing.list_models import ListedModel
    from zoo.data.report import Finding, Report, TableReport
    from zoo.models.ledger import Ledger
    from zoo.recipe import Field

logger = logging.getLogger("zoo.cli")

MOST_CLASSES, MOST_DUPLICATES, MOST_PROBLEMS = 40, 20, 100  # in a terminal; --json and --html have all

# --- zoo data check ------------------------------------------------------------------------------------------------


@command(
    "data check",
    "report what a folder of images or a table contains, and any problems",
    argument(
        "data",
        metavar="DATA",
        help="a folder, a table as CSV or JSON lines, an .npz file, shards, tfds:NAME, or hf:USER/NAME",
    ),
    arguments.DATA_FOLDER,
    arguments.LABEL,
    arguments.HTML.noted("images only"),
    arguments.GROUPS,
    arguments.IMAGES,
    arguments.FOLLOW_LINKS,
    arguments.PROCESSES.noted("default: one per core, if there are 5,000 images for each"),
    group="data",
)
def data_check(options: argparse.Namespace) -> None:
    """Also fail where nothing can be trained on it."""
    from pipelines.datasets.check import data_check
    from zoo.data.folders.findings import obstacle
    from zoo.data.report import Report

    where = {"images": options.images, "follow_links": options.follow_links}
    where |= {"folder": options.data_folder, "label": options.label, "groups": options.groups}
    report = data_check(options.data, **where, page=options.html, processes=options.processes)
    if isinstance(report, Report):
        show(report, options.json, classes_table)
    else:
        show(report, options.json, columns_table)
    if not options.json:
        show_lines(images_lines(report) if isinstance(report, Report) else rows_lines(report))
        _show_verdict(report.verdict, report.findings)
        if options.html:
            logger.info("the report: %s", options.html)
    if reason := obstacle(report.findings):
        raise DataError(reason)


def classes_table(report: Report) -> Table:
    """The classes of a folder, and how many images each has."""
    splits = report.splits if len(report.splits) > 1 else ()
    table = Table("class", ">images", *(f">{split}" for split in splits))
    for found in report.classes[:MOST_CLASSES]:
        table.add(found.label, f"{found.images:,}", *(f"{found.splits[split]:,}" for split in splits))
    if len(report.classes) > MOST_CLASSES:
        table.caption.append(f"and {len(report.classes) - MOST_CLASSES} more classes")
    return table


def images_lines(report: Report) -> list[str]:
    """Below it: what the images are, and each file that is wrong."""
    sizes = ", ".join(f"{size.height}x{size.width} ({size.images:,})" for size in report.sizes[:5])
    more = f" and {report.all_sizes - 5:,} more" if report.all_sizes > 5 else ""
    lines = ["", *report.understood, f"{report.readable:,} of {report.files:,} images can be read"]
    for name, counts in (("formats", report.formats), ("modes", report.modes)):
        lines.append(f"{name}: " + ", ".join(f"{kind} ({count:,})" for kind, count in counts.items()))
    lines.append(f"sizes: {sizes}{more}")
    for same in report.same[:MOST_DUPLICATES]:
        others = f" and {same.images - len(same.files):,} more" if same.images > len(same.files) else ""
        lines.append(f"{same.kind}: {' = '.join(same.files)}{others}")
    if report.all_same > MOST_DUPLICATES:
        lines.append(f"and {report.all_same - MOST_DUPLICATES:,} more groups of duplicates: see --json or --html")
    for problems in (report.unreadable, report.wrongly_named, report.left_out):
        lines += [f"{problem.kind}: {problem.sentence}" for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines.append(f"and {len(problems) - MOST_PROBLEMS:,} more such files: see --json")
    return lines


def columns_table(report: TableReport) -> Table:
    """The columns of a table, and what is in them."""
    table = Table("column", "kind", ">missing", ">different", "values")
    for column in report.columns:
        values = " .. ".join(column.values) if column.kind == "numeric" else ", ".join(column.values)
        missing = f"{column.missing:,}" if column.missing else ""
        table.add(column.name, column.kind, missing, f"{column.different:,}", values)
    table.caption.append("values: smallest, median, and largest number, or the most common categories")
    return table


def rows_lines(report: TableReport) -> list[str]:
    """Below it: the classes."""
    copies = f", {report.copies:,} of them duplicates" if report.copies else ""
    lines = [
        "",
        *report.understood,
        f"{report.rows:,} rows{copies}, {len(report.classes)} classes in column {report.label!r}:",
    ]
    for found in report.classes[:MOST_CLASSES]:
        of_splits = ", ".join(f"{split} {found.splits[split]:,}" for split in report.splits)
        lines.append(f"  {found.label}: {found.rows:,}" + (f" ({of_splits})" if len(report.splits) > 1 else ""))
    if len(report.classes) > MOST_CLASSES:
        lines.append(f"  and {len(report.classes) - MOST_CLASSES} more")
    return lines


def _show_verdict(verdict: str, findings: Sequence[Finding]) -> None:
    from zoo.data.folders.findings import obstacle

    show_lines([""])
    show_lines([verdict], "bold")
    reason = obstacle(findings)  # that is the error that the command ends with
    show_lines(f"- {finding.sentence}" for finding in findings if finding.sentence != reason)


# --- zoo data list -------------------------------------------------------------------------------------------------


@command("data list", "list the data sets that are known by name, with their licenses", group="data")
def data_list(options: argparse.Namespace) -> None:
    """Downloads nothing."""
    from pipelines.datasets.known import data_list

    show(data_list(), options.json, known_table)


def known_table(found: tuple[KnownDataSet, ...]) -> Table:
    """A line each."""
    table = Table("data set", "|description", ">download", "|license", "|reference")
    table.dispensable = ("reference",)
    for each in found:
        size = f"{each.download / 1e6:,.0f} MB" if each.download else ""
        table.add(each.name, each.summary.rstrip("."), "here" if each.place else size, each.license, each.reference)
    table.caption.append("downloaded and checked at first use; --json has the address of each")
    return table


# --- zoo list ------------------------------------------------------------------------------------------------------


@command(
    "list",
    "list the models and their exports",
    arguments.EXPORTS,
    arguments.SORT.noted("such as accuracy, parameters, multiply_accumulates, or name"),
    argument("--family", metavar="NAME", help="only models of a family: dense, conv, or hybrid"),
    arguments.DATA.noted("only exports of this data set"),
    arguments.WHERE.noted("on parameters, accuracy, and so on"),
    group="data",
)
def list_models(options: argparse.Namespace) -> None:
    """Imports neither TensorFlow nor MLflow."""
    from pipelines.publishing.list_models import list_models

    found = list_models(
        options.exports, sort=options.sort, family=options.family, data=options.data, where=options.where
    )
    show(found, options.json, models_table)


def models_table(models: tuple[ListedModel, ...]) -> Table:
    """All models, a line for each export of one; blank where a model isn't shipped.

    Of one with published weights that isn't shipped, the costs are those of its features.
    """
    table = Table(
        "family",
        "model",
        "data set",
        ">parameters",
        ">multiply-acc.",
        ">receptive field",
        ">test accuracy",
        ">over seeds",
        ">in int8",
        ">ImageNet",
        "~description",
    )
    table.dispensable = ("over seeds", "receptive field", "multiply-acc.", "in int8", "description", "family")
    for model in models:
        field = model.receptive_field
        table.add(
            family(model.family),
            model.name,
            model.data_set or "",
            or_blank(model.parameters, ","),
            or_blank(model.multiply_accumulates, ","),
            "" if field is None else receptive_field(field or None),
            or_blank(model.accuracy, ".2%"),
            _over_seeds(model),
            or_blank(model.int8_accuracy, ".2%"),
            "" if model.imagenet_accuracy is None else f"{model.imagenet_accuracy:.1%} at {model.image_size}",
            model.summary.partition(" (")[0].partition(":")[0].rstrip("."),
        )
    return table


def _over_seeds(model: ListedModel) -> str:
    if model.mean_accuracy is None or model.spread is None:
        return ""
    return f"{model.mean_accuracy:.2%} ± {100 * model.spread:.2f} ({model.seeds})"


# --- zoo describe --------------------------------------------------------------------------------------------------


def _old_input(text: str) -> tuple[int, int, int]:
    height, width, channels = arguments.numbers(text, 3, "28x28x1")
    return height, width, channels


@command(
    "describe",
    "show a model layer by layer: shapes, parameters by formula, cost, receptive field; or its recipe",
    arguments.MODEL,
    argument("--recipe", action="store_true", help="show each field of its recipe: value, default, range, and reason"),
    arguments.SIZE.noted("default: 28x28"),
    argument("--channels", type=int, choices=(1, 3), help="1 for gray images, 3 for color (default: 1)"),
    argument("--classes", type=arguments.count, metavar="K", help="number of classes (default: 10)"),
    arguments.DATA.noted("its size, channels, and classes are used"),
    *arguments.WHERE_IT_LIES,
    argument("--input", type=_old_input, help=argparse.SUPPRESS),  # HxWxC, as it was
    group="data",
)
def describe(options: argparse.Namespace) -> None:
    """Builds the model, untrained; its recipe needs no TensorFlow."""
    if options.input:
        report_old_option("--input HxWxC", "--size HxW --channels C")
        options.size, options.channels = options.input[:2], options.input[2]
    from zoo.models.registry import AUTO

    if options.model == AUTO:
        describe_choice(options)
        return
    if options.data is None and (options.label or options.images or options.follow_links):
        options.error("--label, --images, and --follow-links require --data")
    if options.recipe:
        if options.data or options.size or options.channels or options.classes:
            options.error("--recipe shows the model's own recipe: leave out --data, --size, --channels, and --classes")
        from pipelines.publishing.describe import describe_recipe

        show(describe_recipe(options.model), options.json, recipe_table)
        return
    from pipelines.publishing.describe import describe

    if options.data is not None and (options.size or options.channels or options.classes):
        options.error("--data determines size, channels, and classes: leave out --size, --channels, and --classes")
    found = describe(
        options.model,
        size=options.size or (28, 28),
        channels=options.channels or 1,
        classes=options.classes or 10,
        data=options.data,
        label=options.label,
        images=options.images,
        follow_links=options.follow_links,
    )
    show(found, options.json, ledger_table)


def describe_choice(options: argparse.Namespace) -> None:
    """What `auto` chooses for the data, and why; nothing is trained."""
    from pipelines.training.planning.choosing import choose

    if options.data is None:
        options.error("the choice depends on the data: add --data")
    reading = {"label": options.label, "images": options.images, "follow_links": options.follow_links}
    show(choose(options.data, **reading), options.json, str)


def ledger_table(ledger: Ledger) -> Table:
    """Layer by layer, with the totals at the foot."""
    sides = "×".join(map(str, ledger.input))
    takes = f"{sides} images" if len(ledger.input) == 3 else f"rows of {sides} columns"
    table = Table("layer", "~kind", "output", "formula", ">parameters", ">multiply-acc.", ">receptive field")
    for layer in ledger.layers:
        table.add(
            layer.name,
            layer.kind,
            "×".join(map(str, layer.shape)),
            layer.formula,
            f"{layer.parameters:,}" if layer.parameters else "",
            f"{layer.multiply_accumulates:,}" if layer.multiply_accumulates else "",
            receptive_field(layer.receptive_field),
        )
    table.title = f"{ledger.model}, {takes}, {ledger.classes} classes"
    table.footer = ("total", "", "", "", f"{ledger.parameters:,}", f"{ledger.multiply_accumulates:,}", "")
    table.caption.append("receptive field: the square of pixels that one output can depend on, in theory")
    return table


def recipe_table(recipe: tuple[Field, ...]) -> Table:
    """A line a field; a value that differs from the default is bold."""
    table = Table("field", "value", "default", "type", "|allowed", "|reason")
    for field in recipe:
        own = Styled(str(field.value), "" if field.value == field.default else "bold")
        table.add(field.name, own, str(field.default), field.type, field.allowed, field.reason)
    table.caption.append("change one with --set FIELD=VALUE")
    return table
