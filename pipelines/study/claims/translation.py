"""Translation: what a model makes of a thing that lies elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import moved, subset
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import CONV, DENSE, HYBRID, conv
from zoo.data import DataSet
from zoo.models.backend import start_keras

SHIFTS = tuple(range(9))  # pixels


def accuracy_when_moved(model: Any, data_set: DataSet, shifts: Sequence[int] = SHIFTS) -> Mapping[str, float]:
    """Accuracy on the test images after moves by so many pixels down and to the right, their mean, in points."""
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
    "a limit if it does so at a move that is no whole stride, if it loses more than 5 points itself, if the hybrid "
    "isn't between the two, or if training on moved images doesn't save the dense model 2 points at 2 pixels.",
    held_equal="Training images, updates, optimizer, number of parameters (within a tenth); the test images are "
    "moved on black, and what passes the border is lost.",
    beware="Strides and margins make even a conv net notice moves: invariance is a matter of degree. Other data sets, "
    "whose things lie anywhere, teach it to all models.",
)
def translation(lab: Lab) -> Finding:
    """A dense, a conv and a hybrid model learn Fashion-MNIST as it is, and again with images moved by up to 2 pixels;
    each is asked about the test images moved by 0 to 8 pixels, down and to the right.
    """
    count, updates = lab.usual
    shifts = lab.choose(SHIFTS, (0, 2, 4))
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size], "hybrid": HYBRID[lab.size]}
    results = lab.train(
        {
            f"{name}, {'moved' if augmentation == 'light' else 'as they are'}": Arm(
                architecture,
                partial(subset, "fashion-mnist", count),
                updates,
                {"augmentation": augmentation, "mirrored": "no"},
                partial(accuracy_when_moved, shifts=shifts),
                family=name,
            )
            for augmentation in ("none", "light")
            for name, architecture in models.items()
        }
    )

    def lost(name: str, by: int, learned: str = "as they are") -> Sample:
        return results[f"{name}, {learned}", f"moved {by}"] - results[f"{name}, {learned}", "moved 0"]

    def saved(name: str, other: str, by: int = 4) -> Sample:
        return lost(name, by) - lost(other, by)

    odd = lab.choose(3, 2)  # the conv model's strides are 4 in all
    return Finding(
        effects=(
            Effect("by so much less conv loses than dense, 4 pixels", saved("conv", "dense"), "points", least=10),
            Effect(f"the same, {odd} pixels", saved("conv", "dense", odd), "points", least=10),
            Effect("conv model moved by 4 pixels, against not moved", lost("conv", 4), "points", least=-5),
            Effect("by so much less hybrid loses than dense, 4 pixels", saved("hybrid", "dense"), "points", least=0),
            Effect("by so much less conv loses than hybrid, 4 pixels", saved("conv", "hybrid"), "points", least=0),
            Effect(
                "by so much less dense loses at 2 pixels when shown moved images",
                lost("dense", 2, "moved") - lost("dense", 2),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Accuracy when the test images move",
            "pixels by which test images are moved",
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


MARGIN = 20  # pixels around an image: what is moved stays in sight, and no feature that is compared sees the border
COMPARED = 500  # images


def changes_when_moved(model: Any, data_set: DataSet, moves: Sequence[int]) -> Mapping[str, float]:
    """How far the last map of a conv model differs from what it was, after moves of so many pixels to the right.

    "map": from the map as it was. "moved map": from the map moved as far, to the nearest whole feature. "average": of
    each channel over all positions. Each is a root mean square as a share of the standard deviation of what it is
    compared with, over images and positions: 0 is no change.
    """
    keras = start_keras()
    height, width = data_set.height + 2 * MARGIN, data_set.width + 2 * MARGIN
    images = keras.Input((height, width, data_set.channels))
    wide = keras.models.clone_model(model, input_tensors=images)
    wide.set_weights(model.get_weights())
    last = next(layer for layer in reversed(wide.layers) if len(layer.output.shape) == 4)
    features = keras.Model(wide.input, last.output)
    stride = width // last.output.shape[2]
    field = np.pad(data_set.test.inputs[:COMPARED], ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))

    def look(by: int) -> NDArray[np.float64]:
        return np.asarray(features.predict(moved(field, 0, by), batch_size=100, verbose=0), np.float64)

    def inner(maps: NDArray[np.float64]) -> NDArray[np.float64]:
        edge = 12 // stride
        return maps[:, edge:-edge, edge:-edge]

    before = look(0)
    found = {}
    for by in moves:
        after = look(by)
        nearest = min(
            _share(inner(after), inner(np.roll(before, features_by, axis=2)))
            for features_by in (by // stride, -(-by // stride))
        )
        found[f"moved map {by}"] = nearest
        found[f"map {by}"] = _share(inner(after), inner(before))
        found[f"average {by}"] = _share(inner(after).mean((1, 2)), inner(before).mean((1, 2)))
    return found


def _share(now: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """now, before: [N, ..., C]; the deviation is from each channel's mean."""
    usual = before - before.mean(tuple(range(before.ndim - 1)))
    return float(np.sqrt(np.square(now - before).mean() / np.square(usual).mean()))


@experiment(
    "equivariance",
    claim="The map of a conv layer moves with the image. Strides break that, but for moves by whole strides; the "
    "average over all positions hardly changes.",
    refuted_if="Without strides, the map after a move by 1 pixel differs from the moved map by more than a hundredth "
    "of its deviation; it is a limit if, with strides, it does so for a move by their product, or differs by less than "
    "a tenth for a move by 1 pixel, or if the average changes more than half as much as the map.",
    held_equal="Images; they lie on a wide black field, so that nothing leaves it and no border is seen.",
    beware="A move that crosses the border of an image changes what is seen, and padding with zeros tells a deep "
    "layer where the border is: in practice invariance is worse.",
)
def equivariance(lab: Lab) -> Finding:
    """Two conv models learn Fashion-MNIST, without strides and with two of 2. The last map is compared for test
    images and for the same moved by 1 to 4 pixels.
    """
    count, updates = lab.usual
    moves = (1, 2, 3, 4)
    models = {"without strides": conv(8, 8, 12, 16, strides=(1, 1, 1, 1)), "with strides": CONV["14 k"]}
    measure = partial(changes_when_moved, moves=moves)
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates, measure=measure)
            for name, architecture in models.items()
        }
    )
    strided = {what: results["with strides", what] for what in ("moved map 1", "moved map 4", "average 2", "map 2")}
    unit = "deviations"
    return Finding(
        effects=(
            Effect("without strides, moved by 1", results["without strides", "moved map 1"], unit, most=0.01),
            Effect("strides of 4 in all, moved by 4", strided["moved map 4"], unit, most=0.01),
            Effect("strides of 4 in all, moved by 1", strided["moved map 1"], unit, least=0.1),
            Effect(
                "change of the average, of that of the map, moved by 2",
                strided["average 2"] / strided["map 2"],
                "of 1",
                most=0.5,
            ),
        ),
        chart=Chart(
            "Change of the last map and of its average when the image moves",
            "pixels by which images are moved",
            "change, standard deviations",
            [
                Series(f"{told}, {name}", moves, [results[name, f"{what} {by}"] for by in moves], what, dash)
                for dash, name in enumerate(models)
                for what, told in (
                    ("map", "map"),
                    ("moved map", "map against the moved one"),
                    ("average", "average over positions"),
                )
            ],
        ),
    )
