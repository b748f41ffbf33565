"""`zoo evaluate EXPORT --unknown FOLDER`: how well an export tells its own images from those of other things."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.reading import Located, find_data_set
from pipelines.evaluation.predictions import BATCH, familiarity_of
from zoo.data import DataSet
from zoo.data.pixels import in_chunks
from zoo.errors import DataError, ExportError, printable
from zoo.files import image_files
from zoo.images import Pixels, read_image, resize
from zoo.runtime import Classifier, load

ACCEPTED = 0.95  # of the known images, where the false positives are counted


@dataclass(frozen=True)
class Unknown:
    """Familiarity of images of other things beside that of an export's own test images.

    images: those of the folder; test_images: the known ones. auroc: the share of pairs, one of each, of which the known
    image looks more familiar. false_positives: the share of the folder's images that look as familiar as 95 % of the
    test images. none_of_these: the share that the export answers so, by its own threshold; test_none_of_these: of the
    test images.
    """

    folder: Path
    images: int
    test_images: int
    auroc: float
    false_positives: float
    none_of_these: float
    test_none_of_these: float


def evaluate_unknown(
    export: str | os.PathLike[str], folder: Path, *, data: str | Located | DataSet | None = None
) -> Unknown:
    """Measure an export on a folder of images that are of none of its classes.

    export: as `zoo.load` takes it. folder: of which all images are taken, at any depth. data: the data set with the
    test images, as `verify` takes it.
    Raises ExportError where the file doesn't say how familiar an image is; DataError where the folder holds no images,
    a folder that is named as one of the classes, or an image of the data set, and where the test images aren't there;
    ImageError for an image that can't be read.
    """
    classifier = load(export, provider="cpu")
    about, name = classifier.metadata, f"{classifier.metadata.data_set}/{classifier.metadata.model}"
    if classifier.columns:
        raise ExportError(f"{name} classifies rows of a table, not images")
    if not about.familiarity:
        raise ExportError(
            f"{name} has no output for unknown classes: export a run whose recipe has images=most or images=train"
        )
    data_set = find_data_set(about, data)
    if data_set is None:
        raise DataError(
            f"{about.data_set!r} isn't a known data set, and its test images are needed: name it with --data"
        )
    files = _foreign_files(folder, classifier.labels)
    own, found = _digests(data_set), []
    for start in range(0, len(files), BATCH):
        some = files[start : start + BATCH]
        images = np.stack([_read(classifier, file) for file in some])
        _check_foreign(some, images, own, data_set.name)
        found.append(familiarity_of(classifier, images))
    known, other = familiarity_of(classifier, data_set.test.inputs), np.concatenate(found)
    threshold = about.familiarity["threshold"]
    return Unknown(
        folder,
        len(other),
        len(known),
        auroc(known, other),
        float((other >= np.quantile(known, 1 - ACCEPTED)).mean()),
        float((other < threshold).mean()),
        float((known < threshold).mean()),
    )


def auroc(known: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The share of pairs, one of each, of which the known one is greater; half of those that are equal."""
    from sklearn.metrics import roc_auc_score

    is_known = np.repeat([1, 0], [len(known), len(other)])
    return float(roc_auc_score(is_known, np.concatenate([known, other])))


def _foreign_files(folder: Path, labels: Iterable[str]) -> list[Path]:
    files = list(image_files(folder)) if folder.is_dir() else []
    if not files:
        raise DataError(f"{printable(str(folder))} holds no images: expected a folder of images of unknown classes")
    by_name = {label.casefold(): label for label in labels}
    for file in files:
        parts = (folder.name, *file.relative_to(folder).parts[:-1])
        if named := next((part for part in parts if part.casefold() in by_name), None):
            raise DataError(
                f"{printable(str(file))} is in a folder {printable(named)!r}, which is the name of a known class: "
                "leave it out, or rename the folder if its images show something else"
            )
    return files


def _read(classifier: Classifier, file: Path) -> Pixels:
    """[H, W, C] uint8, as the data set has its images."""
    about = classifier.metadata
    return resize(read_image(file, about.channels, about.white), about.height, about.width, about.resizing)


def _digests(data_set: DataSet) -> set[bytes]:
    splits = (data_set.train, data_set.validation, data_set.test)
    return {_digest(image) for split in splits for some in in_chunks(split.inputs, BATCH) for image in some}


def _check_foreign(files: Iterable[Path], images: Pixels, own: Collection[bytes], name: str) -> None:
    """Raise DataError for an image that the data set has, too, pixel by pixel. own: digests. name: of the data set."""
    for file, image in zip(files, images, strict=True):
        if _digest(image) in own:
            raise DataError(f"{printable(str(file))} is an image of {name}, a known class: leave it out")


def _digest(image: Pixels) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest()
