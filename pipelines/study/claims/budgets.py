"""Budgets: accuracy for parameters, for multiply-accumulates, for updates and for images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset, with_wrong_labels
from pipelines.study.lab import BATCH, Arm, Bench, Lab, Results, accuracy
from pipelines.study.models import CONV, DENSE, conv, dense
from zoo.data import DataSet
from zoo.models import build_architecture
from zoo.models.registry import Architecture

EARLY = (2, 2, 1, 2)  # strides that make most of a model's work fall on small maps


def against_cost(
    results: Results, cost: str, name: str, sizes: Sequence[str], family: str = "", *, dash: int = 0
) -> Series:
    """A line through the arms "NAME, SIZE", by a figure of each that is the same for all seeds, such as "work"."""
    arms = [f"{name}, {size}" for size in sizes]
    return Series(name, [results[arm, cost][0] for arm in arms], [results[arm] for arm in arms], family or name, dash)


@experiment(
    "parameter-efficiency",
    claim="With as many parameters, a conv model is more accurate than a dense one.",
    refuted_if="With about 50 thousand parameters the conv model is ahead by less than 1 point; it is a limit if it "
    "isn't with 4 thousand, or if a dense model with ten times its parameters catches up with the conv model of 4 "
    "thousand.",
    held_equal="Training images, updates, optimizer, and parameters within a tenth. Multiply-accumulates aren't "
    "equal: see equal-work.",
    beware="Few parameters are a small file, not a fast model.",
)
def parameter_efficiency(lab: Lab) -> Finding:
    """Dense and conv models of three widths learn the same images of Fashion-MNIST."""
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

    def ahead(of: str) -> Sample:
        return results[f"conv, {of}"] - results[f"dense, {of}"]

    return Finding(
        effects=(
            Effect(f"conv against dense, {lab.size} parameters", ahead(lab.size), "points", least=1),
            Effect("conv against dense, 4 k parameters", ahead("4 k"), "points", least=1),
            Effect(
                f"conv of 4 k against dense of {lab.size}",
                results["conv, 4 k"] - results[f"dense, {lab.size}"],
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Accuracy against parameters",
            "parameters",
            "test accuracy, %",
            [against_cost(results, "parameters", family, sizes) for family in families],
            log_x=True,
        ),
    )


@experiment(
    "equal-work",
    claim="With as many multiply-accumulates, too, a conv model is more accurate than a dense one.",
    refuted_if="With the work of the conv model of 14 thousand parameters it is ahead of the dense model by less than "
    "1 point; it is a limit if it isn't with the work of the one of 4 thousand, or if a conv model of another shape, "
    "with strides in its first layers, isn't with the work of either.",
    held_equal="Training images, updates, optimizer, multiply-accumulates within a hundredth; the dense models have "
    "28 to 108 times the parameters.",
    beware="What a conv model costs is a matter of its shape: the first one looks at every place of the image in two "
    "layers, the other at a fourth and a sixteenth of them, with more filters. As many multiply-accumulates don't take "
    "as long: a large matrix product is the fastest thing that a processor does. The shape with early strides was "
    "added when the first had been measured.",
)
def equal_work(lab: Lab) -> Finding:
    """Dense models as wide as conv models of 4 and 14 thousand parameters are costly learn the same images of
    Fashion-MNIST; and conv models as costly whose first two layers have a stride of 2.
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
        effects=tuple(
            Effect(
                f"{shape} against dense, {amount} multiply-accumulates",
                results[f"{shape}, {amount}"] - results[f"dense, {amount}"],
                "points",
                least=1,
            )
            for shape in shapes
            for amount in reversed(amounts)
        ),
        chart=Chart(
            "Accuracy against multiply-accumulates",
            "multiply-accumulates for one image",
            "test accuracy, %",
            [
                against_cost(results, "work", "dense", amounts),
                *(against_cost(results, "work", shape, amounts, "conv", dash=k) for k, shape in enumerate(shapes)),
            ],
            log_x=True,
        ),
    )


