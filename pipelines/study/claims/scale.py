"""Scale: whether a model recognizes larger and smaller objects."""

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
    """Accuracy on the test images with objects at 0.5 to 1.6 times their size, in points."""
    test = data_set.test
    sizes = {scale: np.full(len(test), scale) for scale in SCALES}
    return {
        f"scale {scale}": 100 * accuracy(model, replace(test, inputs=scaled(test.inputs, each)))
        for scale, each in sizes.items()
    }


def accuracy_when_smaller(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """The same at 0.6 times their size, and at the original size."""
    test = data_set.test
    smaller = replace(test, inputs=scaled(test.inputs, np.full(len(test), 0.6)))
    return {"scale 0.6": 100 * accuracy(model, smaller), "scale 1.0": 100 * accuracy(model, test)}


def of_many_sizes(data_set: DataSet, seed: int) -> DataSet:
    """Each training image at a random size, 0.5 to 1.6 times the original."""
    sizes = np.random.default_rng(seed).uniform(SCALES[0], SCALES[-1], len(data_set.train))
    return replace(data_set, train=replace(data_set.train, inputs=scaled(data_set.train.inputs, sizes)))


@experiment(
    "scale",
    claim="The filters of a conv model have a fixed size: it fails to recognize much smaller objects unless it is "
    "trained on them, and filters of several sizes help.",
    refuted_if="At 0.6 times the size, the conv model loses less than 10 points. The claim holds in part if it loses "
    "less than a dense model, if training on many sizes reduces the loss by less than 5 points, or if kernels of 3, 5 "
    "and 7 pixels in parallel reduce it by less than 2 points compared with kernels of 3 alone.",
    held_equal="Training images, updates, optimizer, and parameter count (within 20%). Objects stay centered on "
    "black; what exceeds the image is cropped.",
    beware="Where a dense model loses as much, filter size isn't the cause. Training on many sizes costs some accuracy "
    "at the original size.",
)
def scale(lab: Lab) -> Finding:
    """Dense, conv and hybrid models, and a conv model with kernels of several sizes, are trained on Fashion-MNIST at
    its original size, and with each image at a random size; each is tested on images at 0.5 to 1.6 times their size.
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
    training_data: dict[str, Any] = {
        "original size": partial(subset, "fashion-mnist", count),
        "many sizes": lambda seed: of_many_sizes(subset("fashion-mnist", count, seed), seed),
    }
    results = lab.train(
        {
            f"{name}; {how}": Arm(architecture, data, updates, measure=measure)
            for how, data in training_data.items()
            for name, architecture in models.items()
        }
    )

    def change(name: str, how: str = "original size", scale: float = 0.6) -> Sample:
        return results[f"{name}; {how}", f"scale {scale}"] - results[f"{name}; {how}", "scale 1.0"]

    return Finding(
        main="at 0.6 times the size, conv {gains|loses} {} points",
        effects=(
            Effect("change of accuracy at 0.6 × size, conv", change("conv"), "points", most=-10),
            Effect(
                "change of accuracy at 0.6 × size, dense minus conv",
                change("dense") - change("conv"),
                "points",
                least=0,
            ),
            Effect(
                "change of accuracy at 0.6 × size, conv trained on many sizes minus on the original size",
                change("conv", "many sizes") - change("conv"),
                "points",
                least=5,
            ),
            Effect(
                "change of accuracy at 0.6 × size, kernels of 3, 5 and 7 minus kernels of 3",
                change("conv, kernels of 3, 5 and 7") - change("conv"),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Test accuracy vs. object size",
            "object size, relative to the original",
            "test accuracy, %",
            [
                Series(
                    f"{name}; {how}",
                    sizes,
                    [results[f"{name}; {how}", f"scale {s}"] for s in sizes],
                    "several kernels" if "kernels" in name else name,
                    dash,
                )
                for dash, how in enumerate(training_data)
                for name in models
            ],
        ),
    )
