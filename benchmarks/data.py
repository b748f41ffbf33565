"""Images from a folder to the model: how fast, and in how much memory, however many there are.

    PYTHONPATH=. python benchmarks/data.py [--images 10000 100000 1000000] [--rounds 3] [--json]

1. Throughput on one folder, side by side: `keras.utils.image_dataset_from_directory`, which decodes every image in
   every epoch, against ours, which opens each once (check, duplicates and splits are part of that), keeps the pixels,
   in memory or in a file, and draws batches of them. Each in a process of its own, in turns.
2. Resident memory of a process that reads ever more images and draws batches of them, with ZOO_MEMORY=0, so that all
   of them are read from the file. Hard links to 10,000 images make the million.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
ORIGINALS = 10_000
SIDE = 64  # pixels, of the throughput's images
SMALL = 28  # of the memory's
BATCH = 128

# Ours: the pass that opens everything, then two epochs of batches. Printed: seconds of each, images in an epoch.
OURS = """
import sys, time
from pathlib import Path
import tensorflow as tf
from zoo.data import load
from zoo.data.stream.batches import training_batches
from zoo.recipe import Recipe
start = time.perf_counter()
data = load(sys.argv[1])
opened = time.perf_counter() - start
recipe = Recipe(augmentation="none", batch_size=int(sys.argv[2]))
epochs = []
stream = iter(training_batches(data.train, data.classes, recipe, mirrored=False, first_epoch=0, epochs=2))
for _ in range(2):
    start = time.perf_counter()
    for _ in range(len(data.train) // recipe.batch_size):
        next(stream)
    epochs.append(time.perf_counter() - start)
print(opened, *epochs, len(data.train), sum(map(len, (data.train, data.validation, data.test))))
"""

KERAS = """
import sys, time
import keras
start = time.perf_counter()
data = keras.utils.image_dataset_from_directory(
    sys.argv[1], image_size=(64, 64), batch_size=int(sys.argv[2]), label_mode="categorical", verbose=False
)
opened = time.perf_counter() - start
epochs = []
for _ in range(2):
    start = time.perf_counter()
    images = sum(len(images) for images, _ in data)
    epochs.append(time.perf_counter() - start)
print(opened, *epochs, images, images)
"""

MEMORY = """
import resource, sys, time
import tensorflow as tf
from zoo.data import load
from zoo.data.stream.batches import training_batches
from zoo.recipe import Recipe
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
empty = resident()
start = time.perf_counter()
data = load(sys.argv[1])
opened = time.perf_counter() - start
loaded = resident()
recipe = Recipe(augmentation="light", batch_size=int(sys.argv[2]))
start = time.perf_counter()
for step, _ in enumerate(training_batches(data.train, data.classes, recipe, mirrored=False, first_epoch=0, epochs=99)):
    if not step:
        first = time.perf_counter() - start
    if step == 500:
        break
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(empty, loaded, resident(), peak, opened, first)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Reading a folder of images: throughput and memory.")
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000, 1_000_000], metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        result: dict[str, Any] = {}
        if options.rounds:
            make_images(root / "photos", ORIGINALS, SIDE, "jpg")
            result["throughput"] = throughput(root / "photos", options.rounds, root)
            if not options.json:
                show_throughput(result["throughput"])
        if options.images:
            make_images(root / "small", ORIGINALS, SMALL, "png")
            result["memory"] = []
            for count in options.images:
                many = link(root / "small", root / f"{count}", count)
                result["memory"].append({"images": count, **memory(many, root)})
                if not options.json:
                    show_memory(result["memory"][-1])
    if options.json:
        print(json.dumps(result, indent=2))


def make_images(folder: Path, count: int, side: int, ending: str) -> None:
    """Images with something to decode in them: blots of color under noise."""
    random = np.random.default_rng(0)
    for k in range(count):
        path = folder / f"class {k % CLASSES}" / f"{k}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        blots = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(image + random.integers(-20, 21, image.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).convert("RGB" if ending == "jpg" else "L").save(path)


def link(folder: Path, many: Path, count: int) -> Path:
    """A folder of `count` hard links to the files of another, class by class."""
    for place in sorted(folder.iterdir()):
        originals = sorted(place.iterdir())
        (many / place.name).mkdir(parents=True)
        for k in range(count // CLASSES):
            os.link(originals[k % len(originals)], many / place.name / f"{k}{originals[0].suffix}")
    return many


def throughput(folder: Path, rounds: int, root: Path) -> dict[str, dict[str, float]]:
    """Images a second, the median of the rounds: of the first epoch with all before it, and of one that follows."""
    tasks = {
        "keras": (KERAS, {}),
        "ours, in memory": (OURS, {"ZOO_MEMORY": "4"}),
        "ours, from a file": (OURS, {"ZOO_MEMORY": "0"}),
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in tasks}
    for turn in range(rounds):
        for name, (code, variables) in tasks.items():
            cache = root / f"cache {turn} {len(seen[name])}"
            opened, first, second, images, in_all = run(code, folder, {**variables, "XDG_CACHE_HOME": str(cache)})
            # Our splits leave fewer to learn from than Keras takes: the first epoch is told by what was opened in it.
            seen[name].append((in_all / (opened + first), images / second))
    return {
        name: {"first_epoch": float(np.median([a for a, _ in rates])), "later": float(np.median([b for _, b in rates]))}
        for name, rates in seen.items()
    }


def memory(folder: Path, root: Path) -> dict[str, float]:
    """Bytes resident and seconds, in a process that reads the folder and draws 500 batches of it."""
    begin = perf_counter()
    names = ("empty", "loaded", "after", "peak", "seconds_to_open", "seconds_to_first_batch")
    found = dict(
        zip(names, run(MEMORY, folder, {"ZOO_MEMORY": "0", "XDG_CACHE_HOME": str(root / "cache")}), strict=True)
    )
    return {**found, "seconds": perf_counter() - begin}


def run(code: str, folder: Path, variables: dict[str, str]) -> list[float]:
    """What a process prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(BATCH)], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(number) for number in done.stdout.split()]


def show_throughput(found: dict[str, dict[str, float]]) -> None:
    print(f"{ORIGINALS:,} JPEG images of {SIDE}x{SIDE}, batches of {BATCH}; images a second, and as a ratio to Keras")
    for name, rates in found.items():
        told = (f"{rates[key]:9,.0f} ({rates[key] / found['keras'][key]:5.2f})" for key in ("first_epoch", "later"))
        print(f"{name:18} first epoch, start included {next(told)}   later epochs {next(told)}")


def show_memory(found: dict[str, float]) -> None:
    after, peak, empty = (found[name] / 2**20 for name in ("after", "peak", "empty"))
    print(
        f"{found['images']:9,} images: {after:5,.0f} MiB resident, at most {peak:5,.0f}, of which libraries "
        f"{empty:,.0f}; opened in {found['seconds_to_open']:,.1f} s, first batch "
        f"{found['seconds_to_first_batch']:.2f} s later",
        flush=True,
    )


if __name__ == "__main__":
    main()
