"""Tables: data whose columns have no neighbors."""

from __future__ import annotations

from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray

from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import conv, dense
from zoo.data import DataSet, Split

TABLES = ("breast_cancer", "wine", "iris")


@lru_cache(maxsize=32)
def table(name: str, seed: int, *, shuffled: bool) -> DataSet:
    """A table of scikit-learn as images one pixel high: 30 % of the rows, drawn by the seed, are for the test.

    Each column goes from 0 to 255 between its 1st and 99th percentile in the training rows. shuffled: the columns come
    in another order, drawn by the seed, the same for all rows.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    found = getattr(datasets, f"load_{name}")()
    rows, labels = found.data, found.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.3, random_state=seed, stratify=labels)
    low, high = np.percentile(rows[train], (1, 99), axis=0)
    pixels = np.clip(np.round(255 * (rows - low) / np.maximum(high - low, 1e-9)), 0, 255).astype(np.uint8)
    if shuffled:
        pixels = pixels[:, _another_order(pixels.shape[1], seed)]
    images = pixels[:, np.newaxis, :, np.newaxis]

    def split(places: NDArray[np.int64]) -> Split:
        return Split(images[places], labels[places], tuple(map(str, places)))

    names = tuple(map(str, found.target_names))
    return DataSet(name, names, split(train), split(np.array([], np.int64)), split(test), False, "scikit-learn")


def _another_order(count: int, seed: int) -> NDArray[np.int64]:
    """Of so many columns: of few, the order that they have may well be drawn, and is drawn again."""
    random = np.random.default_rng(seed)
    while (order := random.permutation(count)).tolist() == list(range(count)):
        pass
    return order


@experiment(
    "tables",
    claim="Where columns have no neighbors, a conv layer has nothing to hold on to: a dense model is as good in any "
    "order of the columns, and no worse than a 1-D conv model.",
    refuted_if="Over three tables, the dense model is behind the conv model by more than 1 point; it is a limit if "
    "the accuracy of either changes by more than 1.5 points with the order.",
    held_equal="Rows, updates, optimizer, scaling of the columns, parameters within a fifth for the largest table.",
    beware="These tables are small and easy, and the test rows few: a difference of a point is one or two of them. "
    "The columns of breast_cancer do come in an order that means something: mean, error and worst of ten measures. "
    "The conv model's average over positions forgets which column a value was in, in any order. Five seeds had "
    "left it undecided; it was then given ten.",
)
def tables(lab: Lab) -> Finding:
    """A dense and a 1-D conv model learn breast cancer, wine and iris, with their columns in their order and shuffled;
    test rows and order are drawn anew by each seed. Effects are means over the three tables.
    """
    updates = lab.choose(600, 100)
    models = {"dense": dense(32, 16), "conv": conv(12, 16, 20, kernel=(1, 3), strides=(1, 1, 1))}
    results = lab.train(
        {
            f"{model}, {name}, {'shuffled' if shuffled else 'in order'}": Arm(
                architecture,
                partial(table, name, shuffled=shuffled),
                updates,
                {"batch_size": 32},
            )
            for model, architecture in models.items()
            for name in TABLES
            for shuffled in (False, True)
        }
    )

    def mean(model: str, order: str) -> Sample:
        return np.asarray(np.mean([results[f"{model}, {name}, {order}"] for name in TABLES], axis=0))

    dense_both, conv_both = ((mean(m, "in order") + mean(m, "shuffled")) / 2 for m in ("dense", "conv"))
    return Finding(
        effects=(
            Effect("dense against 1-D conv model", dense_both - conv_both, "points", least=-1),
            *(
                Effect(
                    f"{model} model, columns shuffled against in order",
                    mean(model, "shuffled") - mean(model, "in order"),
                    "points",
                    least=-1.5,
                    most=1.5,
                )
                for model in models
            ),
        ),
        chart=Chart(
            "Accuracy on three tables",
            "table",
            "test accuracy, %",
            [
                Series(
                    f"{model}, {order}",
                    range(len(TABLES)),
                    [results[f"{model}, {name}, {order}"] for name in TABLES],
                    model,
                    dash,
                )
                for dash, order in enumerate(("in order", "shuffled"))
                for model in models
            ],
            names=TABLES,
            most=100,
            joined=False,
        ),
    )
