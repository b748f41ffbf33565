"""Runs exported files, with only NumPy, onnxruntime, and Pillow."""

from zoo.runtime.classifier import Classifier
from zoo.runtime.explanation import Explanation
from zoo.runtime.loading import load
from zoo.runtime.prediction import Prediction

__all__ = ["Classifier", "Explanation", "Prediction", "load"]
