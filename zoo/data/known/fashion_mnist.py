"""Fashion-MNIST: 70,000 images of clothes (Xiao, Rasul & Vollgraf 2017)."""

from __future__ import annotations

from pathlib import Path

from zoo.data.dataset import DataSet
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source
from zoo.data.sources.idx import load_idx

LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
BASE_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # the authors', which knows no HTTPS
# Known by what each unpacks to: Debian packs the same bytes with another gzip header than the authors do. (Debian's,
# given the authors' header, have the MD5s that the authors publish.)
FILES = {
    name: Published(BASE_URL + name, size, content=content)
    for name, size, content in (
        (
            "train-images-idx3-ubyte.gz",
            26_421_880,
            (47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        ),
        (
            "train-labels-idx1-ubyte.gz",
            29_515,
            (60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            4_422_102,
            (7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            5_148,
            (10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
    )
}
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
SOURCE = Source(
    "fashion-mnist",
    "Fashion-MNIST",
    FILES,
    elsewhere=(DEBIAN_FOLDER,),
    loose=True,
    hint="apt-get install dataset-fashion-mnist, or ",
)


@data_set(
    "fashion-mnist",
    license="MIT",
    source="https://github.com/zalandoresearch/fashion-mnist",
    reference="Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747",
    files=SOURCE,
)
def fashion_mnist(folder: Path | None, on_progress: Progress) -> DataSet:
    """Clothes, 28x28 gray, 10 classes, 60,000 + 10,000 images (Xiao, Rasul & Vollgraf 2017)."""
    return load_idx(SOURCE, LABELS, folder, on_progress, mirrored=True)  # a mirrored boot is a boot
