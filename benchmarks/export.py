"""What our graph passes are worth: the exported file against tf2onnx's plain one, on the same onnxruntime.

    PYTHONPATH=. python benchmarks/export.py [--models mlp-small conv-small] [--batch 64] [--threads 2] [--json]

Both files take raw uint8 pixels of 28x28x1 and give probabilities; ours could also resize. The two run in turns, so
that a busy machine disturbs both; a ratio is the median over rounds of tf2onnx's time divided by ours. "at best" is
the ratio of the shortest times: what a machine with nothing else to do would show.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import Any

import numpy as np
import onnxruntime

from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.exporting.convert import convert
from pipelines.inference.peers import plain_onnx
from zoo.contract import INPUT, PROBABILITIES
from zoo.models import build, definition, definitions
from zoo.models.backend import start_keras

SIDE, CHANNELS, CLASSES = 28, 1, 10


def main() -> None:
    parser = argparse.ArgumentParser(description="Exported files against tf2onnx's plain ones.")
    parser.add_argument("--models", nargs="+", default=[model.name for model in definitions()])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--threads", type=int, default=0, help="0: onnxruntime's choice")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each model and batch size")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    rows = [
        measured
        for name in options.models
        for measured in measure(name, options.batch, options.threads, options.seconds)
    ]
    if options.json:
        print(json.dumps({"onnxruntime": onnxruntime.__version__, "threads": options.threads, "rows": rows}, indent=1))
        return
    print(f"{'family':8}{'model':18}{'batch':>6}{'tf2onnx, ms':>14}{'ours, ms':>12}{'ratio':>8}{'at best':>9}")
    for row in rows:
        times = f"{row['tf2onnx_ms']:14.4f}{row['ours_ms']:12.4f}{row['ratio']:8.2f}{row['ratio_at_best']:9.2f}"
        print(f"{row['family']:8}{row['model']:18}{row['batch']:6}{times}")


def measure(name: str, batches: list[int], threads: int, seconds: float) -> list[dict[str, Any]]:
    start_keras().utils.set_random_seed(1)
    model = build(name, SIDE, SIDE, CHANNELS, CLASSES)
    random = np.random.default_rng(1)
    model.set_weights([w + random.normal(scale=0.01, size=w.shape) ** 2 for w in model.get_weights()])  # no zero biases
    plain, ours = (open_session(content, threads) for content in (plain_onnx(model), bytes_of(convert(model))))
    rows = []
    for batch in batches:
        images = random.integers(0, 256, (batch, SIDE, SIDE, CHANNELS), dtype=np.uint8)
        difference = np.abs(answer(plain, images) - answer(ours, images)).max()
        if difference > 1e-5:
            raise SystemExit(f"{name}: the two files differ by {difference}, there is nothing to compare")
        times = in_turns(plain, ours, images, seconds)  # [rounds, 2] seconds
        plain_ms, ours_ms = np.median(times, axis=0) * 1000
        rows.append(
            {
                "family": definition(name).family,
                "model": name,
                "batch": batch,
                "tf2onnx_ms": float(plain_ms),
                "ours_ms": float(ours_ms),
                "ratio": float(np.median(times[:, 0] / times[:, 1])),
                "ratio_at_best": float(times[:, 0].min() / times[:, 1].min()),
                "rounds": len(times),
            }
        )
    return rows


def bytes_of(converted: Any) -> bytes:
    return bytes(converted.SerializeToString())


def open_session(content: bytes, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def answer(session: Any, images: Any) -> Any:
    return session.run([PROBABILITIES], {INPUT: images})[0]


def in_turns(first: Any, second: Any, images: Any, seconds: float) -> Any:
    calls = [partial(answer, session, images) for session in (first, second)]
    rounds = seconds_in_turns(calls, 1_000_000, limit=seconds)[..., 0]
    return rounds[len(rounds) // 10 :]  # the first tenth warms up


if __name__ == "__main__":
    main()
