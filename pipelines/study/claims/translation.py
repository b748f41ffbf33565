"""Translation: whether a model recognizes shifted objects, and whether feature maps shift with the image."""

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
from pipelines.study.images import shifted, subset
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import CONV, DENSE, HYBRID, conv
from zoo.data import DataSet
from zoo.models.backend import start_keras

SHIFTS = tuple(range(9))  # pixels


def accuracy_when_shifted(model: Any, data_set: DataSet, shifts: Sequence[int] = SHIFTS) -> Mapping[str, float]:
    """Accuracy on the test images shifted by so many pixels, the mean of down and to the right; in points."""
    test = data_set.test
    found = {}
    for by in shifts:
        ways = {(by, 0), (0, by)}
        found[f"shift {by}"] = 100 * float(
            np.mean([accuracy(model, replace(test, inputs=shifted(test.inputs, *way))) for way in sorted(ways)])
        )
    return found


@experiment(
    "translation",
    claim="A conv model with global average pooling recognizes shifted objects. A dense model doesn't, unless it is "
    "trained on shifted images. A dense head on conv features is in between.",
    refuted_if="After a shift by 4 pixels, the dense model loses less than 10 points more than the conv model. The "
    "claim holds in part if that is so after a shift that isn't a multiple of the stride, if the conv model itself "
    "loses more than 5 points, if the hybrid isn't between the two, or if training on shifted images saves the dense "
    "model less than 2 points at 2 pixels.",
    held_equal="Training images, updates, optimizer, and parameter count (within 10%). Test images are shifted on "
    "black; what crosses the border is cropped.",
    beware="Strides and padding make even a conv model sensitive to shifts: invariance is a matter of degree. On data "
    "sets whose objects lie anywhere, all models learn it.",
)
def translation(lab: Lab) -> Finding:
    """A dense, a conv and a hybrid model are trained on the original images of Fashion-MNIST, and on images shifted by
    up to 2 pixels; each is tested on images shifted by 0 to 8 pixels, down and to the right.
    """
    count, updates = lab.usual
    shifts = lab.choose(SHIFTS, (0, 2, 4))
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size], "hybrid": HYBRID[lab.size]}
    results = lab.train(
        {
            f"{name}, {'shifted' if augmentation == 'light' else 'original'} images": Arm(
                architecture,
                partial(subset, "fashion-mnist", count),
                updates,
                {"augmentation": augmentation, "mirrored": "no"},
                partial(accuracy_when_shifted, shifts=shifts),
                family=name,
            )
            for augmentation in ("none", "light")
            for name, architecture in models.items()
        }
    )

    def change(name: str, by: int, training: str = "original") -> Sample:
        return results[f"{name}, {training} images", f"shift {by}"] - results[f"{name}, {training} images", "shift 0"]

    def difference(name: str, other: str, by: int = 4, least: float = 0) -> Effect:
        sample = change(name, by) - change(other, by)
        return Effect(f"change of accuracy at a shift of {by} pixels, {name} minus {other}", sample, "points", least)

    odd = lab.choose(3, 2)  # the conv model's strides are 4 in all
    return Finding(
        main="conv loses {} points {less|more} than dense under a 4-pixel shift",
        effects=(
            difference("conv", "dense", least=10),
            difference("conv", "dense", odd, least=10),
            Effect("change of accuracy at a shift of 4 pixels, conv", change("conv", 4), "points", least=-5),
            difference("hybrid", "dense"),
            difference("conv", "hybrid"),
            Effect(
                "change of accuracy at a shift of 2 pixels, dense trained on shifted minus on original images",
                change("dense", 2, "shifted") - change("dense", 2),
                "points",
                least=2,
            ),
        ),
        chart=Chart(
            "Test accuracy on shifted images",
            "shift of the test images, pixels",
            "test accuracy, %",
            [
                Series(
                    f"{name}, {training} images",
                    shifts,
                    [results[f"{name}, {training} images", f"shift {by}"] for by in shifts],
                    name,
                    dash,
                )
                for dash, training in enumerate(("original", "shifted"))
                for name in models
            ],
        ),
    )


# Pixels around an image: nothing is cropped, no receptive field that is compared has the border, and none that has the
# image lies outside of what is compared, however it is shifted.
MARGIN = 28
EDGE = 12  # pixels at the border that aren't compared
COMPARED = 500  # images


