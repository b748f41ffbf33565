"""Data sets with labels and class names, split in train, validation and test: `load("digits")`, `load("a/folder")`."""

from zoo.data import digits, fashion_mnist  # noqa: F401  (registers them)
from zoo.data.dataset import DataSet, Split
from zoo.data.registry import data_set, data_sets, load

__all__ = ["DataSet", "Split", "data_set", "data_sets", "load"]
