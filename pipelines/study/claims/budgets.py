"""Budgets: accuracy at equal parameters, multiply-accumulates, updates and training images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset, with_wrong_labels
from pipelines.study.lab import BATCH, Arm, Bench, Lab, Results, accuracy
from pipelines.study.models import CONV, DENSE, conv, dense
from zoo.data import DataSet
from zoo.models import build_architecture
from zoo.models.registry import Architecture

EARLY = (2, 2, 1, 2)  # strides: most of the multiply-accumulates fall on small feature maps


def accuracy_by_cost(
    results: Results, cost: str, name: str, sizes: Sequence[str], family: str = "", *, dash: int = 0
) -> Series:
    """A line through the arms "NAME, SIZE". cost: a metric that is the same for all seeds, such as "parameters"."""
    arms = [f"{name}, {size}" for size in sizes]
    return Series(name, [results[arm, cost][0] for arm in arms], [results[arm] for arm in arms], family or name, dash)


@experiment(
    "parameter-efficiency",
    claim="At equal parameter count, a conv model is more accurate than a dense model.",
    refuted_if="At about 50,000 parameters, the conv model is ahead by less than 1 point. The claim holds in part if "
    "the conv model is ahead by less than 1 point at 4,000 parameters, or if the dense model of 50,000 parameters is "
    "more accurate than the conv model of 4,000.",
    held_equal="Training images, updates, optimizer, and parameter count (within 10%). Multiply-accumulates differ: "
    "see equal-work.",
    beware="Few parameters mean a small file, not a fast model.",
)
def parameter_efficiency(lab: Lab) -> Finding:
    """Dense and conv models of three widths are trained on the same images of Fashion-MNIST."""
    count, updates = lab.usual
    sizes = lab.choose(tuple(DENSE), ("4 k", lab.size))
    families = {"dense": DENSE, "conv": CONV}
    results = lab.train(
        {
            f"{family}, {size}": Arm(families[family][size], partial(subset, "fashion-mnist", count), updates)
            for family in families
            for size in sizes
        }
    )

    def lead(size: str) -> Sample:
        return results[f"conv, {size}"] - results[f"dense, {size}"]

    return Finding(
        main=f"with {lab.size} parameters, conv is {{}} points {{more|less}} accurate than dense",
        effects=(
            Effect(f"conv minus dense, {lab.size} parameters", lead(lab.size), "points", least=1),
            Effect("conv minus dense, 4 k parameters", lead("4 k"), "points", least=1),
            Effect(
                f"conv of 4 k minus dense of {lab.size} parameters",
                results["conv, 4 k"] - results[f"dense, {lab.size}"],
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Test accuracy vs. parameters",
            "parameters",
            "test accuracy, %",
            [accuracy_by_cost(results, "parameters", family, sizes) for family in families],
            log_x=True,
        ),
    )


@experiment(
    "equal-work",
    claim="At equal compute, measured in multiply-accumulates, a conv model is more accurate than a dense model.",
    refuted_if="At the multiply-accumulates of the conv model of 14,000 parameters, it is ahead of the dense model by "
    "less than 1 point. The claim holds in part if that is so for the conv model of 4,000 parameters, or for a conv "
    "model with strides in its first layers, at either budget.",
    held_equal="Training images, updates, optimizer, and multiply-accumulates (within 1%). The dense models have 28 "
    "to 108 times the parameters.",
    beware="The cost of a conv model depends on its strides: the first architecture applies two layers at full "
    "resolution, the other downsamples at once and has more filters. Equal multiply-accumulates don't mean equal time: "
    "processors are fastest at large matrix products. The architecture with early strides was added after the first "
    "had been measured.",
)
def equal_work(lab: Lab) -> Finding:
    """Dense models are made wide enough to cost as many multiply-accumulates as conv models of 4,000 and 14,000
    parameters, and so are conv models whose first two layers have a stride of 2. All are trained on the same images of
    Fashion-MNIST.
    """
    count, updates = lab.usual
    models = {
        "dense, 0.44 M": dense(560),
        "conv, 0.44 M": CONV["4 k"],
        "conv with early strides, 0.44 M": conv(8, 16, 32, 32, strides=EARLY),
        "dense, 1.5 M": dense(1100, 590),
        "conv, 1.5 M": CONV["14 k"],
        "conv with early strides, 1.5 M": conv(16, 32, 54, 64, strides=EARLY),
    }
    shapes = ("conv", "conv with early strides")
    amounts = lab.choose(("0.44 M", "1.5 M"), ("0.44 M",))
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates)
            for name, architecture in models.items()
            if name.partition(", ")[2] in amounts
        }
    )
    return Finding(
        main=f"with {amounts[-1]} multiply-accumulates, conv is {{}} points {{more|less}} accurate than dense",
        effects=tuple(
            Effect(
                f"{shape} minus dense, {amount} multiply-accumulates",
                results[f"{shape}, {amount}"] - results[f"dense, {amount}"],
                "points",
                least=1,
            )
            for shape in shapes
            for amount in reversed(amounts)
        ),
        chart=Chart(
            "Test accuracy vs. multiply-accumulates",
            "multiply-accumulates per image",
            "test accuracy, %",
            [
                accuracy_by_cost(results, "multiply_accumulates", "dense", amounts),
                *(
                    accuracy_by_cost(results, "multiply_accumulates", shape, amounts, "conv", dash=k)
                    for k, shape in enumerate(shapes)
                ),
            ],
            log_x=True,
        ),
    )


@experiment(
    "learning-speed",
    claim="A conv model learns faster than a dense model: it reaches the same accuracy in fewer updates and in less "
    "time.",
    refuted_if="To reach the accuracy of a dense model trained for half of the updates, the conv model needs more than "
    "0.9 times as many. The claim holds in part if it needs more time, or more than 0.9 times as many updates to reach "
    "the accuracy of a dense model trained for a quarter of them.",
    held_equal="Training images, optimizer, and parameter count (within 10%). Each training length has its own "
    "learning-rate schedule, which decays to zero.",
    beware="The speedup depends on the accuracy to be reached: early in training the conv model is slower, see the "
    "second chart (this limit was added after that had been seen). Time was measured on one machine, and its interval "
    "reflects the spread of the updates alone. With five seeds the result was undecided; five more were then run.",
)
def learning_speed(lab: Lab) -> Finding:
    """Dense and conv models of 50,000 parameters are trained on Fashion-MNIST for increasing numbers of updates. The
    updates that the conv model needs for the dense model's accuracy are interpolated. Trainings of both are timed in
    alternation, five times each; the fastest gives the time of an update.
    """
    count, updates = lab.usual
    quarters = [updates * part // 4 for part in (1, 2, 3, 4)]
    # The conv model also for an eighth: else it couldn't be seen to need less than a quarter.
    lengths = {"dense": quarters, "conv": [updates // 8, *quarters]}
    steps = count // BATCH
    updates_done = {name: [math.ceil(each / steps) * steps for each in of_it] for name, of_it in lengths.items()}
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size]}
    results = lab.train(
        {
            f"{name}, {length} updates": Arm(architecture, partial(subset, "fashion-mnist", count), length)
            for name, architecture in models.items()
            for length in lengths[name]
        }
    )
    timed = lab.observe(
        f"training seconds of {' and '.join(models)}, interleaved",
        partial(_interleaved_seconds, list(models.values()), count, quarters[lab.choose(-1, 0)]),
    )
    dense_seconds, conv_seconds = timed.reshape(-1, len(models)).min(axis=0)
    # Accuracy may dip by chance from one length to the next: the best so far counts.
    reached = {
        name: np.maximum.accumulate([results[f"{name}, {length} updates"] for length in lengths[name]])
        for name in models
    }  # [L, seeds]

    def ratio(place: int) -> Sample:
        """The conv model's updates to the dense model's accuracy after so many quarters, divided by the dense one's."""
        found = [
            np.exp(np.interp(goal, curve, np.log(updates_done["conv"])))
            for goal, curve in zip(reached["dense"][place], reached["conv"].T, strict=True)
        ]
        return np.array(found) / updates_done["dense"][place]

    return Finding(
        main="to reach the same accuracy, conv needs {} times as many updates as dense",
        effects=(
            Effect("updates to equal accuracy, conv / dense", ratio(1), "×", most=0.9),
            Effect("time to equal accuracy, conv / dense", ratio(1) * conv_seconds / dense_seconds, "×", most=1),
            Effect("updates to equal accuracy, conv / dense, after a quarter of the training", ratio(0), "×", most=0.9),
        ),
        chart=Chart(
            "Test accuracy vs. updates",
            "updates",
            "test accuracy, %",
            [
                Series(name, updates_done[name], [results[f"{name}, {n} updates"] for n in lengths[name]], name)
                for name in models
            ],
            log_x=True,
        ),
        more=(
            Chart(
                "Updates of the conv model to equal accuracy, relative to the dense model",
                "updates of the dense model",
                "updates, conv / dense",
                [Series("conv", updates_done["dense"], [ratio(place) for place in range(len(quarters))], "conv")],
                log_x=True,
            ),
        ),
    )