def changes_when_shifted(model: Any, data_set: DataSet, shifts: Sequence[int]) -> Mapping[str, float]:
    """How far a conv model's last feature map changes when images are shifted by so many pixels to the right.

    "feature map": from the original feature map (invariance error). "shifted feature map": from the original feature
    map shifted as far, to the nearest whole feature (equivariance error). "global average": of each channel over the
    positions that are compared. Each is a root mean square difference, as a share of the standard deviation of what it
    is compared with, over images and positions: 0 is no change.
    """
    keras = start_keras()
    height, width = data_set.height + 2 * MARGIN, data_set.width + 2 * MARGIN
    images = keras.Input((height, width, data_set.channels))
    wide = keras.models.clone_model(model, input_tensors=images)
    wide.set_weights(model.get_weights())
    last = next(layer for layer in reversed(wide.layers) if len(layer.output.shape) == 4)
    features = keras.Model(wide.input, last.output)
    stride = width // last.output.shape[2]
    padded = np.pad(data_set.test.inputs[:COMPARED], ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))

    def maps(by: int) -> NDArray[np.float64]:
        return np.asarray(features.predict(shifted(padded, 0, by), batch_size=100, verbose=0), np.float64)

    def inner(whole: NDArray[np.float64]) -> NDArray[np.float64]:
        edge = EDGE // stride
        return whole[:, edge:-edge, edge:-edge]

    before = maps(0)
    found = {}
    for by in shifts:
        after = maps(by)
        nearest = min(
            _share(inner(after), inner(np.roll(before, features_by, axis=2)))
            for features_by in (by // stride, -(-by // stride))
        )
        found[f"shifted feature map {by}"] = nearest
        found[f"feature map {by}"] = _share(inner(after), inner(before))
        found[f"global average {by}"] = _share(inner(after).mean((1, 2)), inner(before).mean((1, 2)))
    return found


def _share(now: NDArray[np.float64], before: NDArray[np.float64]) -> float:
    """now, before: [N, ..., C]; the deviation is from each channel's mean."""
    usual = before - before.mean(tuple(range(before.ndim - 1)))
    return float(np.sqrt(np.square(now - before).mean() / np.square(usual).mean()))


@experiment(
    "equivariance",
    claim="A conv layer is equivariant to translation: its feature map shifts with the image. Strides break this, "
    "except for shifts by multiples of the stride; the global average is nearly invariant.",
    refuted_if="Without strides, the feature map after a shift by 1 pixel differs from the shifted feature map by more "
    "than 0.01 standard deviations. The claim holds in part if, with strides, that is so for a shift by their product, "
    "if it differs by less than 0.1 for a shift by 1 pixel, or if the global average changes more than half as much as "
    "the feature map.",
    held_equal="Images; they are padded with black, so that nothing is cropped and no border is within a receptive "
    "field.",
    beware="A shift across the border of an image crops it, and zero padding gives deep layers the position of the "
    "border: in practice invariance is worse.",
)
def equivariance(lab: Lab) -> Finding:
    """Two conv models are trained on Fashion-MNIST, without strides and with two strides of 2. Their last feature maps
    are compared between test images and the same images shifted by 1 to 4 pixels.
    """
    count, updates = lab.usual
    shifts = (1, 2, 3, 4)
    models = {"without strides": conv(8, 8, 12, 16, strides=(1, 1, 1, 1)), "with strides": CONV["14 k"]}
    measure = partial(changes_when_shifted, shifts=shifts)
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates, measure=measure)
            for name, architecture in models.items()
        }
    )

    def equivariance_error(name: str, by: int, least: float | None = None, most: float | None = None) -> Effect:
        pixels = "1 pixel" if by == 1 else f"{by} pixels"
        error = results[name, f"shifted feature map {by}"]
        return Effect(f"equivariance error {name}, shift of {pixels}", error, "standard deviations", least, most)

    return Finding(
        main="without strides, the equivariance error under a 1-pixel shift is {} standard deviations",
        effects=(
            equivariance_error("without strides", 1, most=0.01),
            equivariance_error("with strides", 4, most=0.01),
            equivariance_error("with strides", 1, least=0.1),
            Effect(
                "change of the global average / of the feature map, with strides, shift of 2 pixels",
                results["with strides", "global average 2"] / results["with strides", "feature map 2"],
                "×",
                most=0.5,
            ),
        ),
        chart=Chart(
            "Change of the last feature map and of its global average vs. shift",
            "shift of the images, pixels",
            "change, standard deviations",
            [
                Series(f"{what}, {name}", shifts, [results[name, f"{what} {by}"] for by in shifts], what, dash)
                for dash, name in enumerate(models)
                for what in ("feature map", "shifted feature map", "global average")
            ],
        ),
    )
