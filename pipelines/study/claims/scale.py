"""Scale: what a model makes of a thing that is larger or smaller."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import scaled, subset
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import CONV, DENSE, HYBRID, conv_of_several_kernels
from zoo.data import DataSet

SCALES = (0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)


def accuracy_when_scaled(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy on the test images at 0.5 to 1.6 times their size, in points."""
    test = data_set.test
    sizes = {scale: np.full(len(test), scale) for scale in SCALES}
    return {
        f"scale {scale}": 100 * accuracy(model, replace(test, inputs=scaled(test.inputs, each)))
        for scale, each in sizes.items()
    }


def accuracy_when_smaller(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """The same at 0.6 times their size, and at the usual one."""
    test = data_set.test
    smaller = replace(test, inputs=scaled(test.inputs, np.full(len(test), 0.6)))
    return {"scale 0.6": 100 * accuracy(model, smaller), "scale 1.0": 100 * accuracy(model, test)}


def of_many_sizes(data_set: DataSet, seed: int) -> DataSet:
    """Each training image at a size of its own, 0.5 to 1.6 times as large."""
    sizes = np.random.default_rng(seed).uniform(SCALES[0], SCALES[-1], len(data_set.train))
    return replace(data_set, train=replace(data_set.train, inputs=scaled(data_set.train.inputs, sizes)))


@experiment(
    "scale",
    claim="A conv model's filters have one size: it doesn't know a thing that is much smaller, unless it was shown it "
    "at that size; filters of several sizes help.",
    refuted_if="At 0.6 times the size the conv model loses less than 10 points; it is a limit if it loses no more "
    "than a dense model, if it doesn't lose 5 points less after it has learned from images of many sizes, or if "
    "kernels of 3, 5 and 7 pixels side by side don't lose 2 points less than those of 3 alone.",
    held_equal="Training images, updates, optimizer, parameters within a fifth; things stay in the middle, on black; "
    "what is larger than the image is cut off.",
    beware="Where a dense model loses as much, it isn't the size of the filters that one sees here. Learning from many "
    "sizes costs some accuracy at the usual one.",
)
def scale(lab: Lab) -> Finding:
    """Dense, conv and hybrid models, and a conv model with kernels of several sizes, learn Fashion-MNIST as it is, and
    again with each image at a size of its own; each is asked about the test images at 0.5 to 1.6 times their size.
    """
    count, updates = lab.usual
    sizes, measure = lab.choose((SCALES, accuracy_when_scaled), ((0.6, 1.0), accuracy_when_smaller))
    models = {
        "dense": DENSE[lab.size],
        "conv": CONV[lab.size],
        "conv, kernels of 3, 5 and 7": conv_of_several_kernels(
            *lab.choose((12, 12, 15, 18, 24, 27), (6, 6, 9, 9, 12, 15))
        ),
        "hybrid": HYBRID[lab.size],
    }
    if lab.quick:
        del models["hybrid"]
    learn: dict[str, Any] = {
        "as they are": partial(subset, "fashion-mnist", count),
        "of many sizes": lambda seed: of_many_sizes(subset("fashion-mnist", count, seed), seed),
    }
    results = lab.train(
        {
            f"{name}; {how}": Arm(architecture, data, updates, measure=measure)
            for how, data in learn.items()
            for name, architecture in models.items()
        }
    )

    def lost(name: str, how: str = "as they are", scale: float = 0.6) -> Sample:
        return results[f"{name}; {how}", f"scale {scale}"] - results[f"{name}; {how}", "scale 1.0"]

    return Finding(
        effects=(
            Effect("conv model at 0.6 times the size, against the usual one", lost("conv"), "points", most=-10),
            Effect("by so much more it loses than a dense model", lost("dense") - lost("conv"), "points", least=0),
            Effect(
                "by so much less it loses when shown many sizes",
                lost("conv", "of many sizes") - lost("conv"),
                "points",
                least=5,
            ),
            Effect(
                "by so much less several kernels lose",
                lost("conv, kernels of 3, 5 and 7") - lost("conv"),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Accuracy against the size of things",
            "size, as a multiple of the usual one",
            "test accuracy, %",
            [
                Series(
                    f"{name}; {how}",
                    sizes,
                    [results[f"{name}; {how}", f"scale {s}"] for s in sizes],
                    "several kernels" if "kernels" in name else name,
                    dash,
                )
                for dash, how in enumerate(learn)
                for name in models
            ],
        ),
    )