def _interleaved_seconds(architectures: Sequence[Architecture], count: int, updates: int) -> list[float]:
    """Of one training of each architecture in turn, five rounds, flattened: [rounds * architectures]."""
    data_set = subset("fashion-mnist", count, 1)
    trainings = []
    for architecture in architectures:
        model = build_architecture(
            architecture, "study", data_set.height, data_set.width, data_set.channels, data_set.classes
        )
        recipe = Arm(architecture, partial(subset, "fashion-mnist", count), updates).recipe(1)
        trainings.append(partial(Bench().fit, model, data_set, recipe, lambda *_: {}))
        trainings[-1]()  # compiles
    seconds: list[float] = seconds_in_turns(trainings, rounds=5).ravel().tolist()
    return seconds


def accuracy_and_gap(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Test accuracy, and "gap": the generalization gap, training minus test accuracy; in points."""
    training, test = (100 * accuracy(model, split) for split in (data_set.train, data_set.test))
    return {"accuracy": test, "gap": training - test}


def with_label_noise(count: int, share: float, seed: int) -> DataSet:
    """Fashion-MNIST with `count` training images, a share of them mislabeled."""
    return with_wrong_labels(subset("fashion-mnist", count, seed), share, seed)


@experiment(
    "generalization",
    claim="A conv model generalizes better than a dense model: with the same number of parameters, training images, "
    "and updates, its generalization gap (training minus test accuracy) is smaller, no matter how few the training "
    "images.",
    refuted_if="With the fewest images, the conv model's generalization gap is smaller than the dense model's by less "
    "than 1 point. The claim holds in part if the gap isn't smaller with more images, if the conv model is less "
    "accurate when a third of the labels are wrong, or if its lead is smaller there than with clean labels.",
    held_equal="Training images, wrong labels, updates (rounded up to whole epochs), optimizer, and parameter count "
    "(within 10%).",
    beware="A small gap doesn't mean a good model: an untrained model has none. With few images, both models overfit "
    "to a training accuracy near 100%, and the gap is the test error. The same number of updates is hundreds of "
    "epochs over 100 images and a single one over 60,000. With label noise, training accuracy counts the wrong labels: "
    "a gap below 0 means that the model learned the classes rather than the wrong labels.",
)
def generalization(lab: Lab) -> Finding:
    """Dense and conv models of 50,000 parameters are trained on increasing numbers of images of Fashion-MNIST with
    clean labels, and on 10,000 of them with increasing label noise.
    """
    usual, updates = lab.usual
    counts = lab.choose((100, 500, 2_000, usual, 60_000), (100, usual))
    noise = lab.choose({"1/6": 1 / 6, "1/3": 1 / 3, "1/2": 1 / 2}, {"1/3": 1 / 3})  # shares of wrong labels
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size]}
    results = lab.train(
        {
            f"{name}, {count} images": Arm(
                architecture,
                partial(subset, "fashion-mnist", count),
                updates,
                measure=accuracy_and_gap,
            )
            for name, architecture in models.items()
            for count in counts
        }
        | {
            f"{name}, label noise {share}": Arm(
                architecture,
                partial(with_label_noise, usual, value),
                updates,
                measure=accuracy_and_gap,
            )
            for name, architecture in models.items()
            for share, value in noise.items()
        }
    )

    def smaller_gap(count: int) -> Sample:
        return results[f"dense, {count} images", "gap"] - results[f"conv, {count} images", "gap"]

    def lead(condition: str) -> Sample:
        return results[f"conv, {condition}"] - results[f"dense, {condition}"]

    def by_label_noise(title: str, y: str, metric: str) -> Chart:
        conditions = (f"{usual} images", *(f"label noise {share}" for share in noise))
        percent = [0.0, *(100 * value for value in noise.values())]
        series = [
            Series(name, percent, [results[f"{name}, {each}", metric] for each in conditions], name) for name in models
        ]
        return Chart(f"{title} vs. label noise", "wrong labels, %", y, series)

    return Finding(
        main=f"with {counts[0]:,} images, the generalization gap of conv is {{}} points {{smaller|larger}} "
        "than that of dense",
        effects=(
            *(
                Effect(
                    f"generalization gap, dense minus conv, {count:,} images",
                    smaller_gap(count),
                    "points",
                    least=0 if place else 1,
                )
                for place, count in enumerate(counts)
            ),
            Effect("conv minus dense, label noise 1/3", lead("label noise 1/3"), "points", least=0),
            Effect(
                "conv minus dense, label noise 1/3, minus the same with clean labels",
                lead("label noise 1/3") - lead(f"{usual} images"),
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Generalization gap vs. training images",
            "training images",
            "generalization gap, points",
            [
                Series(name, counts, [results[f"{name}, {count} images", "gap"] for count in counts], name)
                for name in models
            ],
            log_x=True,
        ),
        more=(
            by_label_noise("Generalization gap", "generalization gap, points", "gap"),
            by_label_noise("Test accuracy", "test accuracy, %", "accuracy"),
        ),
    )
