"""Runs exported files, with only NumPy, onnxruntime, and Pillow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zoo.runtime.classifier import Classifier
from zoo.runtime.loading import load
from zoo.runtime.prediction import Prediction

if TYPE_CHECKING:
    from zoo.runtime.explanation import Explanation

__all__ = ["Classifier", "Explanation", "Prediction", "load"]


def __getattr__(name: str) -> Any:
    """What explains, at its first use: it brings the decoder of files, which arrays don't need."""
    if name != "Explanation":
        raise AttributeError(f"module 'zoo.runtime' has no attribute {name!r}")
    from zoo.runtime.explanation import Explanation

    return Explanation
