"""The arithmetic of docs/scale.md: images, gradients and workers in numbers that no machine here has.

    PYTHONPATH=. python benchmarks/scale.py

Prints the tables as they stand on the page, where tests look for them. What was measured is named with its source, what
is assumed is a constant below. Parameters are the registry's, multiply-accumulates those of the shipped exports.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from pipelines.search.storage import HEARTBEAT
from zoo.models import definitions
from zoo.models.registry import ModelDefinition

ROOT = Path(__file__).parents[1]
SHIPPED = ROOT / "exports" / "fashion-mnist"

# --- measured --------------------------------------------------------------------------------------------------------

# Processor microseconds for one image: docs/bulk.md and docs/data.md, where the machine and the command are named.
WORK: Mapping[str, float] = {
    "`zoo predict --out`, PNGs of 8x8, digits/softmax": 170,
    "`zoo predict --out`, JPEGs of 224x224, digits/softmax": 522,
    "reading, check and duplicates, JPEGs of 256x256": 1e6 / 866,
}
RATE, OF = 4_400, "conv-small"  # images a second that two cores train on: docs/training.md
PROCESSOR = 0.144  # seconds of a worker's processor for a trial that trains nothing: `sweep_overhead.py storage`
COMMITS = 20  # of a trial: three fields, ten reports, its process, its run and results, its beginning and end

# --- assumed ---------------------------------------------------------------------------------------------------------

IMAGES = 10**9
CORES = (64, 1_000)
NETWORKS = {"1 Gbit/s": 1.25e8, "10 Gbit/s": 1.25e9, "100 Gbit/s": 1.25e10}  # bytes a second that gradients get of it
LATENCY = 0.5e-3  # seconds that a step waits for others beside the transfer: collectives in turn, the slowest worker
GPU = 10e12  # operations a second that a large accelerator reaches on images this small, if it is kept busy
PAYS = 0.8  # of each worker's time that has to be computation
EPOCH = 60_000  # images


def main() -> None:
    for name, table in TABLES.items():
        print(f"## {name}\n\n{table()}\n")


def many_images() -> str:
    """Cores and hours for a billion images."""
    rows = []
    for what, microseconds in WORK.items():
        hours = microseconds * 1e-6 * IMAGES / 3600
        rows.append([what, f"{microseconds:,.0f} µs", f"{hours:,.0f}", *(f"{hours / cores:.2g} h" for cores in CORES)])
    return markdown(["", ">core time per image", ">core hours", *(f">on {cores:,} cores" for cores in CORES)], rows)


def gradients() -> str:
    """Bytes that each of two workers sends in a step, and how long they take."""
    rows = []
    for each in shipped():
        sent = bytes_of_a_step(each.name)
        times = (milliseconds(sent / network) for network in NETWORKS.values())
        rows.append([each.name, f"{parameters_of(each.name):,}", f"{sent / 1e3:,.0f} kB", *times])
    return markdown(["model", ">parameters", ">bytes per step", *(f">at {name}" for name in NETWORKS)], rows)


def efficiencies() -> str:
    """The share of computation in a step of two workers, and how many images a step needs for more of it."""
    rows = []
    for each in shipped():
        row = [each.name, str(each.recipe.batch_size)]
        for speed, network in workers().values():
            image = 6 * multiply_accumulates(each.name) / speed  # seconds
            waits = bytes_of_a_step(each.name) / NETWORKS[network] + LATENCY
            computes = each.recipe.batch_size / 2 * image
            needed = math.ceil(waits * PAYS / (1 - PAYS) / image)
            row += [f"{computes / (computes + waits):.0%}", significant(needed), minutes(EPOCH * image)]
        rows.append(row)
    columns = [
        column
        for name in workers()
        for column in (f">{name}: efficiency", f">images for {PAYS:.0%}", ">epoch on one worker")
    ]
    return markdown(["model", ">batch", *columns], rows)


def bytes_of_a_step(model: str) -> int:
    """Of float32. Each of two workers sends half of the gradients, then half of the sums; of many, twice as much."""
    return 4 * parameters_of(model)


def workers() -> dict[str, tuple[float, str]]:
    """Operations a second, and the network between two of them."""
    return {"two cores": (speed_of_cores(), "1 Gbit/s"), "a GPU": (GPU, "100 Gbit/s")}


def speed_of_cores() -> float:
    """Operations a second of two cores in training: a multiplication and an addition, forward once, backward twice."""
    return RATE * 6 * multiply_accumulates(OF)


def shipped() -> list[ModelDefinition]:
    """The models that have an export: what is counted here is in their files."""
    return [each for each in definitions() if (SHIPPED / each.name / "manifest.json").is_file()]


def parameters_of(model: str) -> int:
    """Of 28x28x1 and ten classes, as its docstring says and another test counts."""
    text = next(each for each in definitions() if each.name == model).architecture.__doc__ or ""
    found = re.search(r"28x28x1, K = 10: .+? = ([\d,]+) parameters", text, re.DOTALL)
    assert found, model
    return int(found[1].replace(",", ""))


def multiply_accumulates(model: str) -> int:
    """Of one image, as its shipped export says."""
    manifest = json.loads((SHIPPED / model / "manifest.json").read_text(encoding="utf-8"))
    return int(manifest["metrics"]["multiply_accumulates"])


# --- the storage of a sweep ------------------------------------------------------------------------------------------


def storage() -> str:
    """Commits a second that workers ask of it."""
    rows = []
    for length in (5, 60, 600):
        commits = COMMITS + length / HEARTBEAT
        rates = (f"{count * commits / length:,.1f}" for count in (10, 100, 1_000))
        rows.append([f"{length} s", f"{PROCESSOR / length:.2%}", *rates])
    return markdown(
        ["length of a trial", ">share of the storage", *(f">{count:,} workers" for count in (10, 100, 1_000))], rows
    )


# --- workers of a sweep ----------------------------------------------------------------------------------------------

REPEATS, SEED = 40, 1
# Of one trial, in trainings of its model that aren't cut short; random: uniform in 0..1.
LENGTHS: Mapping[str, Callable[[random.Random], float]] = {
    "equal": lambda _: 1.0,
    "two of three pruned": lambda r: 1.0 if r.random() < 1 / 3 else 0.2 + 0.3 * r.random(),
    "three models, 1 : 3 : 10": lambda r: (1.0, 3.0, 10.0)[int(3 * r.random())],
}


def idle_workers() -> str:
    """The share of all workers' time in which one waits for the others at the end."""
    rows = []
    for name, length in LENGTHS.items():
        for workers in (4, 10, 50):
            shares = [f"{idle_share(length, workers, per * workers):.0%}" for per in (2, 5, 20)]
            rows.append([name, str(workers), *shares])
    return markdown(["lengths of trials", ">workers", ">2 trials each", ">5 each", ">20 each"], rows)


