"""MNIST: 70,000 handwritten digits (LeCun, Bottou, Bengio & Haffner 1998)."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import DataSet
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source
from zoo.data.sources.idx import load_idx

BASE_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"  # the authors' own site doesn't answer any more
# Sizes and SHA-256 as TensorFlow Datasets has them.
FILES = {
    name: Published(BASE_URL + name, size, sha256)
    for name, size, sha256 in (
        ("train-images-idx3-ubyte.gz", 9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    )
}
SOURCE = Source("mnist", "MNIST", FILES)


@data_set(
    "mnist",
    license="CC BY-SA 3.0",
    source="https://yann.lecun.com/exdb/mnist/",
    reference="LeCun, Bottou, Bengio & Haffner 1998, doi:10.1109/5.726791",
    files=SOURCE,
)
def mnist(folder: Path | None, on_progress: Progress) -> DataSet:
    """Handwritten digits, 28x28 gray, 10 classes, 60,000 + 10,000 images (LeCun et al. 1998)."""
    return load_idx(SOURCE, tuple("0123456789"), folder, on_progress)