@experiment(
    "learning-speed",
    claim="A conv model learns faster than a dense one: it needs fewer updates, and less time, to get as far.",
    refuted_if="To the accuracy that the dense model reaches in half of the updates, the conv model needs more than "
    "0.9 times as many; it is a limit if it needs more time, or more than 0.9 times as many to what the dense model "
    "reaches in a quarter of them.",
    held_equal="Training images, optimizer, parameters within a tenth; a training of each length has a schedule of "
    "its own, from the full rate to none.",
    beware="How much faster depends on how far: at first it is slower, see the second chart (this limit was added when "
    "that had been seen). Time is one machine's, whose processor is at its best with large matrix products, and its "
    "interval has the spread of the updates alone. Five seeds had left it undecided; it was then given ten.",
)
def learning_speed(lab: Lab) -> Finding:
    """Dense and conv models of 50 thousand parameters learn Fashion-MNIST in ever more updates. By interpolation: the
    updates in which the conv model is as accurate as the dense one. Trainings of both are timed by turns, five times;
    an update's time is that of the fastest.
    """
    count, updates = lab.usual
    lengths = [updates * part // 4 for part in (1, 2, 3, 4)]
    steps = count // BATCH
    taken = [math.ceil(length / steps) * steps for length in lengths]  # a training ends with an epoch
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size]}
    results = lab.train(
        {
            f"{name}, {length} updates": Arm(architecture, partial(subset, "fashion-mnist", count), length)
            for name, architecture in models.items()
            for length in lengths
        }
    )
    timed = lab.observe(
        f"seconds of a training of {' and '.join(models)}, by turns",
        partial(_seconds_by_turns, list(models.values()), count, lengths[lab.choose(-1, 0)]),
    )
    dense_seconds, conv_seconds = timed.reshape(-1, len(models)).min(axis=0)
    # An accuracy may dip by chance from one length to the next: what was reached counts as reached.
    reached = {
        name: np.maximum.accumulate([results[f"{name}, {length} updates"] for length in lengths]) for name in models
    }  # [L, seeds]

    def needed(place: int) -> Sample:
        """Updates of the conv model for what the dense model reaches in `taken[place]`, as a multiple of those."""
        found = [
            np.exp(np.interp(goal, curve, np.log(taken)))
            for goal, curve in zip(reached["dense"][place], reached["conv"].T, strict=True)
        ]
        return np.array(found) / taken[place]

    return Finding(
        effects=(
            Effect("conv model's updates against the dense one's", needed(1), "times as many", most=0.9),
            Effect(
                "conv model's seconds against the dense one's",
                needed(1) * conv_seconds / dense_seconds,
                "times as many",
                most=1,
            ),
            Effect(
                "conv model's updates, to what the dense one reaches in a quarter", needed(0), "times as many", most=0.9
            ),
        ),
        chart=Chart(
            "Accuracy against updates",
            "updates",
            "test accuracy, %",
            [
                Series(name, taken, [results[f"{name}, {length} updates"] for length in lengths], name)
                for name in models
            ],
            log_x=True,
        ),
        more=(
            Chart(
                "The conv model's updates, as a multiple of the dense model's, to the same accuracy",
                "updates of the dense model",
                "times as many",
                [Series("conv", taken, [needed(place) for place in range(len(taken))], "conv")],
                log_x=True,
            ),
        ),
    )


def _seconds_by_turns(diagrams: Sequence[Architecture], count: int, updates: int) -> list[float]:
    """Of a training of each, in each of five rounds: the rounds one after the other."""
    data_set = subset("fashion-mnist", count, 1)
    trainings = []
    for architecture in diagrams:
        model = build_architecture(
            architecture, "study", data_set.height, data_set.width, data_set.channels, data_set.classes
        )
        recipe = Arm(architecture, partial(subset, "fashion-mnist", count), updates).recipe(1)
        trainings.append(partial(Bench().fit, model, data_set, recipe, lambda *_: {}))
        trainings[-1]()  # the first one compiles
    seconds = []
    for _ in range(5):
        for training in trainings:
            begin = perf_counter()
            training()
            seconds.append(perf_counter() - begin)
    return seconds