def idle_share(length: Callable[[random.Random], float], workers: int, trials: int) -> float:
    """Each worker takes the next trial when it is free, as those of a sweep do; the mean of REPEATS sweeps."""
    chance = random.Random(SEED)  # the same table each time
    shares = []
    for _ in range(REPEATS):
        free = [0.0] * workers  # when each is, the next one first
        worked = 0.0
        for _ in range(trials):
            takes = length(chance)
            worked += takes
            heapq.heapreplace(free, free[0] + takes)
        shares.append(1 - worked / (workers * max(free)))
    return sum(shares) / REPEATS


# --- tables ----------------------------------------------------------------------------------------------------------


def milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.2g} ms"


def minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.2g} s"


def significant(count: int) -> str:
    """Two digits of it."""
    return f"{int(float(f'{count:.2g}')):,}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """head: ">" in front of a column whose cells are numbers."""
    lines = [" | ".join(name.removeprefix(">") for name in head)]
    lines.append(" | ".join("---:" if name.startswith(">") else "---" for name in head))
    return "\n".join(f"| {line} |" for line in [*lines, *(" | ".join(row) for row in rows)])


TABLES: Mapping[str, Callable[[], str]] = {
    "A billion images": many_images,
    "Gradients": gradients,
    "Efficiency": efficiencies,
    "Storage": storage,
    "Workers that wait": idle_workers,
}

if __name__ == "__main__":
    main()
