"""What a fresh interpreter imports, and what it costs an app."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TRAINING = {"tensorflow", "keras", "tf2onnx", "onnx", "mlflow", "matplotlib", "sklearn", "rich"}
RUNTIME = {"numpy", "PIL", "onnxruntime"}


def fresh(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in an interpreter of its own that finds the same packages."""
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True, env=paths)


def imported(code: str) -> set[str]:
    """The top-level packages that running the code imports, as -X importtime lists them."""
    told = fresh(code, "-X", "importtime").stderr
    return {line.partition(".")[0] for line in re.findall(r"^import time:.*\| +(\S+)$", told, re.MULTILINE)}


def test_importing_zoo_imports_no_package_but_itself() -> None:
    packages = imported("import zoo")
    assert "zoo" in packages
    assert not packages & (TRAINING | RUNTIME)


def test_answering_imports_nothing_of_training(digits: Path) -> None:
    image = digits / "samples" / "3.png"
    packages = imported(f"import zoo; zoo.load({str(digits)!r}).predict({str(image)!r})")
    assert packages >= RUNTIME
    assert not packages & TRAINING


# What reads files and tables, batches, draws sets, explains, or waits: an array needs none of it, and an app would wait
# 15 ms.
OF_OTHERS = {
    *("csv", "glob", "pathlib", "random", "threading", "numpy.typing"),
    *("zoo.formats", "zoo.images", "zoo.jxl", "zoo.tables", "zoo.contract.columns"),
    *("zoo.runtime.batches", "zoo.runtime.explanation", "zoo.runtime.label_sets"),
}


def test_an_array_waits_for_nothing_but_numpy_and_onnxruntime(digits: Path) -> None:
    code = f"""
import sys
import numpy, onnxruntime
before = set(sys.modules)
import zoo
zoo.load({str(digits)!r}).predict(numpy.zeros((8, 8), numpy.uint8))
print(*sorted(set(sys.modules) - before))
"""
    added = set(bare(code).split())  # without what this folder's installation imports
    assert "zoo.runtime" in added
    assert not added & (OF_OTHERS | {"PIL"})
    assert {name.partition(".")[0] for name in added} <= {"zoo", "dataclasses", "copy", "hashlib", "json", *BUILT_IN}


def test_a_file_waits_for_nothing_but_pillow_besides(digits: Path) -> None:
    code = f"""
import sys
import numpy, onnxruntime, PIL.Image
PIL.Image.open({str(digits / "samples" / "3.png")!r})
before = set(sys.modules)
import zoo
zoo.load({str(digits)!r}).predict({str(digits / "samples" / "3.png")!r})
print(*sorted(set(sys.modules) - before))
"""
    added = set(bare(code).split())
    assert "zoo.images" in added
    assert not added & (OF_OTHERS - {"zoo.formats", "zoo.images", "zoo.jxl"})


# Of the standard library: what hashlib, json and copy bring, and what is a part of the interpreter.
BUILT_IN = {"_hashlib", "_blake2", "_sha2", "_json", "org", "copyreg", "keyword", *sys.builtin_module_names}


def bare(code: str) -> str:
    """What code prints in an interpreter that imports nothing at its start."""
    return fresh(code, "-S").stdout


def test_without_onnxruntime_one_sentence_says_what_to_install(digits: Path) -> None:
    code = f"""
import sys
sys.modules["onnxruntime"] = None  # as Python itself marks a package that isn't to be found
import zoo
try:
    zoo.load({str(digits)!r})
except zoo.MissingExtraError as error:
    print(error)
"""
    assert re.search(r"pip install '.*\[cpu\]'", fresh(code).stdout)
