"""What it costs an epoch that its metrics are logged: on the training's own thread, and on the one that sends them.

    PYTHONPATH=.:benchmarks python benchmarks/records.py [--model conv-small] [--epochs 5] [--images 10000] [--server]

Both within one training, as shares of its epochs: the seconds that the training waits for `tracking.log_epoch`, which
puts a record on disk, and the processor seconds of the thread that hands it to the store, as if it took each of them
from the training. --server: to an `mlflow server` on this machine rather than to a database. --images: of an epoch,
noise of Fashion-MNIST's shape; the fewer, the shorter the epoch, and the larger the share.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from pipelines import tracking
from pipelines.tracking.outbox import sender as outbox
from pipelines.training.train import train
from zoo.data import DataSet, Split, data_set

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from processes import server
from servers import free_port


def main() -> None:
    parser = argparse.ArgumentParser(description="What logging costs an epoch.")
    parser.add_argument("--model", default="conv-small")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--server", action="store_true")
    options = parser.parse_args()

    @data_set("noise")
    def noise(folder: Any, on_progress: Any) -> DataSet:  # noqa: ARG001 (what every loader takes)
        random = np.random.default_rng(1)

        def split(count: int) -> Split:
            images = random.integers(0, 256, (count, 28, 28, 1), dtype=np.uint8)
            return Split(images, random.integers(0, 10, count), tuple(map(str, range(count))))

        return DataSet("noise", tuple("0123456789"), split(options.images), split(1000), split(100), True, "noise")

    waited: list[float] = []
    worked: list[float] = []
    log_epoch, send = tracking.log_epoch, outbox.send

    def log_epoch_timed(*arguments: Any) -> None:
        begin = time.perf_counter()
        log_epoch(*arguments)
        waited.append(time.perf_counter() - begin)

    def send_timed(run_id: str, journal: Any, **options: Any) -> int:
        epochs = [entry.record["kind"] == "metrics" for entry in journal.waiting()]
        begin = time.thread_time()
        count = send(run_id, journal, **options)
        if epochs and all(epochs):  # neither the start of a run nor its end
            worked.extend([(time.thread_time() - begin) / count] * count)
        return count

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.chdir(folder)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if options.server:
            stack.enter_context(server(folder / "server", port := free_port()))
            os.environ["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{port}"
        stack.enter_context(mock.patch.object(tracking, "log_epoch", log_epoch_timed))
        stack.enter_context(mock.patch.object(outbox, "send", send_timed))
        trained = train(options.model, "noise", settings={"epochs": options.epochs, "precision": "float32"})
        seconds = tracking.load_run(trained.run).history["seconds"][1:]  # the first compiles
        os.chdir("/")
    epoch = float(np.median(seconds))
    found = {
        "model": options.model,
        "store": "mlflow server" if options.server else "sqlite",
        "load": os.getloadavg()[0],
        "seconds_of_an_epoch": epoch,
        "waited": float(np.median(waited)) / epoch,
        "waited_at_most": max(waited) / epoch,
        "sender": float(np.median(worked)) / epoch,
        "together": (float(np.median(waited)) + float(np.median(worked))) / epoch,
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
