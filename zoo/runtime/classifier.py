"""A classifier: an exported file, loaded and ready to predict."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.arrays import check_array, resize
from zoo.contract import ACTIVATION_MAP, FAMILIARITY, FLOAT32, LOGITS, PROBABILITIES
from zoo.errors import ExportError, InputError, unknown
from zoo.runtime.prediction import Prediction
from zoo.runtime.providers import placement
from zoo.runtime.running import check_shares, run_session

# The first answer to an array waits neither for what reads files and tables, draws sets, or batches, nor for what
# explains: each is imported where it is first used.
if TYPE_CHECKING:
    from numpy.typing import NDArray

    from zoo.contract import Column, Metadata
    from zoo.images import Pixels, Source
    from zoo.runtime.explanation import Explanation
    from zoo.runtime.providers import Node
    from zoo.tables import Row

MOST_ROUNDED = 0.01  # of a sum of probabilities: those of float16 have three digits


@dataclass(frozen=True, eq=False)
class Classifier:
    """A loaded classifier, as returned by `zoo.load`. Safe to use from several threads at once.

    session: the underlying onnxruntime.InferenceSession. provider: the provider it actually runs on, such as "cpu".
    opening: the call of `zoo.load`, with an absolute path, that opened it. A classifier is pickled as this call, so
    unpickling it, for example in a worker process, opens the same file again.
    """

    session: Any
    metadata: Metadata
    provider: str
    opening: partial[Classifier] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        if self.opening is None:
            raise PicklingError("a classifier is pickled by its file, and this one has none: load it with `zoo.load`")
        return self.opening.func, self.opening.args

    @property
    def precision(self) -> str:
        """The precision of the file's weights: float32, int8, or float16."""
        return self.metadata.precision

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self.metadata.labels

    @property
    def height(self) -> int:
        """The image height in pixels that the model was trained with; other sizes are resized to it. 0 for a table."""
        return self.metadata.height

    @property
    def width(self) -> int:
        """The image width in pixels that the model was trained with; other sizes are resized to it. 0 for a table."""
        return self.metadata.width

    @property
    def channels(self) -> int:
        """1 if images are converted to grayscale, 3 if they are converted to RGB; 0 for a table."""
        return self.metadata.channels

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the training table, with names and categories; empty for an image classifier."""
        return self.metadata.columns

    @property
    def map_size(self) -> tuple[int, int] | None:
        """Rows and columns of the activation map that `explain` returns; None if the file has no such output."""
        shapes = {output.name: output.shape for output in self.session.get_outputs()}
        if ACTIVATION_MAP not in shapes:
            return None
        _, _, rows, columns = shapes[ACTIVATION_MAP]
        return rows, columns

    def placement(self) -> dict[str, tuple[Node, ...]]:
        """Which nodes run on which provider: provider -> nodes, such as {"openvino": (...), "cpu": (...)}.

        Raises ProviderError if onnxruntime is older than 1.24, which doesn't report this.
        """
        return placement(self.session)

    def predict(self, image: Source | Row, *, coverage: float | None = None, by_class: bool = False) -> Prediction:
        """Predict the label of one image of any size, or of one row.

        image: a path, encoded bytes, a file opened in binary mode, a PIL image, or a uint8 array: [H, W], [H, W, 1],
        [H, W, 3] (RGB), or [H, W, 4] (RGBA, composited on white). A classifier of tables takes a row instead: a
        mapping from each of its columns to a number, a category, or None if the value is missing.
        coverage: a share such as 0.95. The prediction's `labels` then contain the true label in that share of cases,
        for images from the same source as the held-out images that the file's thresholds are based on.
        by_class: whether that share holds for the images of each class, rather than only for all images together.

        Raises ImageError for a file that can't be read. Raises InputError for an array of another type or shape, for a
        row with missing or extra columns or with a value that its column doesn't accept, and for a coverage without
        thresholds in the file. Raises ExportError if the file has no thresholds at all, or is damaged so that it loads
        but returns no probabilities.
        """
        least = self._least(coverage, by_class)
        if self.columns:
            from zoo.tables import encode

            return self._answers(encode(image, self.columns)[np.newaxis], least)[0]
        if isinstance(image, Mapping):
            raise InputError(f"expected an image, received a {type(image).__name__}: this classifier takes no rows")
        return self._answers(self.read(image)[np.newaxis], least)[0]

    def predict_batch(
        self,
        images: Iterable[Source | Row] | Pixels | NDArray[np.float32],
        batch_size: int = 64,
        *,
        coverage: float | None = None,
        by_class: bool = False,
    ) -> list[Prediction]:
        """Predict the labels of many images or rows, in their order. Images may differ in size and kind.

        images: any number of inputs as `predict` takes them, or one uint8 array [N, H, W, C] with the classifier's C.
        A classifier of tables takes rows, or one array as in `probabilities`. No inputs give no predictions.
        batch_size: how many inputs run at once. coverage, by_class: as in `predict`.

        Raises ImageError or InputError as `predict` does, naming the image; InputError for a single image.
        """
        least = self._least(coverage, by_class)
        if batch_size < 1:
            raise InputError(f"batch_size must be 1 or more, received {batch_size}")
        if self.columns and not isinstance(images, np.ndarray):
            from zoo.tables import encode_all

            images = encode_all(images, self.columns)
        if isinstance(images, np.ndarray):
            shape, kind = self.metadata.input.shape, "row" if self.columns else "image"
            if images.ndim != len(shape):
                raise InputError(
                    f"expected an array [{', '.join(map(str, shape))}] or a list of {kind}s, received shape "
                    f"{list(images.shape)}: predict takes a single {kind}"
                )
            starts = range(0, len(images), batch_size)
            return [p for k in starts for p in self._answers(images[k : k + batch_size], least)]
        one = isinstance(images, (str, bytes, bytearray, memoryview, os.PathLike)) or hasattr(images, "read")
        if one or not isinstance(images, Iterable):
            raise InputError(
                f"expected a list of images, received one {type(images).__name__}: predict takes a single image"
            )
        from zoo.runtime.batches import batches_of_one_size

        predictions: dict[int, Prediction] = {}
        for places, batch in batches_of_one_size(images, self.read, batch_size):
            predictions.update(zip(places, self._answers(batch, least), strict=True))
        return [predictions[place] for place in range(len(predictions))]

    def check_explains(self) -> None:
        """Raise ExportError if the file has no activation map."""
        if self.map_size is None:
            raise ExportError(
                f"{self.metadata.data_set}/{self.metadata.model} has no activation map, so its predictions can't be "
                "explained: use a model with global average pooling and linear or ReLU layers, such as conv-small"
            )

    def explain(self, image: Source, label: str | None = None) -> Explanation:
        """Show which parts of an image are evidence for a label (by default, the predicted one) and against it.

        image: as in `predict`.
        Raises ExportError if the file has no activation map, InputError for a label that the classifier doesn't have,
        and whatever `predict` raises.
        """
        self.check_explains()
        if label is not None and label not in self.labels:
            raise InputError(unknown("label", label, self.labels))
        from zoo.runtime.explanation import Explanation

        pixels = self._pixels(image)
        names = [PROBABILITIES, LOGITS, ACTIVATION_MAP, *self._familiarity]
        outputs = self._run(names, self._fitting(pixels)[np.newaxis])
        (prediction,) = self._predictions(outputs[0], outputs[3] if self._familiarity else None)
        explained = prediction.label if label is None else label
        place = self.labels.index(explained)
        logit, positions = float(outputs[1][0, place]), outputs[2][0, place]
        return Explanation(prediction, explained, logit, positions, pixels, self.metadata)

    def probabilities(self, images: Pixels | NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the bare model: images [N, H, W, C] uint8, raw pixels of any size -> probabilities [N, K] float32.

        A classifier of tables takes features [N, F] float32 in the order of `columns`: a category as its index among
        the column's categories (-1 for any other), and NaN for a missing number.
        Raises InputError for another type, shape, or number of channels, and if there are no images or no pixels.
        """
        return self._run([PROBABILITIES], self._checked(images))[0]

    def _answers(self, images: NDArray[Any], least: dict[str, float] | None) -> list[Prediction]:
        """images: as of `probabilities` -> N predictions."""
        outputs = self._run([PROBABILITIES, *self._familiarity], self._checked(images))
        return self._predictions(outputs[0], outputs[1] if self._familiarity else None, least)

    @property
    def _familiarity(self) -> list[str]:
        """The name of the output, where the file has it: onnxruntime calculates it whether or not it is asked for."""
        return [FAMILIARITY] if self.metadata.familiarity else []

    def _checked(self, images: Pixels | NDArray[np.float32]) -> NDArray[Any]:
        """The images or rows as the session takes them. Raises InputError, as `probabilities` does."""
        if self.columns:
            return self._checked_rows(images)
        if (
            not isinstance(images, np.ndarray)
            or images.dtype != np.uint8
            or images.ndim != 4
            or images.shape[3] != self.metadata.channels
            or 0 in images.shape
        ):
            raise InputError(
                f"expected images uint8 [N, H, W, {self.channels}] with raw pixels 0..255 and no dimension of 0, "
                f"received {_describe(images)}; predict reads and converts single images"
            )
        if images.shape[1:] != self._fitting(images[0]).shape:
            images = np.stack([self._fitting(image) for image in images])
        return images

    def read(self, image: Source) -> Pixels:
        """One image as `session` takes it, uint8 [H, W, C]: on the CPU at its own size, elsewhere at the model's.

        image, and what is raised: as of `predict`.
        """
        return self._fitting(self._pixels(image))

    def _pixels(self, image: Source) -> Pixels:
        """One image at its own size, uint8 [H, W, C]. What is an array of that many channels needs no decoder."""
        if isinstance(image, np.ndarray) and (pixels := check_array(image)).shape[2] == self.channels:
            return pixels
        from zoo.images import read_image

        return read_image(image, self.channels, self.metadata.white)

    def _fitting(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """An image [H, W, C] as it is on the CPU, where the file's own Resize is verified, and resized elsewhere.

        CUDA (onnxruntime 1.31) refuses Resize for bytes, OpenVINO (2026.4) leaves out the antialiasing;
        `zoo.images.resize` gives the same pixels to a step of 1 in 255.
        """
        return pixels if self.provider == "cpu" else resize(pixels, self.height, self.width, self.metadata.resizing)

    def _checked_rows(self, features: Pixels | NDArray[np.float32]) -> NDArray[Any]:
        shape = (len(self.columns),)
        if not isinstance(features, np.ndarray) or features.dtype != np.float32 or features.shape[1:] != shape:
            raise InputError(
                f"expected features float32 [N, {len(self.columns)}], a value for each column, received "
                f"{_describe(features)}; predict reads and converts single rows"
            )
        if not len(features) or np.isinf(features).any():
            what = "infinity" if len(features) else "none"
            raise InputError(f"expected rows of finite numbers, or NaN where one is missing, received {what}")
        return features

    def _run(self, outputs: list[str], inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
        return run_session(self.session, self.metadata, self.provider, outputs, inputs)

    def _least(self, coverage: float | None, by_class: bool) -> dict[str, float] | None:
        """By label, the probability that it needs to be in a set; None where no sets are asked for."""
        if coverage is None:
            if by_class:
                raise InputError("by_class requires a coverage, such as 0.95")
            return None
        from zoo.runtime.label_sets import thresholds_for

        return dict(zip(self.labels, thresholds_for(self.metadata, coverage, by_class), strict=True))

    def _predictions(
        self,
        rows: NDArray[np.float32],
        familiarity: NDArray[np.float32] | None = None,
        least: dict[str, float] | None = None,
    ) -> list[Prediction]:
        """rows [N, K] of probabilities, familiarity [N] -> N predictions, with sets where labels have a `least` one."""
        labels = self.metadata.labels
        familiar = [(None, None)] * len(rows) if familiarity is None else self._familiar(familiarity)
        if least is not None:
            from zoo.runtime.label_sets import labels_within

        predictions = []
        for probabilities, (share, known) in zip(rows.tolist(), familiar, strict=True):
            if not abs(sum(probabilities) - 1) <= MOST_ROUNDED:  # NaN fails, too
                raise ExportError(
                    f"{self.metadata.data_set}/{self.metadata.model} gives probabilities that sum to "
                    f"{sum(probabilities):.3g}, expected 1: its file is damaged, export the model again"
                )
            # Equals stay in the order of the labels, on every machine. Sorted by NumPy, ten of them take 5 us longer.
            ranking = tuple(sorted(zip(labels, probabilities, strict=True), key=_probability, reverse=True))
            labels_in = () if least is None else labels_within(ranking, least)
            predictions.append(Prediction(*ranking[0], ranking, labels_in, share, known))
        return predictions

    def _familiar(self, familiarity: NDArray[np.float32]) -> list[tuple[float, bool]]:
        """familiarity [N] -> each with whether it is that of a known class."""
        check_shares(familiarity, self.metadata)
        threshold = self.metadata.familiarity["threshold"]
        return [(min(max(share, 0.0), 1.0), share >= threshold) for share in familiarity.tolist()]

    def __repr__(self) -> str:
        """One line, without the hundred labels that a classifier may have."""
        about = self.metadata
        size = f"{len(self.columns)} columns" if self.columns else f"{self.height}x{self.width}x{self.channels}"
        how = f"on {self.provider}" if self.precision == FLOAT32 else f"{self.precision} on {self.provider}"
        return f"<Classifier {about.data_set}/{about.model}: {size}, {len(self.labels)} labels, {how}>"


_probability = itemgetter(1)


def _describe(images: object) -> str:
    if isinstance(images, np.ndarray):
        return f"{images.dtype} {list(images.shape)}"
    return f"a {type(images).__name__}"
