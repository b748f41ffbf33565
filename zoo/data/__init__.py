"""Data sets with labels and class names, in three splits: `load("digits")`, a folder, or a table with its label."""

from zoo.data import digits, fashion_mnist  # noqa: F401  (registers them)
from zoo.data.dataset import DataSet, Split
from zoo.data.registry import data_set, data_sets, load

__all__ = ["DataSet", "Split", "data_set", "data_sets", "load"]
