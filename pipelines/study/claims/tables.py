"""Tables: data without local structure."""

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
TEST = 0.3  # of the rows
OVERLAP = TEST / (1 - TEST)  # as `Effect` takes it


@lru_cache(maxsize=32)
def table(name: str, seed: int, *, shuffled: bool) -> DataSet:
    """A table of scikit-learn as images one pixel high: 30% of the rows, drawn by the seed, are the test set.

    Each column is scaled to 0..255 between its 1st and 99th percentile in the training rows. shuffled: the columns are
    permuted by the seed, alike for all rows.
    """
    from sklearn import datasets
    from sklearn.model_selection import train_test_split

    found = getattr(datasets, f"load_{name}")()
    rows, labels = found.data, found.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=TEST, random_state=seed, stratify=labels)
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
    """A permutation other than the identity, which is likely to be drawn for few columns, and is drawn again."""
    random = np.random.default_rng(seed)
    while (order := random.permutation(count)).tolist() == list(range(count)):
        pass
    return order


@experiment(
    "tables",
    claim="Tables have no local structure for a conv layer to exploit: a dense model is equally accurate for any order "
    "of the columns, and no less accurate than a 1-D conv model.",
    refuted_if="Over three tables, the dense model is behind the conv model by more than 1 point. The claim holds in "
    "part if the accuracy of either changes by more than 1.5 points with the order.",
    held_equal="Rows, updates, optimizer, scaling of the columns, and parameter count (within 20% for the largest "
    "table).",
    beware="These tables are small and easy, and their test sets have few rows: a difference of a point is one or two "
    "rows. The columns of breast_cancer do have a meaningful order: mean, error and worst of ten measurements. The "
    "conv model's global average pooling discards which column a value was in, in any order. With five seeds the "
    "result was undecided; five more were then run. Each seed splits the same rows again, which the intervals of the "
    "effects allow for (Nadeau & Bengio 2003).",
)
def tables(lab: Lab) -> Finding:
    """A dense and a 1-D conv model are trained on breast cancer, wine and iris, with the columns in original order and
    shuffled; each seed draws other test rows and another order. Effects are means over the three tables.
    """
    updates = lab.choose(600, 100)
    models = {"dense": dense(32, 16), "conv": conv(12, 16, 20, kernel=(1, 3), strides=(1, 1, 1))}
    results = lab.train(
        {
            f"{model}, {name}, {'shuffled' if shuffled else 'original order'}": Arm(
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

    dense_both, conv_both = ((mean(m, "original order") + mean(m, "shuffled")) / 2 for m in ("dense", "conv"))
    return Finding(
        main="on tables, dense is {} points {more|less} accurate than 1-D conv",
        effects=(
            Effect("dense minus 1-D conv", dense_both - conv_both, "points", least=-1, overlap=OVERLAP),
            *(
                Effect(
                    f"{model}, shuffled minus original order of columns",
                    mean(model, "shuffled") - mean(model, "original order"),
                    "points",
                    least=-1.5,
                    most=1.5,
                    overlap=OVERLAP,
                )
                for model in models
            ),
        ),
        chart=Chart(
            "Test accuracy on three tables",
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
                for dash, order in enumerate(("original order", "shuffled"))
                for model in models
            ],
            names=TABLES,
            most=100,
            joined=False,
        ),
    )
