"""CIFAR-10 and CIFAR-100: 60,000 color images each, 32x32 (Krizhevsky 2009).

Read from the binary version: that for Python is a pickle, which could run anything.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source, checked_file, find_files
from zoo.data.sources.tar import read_members
from zoo.data.splits import hold_out
from zoo.errors import DataError

BASE_URL = "https://www.cs.toronto.edu/~kriz/"
LICENSE = "not stated by the authors"
HOMEPAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
PAPER = "Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images"
# Sizes and SHA-256 as TensorFlow Datasets has them.
CIFAR10 = Source(
    "cifar10",
    "CIFAR-10",
    {
        "cifar-10-binary.tar.gz": Published(
            BASE_URL + "cifar-10-binary.tar.gz",
            170_052_171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        )
    },
)
CIFAR100 = Source(
    "cifar100",
    "CIFAR-100",
    {
        "cifar-100-binary.tar.gz": Published(
            BASE_URL + "cifar-100-binary.tar.gz",
            168_513_733,
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        )
    },
)
LARGEST_MEMBER = 50_000 * (2 + 32 * 32 * 3)  # bytes: all images to train on of CIFAR-100
LARGEST_ARCHIVE = 2**28  # bytes, unpacked: each has 184 million


@data_set("cifar10", license=LICENSE, source=HOMEPAGE, reference=PAPER, files=CIFAR10)
def cifar10(folder: Path | None, on_progress: Progress) -> DataSet:
    """Animals and vehicles, 32x32 color, 10 classes, 50,000 + 10,000 images (Krizhevsky 2009)."""
    batches = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
    return _load(CIFAR10, folder, on_progress, batches, "test_batch.bin", "batches.meta.txt")


@data_set("cifar100", license=LICENSE, source=HOMEPAGE, reference=PAPER, files=CIFAR100)
def cifar100(folder: Path | None, on_progress: Progress) -> DataSet:
    """Animals, plants, people and things, 32x32 color, 100 classes, 50,000 + 10,000 images (Krizhevsky 2009)."""
    return _load(CIFAR100, folder, on_progress, ("train.bin",), "test.bin", "fine_label_names.txt")


def _load(
    source: Source, folder: Path | None, on_progress: Progress, batches: tuple[str, ...], test: str, names: str
) -> DataSet:
    """From the archive's members: those to train on, that to test on, and that with the names of the classes."""
    found = find_files(source, folder, on_progress)
    (name,) = source.files
    path = checked_file(source, name, found)
    try:
        members = read_members(path, {*batches, test, names}, largest=LARGEST_MEMBER, most=LARGEST_ARCHIVE)
        labels = tuple(line.strip() for line in members[names].decode("ascii").splitlines() if line.strip())
        train, validation = hold_out(_split(b"".join(members[batch] for batch in batches), len(labels)))
        test_split = _split(members[test], len(labels))
    except (ValueError, OSError) as error:
        raise DataError(f"{path} doesn't contain {source.title} ({error}): replace it") from None
    return DataSet(source.name, labels, train, validation, test_split, mirrored=True, origin=str(found))


def _split(content: bytes, classes: int) -> Split:
    """Records of labels, of which the last is the finest, and 32x32 pixels: all red, all green, all blue."""
    given = 1 if classes <= 10 else 2
    record = given + 3 * 32 * 32
    if not content or len(content) % record:
        raise ValueError(f"{len(content):,} bytes are not records of {record:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    labels = records[:, given - 1].astype(np.int64)
    if labels.max() >= classes:
        raise ValueError(f"a label of {labels.max()}, expected 0 to {classes - 1}")
    images = records[:, given:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).copy()  # [N, H, W, C]
    return Split(images, labels, tuple(str(k) for k in range(len(labels))))
