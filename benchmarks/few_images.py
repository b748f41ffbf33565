"""What trained features are worth with few images: the same model from new weights, and from those of an export.

    PYTHONPATH=. python benchmarks/few_images.py [--images 5 20 100] [--seeds 5] [--model conv-mlp-small]
        [--from fashion-mnist/conv-small] [--data digits] [--size 28x28] [--updates 400] [--set FIELD=VALUE] [--json]
        [--first-seed 1] [--judge validation]
    PYTHONPATH=. python benchmarks/few_images.py --classes-apart [--data fashion-mnist] [--from conv-small]

For each seed so many images of each class are drawn from the training split, and both ways learn from these very
images, with the same recipe, in as many updates; nothing is held out, and the weights of the last epoch count. Each
is asked about the whole test set, once. Printed are means over seeds with 95 % t-intervals, and the difference by seed
with its own: what is easy about a draw is so for both. A seed decides the draw, the initial weights and the order.

By default a source of clothes and a task of digits: nothing of what the source knows is about digits, and its features
can be in the way. --classes-apart is the use that they are for, images of the same kind with other classes: it trains
the source itself, the model that --from names, on every second class of the data, and the task is the classes between.

Settings are chosen with other draws than those that are reported (--first-seed 101) and by the data set's validation
images (--judge validation), which no training here learns from: the test set has no part in it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from time import perf_counter
from typing import Any

import numpy as np
from few_images_plot import few_images
from scipy.stats import t as student

from pipelines import tracking
from pipelines.training.train import train
from zoo.data import DataSet, Split, load
from zoo.data.registry import data_set
from zoo.recipe import parse_settings
from zoo.runtime.loading import find_export

WAYS = ("from new weights", "from trained features")


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy with few images, with and without trained features.")
    parser.add_argument("--model", default="conv-mlp-small")
    parser.add_argument("--from", dest="source", metavar="EXPORT", help="default: fashion-mnist/conv-small")
    parser.add_argument("--data", help="where the images come from (default: digits)")
    parser.add_argument("--classes-apart", action="store_true", help="train the source on every second class")
    parser.add_argument("--source-epochs", type=int, default=5, help="of that training (default: 5)")
    parser.add_argument("--size", default="28x28", metavar="HxW")
    parser.add_argument("--images", type=int, nargs="+", default=[5, 20, 100], metavar="N", help="a class")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=1, metavar="S", help="the others follow it (default: 1)")
    parser.add_argument("--judge", choices=("test", "validation"), default="test", help="images to measure accuracy on")
    parser.add_argument("--updates", type=int, default=400, help="steps of the optimizer (default: 400)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="of the model's recipe")
    parser.add_argument("--image", type=Path, default=Path("few-images.png"), metavar="FILE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("an interval needs two seeds at least")

    height, width = map(int, options.size.split("x"))
    apart = options.classes_apart
    whole = load(options.data or ("fashion-mnist" if apart else "digits"), size=(height, width))
    source = options.source or ("conv-small" if apart else "fashion-mnist/conv-small")
    title = f"{source} on the other classes" if apart else source
    if not apart:
        source = str(find_export(source).resolve())
    settings = {"epochs": 1, "least_updates": options.updates, "images": "all", **parse_settings(options.set)}
    image, trainings = options.image.resolve(), len(options.images) * options.seeds * len(WAYS)
    accuracies: dict[int, dict[str, list[float]]] = {n: {way: [] for way in WAYS} for n in options.images}
    done, started = 0, perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # with a store of its own
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if apart:
            others, whole = of_classes(whole, slice(0, None, 2)), of_classes(whole, slice(1, None, 2))
            trained = train(source, others.name, settings={"epochs": options.source_epochs})
            source = trained.run
            print(f"source: {trained.validation_accuracy:.2%} of its own validation images", file=sys.stderr)
        for number in options.images:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                few = drawn(whole, number, seed, options.judge)
                for way in WAYS:
                    found = accuracy(options.model, few, {**settings, "seed": seed}, source if way == WAYS[1] else None)
                    accuracies[number][way].append(found)
                    done += 1
                    left = (perf_counter() - started) / done * (trainings - done)
                    said = f"{number} images a class, seed {seed}, {way}: {found:.2%}"
                    print(f"{done} of {trainings}: {said}; {left / 60:.0f} minutes left", file=sys.stderr, flush=True)
        os.chdir(image.parent)
    result = {
        "model": options.model,
        "source": title,
        "data": whole.name,
        "judge": options.judge,
        "images": len(getattr(whole, options.judge)),
        "seeds": options.seeds,
        "updates": options.updates,
        "rows": [row(number, *ways.values()) for number, ways in accuracies.items()],
    }
    text = few_images(
        image,
        options.images,
        {way: [each[way] for each in result["rows"]] for way in WAYS},
        f"{options.model} on {whole.name},\nfeatures of {title}",
    )
    print(json.dumps(result, indent=1) if options.json else table(result))
    print(f"{image}: {text}", file=sys.stderr)


def of_classes(whole: DataSet, classes: slice) -> DataSet:
    """A data set, known by its name from now on: the images of some classes."""
    kept = np.arange(whole.classes)[classes]

    def part(split: Split) -> Split:
        chosen = split.take(np.flatnonzero(np.isin(split.labels, kept)))
        return replace(chosen, labels=np.searchsorted(kept, chosen.labels))

    labels = tuple(whole.labels[label] for label in kept)
    train, validation, test = map(part, (whole.train, whole.validation, whole.test))
    name = f"{whole.name}-{'-'.join(map(str, kept))}"
    return known(replace(whole, name=name, labels=labels, train=train, validation=validation, test=test))


def known(some: DataSet) -> DataSet:
    """The same, which `train` finds by its name."""
    data_set(some.name)(lambda *_: some)
    return some


def drawn(whole: DataSet, number: int, seed: int, judge: str) -> DataSet:
    """A data set, known by its name from now on: so many images of each class to learn from, the judge's to test."""
    random, labels = np.random.default_rng(seed), whole.train.labels
    least = int(np.bincount(labels, minlength=whole.classes).min())
    if number > least:
        sys.exit(f"{whole.name} has a class with {least} training images, expected {number}: ask for fewer")
    places = [random.choice(np.flatnonzero(labels == label), number, replace=False) for label in range(whole.classes)]
    few = replace(
        whole,
        name=f"{whole.name}-{number}-a-class-{seed}",
        train=whole.train.take(np.concatenate(places)),
        validation=whole.validation.take(np.arange(0)),
        test=getattr(whole, judge),
    )
    return known(few)


