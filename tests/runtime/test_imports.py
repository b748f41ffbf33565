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
