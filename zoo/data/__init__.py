"""Data sets with labels and class names, in three splits: `load("digits")`, a folder, or a table with its label."""

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set, data_sets, load
from zoo.data.splits import draw_splits
from zoo.discovery import import_modules

__all__ = ["DataSet", "Progress", "Split", "data_set", "data_sets", "draw_splits", "load"]

import_modules("zoo.data.known")  # each registers its data set
