"""What a file's activation map costs those who don't ask for it: the exported file against the same one without it.

    PYTHONPATH=. python benchmarks/activation_map.py [exports/fashion-mnist/conv-tiny ...] [--batch 1 64] [--seconds 10]

Both give probabilities, in turns, on one thread, and processor time is counted, not the clock's, so that a busy machine
disturbs little. "twice" puts the file without it against itself: what the method can't tell apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time_ns

import numpy as np
import onnx
import onnxruntime

from pipelines.exporting.graph.edit import drop_unused
from zoo.contract import ACTIVATION_MAP, INPUT, MANIFEST_FILE, MODEL_FILE, PROBABILITIES, read_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description="Exported files with and without their activation maps.")
    parser.add_argument("exports", nargs="*", type=Path, help="default: all in exports/ that have a map")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--seconds", type=float, default=10.0, help="for each export and batch size")
    options = parser.parse_args()
    shipped = sorted(path.parent for path in Path("exports").glob(f"*/*/{MANIFEST_FILE}"))
    print(f"{'export':36}{'batch':>6}{'without, us':>14}{'with':>8}{'twice':>8}")
    for folder in options.exports or [each for each in shipped if read_manifest(each).map_size]:
        for batch in options.batch:
            without, ratio, twice = measure(folder, batch, options.seconds)
            print(f"{folder!s:36}{batch:6}{without:14.1f}{ratio:8.3f}{twice:8.3f}", flush=True)


def measure(folder: Path, batch: int, seconds: float) -> tuple[float, float, float]:
    """Microseconds of a call without the map, and the medians over rounds of both ratios to it."""
    model = onnx.load(folder / MODEL_FILE)
    whole = open_session(model)
    outputs = [output for output in model.graph.output if output.name != ACTIVATION_MAP]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    drop_unused(model.graph)
    sessions = [open_session(model), whole, open_session(model)]
    about = read_manifest(folder).metadata
    shape = (batch, about.height, about.width, about.channels)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    rounds: list[list[float]] = []
    end = perf_counter() + seconds
    while perf_counter() < end or len(rounds) < 10:
        rounds.append([time_of(session, images, calls=max(1, 16 // batch)) for session in sessions])
    plain, ratio, twice = (median(values) for values in zip(*((a, b / a, c / a) for a, b, c in rounds), strict=True))
    return plain, ratio, twice


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # which is the one that calls, and whose time is counted
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def time_of(session: onnxruntime.InferenceSession, images: np.ndarray, calls: int) -> float:
    """Microseconds of processor time for one call."""
    start = thread_time_ns()
    for _ in range(calls):
        session.run([PROBABILITIES], {INPUT: images})
    return (thread_time_ns() - start) / calls / 1000


if __name__ == "__main__":
    main()
