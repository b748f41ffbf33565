"""Relations over a distance: what a model can't see at once, it can't compare."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import conv, dense, hybrid
from zoo.data import DataSet, Split
from zoo.models.backend import start_keras

SIDE = 24  # pixels
MARKS = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]], [[1, 0, 1], [0, 1, 0], [1, 0, 1]]], np.uint8)  # ring, cross
TEST = 4_000  # images


@lru_cache(maxsize=4)
def two_marks(distance: int, count: int, seed: int) -> DataSet:
    """Synthetic: two marks side by side, their left edges `distance` pixels apart, on a field of noise; the same?

    Each image 24x24, gray. Chance is 50 %. The test images are the same for all seeds.
    """
    return DataSet(
        name=f"two-marks-{distance}",
        labels=("different", "the same"),
        train=_drawn(distance, count, seed),
        validation=_drawn(distance, 0, seed),
        test=_drawn(distance, TEST, 10**6),
        mirrored=True,
        origin="made by the study",
    )


def _drawn(distance: int, count: int, seed: int) -> Split:
    random = np.random.default_rng([distance, seed])
    images = random.integers(0, 80, (count, SIDE, SIDE, 1)).astype(np.uint8)
    kinds = random.integers(0, 2, (count, 2))
    rows, columns = random.integers(0, SIDE - 2, count), random.integers(0, SIDE - 2 - distance, count)
    for image, (first, second), row, column in zip(images, kinds, rows, columns, strict=True):
        for kind, left in ((first, column), (second, column + distance)):
            image[row : row + 3, left : left + 3, 0] = np.where(
                MARKS[kind], 255, image[row : row + 3, left : left + 3, 0]
            )
    return Split(images, (kinds[:, 0] == kinds[:, 1]).astype(np.int64), tuple(str(k) for k in range(count)))


@experiment(
    "distance",
    claim="A conv model tells whether two marks are the same only if both lie within what one feature sees; a dense "
    "head on conv features, which sees all positions at once, compares them however far apart they are.",
    refuted_if="With marks 18 pixels apart, the conv model that sees 7 is right on more than 55 %; it is a limit if it "
    "isn't right on 80 % where it sees both, if the hybrid is less than 10 points ahead of it at the far end, if a "
    "hidden layer after the average is enough to be right on more than 55 % there, or if the conv model would be "
    "right on more than 55 % by saying the contrary where it is wrong on more than half.",
    held_equal="Training images, updates, optimizer. The conv models that see 7 and 15 pixels differ in depth alone: "
    "no strides, 3x3 filters, an average over all positions; a third is the former with a hidden layer of 64 after it.",
    beware="The average counts marks of each kind wherever they lie, and whether they are the same follows from the "
    "counts: a linear layer can be right on 25 to 75 % by them, so that 50 % is no floor, and a hidden one on all. So "
    "a conv model can solve this one without ever seeing both marks at once. The last effect was added when the "
    "others had been measured. At 8 pixels from edge to edge, 7 pixels still hold the nearest columns of both marks. "
    "The marks are synthetic, since no real set says how far apart what matters is, and the farther apart, the fewer "
    "places there are for them.",
)
def distance(lab: Lab) -> Finding:
    """Two small marks lie side by side on a noisy field, their left edges d pixels apart, and are the same or not. Conv
    models that see 7 and 15 pixels, a dense model and a hybrid learn each distance by itself.
    """
    distances = lab.choose((3, 5, 8, 11, 14, 18), (3, 18))
    count, updates, width = lab.choose((20_000, 600, 16), (6_000, 270, 8))
    models = {
        "conv, sees 7": conv(*[width] * 3, strides=(1, 1, 1)),
        "conv, sees 15": conv(*[width] * 7, strides=(1,) * 7),
        "conv, sees 7, hidden layer": conv(*[width] * 3, strides=(1, 1, 1), units=(64,)),
        "dense": dense(256, 64),
        "hybrid": hybrid(*[width] * 3, strides=(1, 2, 2), units=(64,)),
    }
    if lab.quick:
        del models["conv, sees 15"]
    results = lab.train(
        {
            f"{name}, {d} apart": Arm(architecture, partial(two_marks, d, count), updates)
            for name, architecture in models.items()
            for d in distances
        }
    )
    near, far = distances[0], distances[-1]
    blind = results[f"conv, sees 7, {far} apart"]
    return Finding(
        effects=(
            Effect(f"conv that sees 7 pixels, {far} apart", blind, "%", most=55),
            Effect(f"conv that sees 7 pixels, {near} apart", results[f"conv, sees 7, {near} apart"], "%", least=80),
            Effect(
                f"hybrid against conv that sees 7, {far} apart",
                results[f"hybrid, {far} apart"] - blind,
                "points",
                least=10,
            ),
            Effect(
                f"the conv model with a hidden layer after its average, {far} apart",
                results[f"conv, sees 7, hidden layer, {far} apart"],
                "%",
                most=55,
            ),
            Effect(
                f"conv that sees 7 pixels, {far} apart, or its contrary",
                np.maximum(blind, 100 - blind),
                "%",
                most=55,
            ),
        ),
        chart=Chart(
            "Accuracy against the distance of two marks (chance: 50 %)",
            "distance of the marks, pixels",
            "test accuracy, %",
            [
                Series(
                    name,
                    distances,
                    [results[f"{name}, {d} apart"] for d in distances],
                    name.partition(",")[0],
                    2 if "hidden" in name else int("15" in name),
                )
                for name in models
            ],
            most=100,
        ),
    )


def accuracy_and_sight(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy in points, and "sight": the side in pixels of the square that has 95 % of a feature's gradient.

    The feature lies in the middle of the last map (the effective receptive field, Luo et al. 2016).
    """
    import tensorflow as tf

    layer = next(each for each in reversed(model.layers) if len(each.output.shape) == 4)
    features = start_keras().Model(model.input, layer.output)
    images = tf.cast(data_set.test.inputs[:256], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        seen = features(images, training=False)
        height, width = seen.shape[1:3]
        middle = tf.reduce_sum(seen[:, height // 2, width // 2])
    gradient = np.abs(tape.gradient(middle, images).numpy()).sum((0, 3))  # [H, W]
    row, column = (height // 2) * SIDE // height, (width // 2) * SIDE // width
    reach = np.maximum(*np.abs(np.mgrid[:SIDE, :SIDE] - np.array([row, column])[:, None, None]))
    within = np.array([gradient[reach <= r].sum() for r in range(SIDE)]) / gradient.sum()
    return {"accuracy": 100 * accuracy(model, data_set.test), "sight": 2.0 * int(np.argmax(within >= 0.95)) + 1}


@experiment(
    "depth",
    claim="Depth gives a conv model global context: each layer of 3x3 filters widens by 2 pixels what a feature sees, "
    "and what it makes use of is less than it could see.",
    refuted_if="From the shallowest to the deepest model, accuracy on marks 8 pixels apart rises by less than 20 "
    "points; it is a limit if the shallowest, which can't see both, is right on more than 55 %, or if the deepest "
    "makes use of all that it could see.",
    held_equal="Training images, updates, optimizer, filters in each layer. Parameters grow with depth.",
    beware="Depth is one way to a wide view; strides, pooling and dilated filters are cheaper ones, and each layer "
    "makes a model more than just wider in view. How much of the view is made use of depends on the task, which needs "
    "what lies far apart here. The square grows in steps of 2 pixels, and all models here fill theirs: the measure is "
    "at its end.",
)
def depth(lab: Lab) -> Finding:
    """The two marks, for conv models of 1 to 9 layers without strides; from left edge to left edge they are 8 pixels
    apart, so that 7 pixels hold the nearest columns of both. After training, the side of the square in which 95 % of a
    feature's gradient lies is measured, beside what it could see in theory.
    """
    depths = lab.choose((1, 2, 3, 4, 5, 7, 9), (1, 3, 5))
    count, updates, width = lab.choose((20_000, 600, 16), (6_000, 270, 8))
    results = lab.train(
        {
            f"{layers} layers": Arm(
                conv(*[width] * layers, strides=(1,) * layers),
                partial(two_marks, 8, count),
                updates,
                measure=accuracy_and_sight,
            )
            for layers in depths
        }
    )
    first, last = depths[0], depths[-1]
    sight = results[f"{last} layers", "sight"]
    return Finding(
        effects=(
            Effect(
                f"{last} layers against {first}",
                results[f"{last} layers"] - results[f"{first} layers"],
                "points",
                least=20,
            ),
            Effect(f"{first} layer alone", results[f"{first} layers"], "%", most=55),
            Effect(f"of {2 * last + 1} pixels, made use of by {last} layers", sight / (2 * last + 1), "of 1", most=0.9),
        ),
        chart=Chart(
            "Accuracy against depth",
            "conv layers",
            "test accuracy, %",
            [Series("conv", depths, [results[f"{k} layers"] for k in depths], "conv")],
        ),
        more=(
            Chart(
                "What a feature sees, against depth",
                "conv layers",
                "side of the square, pixels",
                [
                    Series("in theory", depths, [[2 * k + 1] for k in depths], "conv", 1),
                    Series("makes use of", depths, [results[f"{k} layers", "sight"] for k in depths], "conv"),
                ],
            ),
        ),
    )
