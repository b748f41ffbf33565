"""EMNIST Balanced: 131,600 handwritten digits and letters (Cohen, Afshar, Tapson & van Schaik 2017)."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import LARGEST_UNPACKED, Published, Source, checked_file, find_files, gunzip
from zoo.data.sources.idx import idx_split
from zoo.data.splits import hold_out
from zoo.errors import DataError

# Size and SHA-256 as TensorFlow Datasets has them. It holds all six ways to divide the same characters.
FILES = {
    "gzip.zip": Published(
        "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
        561_753_746,
        "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
    )
}
SOURCE = Source("emnist", "EMNIST", FILES)
INSIDE = "gzip/emnist-balanced-"


@data_set(
    "emnist",
    license="not stated by the authors",
    source="https://www.nist.gov/itl/products-and-services/emnist-dataset",
    reference="Cohen, Afshar, Tapson & van Schaik 2017, arXiv:1702.05373",
    files=SOURCE,
)
def emnist(folder: Path | None, on_progress: Progress) -> DataSet:
    """Handwritten digits and letters, 28x28 gray, 47 classes, 112,800 + 18,800 images (Cohen et al. 2017).

    The Balanced division of the six: all characters, with as many images of each. Letters that people write alike large
    and small, such as C and c, are one class.
    """
    path = checked_file(SOURCE, "gzip.zip", find_files(SOURCE, folder, on_progress))
    try:
        with zipfile.ZipFile(path) as archive:
            labels = _labels(_member(archive, "mapping.txt"))
            given, test = (_split(archive, split, len(labels)) for split in ("train", "test"))
    except (ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} doesn't contain EMNIST Balanced ({error}): replace it") from None
    train, validation = hold_out(given)
    return DataSet("emnist", labels, train, validation, test, mirrored=False, origin=str(path.parent))


def _labels(mapping: bytes) -> tuple[str, ...]:
    """From lines such as `10 65`: class 10 is the character with the code 65, A."""
    return tuple(chr(int(line.split()[1])) for line in mapping.decode("ascii").splitlines())


def _split(archive: zipfile.ZipFile, split: str, classes: int) -> Split:
    images, labels = (
        gunzip(_member(archive, f"{split}-{kind}-ubyte.gz"), LARGEST_UNPACKED)
        for kind in ("images-idx3", "labels-idx1")
    )
    found = idx_split(images, labels, classes)
    return replace(found, inputs=found.inputs.swapaxes(1, 2).copy())  # the files hold column after column


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """One of its files. ValueError where that is larger than any of theirs."""
    entry = archive.getinfo(INSIDE + name)
    if entry.file_size > LARGEST_UNPACKED:
        raise ValueError(f"{entry.filename} unpacks to {entry.file_size:,} bytes")
    return archive.read(entry)  # as many bytes as it says, or BadZipFile
