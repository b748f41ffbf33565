"""How fast images are augmented: images a second, side by side with Keras' own layers, in turns.

    PYTHONPATH=. python benchmarks/augmentation.py [--sides 32 224] [--rounds 5] [--json]

Ours is the stream of a training: gathering, order and targets included. Keras' is a tf.data pipeline of the layers that
do nearest to the same, on batches that are gathered for it: RandomFlip for mirror, RandomTranslation for light's shift,
RandomRotation and RandomZoom; for a random resized crop, which Keras hasn't, RandomZoom and RandomTranslation;
RandomColorJitter and RandAugment. Best of the rounds, each of about a second.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import cycle
from time import perf_counter
from typing import Any

import numpy as np

from pipelines.core.provenance.environment import machine_facts
from zoo.data import Split
from zoo.data.augmentation.augment import AUGMENTATIONS
from zoo.data.batches import training_batches
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

BATCHES = {32: 128, 224: 32}
IMAGES = {32: 5000, 224: 256}
CLASSES = 10
SECONDS = 1.0

Stream = Iterator[Any]  # batches without an end


def main() -> None:
    parser = argparse.ArgumentParser(description="Images augmented in a second, ours and Keras'.")
    parser.add_argument("--sides", type=int, nargs="*", default=[32, 224], choices=list(BATCHES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {side: measured(side, options.rounds) for side in options.sides}
    if options.json:
        print(json.dumps({"machine": machine_facts(), "images_per_second": found}, indent=2))
        return
    for side, rates in found.items():
        print(f"{side}x{side}x3, batches of {BATCHES[side]}: images a second, and as a ratio to Keras' layers")
        for name, rate in rates.items():
            keras = rates.get(f"keras {name}")
            ratio = f"{rate / keras:8.2f}" if keras else ""
            print(f"    {name:36} {rate:10,.0f} {ratio}")


def measured(side: int, rounds: int) -> dict[str, float]:
    """Images a second of each stream, the best of the rounds, in which all take turns."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (IMAGES[side], side, side, 3), dtype=np.uint8)
    split = Split(images, random.integers(0, CLASSES, len(images)), tuple(map(str, range(len(images)))))
    streams = {name: ours(split, BATCHES[side], settings) for name, settings in settings_of().items()}
    streams |= {f"keras {name}": keras(split, BATCHES[side], layers) for name, layers in keras_layers().items()}
    best = dict.fromkeys(streams, 0.0)
    for stream in streams.values():
        next(stream)  # is traced, and its buffers begin to fill
    for _ in range(rounds):
        for name, stream in streams.items():
            best[name] = max(best[name], rate(stream))
    return best


def settings_of() -> dict[str, dict[str, Any]]:
    """Each augmentation by its name, and what may be added to it."""
    found: dict[str, dict[str, Any]] = {name: {"augmentation": name} for name in AUGMENTATIONS}
    found["photo, rotation and scale"] = {"augmentation": "photo", "rotation": 10, "scale": 0.1}
    found["light, rotation and scale"] = {"augmentation": "light", "rotation": 10, "scale": 0.1}
    found["none, mixup"] = {"augmentation": "none", "mixup": 0.2}
    found["none, cutmix"] = {"augmentation": "none", "cutmix": 0.5}
    return found


def ours(split: Split, batch_size: int, settings: dict[str, Any]) -> Stream:
    recipe = Recipe(batch_size=batch_size).with_values(settings)
    stream: Any = training_batches(split, CLASSES, recipe, mirrored=True, first_epoch=0, epochs=10**6)
    return iter(stream)


def keras_layers() -> dict[str, list[Any]]:
    """Keras' layers, by the name of ours that does the same."""
    layers = start_keras().layers
    crop = [  # a part of the image, resized: Keras has no layer for both at once
        layers.RandomZoom((-0.4, 0.0), (-0.4, 0.0), fill_mode="nearest", seed=1),
        layers.RandomTranslation(0.1, 0.1, fill_mode="nearest", seed=1),
        layers.RandomFlip("horizontal", seed=1),
    ]
    shift = layers.RandomTranslation(1 / 14, 1 / 14, fill_mode="nearest", interpolation="nearest", seed=1)
    turn = [
        layers.RandomRotation(10 / 360, fill_mode="nearest", seed=1),
        layers.RandomZoom((-0.1, 0.1), fill_mode="nearest", seed=1),
    ]
    jitter = layers.RandomColorJitter((0, 255), 0.3, 0.3, (0.35, 0.65), 0.03, seed=1)
    flip = layers.RandomFlip("horizontal", seed=1)
    return {
        "mirror": [flip],
        "light": [shift, flip],
        "light, rotation and scale": [shift, flip, *turn],
        "photo": [*crop, jitter],
        "photo, rotation and scale": [*crop, *turn, jitter],
        "randaugment": [*crop, layers.RandAugment((0, 255), num_ops=2, factor=0.3, seed=1)],
    }


def keras(split: Split, batch_size: int, layers: list[Any]) -> Stream:
    import tensorflow as tf

    starts = cycle(range(0, len(split) - batch_size + 1, batch_size))

    def gathered(_: Any) -> Any:
        images = tf.numpy_function(lambda: split.inputs[(at := next(starts)) : at + batch_size], [], tf.uint8)
        return tf.ensure_shape(images, [batch_size, *split.inputs.shape[1:]])

    def augmented(images: Any) -> Any:
        images = tf.cast(images, tf.float32)
        for layer in layers:
            images = layer(images, training=True)
        return images

    stream = tf.data.Dataset.counter().map(gathered).map(augmented, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(stream.prefetch(tf.data.AUTOTUNE))


def rate(stream: Stream) -> float:
    """Images a second. The first two batches are those that waited in the buffers."""
    for _ in range(2):
        next(stream)
    start, images = perf_counter(), 0
    while (elapsed := perf_counter() - start) < SECONDS:
        batch = next(stream)
        images += int((batch[0] if isinstance(batch, tuple) else batch).shape[0])
    return images / elapsed


if __name__ == "__main__":
    main()
