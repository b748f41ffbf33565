"""How long an app waits for its first answer: a fresh interpreter imports, loads an export, classifies a PNG file.

    PYTHONPATH=. python benchmarks/cold_start.py [--model conv-small] [--rounds 5] [--json]

Against the same in bare onnxruntime with Pillow, and with Keras: import, load the .keras file, predict the same
image. All are whole processes, started in turns, and timed inside from the first line on; the interpreter's own
start is told beside it. Medians, and the shortest times: what a machine with nothing else to do would show.
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

from pipelines.core.provenance.weights import weights_sha256
from pipelines.exporting.export import write_export
from zoo.contract import PROBABILITIES, SAMPLES_FOLDER, Metadata
from zoo.data import load
from zoo.models import build, definition

OURS = """
from time import perf_counter
start = perf_counter()
import sys, zoo
print(zoo.load(sys.argv[1]).predict(sys.argv[2]).probability)
print(perf_counter() - start)
"""

BARE = """
from time import perf_counter
start = perf_counter()
import sys
import numpy, onnxruntime
from PIL import Image
pixels = numpy.asarray(Image.open(sys.argv[2]))[None, ..., None]
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
print(float(session.run(["probabilities"], {"images": pixels})[0].max()))
print(perf_counter() - start)
"""

KERAS = """
from time import perf_counter
start = perf_counter()
import sys
import keras, numpy
from PIL import Image
pixels = numpy.asarray(Image.open(sys.argv[2]))[None, ..., None]
print(float(keras.saving.load_model(sys.argv[1], compile=False).predict(pixels, verbose=0)["probabilities"].max()))
print(perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="The first answer of a fresh interpreter, ours against others'.")
    parser.add_argument("--model", default="conv-small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        export, saved = prepare(Path(folder), options.model)
        image = str(export / SAMPLES_FOLDER / "0.png")
        tasks = {"ours": (OURS, str(export)), "bare": (BARE, str(export)), "keras": (KERAS, str(saved))}
        seconds: dict[str, list[float]] = {name: [] for name in tasks}
        whole: dict[str, list[float]] = {name: [] for name in tasks}
        for _ in range(options.rounds + 1):
            answers = {}
            for name, (code, path) in tasks.items():
                begin = perf_counter()
                answers[name], inside = first_answer(code, path, image)
                whole[name].append(perf_counter() - begin)
                seconds[name].append(inside)
            if max(answers.values()) - min(answers.values()) > 1e-5:
                raise SystemExit(f"the answers differ, there is nothing to compare: {answers}")

    # The first round reads the files from disk: it isn't counted.
    median = {name: float(np.median(times[1:])) for name, times in seconds.items()}
    result: dict[str, Any] = {
        "model": options.model,
        "seconds": median,
        "seconds_of_process": {name: float(np.median(times[1:])) for name, times in whole.items()},
        "seconds_at_best": {name: min(times[1:]) for name, times in seconds.items()},
        "ratio": {name: median[name] / median["ours"] for name in ("bare", "keras")},
        "rounds": options.rounds,
    }
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, time in median.items():
        best, process = result["seconds_at_best"][name], result["seconds_of_process"][name]
        print(f"{name:6} {time:7.3f} s   (at best {best:7.3f} s; whole process {process:7.3f} s)")
    print("ratio  " + "  ".join(f"{name} {ratio:.1f}" for name, ratio in result["ratio"].items()))


def prepare(folder: Path, name: str) -> tuple[Path, Path]:
    """An export and a .keras file of the same untrained model."""
    digits = load("digits")
    model = build(name, digits.height, digits.width, digits.channels, digits.classes)
    answers = np.asarray(model.predict_on_batch(digits.test.inputs)[PROBABILITIES]).argmax(axis=1)
    metadata = Metadata(
        model=name,
        family=definition(name).family,
        data_set=digits.name,
        data_digest=digits.digest,
        labels=digits.labels,
        height=digits.height,
        width=digits.width,
        channels=digits.channels,
        recipe={},
        run_id="",
        commit="",
        weights_sha256=weights_sha256(model),
        test_accuracy=float((answers == digits.test.labels).mean()),
    )
    model.save(folder / "model.keras")
    return write_export(folder / digits.name / name, model, digits, metadata, {}).folder, folder / "model.keras"


def first_answer(code: str, path: str, image: str) -> tuple[float, float]:
    """The probability that a fresh interpreter finds, and the seconds that it took inside."""
    environment: dict[str, Any] = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", code, path, image], capture_output=True, text=True, check=True, env=environment
    )
    probability, seconds = done.stdout.split()[-2:]
    return float(probability), float(seconds)


if __name__ == "__main__":
    main()
