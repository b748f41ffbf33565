"""Color images in folders: from scratch, with pretrained features, and as a Keras tutorial does it, side by side.

    PYTHONPATH=. python benchmarks/photos.py --emoji FOLDER     # makes the folder first, from npm's packages
    PYTHONPATH=. python benchmarks/photos.py --stamps FOLDER    # or from Debian's tuxpaint-stamps-default
    PYTHONPATH=. python benchmarks/photos.py --data FOLDER [--few 5 20 100] [--size 128] [--way "fine-tuned"]
        [--seeds 1] [--json]

FOLDER has train/CLASS and test/CLASS; a tenth of the former is held out for validation. All ways learn from the same
images, and each is asked about the whole test set once. Their settings are those of this file; the test set has no part
in them. Seconds are those of the training, validations included; those of the processor, on all cores, are beside them.

--few learns from so many images of each class, drawn anew for each seed; a class that has fewer gives all it has.

The tutorial is Keras' guide to transfer learning and fine-tuning with the same features: a frozen base under dropout
and one dense layer for ten epochs at Adam's 1e-3, random flips and rotations, then all layers for ten at 1e-5, norms in
inference mode; `fit` and `compile` with their defaults.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import perf_counter, process_time
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
STAMPS = Path("/usr/share/tuxpaint/stamps")  # photographs and drawings of Debian's tuxpaint-stamps-default
LEAST_STAMPS, MOST_FEW_STAMPS = 30, 20
PRETRAINED = "efficientnet-lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy and time on color images, by way.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--data", type=Path, metavar="FOLDER", help="train/CLASS and test/CLASS")
    where.add_argument("--emoji", type=Path, metavar="FOLDER", help="make it of emoji by category, by npm")
    where.add_argument("--stamps", type=Path, metavar="FOLDER", help="make it of Tux Paint's stamps by subject")
    parser.add_argument("--few", type=int, nargs="+", metavar="N", help="images of each class to learn from")
    parser.add_argument("--size", type=int, default=128, help="pixels a side (default: 128)")
    parser.add_argument("--way", action="append", choices=[*WAYS, *FEW_WAYS], help="default: all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folder = (options.data or options.emoji or options.stamps).resolve()
    if options.emoji:
        make_emoji(folder)
    if options.stamps:
        make_stamps(folder)
    start_keras()  # importing it is nobody's training
    rows = []
    with tempfile.TemporaryDirectory() as own:
        os.chdir(own)  # with a store and a cache of its own: no features are there yet
        os.environ["XDG_CACHE_HOME"] = own
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        ways = {**WAYS, **FEW_WAYS}
        for number in options.few or [None]:
            for name in options.way or (FEW_WAYS if options.few else WAYS):
                rows.append({"a_class": number, "way": name, **measure(ways[name], folder, number, options)})
                if not options.json:
                    print(line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps(rows, indent=1))


def measure(way: Way, folder: Path, number: int | None, options: argparse.Namespace) -> dict[str, float]:
    """One way, by all seeds: mean accuracy with Wilson's interval for one test set, and seconds for one training."""
    found = []
    for seed in range(1, options.seeds + 1):
        learned = folder if number is None else make_few(folder, number, seed)
        data_set = load_once(learned, way.side or options.size)  # reading isn't training
        began, worked = perf_counter(), process_time()
        model = way.train(learned, data_set, seed)
        seconds, processor = perf_counter() - began, process_time() - worked
        found.append((tested(model, data_set), seconds, processor))
    tests = len(data_set.test)
    accuracy, seconds, processor = (fmean(values) for values in zip(*found, strict=True))
    low, high = wilson_interval(round(accuracy * tests), tests)
    spread = {"least": min(found)[0], "most": max(found)[0]}
    known = {"accuracy": accuracy, "low": low, "high": high, **spread, "images": tests}
    return known | {"seconds": seconds, "processor": processor}


def line(row: dict[str, Any]) -> str:
    few = f"{row['a_class']:>4} a class  " if row["a_class"] else ""
    spread = f", seeds {row['least']:.2%} to {row['most']:.2%}" if row["least"] < row["most"] else ""
    accuracy = f"{row['accuracy']:7.2%} ({row['low']:.2%} to {row['high']:.2%}{spread})"
    return f"{few}{row['way']:24} {accuracy} {row['seconds']:8,.0f} s {row['processor']:8,.0f} s of the processor"


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


def make_stamps(folder: Path) -> None:
    """Tux Paint's stamps of subjects that have 30 and more: 20 of each to learn from, the others to be tested on."""
    random = np.random.default_rng(1)
    for subject in sorted(STAMPS.iterdir()):
        stamps = sorted(subject.rglob("*.png"))
        if len(stamps) < LEAST_STAMPS:
            continue
        for place, stamp in enumerate(random.permutation(np.array(stamps, object))):
            goal = folder / ("train" if place < MOST_FEW_STAMPS else "test") / subject.name
            goal.mkdir(parents=True, exist_ok=True)
            shutil.copy(stamp, goal / "-".join(stamp.relative_to(subject).parts))


def make_few(folder: Path, number: int, seed: int) -> Path:
    """A folder beside the store with so many training images of each class, or all that it has, and all test images."""
    few = Path(f"{folder.name}-{number}-{seed}").resolve()
    if not few.exists():
        random = np.random.default_rng(seed)
        for kind in sorted((folder / "train").iterdir()):
            images = sorted(kind.iterdir())
            (few / "train" / kind.name).mkdir(parents=True)
            for place in random.permutation(len(images))[:number]:
                shutil.copy(images[place], few / "train" / kind.name)
        shutil.copytree(folder / "test", few / "test")
    return few


# --- the ways to a trained `keras.Model` ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """train: folder, its images and a seed -> a `keras.Model`. side: of the images in pixels; None: as stated."""

    train: Callable[[Path, DataSet, int], Any]
    side: int | None = None


def ours(model: str, side: int | None = None, **settings: Any) -> Way:
    def way(folder: Path, data_set: DataSet, seed: int) -> Any:
        size = (data_set.height, data_set.width)
        trained = train(model, str(folder), size=size, settings={**settings, "seed": seed})
        return tracking.load_keras_model(trained.run)

    return Way(way, side)


def tutorial(folder: Path, data_set: DataSet, seed: int) -> Any:  # noqa: ARG001 (one signature for all)
    keras = start_keras()
    keras.utils.set_random_seed(seed)
    shape = (data_set.height, data_set.width, data_set.channels)
    images = keras.Input(shape)
    whole = build(PRETRAINED, *shape, data_set.classes)
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
    return model


WAYS = {
    "frozen features": ours(PRETRAINED, frozen=1),
    "fine-tuned": ours(PRETRAINED),
    "conv-small from scratch": ours("conv-small", side=64, epochs=30),
    "resnet20 from scratch": ours("resnet20", side=64, epochs=20),
    "a Keras tutorial": Way(tutorial),
}
FEW_WAYS = {  # with --few
    "auto": ours("auto"),
    "conv-small, 500 updates": ours("conv-small", side=64, least_updates=500),
    "a Keras tutorial": Way(tutorial),
}


def load_once(folder: Path, size: int) -> DataSet:
    return read_data(str(folder), size=(size, size))


def tested(model: Any, data_set: DataSet) -> float:
    """The share of the test images that a `keras.Model` classifies correctly."""
    found = model.predict(data_set.test.inputs[:], verbose=0)
    logits = found[LOGITS] if isinstance(found, dict) else found
    return float(np.mean(logits.argmax(1) == data_set.test.labels))


if __name__ == "__main__":
    main()
