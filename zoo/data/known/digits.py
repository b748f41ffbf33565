"""Handwritten digits of 8x8 pixels, 1,797 of them, that come with scikit-learn: the smallest real data there is."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set
from zoo.data.splits import draw_splits
from zoo.errors import DataError, MissingExtraError


@data_set(
    "digits",
    license="CC BY 4.0",
    source="https://archive.ics.uci.edu/dataset/80",
    reference="Alpaydin & Kaynak 1998",
)
def digits(folder: Path | None, on_progress: Progress) -> DataSet:
    """Handwritten digits, 8x8 gray, 10 classes, 1,797 images, included in scikit-learn (Alpaydin & Kaynak 1998)."""
    if folder:
        raise DataError(f"digits come with scikit-learn, expected no data folder for them, received {folder}")
    try:
        import sklearn
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise MissingExtraError("scikit-learn", "train") from None

    found = load_digits()
    images = np.round(found.images * 255 / 16).astype(np.uint8)[..., None]  # 0..16 -> [1797, 8, 8, 1] uint8
    labels = found.target.astype(np.int64)
    everything = Split(images, labels, tuple(str(i) for i in range(len(labels))))
    on_progress(len(labels), len(labels))

    train, validation, test = draw_splits(everything)
    return DataSet(
        name="digits",
        labels=tuple("0123456789"),
        train=train,
        validation=validation,
        test=test,
        mirrored=False,
        origin=f"scikit-learn {sklearn.__version__}",
    )
