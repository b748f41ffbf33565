"""Budgets: accuracy for parameters, for multiply-accumulates, for updates and for pictures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from pipelines.charts import Chart, Series
from pipelines.study.experiment import Effect, Finding, Sample, experiment
from pipelines.study.lab import Arm, Lab, accuracy
from pipelines.study.models import CONV, DENSE
from pipelines.study.pictures import pictures, with_wrong_labels
from zoo.data import DataSet


@experiment(
    "parameter-efficiency",
    claim="With as many parameters, a conv model is more accurate than a dense one, and it needs fewer updates to get "
    "as far.",
    refuted_if="With about 50 thousand parameters the conv model is ahead by less than 1 point; it is a limit if it "
    "isn't with 4 thousand, if it isn't after a tenth of the updates, or if a dense model with ten times its "
    "parameters catches up with the conv model of 4 thousand.",
    held_equal="Training pictures, optimiser, and parameters within a tenth, or updates; the multiply-accumulates are "
    "told, and aren't equal.",
    beware="For a multiply-accumulate a dense model gets further: at equal work the comparison turns around. Few "
    "parameters are a small file, not a fast model.",
)
def parameter_efficiency(lab: Lab) -> Finding:
    """Dense and conv models of three widths learn the same pictures of Fashion-MNIST; the widest ones also in a tenth
    and in a third of the updates, each with a schedule of its own.
    """
    count, updates = lab.usual
    sizes = lab.choose(tuple(DENSE), ("4 k", "50 k"))
    families = {"dense": DENSE, "conv": CONV}

    def arm(family: str, size: str, steps: int) -> Arm:
        return Arm(families[family][size], partial(pictures, "fashion-mnist", count), steps)

    fewer = {"a tenth": updates // 10, "a third": updates // 3}
    results = lab.train(
        {f"{family}, {size}": arm(family, size, updates) for family in families for size in sizes}
        | {
            f"{family}, {name} of the updates": arm(family, "50 k", n)
            for family in families
            for name, n in fewer.items()
        }
    )

    def ahead(of: str) -> Sample:
        return results[f"conv, {of}"] - results[f"dense, {of}"]

    return Finding(
        effects=(
            Effect("conv against dense, 50 k parameters", ahead("50 k"), "points", least=1),
            Effect("conv against dense, 4 k parameters", ahead("4 k"), "points", least=1),
            Effect("conv against dense, a tenth of the updates", ahead("a tenth of the updates"), "points", least=1),
            Effect(
                "conv of 4 k against dense of 50 k", results["conv, 4 k"] - results["dense, 50 k"], "points", least=0
            ),
        ),
        chart=Chart(
            "Accuracy against parameters",
            "parameters",
            "test accuracy, %",
            [
                Series(
                    family,
                    [results[f"{family}, {size}", "parameters"][0] for size in sizes],
                    [results[f"{family}, {size}"] for size in sizes],
                    family,
                )
                for family in families
            ],
            log_x=True,
        ),
    )


def accuracy_and_gap(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """Accuracy on the test pictures, and "gap": by how much that on the training pictures is higher, in points."""
    learned, tested = (100 * accuracy(model, split) for split in (data_set.train, data_set.test))
    return {"accuracy": tested, "gap": learned - tested}


@experiment(
    "generalisation",
    claim="A conv model generalises better: with as many parameters, training pictures and updates, what it gets "
    "wrong of new pictures beyond what it gets wrong of those it learned is less.",
    refuted_if="With the fewest pictures, the conv model's gap between training and test accuracy is smaller than the "
    "dense model's by less than 1 point; it is a limit if it isn't smaller with the most, or if the conv model is "
    "less accurate where a third of the labels are wrong.",
    held_equal="Training pictures, their wrong labels, updates, optimiser, parameters within a tenth.",
    beware="A small gap isn't a good model: one that knows nothing has none. More pictures close the gap for both.",
)
def generalisation(lab: Lab) -> Finding:
    """Dense and conv models of 50 thousand parameters learn from ever more pictures of Fashion-MNIST, with right
    labels, and with a third of them wrong.
    """
    counts = lab.choose((100, 500, 2_000, 10_000, 50_000), (100, 2_000))
    noisy, updates = lab.usual
    models = {"dense": DENSE["50 k"], "conv": CONV["50 k"]}
    results = lab.train(
        {
            f"{name}, {count} pictures": Arm(
                diagram,
                partial(pictures, "fashion-mnist", count),
                updates,
                measure=accuracy_and_gap,
            )
            for name, diagram in models.items()
            for count in counts
        }
        | {
            f"{name}, a third wrong": Arm(
                diagram,
                lambda seed: with_wrong_labels(pictures("fashion-mnist", noisy, seed), 1 / 3, seed),
                updates,
                measure=accuracy_and_gap,
            )
            for name, diagram in models.items()
        }
    )

    def less(count: int) -> Sample:
        return results[f"dense, {count} pictures", "gap"] - results[f"conv, {count} pictures", "gap"]

    few, many = counts[0], counts[-1]
    return Finding(
        effects=(
            Effect(f"dense model's gap less conv model's, {few:,} pictures", less(few), "points", least=1),
            Effect(f"dense model's gap less conv model's, {many:,} pictures", less(many), "points", least=0),
            Effect(
                "conv against dense, a third of the labels wrong",
                results["conv, a third wrong"] - results["dense, a third wrong"],
                "points",
                least=0,
            ),
        ),
        chart=Chart(
            "Training accuracy less test accuracy, against training pictures",
            "training pictures",
            "gap, points",
            [
                Series(name, counts, [results[f"{name}, {count} pictures", "gap"] for count in counts], name)
                for name in models
            ],
            log_x=True,
        ),
    )
