"""Put models side by side: `zoo compare`, whose table `zoo run` ends with, too."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.cli import arguments
from pipelines.cli.console import Table, family, or_blank, show, show_lines, show_table
from pipelines.cli.registry import argument, command

if TYPE_CHECKING:
    from pipelines.evaluation.comparison.rows import Comparison, Row, Unexported

logger = logging.getLogger("zoo.cli")


@command(
    "compare",
    "compare models side by side: accuracy, size, latency, learning curves, predictions",
    argument(
        "models",
        nargs="+",
        metavar="EXPORT|RUN|EXPERIMENT|SWEEP",
        completer=arguments.EXPORT.completer,
        help="a folder or a name such as digits/lenet5; a run's id, or the first digits of it; an experiment such as "
        "digits, which means the latest finished run of each of its models; a sweep, which means its best trials",
    ),
    arguments.HTML,
    argument("--log-to", formerly=["--log"], metavar="RUN", help="add that page to the artifacts of a run"),
    arguments.PLOT.but(formerly=["--picture", "--image"]),
    argument(
        "--unknown",
        type=Path,
        metavar="FOLDER",
        help="a folder of images that belong to none of the classes: measure how well each export detects them",
    ),
    arguments.DATA.noted("default: the one in the models' metadata"),
    *arguments.WHERE_IT_LIES,
    group="track",
)
def compare(options: argparse.Namespace) -> None:
    """Measures latency, and runs exports of one data set on the same test images."""
    from pipelines.evaluation.comparison.compare import compare

    data = arguments.chosen_data(options)
    comparison = compare(
        options.models,
        plot=options.plot,
        data=data,
        page=options.html,
        log_to=options.log_to,
        unknown=options.unknown,
    )
    show(comparison, options.json, comparison_table)
    if not options.json:
        show_pairs(comparison)
        if comparison.page:
            logger.info("the page: %s", comparison.page)


def comparison_table(comparison: Comparison) -> Table:
    """A line a model."""
    from pipelines.evaluation.comparison.rows import RELIABILITY, explained, fields_known

    lines: list[Row | Unexported] = [*comparison.rows, *comparison.unexported]
    several_seeds = any(each.spread for each in lines)
    searched = any(each.searched for each in lines)
    untested = any(run.accuracy is None for run in comparison.unexported)
    imbalanced = any(row.balanced_accuracy is not None for row in comparison.rows)
    reliability = fields_known(each.reliability for each in lines)
    table = Table(
        "family",
        "model",
        *(("searched",) if searched else ()),
        ">parameters",
        *((">validation",) if untested else ()),
        ">test accuracy",
        ">95% interval",
        ">size",
        ">latency",
        ">parity",
        *((">over seeds",) if several_seeds else ()),
        *((">balanced", ">macro F1") if imbalanced else ()),
        *(f">{RELIABILITY[field][0]}" for field in reliability),
    )
    table.dispensable = tuple(RELIABILITY[field][0] for field in reversed(reliability))
    for row in comparison.rows:
        table.add(
            family(row.family),
            row.name,
            *((row.searched,) if searched else ()),
            f"{row.parameters:,}",
            *(("",) if untested else ()),
            f"{row.accuracy:.2%}",
            f"{row.low:.2%} - {row.high:.2%}",
            f"{row.size / 1000:,.0f} kB",
            f"{row.latency * 1000:,.0f} µs",
            f"{row.parity:.0e}",
            *((_over_seeds(row),) if several_seeds else ()),
            *((or_blank(row.balanced_accuracy, ".2%"), or_blank(row.macro_f1, ".2%")) if imbalanced else ()),
            *(row.reliability.cell(field) for field in reliability),
        )
    for run in comparison.unexported:
        interval = "" if run.low is None or run.high is None else f"{run.low:.2%} - {run.high:.2%}"
        table.add(
            family(run.family),
            run.name,
            *((run.searched,) if searched else ()),
            or_blank(run.parameters, ","),
            *((or_blank(run.validation_accuracy, ".2%"),) if untested else ()),
            or_blank(run.accuracy, ".2%"),
            interval,
            *("", "", ""),  # size, latency, parity
            *((_over_seeds(run),) if several_seeds else ()),
            *(("", "") if imbalanced else ()),
            *(run.reliability.cell(field) for field in reliability),
        )
    table.caption += [
        "latency: one image or row on one thread of onnxruntime, the median",
        "parity: largest difference of a probability from Keras, over the whole test set",
    ]
    if untested:
        table.caption.append("validation: accuracy on the images that chose the weights, and the trials of a sweep")
    if imbalanced:
        table.caption.append("balanced: mean recall of the classes, for test sets with very different class sizes")
    if several_seeds:
        table.caption.append("over seeds: mean and standard deviation of the test accuracy (number of trainings)")
    table.caption += explained(reliability)
    return table


def _over_seeds(line: Row | Unexported) -> str:
    return f"{line.spread} ({len(line.spread.seeds)})" if line.spread else ""


def show_pairs(comparison: Comparison) -> None:
    """Below it: whether the best model is better on the same images, or why nobody knows."""
    if comparison.pairs:
        table = Table("better", "other", ">points better", ">95% interval", ">p", ">correct alone", ">tested")
        for pair in comparison.pairs:
            test = pair.test
            table.add(
                pair.better,
                pair.other,
                f"{100 * test.difference:.2f}",
                f"{100 * test.low:.2f} to {100 * test.high:.2f}",
                f"{pair.adjusted_p:.3f}" if pair.adjusted_p >= 0.001 else "<0.001",
                f"{test.only_first:,} to {test.only_second:,}",
                f"{test.images:,}",
            )
        show_lines([""])
        show_table(table)
        show_lines(
            [
                "the best model against each other one on the same test set, in points of accuracy (Newcombe's "
                "interval)",
                "p: of McNemar's test, corrected for the number of pairs (Holm); correct alone: images that only one "
                "model classifies correctly",
            ],
            "dim italic",
        )
    show_lines(comparison.notes)
