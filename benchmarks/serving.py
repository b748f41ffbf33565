"""Many threads that ask for one image each: calls as they come, against calls that are gathered into batches.

    PYTHONPATH=. python benchmarks/serving.py exports/fashion-mnist/conv-small exports/fashion-mnist/mlp-small
        [--clients 1 8 32] [--seconds 2] [--rounds 3] [--mlflow] [--json]

The ways, in turns within one run: a session whose calls share all cores, as onnxruntime has it by default; a session
whose calls take one core each (threads=1); and a gatherer before the former, which runs what came while the last batch
ran, or waits up to a latency bound for more. --mlflow adds `mlflow models serve` on the same file, one image a
request: over HTTP, as the others are not, so that its figure is what such a server makes of the model.

Images a second, and the median and the 95th percentile of what a caller waits, in milliseconds; medians of the
rounds. This is what decided that `zoo.load` gathers nothing: docs/providers.md has the metrics.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

import zoo
from zoo.contract import INPUT, MODEL_FILE, PROBABILITIES

Ask = Callable[[np.ndarray], Any]  # one image [H, W, C] uint8 -> its answer
LARGEST_BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description="Many small calls: as they come, or gathered into batches.")
    parser.add_argument("exports", nargs="+", metavar="EXPORT")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bound", type=float, nargs="+", default=[0.0, 2.0], help="ms that a gatherer waits for more")
    parser.add_argument("--mlflow", action="store_true", help="mlflow models serve, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    results = []
    for export in options.exports:
        shared, alone = zoo.load(export, "cpu"), zoo.load(export, "cpu", threads=1)
        gatherers = {f"gathered, {bound:g} ms": Gatherer(shared, bound / 1000) for bound in options.bound}
        with mlflow_server(Path(export), shared) if options.mlflow else nothing() as server:
            ways: dict[str, Ask] = {"as they come": shared.predict, "threads=1": alone.predict}
            ways |= {name: gatherer.predict for name, gatherer in gatherers.items()}
            ways |= {"mlflow models serve": server} if server else {}
            for clients in options.clients:
                results += measured(export, ways, shared, clients, options.seconds, options.rounds)
        for gatherer in gatherers.values():
            gatherer.close()
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for row in results:
        print(
            f"{row['export']:30} {row['clients']:3} clients  {row['way']:20} {row['images_per_second']:9,.0f}/s "
            f"({row['ratio']:5.2f})  median {row['median']:8.3f} ms  95 % {row['p95']:8.3f} ms"
        )


def measured(
    export: str, ways: dict[str, Ask], classifier: zoo.Classifier, clients: int, seconds: float, rounds: int
) -> list[dict[str, Any]]:
    """A row for each way; ratio: its images a second over those of the first."""
    shape = (64, classifier.height, classifier.width, classifier.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    waits: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, ask in ways.items():
            ask(images[0])
            times = load(ask, images, clients, seconds)
            rates[name].append(len(times) / seconds)
            waits[name].append(times)
    first = float(np.median(rates[next(iter(ways))]))
    return [
        {
            "export": export,
            "clients": clients,
            "way": name,
            "images_per_second": float(np.median(rates[name])),
            "ratio": float(np.median(rates[name])) / first,
            "median": float(np.median([np.median(times) for times in waits[name]])) * 1000,
            "p95": float(np.median([np.percentile(times, 95) for times in waits[name]])) * 1000,
        }
        for name in ways
    ]


def load(ask: Ask, images: np.ndarray, clients: int, seconds: float) -> np.ndarray:
    """What each call of so many threads took, in seconds; each asks again as soon as it has its answer."""
    end = perf_counter() + seconds
    taken: list[list[float]] = [[] for _ in range(clients)]

    def client(own: list[float], place: int) -> None:
        while (start := perf_counter()) < end:
            ask(images[(place + len(own)) % len(images)])
            own.append(perf_counter() - start)

    threads = [threading.Thread(target=client, args=(own, place)) for place, own in enumerate(taken)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return np.concatenate([np.array(own) for own in taken])


class Gatherer:
    """Runs single images in batches, as `zoo.load(..., batch="auto")` would: the best that we could write."""

    def __init__(self, classifier: zoo.Classifier, bound: float) -> None:
        """bound: seconds that the first image of a batch waits for others."""
        self._classifier, self._bound = classifier, bound
        self._waiting: queue.SimpleQueue[tuple[np.ndarray, Future[zoo.Prediction]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def predict(self, image: np.ndarray) -> zoo.Prediction:
        """The answer for one image [H, W, C], once its batch has run."""
        future: Future[zoo.Prediction] = Future()
        self._waiting.put((image, future))
        return future.result()

    def close(self) -> None:
        """Let the thread end after what waits."""
        self._waiting.put(None)
        self._thread.join()

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch, latest = [first], perf_counter() + self._bound
            while len(batch) < LARGEST_BATCH:
                left = latest - perf_counter()
                try:
                    more = self._waiting.get(timeout=left) if left > 0 else self._waiting.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._waiting.put(None)
                    break
                batch.append(more)
            predictions = self._classifier.predict_batch(np.stack([image for image, _ in batch]), LARGEST_BATCH)
            for (_, future), prediction in zip(batch, predictions, strict=True):
                future.set_result(prediction)


@contextmanager
def nothing() -> Iterator[None]:
    yield None


@contextmanager
def mlflow_server(export: Path, classifier: zoo.Classifier) -> Iterator[Ask]:
    """`mlflow models serve` on the export's file, and a call that posts one image to it as raw pixels."""
    import mlflow.onnx
    import onnx
    from mlflow.models import infer_signature

    images = np.zeros((1, classifier.height, classifier.width, classifier.channels), np.uint8)
    signature = infer_signature({INPUT: images}, {PROBABILITIES: classifier.probabilities(images)})
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        mlflow.onnx.save_model(
            onnx.load(export / MODEL_FILE),
            f"{folder}/model",
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
            signature=signature,
        )
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", f"{folder}/model", "-p", str(port)]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of uvicorn, which it starts
        environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
        with Path(folder, "log").open("w") as log:
            process = subprocess.Popen([*command, "--env-manager", "local"], env=environment, stdout=log, stderr=log)
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, Path(folder, "log"))

            def ask(image: np.ndarray) -> bytes:
                body = json.dumps({"inputs": {"images": image[np.newaxis].tolist()}}).encode()
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request) as answer:
                    return bytes(answer.read())

            yield ask
        finally:
            process.terminate()
            process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            sleep(0.2)
    raise SystemExit(f"mlflow models serve didn't start:\n{log.read_text()[-2000:]}")


if __name__ == "__main__":
    main()
