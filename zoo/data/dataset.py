"""What a data set is: images decoded once to uint8, their labels, and three splits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.contract import RESIZINGS, WHITE, Column
from zoo.data.listing import Names
from zoo.data.pixels import in_chunks, join, take
from zoo.data.report import Report, TableReport
from zoo.errors import DataError
from zoo.images import resize


@dataclass(frozen=True, eq=False)
class Split:
    """Images for one purpose: to learn from, to choose by, or to be judged on.

    inputs: images [N, H, W, C] uint8, an array, or a PixelFile where they would not fit into memory: an index into
    either gives an array. Of a table its rows, [N, F] float32. labels: [N] int64, each an index into the data set's
    class names. names: N of them, for people: a file relative to the folder, the line of a table, or the index in the
    data set's own order.
    """

    inputs: Any  # zoo.data.pixels.Inputs; whoever takes one knows which of them it is
    labels: NDArray[np.int64]
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def kind(self) -> str:
        """What there are many of, for people: images, or the rows of a table."""
        return "rows" if self.inputs.ndim == 2 else "images"

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.labels) == len(self.names):
            counts = f"{len(self.inputs)} images, {len(self.labels)} labels and {len(self.names)} names"
            raise DataError(f"a split needs one label and one name an image, received {counts}")
        if (str(self.inputs.dtype), self.inputs.ndim) not in (("uint8", 4), ("float32", 2)):
            raise DataError(
                f"a split holds uint8 [N, H, W, C], or float32 [N, F] of a table, received {self.inputs.dtype} "
                f"{list(self.inputs.shape)}"
            )

    def take(self, indices: NDArray[np.int64]) -> Split:
        """The images at those indices, in that order."""
        names = (self.names[i] for i in indices.tolist())
        kept = Names(names) if isinstance(self.names, Names) else tuple(names)
        return Split(take(self.inputs, indices), self.labels[indices], kept)

    def join(self, other: Split) -> Split:
        """Those of the other after these."""
        labels = np.concatenate([self.labels, other.labels])
        return Split(join(self.inputs, other.inputs), labels, Names(chain(self.names, other.names)))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with labels and class names, split in train, validation and test.

    labels: the class names. mirrored: whether a mirrored image keeps its label. origin: where it was found.
    skipped: a sentence for each file that was left out. resizing: how images of another size came to this one, one of
    zoo.contract.RESIZINGS. report: what was found in a folder or in a table; None for a known data set. columns: of a
    table, in the order of its rows' values; none for images. label_column: the one of the table that held the class.
    white: the value in images of 16 bits that became 255. grouped: whether some of the images belong together.
    repeated: whether some of the validation images are duplicates of others of them.
    """

    name: str
    labels: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    mirrored: bool
    origin: str
    skipped: tuple[str, ...] = ()
    resizing: str = RESIZINGS[0]
    report: Report | TableReport | None = None
    columns: tuple[Column, ...] = ()
    label_column: str = ""
    white: int = WHITE
    grouped: bool = False
    repeated: bool = False

    @property
    def height(self) -> int:
        """Of every image, in pixels; 0 of a table."""
        return 0 if self.columns else int(self.train.inputs.shape[1])

    @property
    def width(self) -> int:
        """Of every image, in pixels; 0 of a table."""
        return 0 if self.columns else int(self.train.inputs.shape[2])

    @property
    def channels(self) -> int:
        """1 (gray) or 3 (RGB); 0 of a table."""
        return 0 if self.columns else int(self.train.inputs.shape[3])

    @property
    def kind(self) -> str:
        """As of its splits: images or rows."""
        return self.train.kind

    @property
    def findings(self) -> tuple[str, ...]:
        """What the check of a folder or a table found, a sentence each; nothing for a known data set."""
        return tuple(finding.sentence for finding in self.report.findings) if self.report else ()

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over class names, images and labels of the three splits: the same wherever the files lie."""
        digest = hashlib.sha256(json.dumps(self.labels).encode())
        if self.columns:
            digest.update(json.dumps([[column.name, column.categories] for column in self.columns]).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(json.dumps(split.inputs.shape).encode())
            for images in in_chunks(split.inputs):
                digest.update(np.ascontiguousarray(images).data)
            digest.update(split.labels.astype("<i8").tobytes())
        return digest.hexdigest()

    def without_validation(self) -> DataSet:
        """The same images, those of the validation being learned from, too: after those of the training."""
        return replace(self, train=self.train.join(self.validation), validation=self.validation.take(np.arange(0)))

    def resized(self, height: int, width: int, resizing: str = RESIZINGS[0]) -> DataSet:
        """The same images at another size; the same ones where they have it already."""
        if (self.height, self.width) == (height, width):
            return replace(self, resizing=resizing)

        def at_size(split: Split) -> Split:
            images = np.empty((len(split), height, width, self.channels), np.uint8)
            for i, image in enumerate(split.inputs):
                images[i] = resize(image, height, width, resizing)
            return replace(split, inputs=images)

        train, validation, test = (at_size(split) for split in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test, resizing=resizing)
