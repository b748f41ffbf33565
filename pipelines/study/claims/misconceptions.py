"""Three common misconceptions that courses warn of, and whether the warnings are justified."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset
from pipelines.study.lab import ADAMW, Arm, Lab, accuracy, accuracy_and_cost
from pipelines.study.models import CONV, HYBRID, conv
from zoo.data import DataSet


def similarity(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy, and the mean absolute cosine similarity of the second conv layer's filters, "learned" and "random".

    "random": of as many normally distributed filters. With "nearest " before the name: of each filter and the one most
    similar to it.
    """
    kernel = next(layer for layer in model.layers if layer.name == "conv2_conv").get_weights()[0]
    filters = kernel.reshape(-1, kernel.shape[-1]).T  # [F, k*k*C]
    random = np.random.default_rng(0).normal(size=filters.shape)
    found: dict[str, float] = {}
    for name, each in (("learned", filters), ("random", random)):
        directions = each / np.linalg.norm(each, axis=1, keepdims=True)
        cosines = np.abs(directions @ directions.T)
        np.fill_diagonal(cosines, 0)
        found[name] = float(cosines.sum() / (len(each) * (len(each) - 1)))
        found[f"nearest {name}"] = float(cosines.max(axis=1).mean())
    return {**accuracy_and_cost(model, data_set), **found}


@experiment(
    "filters-differ",
    claim="The filters of a layer learn different features: they are hardly more similar to each other than random "
    "filters.",
    refuted_if="With 64 filters, the mean absolute cosine similarity of two learned filters exceeds that of random "
    "ones by more than 0.1. The claim holds in part if that is so with fewer filters, or for a filter and its nearest "
    "neighbor.",
    held_equal="Number and shape of the filters; the random ones are normally distributed.",
    beware="At 0.07 above random, two filters are still twice as similar as random ones. Filters with different "
    "directions may compute much the same after the layers that follow. The optimizer is AdamW here: Muon, which the "
    "other experiments use, orthogonalizes its updates, which makes filters dissimilar by itself.",
)
def filters_differ(lab: Lab) -> Finding:
    """The 3x3 filters in the second layer of a conv model trained on Fashion-MNIST are compared with random filters."""
    count, updates = lab.usual
    widths = lab.choose((8, 16, 32, 64), (16,))
    results = lab.train(
        {
            f"{width} filters": Arm(
                conv(16, width, 32, 48),
                partial(subset, "fashion-mnist", count),
                updates,
                ADAMW,
                measure=similarity,
            )
            for width in widths
        }
    )

    def excess(width: int, which: str = "") -> Sample:
        return results[f"{width} filters", f"{which}learned"] - results[f"{width} filters", f"{which}random"]

    return Finding(
        main=f"{widths[-1]} learned filters are {{}} {{more|less}} similar to each other (cosine) than random filters",
        effects=(
            *(
                Effect(f"similarity, learned minus random, {width} filters", excess(width), "(cosine)", most=0.1)
                for width in reversed(widths)
            ),
            Effect(
                f"similarity to the nearest filter, learned minus random, {widths[-1]} filters",
                excess(widths[-1], "nearest "),
                "(cosine)",
                most=0.1,
            ),
        ),
        chart=Chart(
            "Similarity of two filters of a layer",
            "filters in the layer",
            "mean absolute cosine similarity",
            [
                Series(
                    f"{which}{name}",
                    widths,
                    [results[f"{width} filters", f"{which}{name}"] for width in widths],
                    dash=dash,
                )
                for which in ("", "nearest ")
                for dash, name in enumerate(("learned", "random"))
            ],
        ),
    )


@experiment(
    "dense-heads",
    claim="A convolutional network can have a dense head: compared with global average pooling, it costs at most 1 "
    "point of accuracy.",
    refuted_if="At about 14,000 parameters, the dense head is behind by more than 1 point. The claim holds in part if "
    "that is so at 4,000 or 50,000 parameters.",
    held_equal="Training images, updates, optimizer, and total parameter count (within 12.5%): a dense head leaves "
    "fewer parameters for the features.",
    beware="A dense head fixes the image size and depends on the positions of objects; global average pooling does "
    "neither. The models are those of hybrids, whose bound is half a point, and which is undecided there.",
)
def dense_heads(lab: Lab) -> Finding:
    """Conv features are trained under a dense head and under global average pooling, at equal total parameters."""
    count, updates = lab.usual
    sizes = lab.choose(("4 k", "14 k", "50 k"), ("14 k",))
    heads = {"global average pooling": CONV, "dense head": HYBRID}
    results = lab.train(
        {
            f"{head}, {size}": Arm(models[size], partial(subset, "fashion-mnist", count), updates)
            for head, models in heads.items()
            for size in sizes
        }
    )
    return Finding(
        main="with 14 k parameters, a dense head makes conv {} points {more|less} accurate",
        effects=tuple(
            Effect(
                f"dense head minus global average pooling, {size} parameters",
                results[f"dense head, {size}"] - results[f"global average pooling, {size}"],
                "points",
                least=-1,
            )
            for size in sorted(sizes, key=lambda size: size != "14 k")
        ),
        chart=Chart(
            "Test accuracy of two heads",
            "total parameters",
            "test accuracy, %",
            [
                Series(head, range(len(sizes)), [results[f"{head}, {size}"] for size in sizes], family)
                for head, family in zip(heads, ("conv", "hybrid"), strict=True)
            ],
            names=sizes,
        ),
    )


def both_accuracies(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy on the test images, and "train_accuracy" on the training images; in points."""
    return {**accuracy_and_cost(model, data_set), "train_accuracy": 100 * accuracy(model, data_set.train)}


@experiment(
    "too-few-parameters",
    claim="Fewer parameters aren't always better: a conv model that is too narrow loses training accuracy as well. It "
    "underfits instead of generalizing better.",
    refuted_if="From the widest to the narrowest model, training accuracy falls by less than 5 points. The claim holds "
    "in part if test accuracy falls by less than 3 points.",
    held_equal="Depth, training images, updates, optimizer.",
    beware="The best width depends on the data set and on the length of training.",
)
def too_few_parameters(lab: Lab) -> Finding:
    """Conv models with 2 to 32 filters in their first layers, and two and three times as many in later ones, are
    trained on Fashion-MNIST; accuracy is measured on the training and on the test images.
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
        main="the training accuracy of the narrowest conv model is {} points {higher|lower} than that of the widest",
        effects=(
            Effect(
                "training accuracy, narrowest minus widest",
                results[first, "train_accuracy"] - results[last, "train_accuracy"],
                "points",
                most=-5,
            ),
            Effect("test accuracy, narrowest minus widest", results[first] - results[last], "points", most=-3),
        ),
        chart=Chart(
            "Accuracy vs. width",
            "filters in the first layer",
            "accuracy, %",
            [
                Series("training images", widths, [results[f"{w} filters", "train_accuracy"] for w in widths], dash=1),
                Series("test images", widths, [results[f"{w} filters"] for w in widths], "conv"),
            ],
            log_x=True,
        ),
    )
