"""Which images a model learns from, and which are held out of its training, by its recipe's field `images`."""

from __future__ import annotations

from dataclasses import replace

from zoo.data.dataset import DataSet, Split
from zoo.data.splits import draw


def learned_images(data_set: DataSet, images: str) -> DataSet:
    """The data set as a training has it.

    images: "train": as it is. "all": the validation images are learned from, too; none are left to validate with.
    "most": as "all", but for those that are held out.
    """
    if images == "train":
        return data_set
    if images == "most":
        stays, _ = _halves(data_set.validation)
        return replace(data_set, validation=stays).without_validation()
    return data_set.without_validation()


def held_out(data_set: DataSet, images: str) -> Split | None:
    """The images that probabilities can be calibrated by: neither learned from, nor of the test set.

    images: as above. With "train" they are the validation images, by which at most the epoch was chosen. With "most"
    they are half of each class of these, drawn the same way each time, by which nothing was. None with "all", and
    where the data set has no validation images.
    """
    if images not in ("train", "most") or not len(data_set.validation):
        return None
    return data_set.validation if images == "train" else _halves(data_set.validation)[1]


def _halves(validation: Split) -> tuple[Split, Split]:
    """Those that are learned from, and those that are held out."""
    stays, drawn = draw(validation.labels, 0.5)
    return validation.take(stays), validation.take(drawn)
