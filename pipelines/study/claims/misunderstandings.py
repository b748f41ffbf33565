"""Three misunderstandings that courses warn of, and whether they are right to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset
from pipelines.study.lab import ADAMW, Arm, Lab, accuracy, accuracy_and_work
from pipelines.study.models import CONV, HYBRID, conv
from zoo.data import DataSet


def likeness(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy, and how alike the second conv layer's filters are: "learned", beside "chance" of as many random ones.

    The mean absolute cosine of two filters; with "nearest " before the name, of a filter and the one most like it.
    """
    kernel = next(layer for layer in model.layers if layer.name == "conv2_conv").get_weights()[0]
    filters = kernel.reshape(-1, kernel.shape[-1]).T  # [F, k*k*C]
    random = np.random.default_rng(0).normal(size=filters.shape)
    found: dict[str, float] = {}
    for name, each in (("learned", filters), ("chance", random)):
        directions = each / np.linalg.norm(each, axis=1, keepdims=True)
        cosines = np.abs(directions @ directions.T)
        np.fill_diagonal(cosines, 0)
        found[name] = float(cosines.sum() / (len(each) * (len(each) - 1)))
        found[f"nearest {name}"] = float(cosines.max(axis=1).mean())
    return {**accuracy_and_work(model, data_set), **found}


@experiment(
    "filters-differ",
    claim="The filters of one layer learn different things: they are hardly more alike than chance has it.",
    refuted_if="Of 64 filters, the mean absolute cosine between two learned ones is above that of random ones by more "
    "than 0.1; it is a limit if it is so of fewer, or if a filter and the one most like it are.",
    held_equal="Number and shape of the filters; the random ones are normally distributed.",
    beware="By a cosine of 0.07 above chance, two filters are still twice as alike as random ones. Filters that point "
    "elsewhere may still do much the same after what follows them. The optimizer is AdamW "
    "here: Muon, which the other experiments use, makes filters unlike by itself.",
)
def filters_differ(lab: Lab) -> Finding:
    """The second layer's 3x3 filters of a conv model that has learned Fashion-MNIST, against as many random ones."""
    count, updates = lab.usual
    widths = lab.choose((8, 16, 32, 64), (16,))
    results = lab.train(
        {
            f"{width} filters": Arm(
                conv(16, width, 32, 48), partial(subset, "fashion-mnist", count), updates, ADAMW, measure=likeness
            )
            for width in widths
        }
    )

    def above_chance(width: int, which: str = "") -> Sample:
        return results[f"{width} filters", f"{which}learned"] - results[f"{width} filters", f"{which}chance"]

    return Finding(
        effects=(
            *(
                Effect(f"more alike than chance, {width} filters", above_chance(width), "of 1", most=0.1)
                for width in reversed(widths)
            ),
            Effect(
                f"each and the one most like it, {widths[-1]} filters",
                above_chance(widths[-1], "nearest "),
                "of 1",
                most=0.1,
            ),
        ),
        chart=Chart(
            "How alike two filters of a layer are",
            "filters in the layer",
            "mean absolute cosine",
            [
                Series(
                    f"{which}{name}",
                    widths,
                    [results[f"{width} filters", f"{which}{name}"] for width in widths],
                    dash=dash,
                )
                for which in ("", "nearest ")
                for dash, name in enumerate(("learned", "chance"))
            ],
        ),
    )


@experiment(
    "dense-heads",
    claim="A convolutional net may well have a dense head: it is at most a point less accurate than one that averages "
    "over positions.",
    refuted_if="With about 14 thousand parameters, the dense head is behind by more than 1 point; it is a limit if it "
    "is with 4 or 50 thousand.",
    held_equal="Training images, updates, optimizer, parameters within an eighth: what the head takes, the features "
    "lack.",
    beware="The dense head fixes the size of the image and where things may lie; the average leaves both free. Its "
    "models are those of hybrids, which asks for half a point, and is undecided there.",
)
def dense_heads(lab: Lab) -> Finding:
    """Conv features under a dense head and under an average over positions, of as many parameters in all."""
    count, updates = lab.usual
    sizes = lab.choose(("4 k", "14 k", "50 k"), ("14 k",))
    heads = {"average over positions": CONV, "dense head": HYBRID}
    results = lab.train(
        {
            f"{head}, {size}": Arm(models[size], partial(subset, "fashion-mnist", count), updates)
            for head, models in heads.items()
            for size in sizes
        }
    )
    return Finding(
        effects=tuple(
            Effect(
                f"dense head against average, {size}",
                results[f"dense head, {size}"] - results[f"average over positions, {size}"],
                "points",
                least=-1,
            )
            for size in sorted(sizes, key=lambda size: size != "14 k")
        ),
        chart=Chart(
            "Accuracy of two heads",
            "parameters in all",
            "test accuracy, %",
            [
                Series(head, range(len(sizes)), [results[f"{head}, {size}"] for size in sizes], family)
                for head, family in zip(heads, ("conv", "hybrid"), strict=True)
            ],
            names=sizes,
        ),
    )


def both_accuracies(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy on the test images, "learned" on those it learned from, in points."""
    return {**accuracy_and_work(model, data_set), "learned": 100 * accuracy(model, data_set.train)}


@experiment(
    "too-few-parameters",
    claim="Fewer parameters aren't always better: a conv model that is narrow enough knows less of what it has "
    "learned from, too; that is underfitting, not generalization.",
    refuted_if="From the widest to the narrowest model, training accuracy falls by less than 5 points; it is a limit "
    "if test accuracy doesn't fall by 3.",
    held_equal="Depth, training images, updates, optimizer.",
    beware="Where the best width lies depends on the images and on how long one trains.",
)
def too_few_parameters(lab: Lab) -> Finding:
    """A conv model of 2 to 32 filters in its first layers, twice and three times as many in the next ones, learns
    Fashion-MNIST; accuracy on the training and on the test images.
    """
    count, updates = lab.usual
    widths = lab.choose((2, 4, 8, 16, 32), (2, 8))
    results = lab.train(
        {
            f"{width} filters": Arm(
                conv(width, width, 2 * width, 2 * width, 3 * width, 3 * width),
                partial(subset, "fashion-mnist", count),
                updates,
                measure=both_accuracies,
            )
            for width in widths
        }
    )
    first, last = f"{widths[0]} filters", f"{widths[-1]} filters"
    return Finding(
        effects=(
            Effect(
                "training accuracy, narrowest against widest",
                results[first, "learned"] - results[last, "learned"],
                "points",
                most=-5,
            ),
            Effect("test accuracy, narrowest against widest", results[first] - results[last], "points", most=-3),
        ),
        chart=Chart(
            "Accuracy against width",
            "filters in the first layer",
            "accuracy, %",
            [
                Series("training images", widths, [results[f"{w} filters", "learned"] for w in widths], dash=1),
                Series("test images", widths, [results[f"{w} filters"] for w in widths], "conv"),
            ],
            log_x=True,
        ),
    )
