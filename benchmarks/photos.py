"""Color images in folders: from scratch, with pretrained features, and as a Keras tutorial does it, side by side.

    PYTHONPATH=. python benchmarks/photos.py --emoji FOLDER     # makes the folder first, from npm's packages
    PYTHONPATH=. python benchmarks/photos.py --data FOLDER [--size 128] [--way "fine-tuned"] [--seeds 1] [--json]

FOLDER has train/CLASS and test/CLASS; a tenth of the former is held out for validation. All ways learn from the same
images, and each is asked about the whole test set once. Their settings are those of this file; the test set has no part
in them. Seconds are those of the training, validations included, on a machine that had nothing else to do.

The tutorial is Keras' guide to transfer learning and fine-tuning with the same features: a frozen base under dropout
and one dense layer for ten epochs at Adam's 1e-3, random flips and rotations, then all layers for ten at 1e-5, norms in
inference mode; `fit` and `compile` with their defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import numpy as np

from pipelines import tracking
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.provenance.reading import read_data
from pipelines.training.train import train
from pipelines.training.transfer.pretrained import published_features, published_file
from zoo.contract import LOGITS
from zoo.data import DataSet
from zoo.models import build
from zoo.models.backend import start_keras

VENDORS = {"google": "train", "twitter": "train", "facebook": "train", "apple": "test"}
RELEASE = "15.1.2"  # of emoji-datasource-VENDOR; the images are under their vendors' terms, and not shipped
PRETRAINED = "efficientnet-lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and time on color images, by way.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, metavar="FOLDER", help="train/CLASS and test/CLASS")
    where.add_argument("--emoji", type=Path, metavar="FOLDER", help="make it of emoji by category, by npm")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default: 128)")
    parser.add_argument("--way", action="append", choices=WAYS, help="default: all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = (options.data or options.emoji).resolve()
    if options.emoji:
        make_emoji(folder)
    start_keras()  # importing it is nobody's training
    rows = []
    with tempfile.TemporaryDirectory() as own:
        os.chdir(own)  # with a store and a cache of its own: no features are there yet
        os.environ["XDG_CACHE_HOME"] = own
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        for way in options.way or WAYS:
            found = [WAYS[way](folder, options.size, seed) for seed in range(1, options.seeds + 1)]
            accuracy, tested = fmean(each[0] for each in found), found[0][1]
            low, high = wilson_interval(round(accuracy * tested), tested)
            rows.append({"way": way, "accuracy": accuracy, "low": low, "high": high, "images": tested})
            rows[-1]["seconds"] = fmean(each[2] for each in found)
            if not options.json:
                print(
                    "{way:24} {accuracy:7.2%} ({low:.2%} to {high:.2%}) {seconds:8,.0f} s".format(**rows[-1]),
                    flush=True,
                )
    if options.json:
        print(json.dumps(rows, indent=1))


def make_emoji(folder: Path) -> None:
    """Emoji of 64x64 by category: three vendors' to learn from, the fourth's to be tested on."""
    folder.mkdir(parents=True)
    for vendor, split in VENDORS.items():
        with tempfile.TemporaryDirectory() as packed:
            package = f"emoji-datasource-{vendor}@{RELEASE}"
            subprocess.run(["npm", "pack", "--silent", package], cwd=packed, check=True, stdout=subprocess.DEVNULL)
            (file,) = Path(packed).iterdir()
            with tarfile.open(file) as archive:
                known = json.load(archive.extractfile("package/emoji.json"))  # type: ignore[arg-type]
                category = {each["image"]: each["category"].replace(" & ", "-").replace(" ", "-") for each in known}
                for member in archive:
                    name = member.name.rpartition("/")[2]
                    if f"/img/{vendor}/64/" in member.name and name in category:
                        place = folder / split / category[name]
                        place.mkdir(parents=True, exist_ok=True)
                        content = archive.extractfile(member)
                        assert content is not None
                        (place / f"{vendor}-{name}").write_bytes(content.read())


# --- the ways: folder, size, seed -> accuracy on the test set, how many images that has, and seconds ------------------


def ours(model: str, side: int | None = None, **settings: Any) -> Callable[[Path, int, int], tuple[float, int, float]]:
    def way(folder: Path, size: int, seed: int) -> tuple[float, int, float]:
        size = side or size
        load_once(folder, size)  # reading isn't training
        began = perf_counter()
        trained = train(model, str(folder), size=(size, size), settings={**settings, "seed": seed})
        seconds = perf_counter() - began
        return tested(tracking.load_keras_model(trained.run), load_once(folder, size)), *rest(folder, size, seconds)

    return way


def tutorial(folder: Path, size: int, seed: int) -> tuple[float, int, float]:
    keras = start_keras()
    keras.utils.set_random_seed(seed)
    data_set = load_once(folder, size)
    began = perf_counter()
    images = keras.Input((size, size, 3))
    whole = build(PRETRAINED, size, size, 3, data_set.classes)
    base = keras.Model(whole.input, whole.get_layer("head_pool").output)
    for layer in published_features(PRETRAINED, published_file(PRETRAINED)).layers:
        if layer.weights:
            base.get_layer(layer.name).set_weights(layer.get_weights())
    base.trainable = False
    x = keras.layers.RandomFlip("horizontal")(images)
    x = keras.layers.RandomRotation(0.1)(x)
    x = keras.layers.Dropout(0.2)(base(x, training=False))
    outputs = keras.layers.Dense(data_set.classes)(x)
    model = keras.Model(images, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for rate, trainable in ((1e-3, False), (1e-5, True)):
        base.trainable = trainable
        model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
        held_out = (data_set.validation.inputs[:], data_set.validation.labels)
        inputs, labels = data_set.train.inputs[:], data_set.train.labels
        model.fit(inputs, labels, epochs=10, validation_data=held_out, verbose=0)
    seconds = perf_counter() - began
    return tested(model, data_set), *rest(folder, size, seconds)


WAYS: dict[str, Callable[[Path, int, int], tuple[float, int, float]]] = {
    "frozen features": ours(PRETRAINED, frozen=1),
    "fine-tuned": ours(PRETRAINED),
    "conv-small from scratch": ours("conv-small", side=64, epochs=30),
    "resnet20 from scratch": ours("resnet20", side=64, epochs=20),
    "a Keras tutorial": tutorial,
}


def load_once(folder: Path, size: int) -> DataSet:
    return read_data(str(folder), size=(size, size))


def rest(folder: Path, size: int, seconds: float) -> tuple[int, float]:
    return len(load_once(folder, size).test), seconds


def tested(model: Any, data_set: DataSet) -> float:
    """The share of the test images that a `keras.Model` classifies correctly."""
    found = model.predict(data_set.test.inputs[:], verbose=0)
    logits = found[LOGITS] if isinstance(found, dict) else found
    return float(np.mean(logits.argmax(1) == data_set.test.labels))


if __name__ == "__main__":
    main()