def accuracy(model: str, few: DataSet, settings: dict[str, Any], source: str | None) -> float:
    """Of a training, on the whole test set, 0..1."""
    trained = train(model, few.name, settings=settings, source=source)
    logits = tracking.load_keras_model(trained.run).predict(few.test.inputs, batch_size=512, verbose=0)["logits"]
    return float(np.mean(logits.argmax(1) == few.test.labels))


def row(number: int, new: Sequence[float], taken: Sequence[float]) -> dict[str, Any]:
    differences = [b - a for a, b in zip(new, taken, strict=True)]
    return {
        "images": number,
        WAYS[0]: interval(new),
        WAYS[1]: interval(taken),
        "difference": interval(differences),
        "accuracies": {WAYS[0]: list(new), WAYS[1]: list(taken)},
    }


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and the ends of its 95 % interval, by Student's t."""
    mean, n = fmean(values), len(values)
    reach = float(student.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n)
    return mean, mean - reach, mean + reach


def table(result: dict[str, Any]) -> str:
    heading = (
        f"{result['model']} on {result['data']}, features of {result['source']}: {result['seeds']} seeds, "
        f"{result['updates']} updates, {result['images']:,} {result['judge']} images, means with 95 % t-intervals"
    )
    lines = [heading, "", f"{'images a class':>16}  {WAYS[0]:>24}  {WAYS[1]:>24}  {'difference, points':>24}"]
    for each in result["rows"]:
        cells = [f"{m:.2%} ({low:.1%} - {high:.1%})" for m, low, high in (each[way] for way in WAYS)]
        mean, low, high = (100 * value for value in each["difference"])
        cells.append(f"{mean:+.2f} ({low:+.1f} to {high:+.1f})")
        lines.append(f"{each['images']:>16}  " + "  ".join(f"{cell:>24}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
