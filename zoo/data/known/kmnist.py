"""Kuzushiji-MNIST: 70,000 characters of old Japanese books (Clanuwat et al. 2018)."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import DataSet
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source
from zoo.data.sources.idx import load_idx

LABELS = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
BASE_URL = "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"
# Sizes and SHA-256 as TensorFlow Datasets has them.
FILES = {
    name: Published(BASE_URL + name, size, sha256)
    for name, size, sha256 in (
        ("train-images-idx3-ubyte.gz", 18_165_135, "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"),
        ("train-labels-idx1-ubyte.gz", 29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
        ("t10k-images-idx3-ubyte.gz", 3_041_136, "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"),
        ("t10k-labels-idx1-ubyte.gz", 5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
    )
}
SOURCE = Source("kmnist", "Kuzushiji-MNIST", FILES)


@data_set(
    "kmnist",
    license="CC BY-SA 4.0",
    source="https://codh.rois.ac.jp/kmnist/",
    reference="Clanuwat, Bober-Irizar, Kitamoto, Lamb, Yamamoto & Ha 2018, arXiv:1812.01718",
    files=SOURCE,
)
def kmnist(folder: Path | None, on_progress: Progress) -> DataSet:
    """Characters of old Japanese books, 28x28 gray, 10 classes, 60,000 + 10,000 images (Clanuwat et al. 2018)."""
    return load_idx(SOURCE, LABELS, folder, on_progress)
