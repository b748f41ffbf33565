"""The logged ONNX model as MLflow serves it: `mlflow models serve` and `mlflow.pyfunc.load_model` come here.

The model's MLmodel file names this module, and MLflow calls `_load_pyfunc`: no pickle, and no code inside of the model.
An image in a request is its pixels or its encoded file as base64, and each may be of another size.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.contract import PROBABILITIES
from zoo.errors import ImageError, InputError
from zoo.runtime import Classifier, load
from zoo.runtime.batches import batches_of_one_size

LABEL = "label"  # [N], an output beside those of the file: the likeliest class of each image or row
BATCH = 64  # images or rows at a time, however many a request has


def _load_pyfunc(path: str) -> Served:
    """What MLflow calls with the path of model.onnx. Raises what `zoo.load` raises."""
    return Served(load(path))


class Served:
    """A classifier as MLflow talks to it."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier

    def predict(self, request: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All outputs of the file by name, [N, ...] float32, and LABEL.

        request: {"images": [N] of base64 or encoded bytes, or pixels [N, H, W, C] or [N, H, W], whole numbers 0..255},
        mixed at will; of a classifier of tables {"features": [N, F] float32}. Raises MlflowException, which the server
        turns into a 400, for whatever can't be read.
        """
        from mlflow import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

        try:
            return self._answer(request)
        except (InputError, ImageError) as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from None

    def _answer(self, request: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        classifier = self.classifier
        names = [output.name for output in classifier.session.get_outputs()]
        inputs = request[classifier.metadata.input.name]
        if inputs.ndim == 0 or not len(inputs):
            raise InputError(f"expected a list of images or rows, received {'none' if inputs.ndim else 'a single one'}")
        answers: dict[str, NDArray[Any]] = {}
        for places, some in _rows(inputs) if classifier.columns else _images(inputs, classifier):
            found = classifier.session.run(names, {classifier.metadata.input.name: some})
            for name, values in zip(names, found, strict=True):
                if name not in answers:
                    answers[name] = np.empty((len(inputs), *values.shape[1:]), values.dtype)
                answers[name][places] = values
        labels = np.array(classifier.labels, object)
        return {LABEL: labels[answers[PROBABILITIES].argmax(axis=1)], **answers}


Batches = Iterator[tuple[list[int], NDArray[Any]]]  # places in the request, and what lies there


def _rows(features: NDArray[Any]) -> Batches:
    if np.isinf(features).any():
        raise InputError("expected rows of finite numbers, or null where one is missing, received infinity")
    for start in range(0, len(features), BATCH):
        some = features[start : start + BATCH]
        yield list(range(start, start + len(some))), some


def _images(images: NDArray[Any], classifier: Classifier) -> Batches:
    """Images of one size at a time, as its session takes them: [N, H, W, C] uint8."""
    return batches_of_one_size((_source(each, place) for place, each in enumerate(images)), classifier.read, BATCH)


def _source(image: Any, place: int) -> bytes | NDArray[np.uint8]:
    """What `zoo.images.read_image` takes. A text is base64 and nothing else: never a path."""
    where = f"images[{place}]"
    if isinstance(image, np.ndarray) and image.ndim == 0:  # as MLflow hands over {"instances": [{"images": …}]}
        image = image.item()
    if isinstance(image, str):
        try:
            return base64.b64decode("".join(image.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InputError(f"{where}: expected an image as base64, received text that isn't") from None
    if isinstance(image, bytes) or (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        return image
    try:
        pixels = np.array(image.tolist() if isinstance(image, np.ndarray) else image)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: expected pixels [H, W, C], received rows of different lengths") from None
    if pixels.dtype.kind not in "iu" or (pixels.size and not 0 <= pixels.min() <= pixels.max() <= 255):
        raise InputError(
            f"{where}: expected base64 of an image, or pixels as whole numbers 0..255, received "
            f"{f'{pixels.min():g}..{pixels.max():g}' if pixels.size and pixels.dtype.kind in 'iuf' else pixels.dtype}"
        )
    return pixels.astype(np.uint8)
