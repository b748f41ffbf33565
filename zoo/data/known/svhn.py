"""SVHN: digits of house numbers, seen from the street (Netzer et al. 2011)."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source, checked_file, find_files
from zoo.data.splits import hold_out
from zoo.errors import DataError, MissingExtraError

BASE_URL = "https://ufldl.stanford.edu/housenumbers/"
# Sizes and SHA-256 as TensorFlow Datasets has them. The third file, 531,131 easier images, isn't used.
FILES = {
    name: Published(BASE_URL + name, size, sha256)
    for name, size, sha256 in (
        ("train_32x32.mat", 182_040_794, "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        ("test_32x32.mat", 64_275_384, "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    )
}
SOURCE = Source("svhn", "SVHN", FILES)
LARGEST = 2**29  # bytes of an array: theirs has 225 million


@data_set(
    "svhn",
    license="for non-commercial use only",
    source="https://ufldl.stanford.edu/housenumbers/",
    reference="Netzer, Wang, Coates, Bissacco, Wu & Ng 2011, Reading Digits in Natural Images",
    files=SOURCE,
)
def svhn(folder: Path | None, on_progress: Progress) -> DataSet:
    """Digits of house numbers, 32x32 color, 10 classes, 73,257 + 26,032 images (Netzer et al. 2011)."""
    found = find_files(SOURCE, folder, on_progress)
    given, test = (_split(checked_file(SOURCE, name, found)) for name in SOURCE.files)
    train, validation = hold_out(given)
    return DataSet("svhn", tuple("0123456789"), train, validation, test, mirrored=False, origin=str(found))


def _split(path: Path) -> Split:
    """X [32, 32, 3, N] uint8 and y [N, 1], in which 10 stands for the digit 0."""
    try:
        from scipy.io import loadmat, whosmat
    except ModuleNotFoundError:
        raise MissingExtraError("SciPy", "train") from None

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # SciPy's, where two arrays have one name
            shapes = {name: (shape, kind) for name, shape, kind in whosmat(path)}
            for name in ("X", "y"):
                shape, kind = shapes.get(name, ((), "absent"))
                if kind not in ("uint8", "double") or math.prod(shape) * (8 if kind == "double" else 1) > LARGEST:
                    raise ValueError(f"{name} is {kind} {list(shape)}")
            arrays = loadmat(path, variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"].reshape(-1)
        if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)) or not len(labels):
            raise ValueError(f"X is {images.dtype} {list(images.shape)}, of {len(labels):,} labels")
        if not set(np.unique(labels).tolist()) <= set(range(1, 11)):
            raise ValueError(f"labels from {labels.min()} to {labels.max()}, expected 1 to 10")
    except Exception as error:  # SciPy fails in a dozen types
        raise DataError(f"{path} doesn't contain SVHN ({error}): replace it") from None
    return Split(
        np.ascontiguousarray(images.transpose(3, 0, 1, 2)),
        labels.astype(np.int64) % 10,
        tuple(str(k) for k in range(len(labels))),
    )
