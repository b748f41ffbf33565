"""How long `zoo runs` takes over 10,000 trainings in one store, start of Python included.

    python benchmarks/runs.py [--runs 10000] [--rounds 5]

The store is made by MLflow; its rows are written by SQL, since MLflow would take ten minutes: for each run what a
training of ours leaves, 30 metrics, 30 parameters and 10 tags, and 20 epochs of history.
"""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from pipelines.tracking.store import open_client
from zoo.recipe import Recipe

MODELS = ("softmax", "mlp-small", "conv-small", "lenet5", "resnet20")
EPOCHS = 20
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds")
METRICS = (
    *HISTORY,
    *("parameters", "multiply_accumulates", "best_epoch", "best_validation_accuracy", "latency", "export_size"),
    *("test_accuracy", "test_accuracy_low", "test_accuracy_high", "test_loss", "test_top3", "test_images"),
    *(f"benchmark/cpu-float32/batch-{batch}/{name}" for batch in (1, 8, 64) for name in ("median", "p95", "p99")),
    *("largest_difference", "same_top_class", "test_calibration_error"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        began = time.perf_counter()
        fill(Path(folder) / "mlflow.db", options.runs)
        size = (Path(folder) / "mlflow.db").stat().st_size
        print(f"{options.runs:,} runs in {time.perf_counter() - began:.0f} s, {size / 1e6:,.0f} MB")
        for arguments in (
            [],
            ["--where", "test_accuracy>90%", "--sort", "test_accuracy"],
            ["--where", "seed=7", "--model", "lenet5", "--json"],
            ["--json", "--most", str(options.runs)],
        ):
            seconds = [timed(arguments) for _ in range(options.rounds)]
            told = ", ".join(f"{each:.2f}" for each in sorted(seconds))
            print(f"zoo runs {' '.join(arguments):<60} median {median(seconds):.2f} s ({told})")


def timed(arguments: list[str]) -> float:
    """Seconds of wall clock of a command of its own."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pipelines.cli", "runs", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def fill(path: Path, count: int) -> None:
    """Write that many runs into a new store."""
    with open_client() as client:
        experiment = int(client.create_experiment("fashion-mnist"))
    drawn = random.Random(0)
    recipe = Recipe().to_json()
    with sqlite3.connect(path) as database:
        for k in range(count):
            run, began = f"{drawn.getrandbits(128):032x}", 1_700_000_000_000 + 60_000 * k
            model = drawn.choice(MODELS)
            tags = {"model": model, "family": "conv", "data_set": "fashion-mnist", "fingerprint": run, "commit": run}
            tags |= {"data_digest": run, "mlflow.source.name": "zoo train", "mlflow.source.type": "LOCAL"}
            tags |= {"mlflow.runName": model, "mlflow.note.content": "a description " * 100}
            params = {**recipe, "model": model, "data": "fashion-mnist", "size": "28x28x1", "seed": k % 100}
            metrics = {name: drawn.random() for name in METRICS}
            metrics |= {"parameters": drawn.randrange(10**6), "export_size": drawn.randrange(10**7)}
            database.execute(
                "INSERT INTO runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id)"
                " VALUES (?, ?, 'FINISHED', ?, ?, 'active', ?)",
                (run, model, began, began + 50_000, experiment),
            )
            insert(database, "tags", [(run, key, value) for key, value in tags.items()], "run_uuid, key, value")
            values = [(run, key, str(value)) for key, value in params.items()]
            insert(database, "params", values, "run_uuid, key, value")
            latest = [(run, key, value, began, 0, False) for key, value in metrics.items()]
            insert(database, "latest_metrics", latest, "run_uuid, key, value, timestamp, step, is_nan")
            by_epoch = [
                (run, key, drawn.random(), began + 1000 * epoch, epoch, False)
                for key in HISTORY
                for epoch in range(EPOCHS)
            ]
            insert(database, "metrics", by_epoch, "run_uuid, key, value, timestamp, step, is_nan")


def insert(database: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]], columns: str) -> None:
    marks = ", ".join("?" * len(rows[0]))
    database.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)


if __name__ == "__main__":
    main()
