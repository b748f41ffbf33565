"""How long an app waits for its first answer: a fresh interpreter imports, loads an export, classifies one image.

    PYTHONPATH=. python benchmarks/cold_start.py [--export exports/fashion-mnist/conv-small] [--rounds 15] [--json]
    PYTHONPATH=. python benchmarks/cold_start.py --keras [--model conv-small] [--rounds 5]
    PYTHONPATH=. python benchmarks/cold_start.py --imports

1. `zoo.load(...).predict(array)` against bare onnxruntime with NumPy alone, and of a PNG file against bare onnxruntime
   with Pillow. --keras: of an untrained model that is exported first, with Keras beside it.
2. --imports: what ours imports beyond bare onnxruntime with NumPy, a module a line, with its microseconds
   (`-X importtime`).

All are whole processes, started in turns, and timed inside from the first line on, by the clock and by the processor's
seconds, which others on the machine lengthen less. They run as an installed package does: from bytecode, and without
what an editable installation imports at the start (-S). The first round isn't counted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from zoo.contract import PROBABILITIES, SAMPLES_FOLDER, read_manifest

TIMED = """
from time import perf_counter, process_time
start, begun = perf_counter(), process_time()
import sys
{code}
print(perf_counter() - start, process_time() - begun)
"""

OURS_ARRAY = """
import zoo, numpy
image = numpy.zeros(eval(sys.argv[3]), numpy.uint8)
print(zoo.load(sys.argv[1]).predict(image).probability)
"""

BARE_ARRAY = """
import numpy, onnxruntime
image = numpy.zeros(eval(sys.argv[3]), numpy.uint8)
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
print(float(session.run(["probabilities"], {"images": image[None]})[0].max()))
"""

OURS_FILE = """
import zoo
print(zoo.load(sys.argv[1]).predict(sys.argv[2]).probability)
"""

BARE_FILE = """
import numpy, onnxruntime
from PIL import Image
pixels = numpy.asarray(Image.open(sys.argv[2]))
pixels = pixels.reshape(1, *pixels.shape[:2], -1)
session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx", providers=["CPUExecutionProvider"])
print(float(session.run(["probabilities"], {"images": pixels})[0].max()))
"""

KERAS = """
import keras, numpy
from PIL import Image
pixels = numpy.asarray(Image.open(sys.argv[2]))[None, ..., None]
model = keras.saving.load_model(sys.argv[1] + "/../../model.keras", compile=False)
print(float(model.predict(pixels, verbose=0)["probabilities"].max()))
"""

TASKS = {"array": OURS_ARRAY, "bare, array": BARE_ARRAY, "file": OURS_FILE, "bare, file": BARE_FILE}


def main() -> None:
    parser = argparse.ArgumentParser(description="The first answer of a fresh interpreter, ours against others'.")
    parser.add_argument("--export", type=Path, default=Path("exports/fashion-mnist/conv-small"))
    parser.add_argument("--keras", action="store_true", help="beside Keras, of an untrained --model")
    parser.add_argument("--model", default="conv-small")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--imports", action="store_true", help="what ours imports beyond the bare one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        export = prepare(Path(folder), options.model) if options.keras else options.export
        about = read_manifest(export).metadata
        given = [str(export), str(export / SAMPLES_FOLDER / "0.png"), f"{about.height, about.width, about.channels}"]
        if options.imports:
            print_imports(given, folder)
            return
        result = measure({**TASKS, **({"keras, file": KERAS} if options.keras else {})}, given, options.rounds, folder)
    result["export"] = f"{about.data_set}/{about.model}"
    if options.json:
        print(json.dumps(result, indent=1))
        return
    for name, seconds in result["seconds"].items():
        print(f"{name:12} {1000 * seconds:7.1f} ms   processor {1000 * result['processor'][name]:7.1f} ms")
    for what in ("ratio", "ratio_by_processor"):
        print(f"{what:20} " + "  ".join(f"{name} {ratio:.2f}" for name, ratio in result[what].items()))


def measure(tasks: dict[str, str], given: list[str], rounds: int, folder: str) -> dict[str, Any]:
    """Medians of seconds by the clock and by the processor's, and what ours take of those that are bare."""
    seconds: dict[str, list[list[float]]] = {name: [] for name in tasks}
    for _ in range(rounds + 1):
        answers: dict[str, float] = {}
        for name, code in tasks.items():
            answer, *spent = map(float, run(TIMED.replace("{code}", code), given, folder).stdout.split()[-3:])
            answers[name] = answer
            seconds[name].append(spent)
        for kind in ("array", "file"):
            same = [answer for name, answer in answers.items() if name.endswith(kind)]
            if max(same) - min(same) > 1e-5:
                raise SystemExit(f"the answers differ, there is nothing to compare: {answers}")
    # The first round reads the files from disk, and compiles: it isn't counted.
    clock, processor = (
        {name: float(np.median([spent[k] for spent in times[1:]])) for name, times in seconds.items()} for k in (0, 1)
    )
    ratios = [{kind: of[kind] / of[f"bare, {kind}"] for kind in ("array", "file")} for of in (clock, processor)]
    return {
        "seconds": clock,
        "processor": processor,
        "ratio": ratios[0],
        "ratio_by_processor": ratios[1],
        "rounds": rounds,
    }


def print_imports(given: list[str], folder: str) -> None:
    """What ours imports for an array beyond what NumPy and onnxruntime do, in the order of their ends."""
    times: dict[str, dict[str, int]] = {}
    for name in ("array", "bare, array"):
        for _ in range(2):  # the first compiles
            told = run("import sys\n" + TASKS[name], given, folder, "-X", "importtime").stderr
            lines = re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", told, re.MULTILINE)
            times[name] = {module: int(own) for own, module in lines}
    own = {module: time for module, time in times["array"].items() if module not in times["bare, array"]}
    for module, time in own.items():
        print(f"{time:7,} us  {module}")
    print(f"{sum(own.values()):7,} us  in all, beside {sum(times['bare, array'].values()):,} of the bare one")


def run(code: str, given: list[str], folder: str, *flags: str) -> subprocess.CompletedProcess[str]:
    """Code in an interpreter of its own, from bytecode that is kept in the folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), *sys.path])),
        "PYTHONPYCACHEPREFIX": str(Path(folder, "bytecode")),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    command = [sys.executable, "-S", *flags, "-c", code, *given]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done


def prepare(folder: Path, name: str) -> Path:
    """An export of an untrained model, and its model.keras in the folder."""
    from pipelines.core.provenance.weights import weights_sha256
    from pipelines.exporting.export import write_export
    from zoo.contract import Metadata
    from zoo.data import load
    from zoo.models import build, definition

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
    return write_export(folder / digits.name / name, model, digits, metadata, {}).folder


if __name__ == "__main__":
    main()
