"""What a run was made with: the state of the code, the versions of the libraries, and the arithmetic of the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from pipelines.core.support.workers import usable_cores
from zoo.models.backend import start_keras

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ("classifier-zoo", "tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "mlflow", "numpy", "pillow")


@cache
def commit() -> str:
    """The git commit of this code, with "+changes" where its files differ from it; "" outside of its repository."""
    # An installed copy may lie inside somebody else's repository, whose commit says nothing about it.
    if _git("rev-parse", "--show-toplevel") != str(ROOT):
        return ""
    changes = _git("status", "--porcelain", "--untracked-files=no", "--", "zoo", "pipelines")
    return _git("rev-parse", "HEAD") + ("+changes" if changes else "")


def _git(*arguments: str) -> str:
    try:
        found = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


@cache
def versions() -> dict[str, str]:
    """Python's version and that of each library that has a part in the result; those not installed are left out."""
    return {"python": platform.python_version(), **versions_of(LIBRARIES)}


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """The version of each package; those not installed are left out."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class Machine:
    """What a timing was taken on. cores: those that this process may use. instructions: the wide ones that it has."""

    processor: str
    cores: int
    instructions: tuple[str, ...]
    system: str

    def __str__(self) -> str:
        """One line."""
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return ", ".join([self.processor, cores, *filter(None, [" ".join(self.instructions)]), self.system])


INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimd", "asimddp", "i8mm")


@cache
def describe_machine() -> Machine:
    """This machine, as far as its system says."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        cpuinfo = ""
    fields: dict[str, str] = dict(re.findall(r"^(.+?)[ \t]*: (.*)$", cpuinfo, re.MULTILINE))
    flags = fields.get("flags", fields.get("Features", "")).split()
    return Machine(
        processor=fields.get("model name", "") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        instructions=tuple(name for name in INSTRUCTIONS if name in flags),
        system=f"{platform.system()} {platform.machine()}",
    )


def training_threads() -> int:
    """How many threads TensorFlow splits one operation over: with another number it adds in another order."""
    start_keras()
    import tensorflow as tf

    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    return int(chosen or os.environ.get("TF_NUM_INTRAOP_THREADS") or usable_cores())


def card_names() -> tuple[str, ...]:
    """The graphics cards that TensorFlow can use; none where it trains on the processor."""
    return tuple(str(card.get("device_name", "unnamed")) for card in _graphics_cards())


def choose_precision(wanted: str) -> str:
    """The Keras dtype policy for a recipe's precision: for "auto" bfloat16 where the hardware multiplies it itself."""
    if wanted != "auto":
        return wanted
    return "mixed_bfloat16" if _has_bfloat16() else "float32"


def compiles_steps() -> bool:
    """Whether XLA is to compile the training step: on a processor it makes convolutions 1.6 times slower."""
    return bool(_graphics_cards())


@cache
def _has_bfloat16() -> bool:
    cards = _graphics_cards()
    if cards:
        return all(card.get("compute_capability", (0, 0)) >= (8, 0) for card in cards)  # from NVIDIA's Ampere on
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux: float32 is slower at worst
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@cache
def _graphics_cards() -> tuple[dict[str, Any], ...]:
    """What is known of each card that TensorFlow can use: its device_name and its compute_capability."""
    start_keras()
    import tensorflow as tf

    cards = tf.config.list_physical_devices("GPU")
    return tuple(tf.config.experimental.get_device_details(card) for card in cards)
