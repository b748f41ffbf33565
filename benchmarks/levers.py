"""What each change to a model's recipe brings: validation accuracy, beside that of the recipe as it is.

    PYTHONPATH=. python benchmarks/levers.py [--model conv-tiny] [--seeds 3] [--only "" epochs=90 average=ema]
        [--epochs 15] [--results FOLDER] [--table]

A lever is a set of fields, trained with each seed, whole, on the training split; the validation images, from which no
training learns, are the judge, and the test images have no part in it. A difference is that of trainings with the same
seed, its mean with a 95 % t-interval; the cost is processor time over the recipe's own. What the folder of results
holds isn't trained again, so that several of these can share the work, and one that was interrupted goes on.
--epochs trains all for fewer: what helps then need not help in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from time import process_time
from typing import Any

from pipelines.core.metrics.intervals import mean_interval
from pipelines.core.support.atomic import atomic_file
from pipelines.training.train import train
from zoo.recipe import parse_settings

DATA = "fashion-mnist"
AS_IT_IS = ""  # the recipe's own fields
LEVERS = (
    AS_IT_IS,
    "epochs=90",
    "learning_rate=0.002",
    "learning_rate=0.008",
    "batch_size=64",
    "batch_size=256",
    "weight_decay=0.01",
    "warmup=0.02",
    "optimizer=adamw learning_rate=0.002",
    "average=ema",
    "average=last",
    "label_smoothing=0.05",
    "mixup=0.1",
    "cutmix=0.2",
    "augmentation=none",
    "augmentation=strong",
    "normalize=none",
    "degrade=0.25",
    "teacher=fashion-mnist/wide-resnet-small",
)


@dataclass(frozen=True)
class Measured:
    """One training. accuracy: of the validation images, 0..1. work: its seconds of the processor."""

    accuracy: float
    work: float


def main() -> None:
    parser = argparse.ArgumentParser(description="What each change to a recipe brings.")
    parser.add_argument("--model", default="conv-tiny")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--only", nargs="+", default=list(LEVERS), metavar="LEVER", help='settings, such as "epochs=90"'
    )
    parser.add_argument("--epochs", type=int, help="of all trainings, but for levers that have their own")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results/levers"))
    parser.add_argument("--table", action="store_true", help="only: what was measured, as Markdown")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("an interval needs two seeds at least")
    folder, seeds = options.results.resolve() / options.model, range(1, options.seeds + 1)
    common: dict[str, Any] = {"images": "train"}
    if options.epochs:
        folder, common = folder / f"{options.epochs} epochs", {**common, "epochs": options.epochs}
    if not options.table:
        for seed in seeds:
            for lever in options.only:
                measure(options.model, lever, seed, common, folder)
    print(table({lever: read(folder, lever, seeds) for lever in (AS_IT_IS, *LEVERS, *options.only)}))


def measure(model: str, lever: str, seed: int, common: Mapping[str, Any], folder: Path) -> None:
    """By a training in a store of its own, unless it was before."""
    path = path_of(folder, lever, seed)
    if path.is_file():
        return
    home, worked = Path.cwd(), process_time()
    settings = {**common, **parse_settings(lever.split()), "seed": seed}
    if "teacher" in settings:
        settings["teacher"] = str(home / "exports" / settings["teacher"])
    with tempfile.TemporaryDirectory() as store:
        os.chdir(store)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        accuracy = train(model, DATA, settings=settings).validation_accuracy
        os.chdir(home)
    found = {"accuracy": accuracy, "work": process_time() - worked}
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(found), encoding="utf-8")
    print(f"{model}, {lever or 'as it is'}, seed {seed}: {accuracy:.2%}", file=sys.stderr, flush=True)


def path_of(folder: Path, lever: str, seed: int) -> Path:
    name = lever.replace(" ", ",").replace("/", "-") or "as-it-is"
    return folder / f"{name}-{seed}.json"


def read(folder: Path, lever: str, seeds: Sequence[int]) -> dict[int, Measured]:
    """By seed, what was measured."""
    paths = {seed: path_of(folder, lever, seed) for seed in seeds}
    return {
        seed: Measured(**json.loads(path.read_text(encoding="utf-8"))) for seed, path in paths.items() if path.is_file()
    }


def table(found: Mapping[str, Mapping[int, Measured]]) -> str:
    """Markdown, the best lever first; those without two seeds are left out."""
    base = found[AS_IT_IS]
    lines = ["| lever | validation accuracy | gain in points | CPU time |", "|---|---:|---:|---:|"]
    rows = []
    for lever, trained in found.items():
        shared = [seed for seed in trained if seed in base]
        if lever == AS_IT_IS or len(shared) < 2:
            continue
        gains = [100 * (trained[seed].accuracy - base[seed].accuracy) for seed in shared]
        low, high = mean_interval(gains)
        accuracy = fmean(trained[seed].accuracy for seed in shared)
        cost = fmean(trained[seed].work for seed in shared) / fmean(base[seed].work for seed in shared)
        gain = f"{fmean(gains):+.2f} ({low:+.2f} to {high:+.2f})"
        rows.append((fmean(gains), f"| `{lever}` | {accuracy:.2%} | {gain} | {cost:.2f} × |"))
    if base:
        accuracy, work = fmean(each.accuracy for each in base.values()), fmean(each.work for each in base.values())
        lines.append(f"| the recipe as it is | {accuracy:.2%} | | {work:,.0f} s |")
    return "\n".join([*lines, *(row for _, row in sorted(rows, reverse=True))])


if __name__ == "__main__":
    main()
