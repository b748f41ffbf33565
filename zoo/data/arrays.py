"""Pictures that are decoded already: a file of NumPy's arrays, listed like any other."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.listing import SPLITS, Listing, Names, natural
from zoo.errors import DataError
from zoo.pictures import Decoded, Pixels

ARRAYS_ENDING = ".npz"
LARGEST_ARRAYS = 16 * 2**30  # bytes that a file of arrays may unpack to: a few kB can claim anything
# How arrays are called: pictures and labels of a split, as Keras, as MedMNIST and as others have it.
ARRAY_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "validation": (("x_val", "y_val"), ("x_validation", "y_validation"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


@dataclass(frozen=True, eq=False)
class _Arrays(Listing):
    """parts: [N_i, H, W] or [N_i, H, W, C] uint8 of each split, one after the other."""

    parts: tuple[Pixels, ...] = ()

    def decode(self, place: int) -> Decoded:
        for part in self.parts:
            if place < len(part):
                pixels = part[place].reshape(*part.shape[1:3], -1)
                return Decoded("", "L" if pixels.shape[2] == 1 else "RGB", pixels)
            place -= len(part)
        raise IndexError(place)

    def where(self, place: int) -> str:
        return f"{self.files[place]} of {self.root}"


def list_arrays(path: Path) -> Listing:
    """The pictures of an .npz file. Raises DataError where its arrays aren't pictures with labels."""
    arrays = _read_arrays(path)
    files: list[str] = []
    labels: list[NDArray[np.generic]] = []
    splits: list[int] = []
    parts: list[Pixels] = []
    for split, named in ARRAY_NAMES.items():
        pair = next(((x, y) for x, y in named if x in arrays and y in arrays), None)
        if pair is None:
            continue
        images, truth = arrays[pair[0]], arrays[pair[1]]
        truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
            raise DataError(
                f"{pair[0]} in {path} is {images.dtype} {list(images.shape)}, expected uint8 [N, H, W] or [N, H, W, C] "
                "with 1 or 3 channels, 0..255: scale and convert it"
            )
        if truth.shape != images.shape[:1] or truth.dtype.kind not in "iuU":
            raise DataError(
                f"{pair[1]} in {path} is {truth.dtype} {list(truth.shape)}, expected a whole number or a name for each "
                f"of the {len(images):,} pictures of {pair[0]}"
            )
        files += [f"{pair[0]}[{k}]" for k in range(len(images))]
        splits += [SPLITS.index(split)] * len(images)
        labels.append(truth.astype(np.str_))
        parts.append(images.astype(np.uint8, copy=False))
    if not parts:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no arrays'}, expected pictures and labels of a split, as "
            "x_train, y_train, x_test and y_test, or as images and labels"
        )
    truth = np.concatenate(labels)
    names = tuple(sorted(np.unique(truth).tolist(), key=natural))
    return _Arrays(
        name=path.stem,
        root=path,
        files=Names(files),
        labels=names,
        classes=np.array([names.index(name) for name in np.unique(truth)], np.int32)[
            np.unique(truth, return_inverse=True)[1]
        ],
        splits=np.array(splits, np.int8),
        given=tuple(split for k, split in enumerate(SPLITS) if k in splits),
        groups=np.full(len(files), -1, np.int32),
        left_out=(),
        parts=tuple(parts),
    )


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as found:
            size = sum(entry.file_size for entry in found.infolist())
        if size > LARGEST_ARRAYS:
            raise DataError(f"{path} unpacks to {size / 2**30:,.0f} GiB, expected at most {LARGEST_ARRAYS / 2**30:.0f}")
        with np.load(path, allow_pickle=False) as arrays:  # a pickle could run anything
            return dict(arrays)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error})") from None
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy fail in a dozen types
        raise DataError(f"{path} can't be read as arrays of NumPy ({error}): save it by np.savez") from None
