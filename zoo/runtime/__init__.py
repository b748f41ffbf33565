"""Runs an exported file: numpy, onnxruntime and Pillow, nothing else."""

from zoo.runtime.classifier import Classifier, Prediction
from zoo.runtime.explanation import Explanation
from zoo.runtime.loading import load

__all__ = ["Classifier", "Explanation", "Prediction", "load"]
