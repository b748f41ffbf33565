"""Images that are decoded already: a file of NumPy's arrays, listed like any other."""

from __future__ import annotations

import zipfile
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.data.listing import SPLITS, ListedNames, Listing, Problem
from zoo.errors import DataError
from zoo.files import natural
from zoo.images import Decoded, Pixels

ARRAYS_ENDING = ".npz"
LARGEST_ARRAYS = 16 * 2**30  # bytes that a file of arrays may unpack to: a few kB can claim anything
# How arrays are called: images and labels of a split, as Keras, as MedMNIST and as others have it.
ARRAY_NAMES = {
    "train": (("x_train", "y_train"), ("train_images", "train_labels"), ("images", "labels")),
    "validation": (("x_val", "y_val"), ("x_validation", "y_validation"), ("val_images", "val_labels")),
    "test": (("x_test", "y_test"), ("test_images", "test_labels")),
}


@dataclass(frozen=True, eq=False)
class _Arrays(Listing):
    """parts: [N_i, H, W] or [N_i, H, W, C] uint8 of each split, one after the other."""

    parts: tuple[Pixels, ...] = ()

    def decoding(self, place: int, white: int = WHITE) -> AbstractContextManager[Decoded]:  # noqa: ARG002 (no 16 bits)
        for part in self.parts:
            if place < len(part):
                pixels = part[place].reshape(*part.shape[1:3], -1)
                return nullcontext(Decoded("", "L" if pixels.shape[2] == 1 else "RGB", pixels))
            place -= len(part)
        raise IndexError(place)

    def where(self, place: int) -> str:
        return f"{self.files[place]} of {self.root}"

    def excerpt(self, begin: int, end: int) -> Self:
        starts = np.cumsum([0, *map(len, self.parts)])[:-1].tolist()
        cut = (part[max(0, begin - at) : max(0, end - at)] for at, part in zip(starts, self.parts, strict=True))
        return replace(super().excerpt(begin, end), parts=tuple(cut))


def list_arrays(path: Path) -> Listing:
    """The images of an .npz file. Raises DataError where its arrays aren't images with labels."""
    arrays = _read_arrays(path)
    files = ListedNames()
    labels: list[NDArray[np.generic]] = []
    splits: list[int] = []
    parts: list[Pixels] = []
    used: set[str] = set()
    for split, named in ARRAY_NAMES.items():
        pair = next(((x, y) for x, y in named if x in arrays and y in arrays), None)
        if pair is None:
            continue
        images, truth = arrays[pair[0]], arrays[pair[1]]
        truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
        used |= {*pair}
        fits = images.dtype == np.uint8 and images.ndim in (3, 4) and images.shape[3:] in ((), (1,), (3,))
        if not fits or 0 in images.shape[1:3]:
            raise DataError(
                f"{pair[0]} in {path} is {images.dtype} {list(images.shape)}, expected uint8 [N, H, W] or [N, H, W, C] "
                "with 1 or 3 channels, 0..255: scale and convert it"
            )
        if truth.shape != images.shape[:1] or truth.dtype.kind not in "iuU":
            raise DataError(
                f"{pair[1]} in {path} is {truth.dtype} {list(truth.shape)}, expected a whole number or a name for each "
                f"of the {len(images):,} images of {pair[0]}"
            )
        for k in range(len(images)):
            files.append(f"{pair[0]}[{k}]")
        splits += [SPLITS.index(split)] * len(images)
        labels.append(truth.astype(np.str_))
        parts.append(images.astype(np.uint8, copy=False))
    if not parts:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'no arrays'}, expected images and labels of a split, as "
            "x_train, y_train, x_test and y_test, or as images and labels"
        )
    halves = [name for pairs in ARRAY_NAMES.values() for pair in pairs for name in pair if name in arrays.keys() - used]
    if halves:
        raise DataError(
            f"{path} holds {halves[0]}, without the array that belongs to it: add that, or remove {halves[0]}"
        )
    found, truth = np.unique(np.concatenate(labels), return_inverse=True)
    names = tuple(sorted(found.tolist(), key=natural))
    if "" in names:
        raise DataError(f"{path} has images with an empty label: label them, or remove them")
    number = {name: k for k, name in enumerate(names)}
    return _Arrays(
        name=path.stem,
        root=path,
        files=files,
        labels=names,
        classes=np.array([number[name] for name in found.tolist()], np.int32)[truth],
        splits=np.array(splits, np.int8),
        given=tuple(split for k, split in enumerate(SPLITS) if k in splits),
        groups=np.full(len(files), -1, np.int32),
        left_out=tuple(
            Problem(name, "another array", f"{name} in {path} isn't looked at") for name in sorted(arrays.keys() - used)
        ),
        expected="arrays that aren't empty",
        parts=tuple(parts),
    )


def _read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(path) as found:
            size = sum(entry.file_size for entry in found.infolist())
        if size > LARGEST_ARRAYS:
            raise DataError(f"{path} unpacks to {size / 2**30:,.0f} GiB, expected at most {LARGEST_ARRAYS / 2**30:.0f}")
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:  # a pickle could run anything
            return dict(arrays)
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror or error})") from None
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy fail in a dozen types
        raise DataError(f"{path} can't be read as arrays of NumPy ({error}): save it by np.savez") from None
