"""What it costs that a training is safe from power cuts: the share of an epoch that waits for the disk.

    PYTHONPATH=. python benchmarks/syncing.py mlp-small conv-small --data digits --epochs 40 [--folder DIR] [--json]

Trains in a new folder, on the disk that is to be measured (--folder, by default the system's for temporary files), and
times each call that waits for it: in the training's own thread, which is what an epoch takes longer, and in the thread
that sends records to the store beside it. Both are in percent of the time from the first epoch to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from unittest import mock

SYNC = os.fsync


def main() -> None:
    parser = argparse.ArgumentParser(description="The share of an epoch that waits for the disk.")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.chdir(folder)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        found = {model: shares(model, options.data, options.epochs) for model in options.models}
        os.chdir("/")
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for model, each in found.items():
        print(
            f"{model:20} {each['seconds_per_epoch']:8.3f} s an epoch, of which the training waits for the disk "
            f"{each['waits_percent']:.2f} %, and a thread beside it {each['beside_percent']:.2f} %"
        )


def shares(model: str, data: str, epochs: int) -> dict[str, float]:
    """Train, and time what waits for the disk between the first epoch and the last."""
    from pipelines.training import train
    from pipelines.training.loop import checkpoint

    spans: list[tuple[bool, float, float]] = []  # in the training's thread, began, ended
    validated: list[float] = []

    def timed(file: Any) -> None:
        began = time.perf_counter()
        SYNC(file)
        spans.append((threading.current_thread() is threading.main_thread(), began, time.perf_counter()))

    def saved(state: checkpoint.Checkpoint, run_id: str) -> None:
        save(state, run_id)
        validated.append(time.perf_counter())

    save = checkpoint.save
    with mock.patch.object(os, "fsync", timed), mock.patch.object(checkpoint, "save", saved):
        settings = {"epochs": epochs, "least_updates": 0, "precision": "float32"}
        train.train(model, data, settings=settings)
    # The first checkpoint is that of the beginning, the next one comes after the first epochs, and what starts once.
    began, ended = validated[1], validated[-1]
    between = [span for span in spans if began <= span[1] and span[2] <= ended]
    waits, beside = (sum(end - begin for own, begin, end in between if own is main) for main in (True, False))
    trained = epochs * (len(validated) - 2) / (len(validated) - 1)
    return {
        "seconds_per_epoch": (ended - began) / trained,
        "waits_percent": 100 * waits / (ended - began),
        "beside_percent": 100 * beside / (ended - began),
    }


if __name__ == "__main__":
    main()
