"""A classifier: an exported file that is ready to answer."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.contract import INPUT, PROBABILITIES, Metadata
from zoo.errors import InputError
from zoo.pictures import Pixels, Source, read_picture
from zoo.runtime.batches import batches_of_one_size


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture. probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first."""

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class Classifier:
    """What `zoo.load` gives. Safe to use from several threads at once.

    session: the onnxruntime.InferenceSession underneath. provider: where it really runs, such as "cpu".
    """

    session: Any
    metadata: Metadata
    provider: str

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self.metadata.labels

    @property
    def height(self) -> int:
        """Height in pixels that the model was trained at; other sizes are resized to it in the file."""
        return self.metadata.height

    @property
    def width(self) -> int:
        """Width in pixels that the model was trained at; other sizes are resized to it in the file."""
        return self.metadata.width

    @property
    def channels(self) -> int:
        """1: pictures become grey; 3: they become RGB."""
        return self.metadata.channels

    def predict(self, picture: Source) -> Prediction:
        """Label, probability and ranking of one picture of any size: a path, encoded bytes, a PIL image or an array.

        An array is uint8, [H, W], [H, W, 1] or [H, W, 3]. Raises PictureError for a file that can't be read,
        InputError for an array of another type or shape.
        """
        pixels = read_picture(picture, self.channels)  # [H, W, C] uint8
        return self._predictions(self.probabilities(pixels[np.newaxis]))[0]

    def predict_batch(self, pictures: Iterable[Source] | Pixels, batch_size: int = 64) -> list[Prediction]:
        """A prediction for each of the pictures, in their order. They may differ in size and kind; none give none.

        pictures: anything that `predict` takes, any number of them, or one array
        [N, H, W, C] uint8 with the classifier's C.
        Raises PictureError or InputError, which name the picture, as `predict` does; InputError for a single picture.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, received {batch_size}")
        if isinstance(pictures, np.ndarray):
            if pictures.ndim != 4:
                raise InputError(
                    f"expected an array [N, H, W, C] or a list of pictures, received shape {list(pictures.shape)}: "
                    "predict takes a single picture"
                )
            starts = range(0, len(pictures), batch_size)
            return [p for k in starts for p in self._predictions(self.probabilities(pictures[k : k + batch_size]))]
        if isinstance(pictures, (str, bytes, os.PathLike)) or not isinstance(pictures, Iterable):
            raise InputError(
                f"expected a list of pictures, received one {type(pictures).__name__}: predict takes a single picture"
            )
        predictions: dict[int, Prediction] = {}
        for places, images in batches_of_one_size(pictures, self.channels, batch_size):
            predictions.update(zip(places, self._predictions(self.probabilities(images)), strict=True))
        return [predictions[place] for place in range(len(predictions))]

    def probabilities(self, images: Pixels) -> NDArray[np.float32]:
        """The bare model: images [N, H, W, C] uint8, raw pixels of any size -> probabilities [N, K] float32.

        Raises InputError for another type, shape or number of channels, and where there is no picture or no pixel.
        """
        if (
            not isinstance(images, np.ndarray)
            or images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[3] != self.metadata.channels
            or 0 in images.shape
        ):
            raise InputError(
                f"expected images uint8 [N, H, W, {self.channels}] with raw pixels 0..255 and no dimension of 0, "
                f"received {_describe(images)}; predict reads and converts single pictures"
            )
        answer: NDArray[np.float32] = self.session.run([PROBABILITIES], {INPUT: images})[0]
        return answer

    def _predictions(self, rows: NDArray[np.float32]) -> list[Prediction]:
        """rows [N, K] of probabilities -> N predictions."""
        labels = self.metadata.labels
        orders = np.argsort(-rows, axis=1, kind="stable")  # equals in the order of the labels, on every machine
        predictions = []
        for probabilities, order in zip(rows.tolist(), orders.tolist(), strict=True):
            ranking = tuple([(labels[k], probabilities[k]) for k in order])
            predictions.append(Prediction(*ranking[0], ranking))
        return predictions

    def __repr__(self) -> str:
        """One line, without the hundred labels that a classifier may have."""
        about, size = self.metadata, f"{self.height}x{self.width}x{self.channels}"
        return f"<Classifier {about.data_set}/{about.model}: {size}, {len(self.labels)} labels, on {self.provider}>"


def _describe(images: object) -> str:
    if isinstance(images, np.ndarray):
        return f"{images.dtype} {list(images.shape)}"
    return f"a {type(images).__name__}"