def accuracy_and_gap(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy on the test images, and "gap": by how much that on the training images is higher, in points."""
    learned, tested = (100 * accuracy(model, split) for split in (data_set.train, data_set.test))
    return {"accuracy": tested, "gap": learned - tested}


def partly_wrong(count: int, share: float, seed: int) -> DataSet:
    """So many training images of Fashion-MNIST, that share of them with a wrong label."""
    return with_wrong_labels(subset("fashion-mnist", count, seed), share, seed)


@experiment(
    "generalization",
    claim="A conv model generalizes better: with as many parameters, training images and updates, what it gets "
    "wrong of new images beyond what it gets wrong of those it learned is less, however few they are.",
    refuted_if="With the fewest images, the conv model's gap between training and test accuracy is smaller than the "
    "dense model's by less than 1 point; it is a limit if it isn't smaller with more, if the conv model is less "
    "accurate where a third of the labels are wrong, or if it is less far ahead there than with right labels.",
    held_equal="Training images, their wrong labels, updates (to a whole number of passes), optimizer, parameters "
    "within a tenth.",
    beware="A small gap isn't a good model: one that knows nothing has none. Of few images a model knows all by "
    "heart, and its gap is what it gets wrong of new ones. As many updates are hundreds of passes over 100 images "
    "and a single one over 60,000. Of wrong labels, the gap is to what was learned: where it is below 0, a model knows "
    "better than its labels.",
)
def generalization(lab: Lab) -> Finding:
    """Dense and conv models of 50 thousand parameters learn from ever more images of Fashion-MNIST, with right
    labels; and from 10,000 of them with ever more wrong ones.
    """
    usual, updates = lab.usual
    counts = lab.choose((100, 500, 2_000, usual, 60_000), (100, usual))
    wrong = lab.choose({"a sixth": 1 / 6, "a third": 1 / 3, "half": 1 / 2}, {"a third": 1 / 3})  # of the labels
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
            f"{name}, {part} wrong": Arm(
                architecture,
                partial(partly_wrong, usual, share),
                updates,
                measure=accuracy_and_gap,
            )
            for name, architecture in models.items()
            for part, share in wrong.items()
        }
    )

    def smaller(count: int) -> Sample:
        return results[f"dense, {count} images", "gap"] - results[f"conv, {count} images", "gap"]

    def ahead(learned: str) -> Sample:
        return results[f"conv, {learned}"] - results[f"dense, {learned}"]

    def against_wrong_labels(title: str, y: str, figure: str) -> Chart:
        learned = (f"{usual} images", *(f"{part} wrong" for part in wrong))
        percent = [0.0, *(100 * share for share in wrong.values())]
        series = [
            Series(name, percent, [results[f"{name}, {what}", figure] for what in learned], name) for name in models
        ]
        return Chart(f"{title}, against wrong labels", "wrong labels, %", y, series)

    return Finding(
        effects=(
            *(
                Effect(
                    f"by so much the conv model's gap is smaller, {count:,} images",
                    smaller(count),
                    "points",
                    least=0 if place else 1,
                )
                for place, count in enumerate(counts)
            ),
            Effect("conv against dense, a third of the labels wrong", ahead("a third wrong"), "points", least=0),
            Effect(
                "the same, against what it is ahead with right labels",
                ahead("a third wrong") - ahead(f"{usual} images"),
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Training accuracy less test accuracy, against training images",
            "training images",
            "gap, points",
            [
                Series(name, counts, [results[f"{name}, {count} images", "gap"] for count in counts], name)
                for name in models
            ],
            log_x=True,
        ),
        more=(
            against_wrong_labels("Training accuracy less test accuracy", "gap, points", "gap"),
            against_wrong_labels("Test accuracy", "test accuracy, %", "accuracy"),
        ),
    )
