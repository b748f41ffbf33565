"""Mutated exports through load, predict and explain: `python tests/runtime/mutated_exports.py` tries 10,000 of them.

Each mutant is made from its number alone. It runs in a process of its own, several one after the other, which is
started again behind one that ends it: a crash. One that takes more than LIMIT seconds of the processor is a hang, and
whatever is raised that isn't a ZooError is an untyped error. All three are failures; memory is limited to MEMORY.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parent / "fixture"
BASES = ("digits/softmax", "digits/pooled", "tinted-digits/softmax", "wine/softmax")
LIMIT = 20  # seconds of the processor for one mutant: one that isn't damaged takes 0.02
MEMORY = 8 * 2**30  # bytes of address space
FAILURES = ("crash", "hang", "untyped error")

# What is put in the place of a value of a manifest.
HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 10**400, 1e308, -1e308, 0.5, "", "x", "\x1b[31m", "\n", "..", "x" * 5000, [], {}, [[]],
    {"": None}, ["a", "a"], "../../etc/passwd", "/dev/zero", "NaN", [1], {"x": 1e308},
)  # fmt: skip


def mutant(number: int, folder: Path) -> Path:
    """Make the mutant of that number in a folder. Returns what `zoo.load` is given: an export's folder, or a file."""
    random_ = random.Random(number)
    export = shutil.copytree(FIXTURE / random_.choice(BASES), folder / "export")
    model, manifest = export / "model.onnx", export / "manifest.json"
    what = random_.random()
    if what < 0.75:
        model.write_bytes(_mutated(model.read_bytes(), random_))
        if what < 0.5:
            return model
        found = json.loads(manifest.read_text(encoding="utf-8"))  # as somebody does who wants it to be loaded
        entry = next(file for file in found["files"] if file["path"] == model.name)
        entry["size"], entry["sha256"] = model.stat().st_size, hashlib.sha256(model.read_bytes()).hexdigest()
        found.get("metrics", found.get("figures"))["size"] = float(entry["size"])
        manifest.write_text(json.dumps(found), encoding="utf-8")
    elif what < 0.85:
        manifest.write_bytes(_mutated(manifest.read_bytes(), random_))
    else:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        for _ in range(random_.choice((1, 1, 2))):
            holder, key = random_.choice(list(_places(found)))
            holder[key] = random_.choice(HOSTILE)
        manifest.write_text(json.dumps(found), encoding="utf-8")
    return export


def _places(found: Any) -> Iterator[tuple[Any, Any]]:
    """(object or list, key or index) of every value in a JSON document."""
    for key, value in list(found.items() if isinstance(found, dict) else enumerate(found)):
        yield found, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def _mutated(content: bytes, random_: random.Random) -> bytes:
    """The content with one to three changes, most of them single bits, and outside of the weights."""
    changed = bytearray(content)
    for _ in range(random_.choice((1, 1, 1, 2, 3))):
        if not changed:
            break
        place = _place(changed, random_)
        length = random_.choice((1, 2, 8, 60))
        other = _place(changed, random_)
        match random_.choice((*[0] * 9, 1, 1, 1, 2, 3, 4, 5, 6)):
            case 0:
                changed[place] ^= 1 << random_.randrange(8)
            case 1:
                changed[place] = random_.choice((0, 1, 127, 128, 255))
            case 2:
                del changed[place : place + length]
            case 3:
                changed[place:place] = changed[other : other + length]
            case 4:
                changed[place : place + length] = changed[other : other + length]
            case 5:
                changed[place : place + length] = random_.randbytes(length)
            case 6:
                del changed[random_.randrange(len(changed)) :]
    return bytes(changed)


def _place(content: bytearray, random_: random.Random) -> int:
    """A place in the content: more often than not one near text, where names, types and metadata are."""
    place = random_.randrange(len(content))
    for _ in range(200 * (random_.random() < 0.7)):
        near = content[max(0, place - 6) : place + 6]
        if sum(chr(byte).isascii() and chr(byte).isalnum() for byte in near) > 6:
            break
        place = random_.randrange(len(content))
    return place


def outcome(number: int) -> tuple[str, str]:
    """What came of a mutant, and the error in words."""
    import numpy as np

    import zoo

    with tempfile.TemporaryDirectory() as temporary:
        path = mutant(number, Path(temporary))
        try:
            classifier = zoo.load(path, provider="cpu", threads=1)
        except zoo.ZooError as error:
            return "refused at load", _checked(error)
        except Exception as error:
            return "untyped error", f"load: {error!r}"
        try:
            if classifier.columns:
                classifier.predict(dict.fromkeys(column.name for column in classifier.columns))
            else:
                for size in ((classifier.height, classifier.width), (5, 7)):
                    image = np.zeros((*size, classifier.channels), np.uint8)
                    classifier.predict(image)
                    if classifier.map_size:
                        classifier.explain(image).draw()
        except zoo.ZooError as error:
            return "refused when asked", _checked(error)
        except Exception as error:
            return "untyped error", f"predict: {error!r}"
    return "answered", ""


def _checked(error: Exception) -> str:
    text = str(error)
    assert text.isprintable(), text
    assert len(text) <= 2000, len(text)
    return text


def _child(first: int, last: int) -> None:
    """A line of JSON for each mutant, and before it its number."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process, inside of onnxruntime, too
    for number in range(first, last):
        print(number, flush=True)
        signal.setitimer(signal.ITIMER_PROF, LIMIT)
        print(json.dumps(outcome(number)), flush=True)
        signal.setitimer(signal.ITIMER_PROF, 0)


def outcomes(first: int, last: int) -> Iterator[tuple[int, str, str]]:
    """(number, outcome, error in words) of the mutants from `first` to before `last`."""
    while first < last:
        command = [sys.executable, __file__, "--child", str(first), str(last)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
        ) as child:
            assert child.stdout is not None
            assert child.stderr is not None
            line = ""
            for line in child.stdout:
                if line.startswith("["):
                    yield first, *json.loads(line)
                    first += 1
            written = child.stderr.read()
        if written and child.returncode == 0:
            yield first - 1, "untyped error", f"standard error has {written[:300]!r}"
        if child.returncode:
            if line.startswith("["):
                raise RuntimeError(f"no mutant was begun: {written}")
            hang = child.returncode == -signal.SIGPROF
            yield first, "hang" if hang else "crash", f"exit code {child.returncode}: {written[-300:]}"
            first += 1


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--child", type=int, nargs=2)
    options = parser.parse_args()
    if options.child:
        _child(*options.child)
        return 0
    counted: Counter[str] = Counter()
    for number, what, words in outcomes(options.first, options.first + options.count):
        counted[what] += 1
        if what in FAILURES:
            print(f"mutant {number}: {what}: {words}", flush=True)
    import onnxruntime

    print(f"onnxruntime {onnxruntime.__version__}: {sum(counted.values()):,} mutants")
    for what, count in counted.most_common():
        print(f"{count:7,} {what}")
    return int(any(counted[what] for what in FAILURES))


if __name__ == "__main__":
    sys.exit(main())
