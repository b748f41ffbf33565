"""Translation: what a model makes of a thing that lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from pipelines.charts import Chart, Series
from pipelines.study.experiment import Effect, Finding, Sample, experiment
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import CONV, DENSE, HYBRID
from pipelines.study.pictures import moved, pictures
from zoo.data import DataSet

SHIFTS = tuple(range(9))  # pixels


def accuracy_when_moved(model: Any, data_set: DataSet, shifts: Sequence[int] = SHIFTS) -> Mapping[str, float]:
    """Accuracy on the test pictures after moves by so many pixels down and to the right, their mean, in points."""
    test = data_set.test
    found = {}
    for by in shifts:
        ways = {(by, 0), (0, by)}
        found[f"moved {by}"] = 100 * float(
            np.mean([accuracy(model, replace(test, inputs=moved(test.inputs, *way))) for way in sorted(ways)])
        )
    return found


@experiment(
    "translation",
    claim="A conv model with an average over all positions knows a thing that has moved, which a dense model doesn't "
    "unless it was shown it there; a dense head on conv features lies between the two.",
    refuted_if="At a move by 4 pixels, the conv model loses less than 10 points less than the dense model does; it is "
    "a limit if it loses more than 5 points itself, if the hybrid isn't between the two, or if training on moved "
    "pictures doesn't bring the dense model closer.",
    held_equal="Training pictures, updates, optimiser, number of parameters (within a tenth); the test pictures are "
    "moved, whole, on black.",
    beware="Strides and margins make even a conv net notice moves: invariance is a matter of degree. Other data sets, "
    "whose things lie anywhere, teach it to all models.",
)
def translation(lab: Lab) -> Finding:
    """A dense, a conv and a hybrid model learn Fashion-MNIST as it is, and again with pictures moved by up to 2 pixels;
    each is asked about the test pictures moved by 0 to 8 pixels, down and to the right.
    """
    count, updates = lab.usual
    shifts = lab.choose(SHIFTS, (0, 2, 4))
    models = {"dense": DENSE["50 k"], "conv": CONV["50 k"], "hybrid": HYBRID["50 k"]}
    results = lab.train(
        {
            f"{name}, {'moved' if augmentation == 'light' else 'as they are'}": Arm(
                diagram,
                partial(pictures, "fashion-mnist", count),
                updates,
                {"augmentation": augmentation, "mirrored": "no"},
                partial(accuracy_when_moved, shifts=shifts),
            )
            for augmentation in ("none", "light")
            for name, diagram in models.items()
        }
    )

    def lost(name: str, by: int, learned: str = "as they are") -> Sample:
        return results[f"{name}, {learned}", f"moved {by}"] - results[f"{name}, {learned}", "moved 0"]

    return Finding(
        effects=(
            Effect("conv less dense model's loss, 4 pixels", lost("conv", 4) - lost("dense", 4), "points", least=10),
            Effect("the conv model's own loss, 4 pixels", lost("conv", 4), "points", least=-5),
            Effect("hybrid less dense model's loss, 4 pixels", lost("hybrid", 4) - lost("dense", 4), "points", least=0),
            Effect("conv less hybrid model's loss, 4 pixels", lost("conv", 4) - lost("hybrid", 4), "points", least=0),
            Effect(
                "dense model's loss at 2 pixels, shown moved pictures less not shown",
                lost("dense", 2, "moved") - lost("dense", 2),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Accuracy when the test pictures move",
            "pixels by which test pictures are moved",
            "test accuracy, %",
            [
                Series(
                    f"{name}, {learned}",
                    shifts,
                    [results[f"{name}, {learned}", f"moved {by}"] for by in shifts],
                    name,
                    dash,
                )
                for dash, learned in enumerate(("as they are", "moved"))
                for name in models
            ],
        ),
    )
