"""Data sets with labels and class names, in three splits: `load("digits")`, a folder, or a table with its label."""

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import data_set, data_sets, load
from zoo.discovery import import_modules

__all__ = ["DataSet", "Split", "data_set", "data_sets", "load"]

import_modules("zoo.data.known")  # each registers its data set
