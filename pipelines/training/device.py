"""What a training computes on, in words; and why it isn't the GPU that is there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipelines.core.provenance.machine import card_names, describe_machine, training_threads
from zoo.models.backend import start_keras

EXTRA = "train-gpu"
SIGNS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")  # a driver of NVIDIA's; the last one under WSL


def device(precision: str) -> str:
    """Such as "NVIDIA H200 in mixed_bfloat16". precision: that layers compute in, as Keras calls it."""
    cards = card_names()
    if cards:
        return f"{' and '.join(cards)} in {precision}"
    threads = training_threads()
    return f"{describe_machine().processor} ({threads} thread{'s' if threads > 1 else ''}) in {precision}"


def unused_gpu() -> str:
    """Why a training doesn't use the NVIDIA GPU of this machine, and what to do; "" where it does, or there is none."""
    if card_names() or not has_gpu():
        return ""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and all(part.strip() in ("", "-1") for part in hidden.split(",")):
        return f"the NVIDIA GPU is hidden by CUDA_VISIBLE_DEVICES={hidden!r}: unset it to train there"
    start_keras()
    import tensorflow as tf

    built = "" if tf.test.is_built_with_cuda() else ", a build without CUDA"
    return (
        f"the NVIDIA GPU isn't used: TensorFlow {tf.__version__}{built} finds no CUDA that it can load; "
        f"pip install 'classifier-zoo[{EXTRA}]' brings it (Linux, also under WSL), and `nvidia-smi` shows whether the "
        "driver works"
    )


def has_gpu() -> bool:
    """Whether this machine has a driver for an NVIDIA GPU, whatever TensorFlow can use."""
    return any(Path(sign).exists() for sign in SIGNS) or shutil.which("nvidia-smi") is not None
