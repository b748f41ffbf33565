"""Images from a folder to the model: how fast, and in how much memory, however many there are.

    PYTHONPATH=. python benchmarks/data.py [--images 10000 100000 1000000] [--rounds 3] [--json]
    PYTHONPATH=. python benchmarks/data.py --images --photos 100000 --side 256 --rounds 1 [--folder FOLDER]

1. Throughput on one folder, side by side: `keras.utils.image_dataset_from_directory`, which decodes every image in
   every epoch, against ours, which opens each once (check, duplicates and splits are part of that), keeps the pixels,
   in memory or in a file, and draws batches of them. Each in a process of its own, in turns. Seconds of the processor
   stand beside: where others work on the machine, too, they are what to compare. What doesn't fit into memory (4 GiB)
   is read from a file alone.
2. Resident memory of a process that reads ever more images and draws batches of them, with ZOO_MEMORY=0, so that all
   of them are read from the file. Hard links to 10,000 images make the million.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

CLASSES = 10
ORIGINALS = 10_000
SIDE = 64  # pixels, of the throughput's images
IN_MEMORY = 4 * 2**30  # bytes
SMALL = 28  # of the memory's
BATCH = 128

# The pass that opens everything, then two epochs of batches. Printed: seconds of each, those of the processor up to the
# end of the first epoch, images in an epoch, images in all, and the most memory that was resident, in bytes.
OURS = """
import resource, sys, time
from pathlib import Path
import tensorflow as tf
from zoo.data import load
from zoo.data.batches import training_batches
from zoo.recipe import Recipe
start, begun = time.perf_counter(), time.process_time()
data = load(sys.argv[1])
opened = time.perf_counter() - start
recipe = Recipe(augmentation="none", batch_size=int(sys.argv[2]))
epochs, worked = [], []
stream = iter(training_batches(data.train, data.classes, recipe, mirrored=False, first_epoch=0, epochs=2))
for _ in range(2):
    start = time.perf_counter()
    for _ in range(len(data.train) // recipe.batch_size):
        next(stream)
    epochs.append(time.perf_counter() - start)
    worked.append(time.process_time() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(opened, *epochs, worked[0], len(data.train), sum(map(len, (data.train, data.validation, data.test))), peak)
"""

KERAS = """
import resource, sys, time
import keras
start, begun = time.perf_counter(), time.process_time()
side = int(sys.argv[3])
data = keras.utils.image_dataset_from_directory(
    sys.argv[1], image_size=(side, side), batch_size=int(sys.argv[2]), label_mode="categorical", verbose=False
)
opened = time.perf_counter() - start
epochs, worked = [], []
for _ in range(2):
    start = time.perf_counter()
    images = sum(len(images) for images, _ in data)
    epochs.append(time.perf_counter() - start)
    worked.append(time.process_time() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(opened, *epochs, worked[0], images, images, peak)
"""

MEMORY = """
import resource, sys, time
import tensorflow as tf
from zoo.data import load
from zoo.data.batches import training_batches
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
    parser.add_argument("--photos", type=int, default=ORIGINALS, metavar="N", help="images of the throughput")
    parser.add_argument("--side", type=int, default=SIDE, metavar="PIXELS")
    parser.add_argument("--folder", type=Path, help="where these lie already, or are made, and stay")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        result: dict[str, Any] = {}
        if options.rounds:
            photos = options.folder or root / "photos"
            if not photos.is_dir():
                make_images(photos, options.photos, options.side, "jpg")
            result["throughput"] = throughput(photos, options.photos, options.side, options.rounds, root)
            if not options.json:
                show_throughput(result["throughput"], options.photos, options.side)
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
    """Images with something to decode in them, no two alike: blots of color under noise."""
    for label in range(CLASSES):
        (folder / f"class {label}").mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as processes:
        starts = range(0, count, ORIGINALS // 10)
        done = [processes.submit(_make_some, folder, k, count, side, ending) for k in starts]
        for each in done:
            each.result()


def _make_some(folder: Path, start: int, count: int, side: int, ending: str) -> None:
    random = np.random.default_rng(start)
    noise = random.integers(-20, 21, (side + 64, side + 64, 3), dtype=np.int16)  # each image has another part of it
    for k in range(start, min(start + ORIGINALS // 10, count)):
        blots = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(blots).resize((side, side), Image.Resampling.BICUBIC), np.int16)
        row, column = random.integers(0, 64, 2)
        noisy = np.clip(image + noise[row : row + side, column : column + side], 0, 255).astype(np.uint8)
        path = folder / f"class {k % CLASSES}" / f"{k}.{ending}"
        Image.fromarray(noisy).convert("RGB" if ending == "jpg" else "L").save(path)


def link(folder: Path, many: Path, count: int) -> Path:
    """A folder of `count` hard links to the files of another, class by class."""
    for place in sorted(folder.iterdir()):
        originals = sorted(place.iterdir())
        (many / place.name).mkdir(parents=True)
        for k in range(count // CLASSES):
            os.link(originals[k % len(originals)], many / place.name / f"{k}{originals[0].suffix}")
    return many


def throughput(folder: Path, count: int, side: int, rounds: int, root: Path) -> dict[str, dict[str, float]]:
    """The median of the rounds: images a second of the first epoch with all before it, by the clock and by the
    processor's, and of one that follows; and the most memory.
    """
    tasks: dict[str, tuple[str, dict[str, str]]] = {"keras": (KERAS, {})}
    if count * side * side * 3 <= IN_MEMORY:
        tasks["ours, in memory"] = (OURS, {"ZOO_MEMORY": "4"})
    tasks["ours, from a file"] = (OURS, {"ZOO_MEMORY": "0"})
    seen: dict[str, list[tuple[float, ...]]] = {name: [] for name in tasks}
    for turn in range(rounds):
        for name, (code, variables) in tasks.items():
            cache = root / f"cache {turn} {name}"
            found = run(code, folder, {**variables, "XDG_CACHE_HOME": str(cache)}, side)
            opened, first, second, worked, images, in_all, peak = found
            # Our splits leave fewer to learn from than Keras takes: the first epoch is told by what was opened in it.
            seen[name].append((in_all / (opened + first), in_all / worked, images / second, peak))
            shutil.rmtree(cache, ignore_errors=True)
    names = ("first_epoch", "by_processor", "later", "peak")
    return {name: dict(zip(names, np.median(rates, axis=0).tolist(), strict=True)) for name, rates in seen.items()}


def memory(folder: Path, root: Path) -> dict[str, float]:
    """Bytes resident and seconds, in a process that reads the folder and draws 500 batches of it."""
    begin = perf_counter()
    names = ("empty", "loaded", "after", "peak", "seconds_to_open", "seconds_to_first_batch")
    found = dict(
        zip(names, run(MEMORY, folder, {"ZOO_MEMORY": "0", "XDG_CACHE_HOME": str(root / "cache")}), strict=True)
    )
    return {**found, "seconds": perf_counter() - begin}


def run(code: str, folder: Path, variables: dict[str, str], side: int = 0) -> list[float]:
    """What a process prints."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", **variables}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(BATCH), str(side)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(number) for number in done.stdout.split()]


def show_throughput(found: dict[str, dict[str, float]], count: int, side: int) -> None:
    print(f"{count:,} JPEG images of {side}x{side}, batches of {BATCH}; images a second, and as a ratio to Keras")
    columns = {"first_epoch": "first epoch, start included", "by_processor": "by processor", "later": "later epochs"}
    for name, rates in found.items():
        shown = (
            f"{what} {rates[key]:9,.0f} ({rates[key] / found['keras'][key]:5.2f})" for key, what in columns.items()
        )
        print(f"{name:18} {'   '.join(shown)}   at most {rates['peak'] / 2**20:,.0f} MiB")


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
