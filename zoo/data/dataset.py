"""What a data set is: pictures decoded once to uint8, their labels, and three splits."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.contract import Column
from zoo.errors import DataError
from zoo.pictures import Pixels, resize


@dataclass(frozen=True, eq=False)
class Split:
    """Pictures for one purpose: to learn from, to choose by, or to be judged on.

    images: [N, H, W, C] uint8; of a table its rows, [N, F] float32. labels: [N] int64, each an index into the data
    set's class names.
    names: N of them, for people: a file relative to the folder, the line of a table, or the index in the data set's
    own order.
    """

    images: Pixels | NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def inputs(self) -> Any:
        """What the model is asked about, pictures or rows: the same array by a name that fits both."""
        return self.images

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.names):
            counts = f"{len(self.images)} pictures, {len(self.labels)} labels and {len(self.names)} names"
            raise DataError(f"a split needs one label and one name a picture, received {counts}")
        if (str(self.images.dtype), self.images.ndim) not in (("uint8", 4), ("float32", 2)):
            raise DataError(
                f"a split holds uint8 [N, H, W, C], or float32 [N, F] of a table, received {self.images.dtype} "
                f"{list(self.images.shape)}"
            )

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The pictures at those indices, in that order."""
        return Split(self.images[indices], self.labels[indices], tuple(self.names[i] for i in indices))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Pictures with labels and class names, split in train, validation and test.

    labels: the class names. mirrored: whether a mirrored picture keeps its label. origin: where it was found.
    skipped: a sentence for each file that was left out. columns: of a table, in the order of its rows' values; none for
    pictures. label_column: the one of the table that held the class.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mirrored: bool
    origin: str
    skipped: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    label_column: str = ""

    @property
    def height(self) -> int:
        """Of every picture, in pixels; 0 of a table."""
        return 0 if self.columns else int(self.train.images.shape[1])

    @property
    def width(self) -> int:
        """Of every picture, in pixels; 0 of a table."""
        return 0 if self.columns else int(self.train.images.shape[2])

    @property
    def channels(self) -> int:
        """1 (grey) or 3 (RGB); 0 of a table."""
        return 0 if self.columns else int(self.train.images.shape[3])

    @property
    def kind(self) -> str:
        """What there are many of, for people: pictures, or the rows of a table."""
        return "rows" if self.columns else "pictures"

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over class names, pictures and labels of the three splits: the same wherever the files lie."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        if self.columns:
            digest.update(json.dumps([[column.name, column.categories] for column in self.columns]).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(json.dumps(split.images.shape).encode())
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def without_validation(self) -> DataSet:
        """The same pictures, those of the validation being learned from, too: after those of the training."""
        both = (self.train, self.validation)
        train = Split(
            np.concatenate([split.images for split in both]),
            np.concatenate([split.labels for split in both]),
            tuple(name for split in both for name in split.names),
        )
        return replace(self, train=train, validation=self.validation.take(np.arange(0)))

    def resized(self, height: int, width: int) -> DataSet:
        """The same pictures at another size; the same data set where they have it already."""
        if (self.height, self.width) == (height, width):
            return self

        def at_size(split: Split) -> Split:
            images = np.empty((len(split), height, width, self.channels), np.uint8)
            for i, image in enumerate(split.images):
                images[i] = resize(image, height, width)
            return replace(split, images=images)

        train, validation, test = (at_size(split) for split in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)
