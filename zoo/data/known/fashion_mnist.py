"""Fashion-MNIST: 70,000 images of clothes (Xiao, Rasul & Vollgraf 2017), wherever they lie, else downloaded."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from zoo.data.cache import cache_folder
from zoo.data.dataset import DataSet, Split
from zoo.data.registry import Progress, data_set
from zoo.data.splits import draw
from zoo.errors import DataError

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
# Size in bytes and SHA-256 of each file unpacked: Debian packs the same bytes with another gzip header than the
# authors do. (Debian's, given the authors' header, have the MD5s that the authors publish.)
FILES = {
    "train-images-idx3-ubyte.gz": (47_040_016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte.gz": (60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte.gz": (7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte.gz": (10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
BASE_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"  # the authors'; each file is checked
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
VALIDATION_IMAGES = 5_000
PATIENCE = 20  # seconds without an answer


@data_set("fashion-mnist", license="MIT", source="https://github.com/zalandoresearch/fashion-mnist")
def fashion_mnist(folder: Path | None, on_progress: Progress) -> DataSet:
    """Clothes, 28x28 gray, 10 classes, 60,000 + 10,000 images (Xiao, Rasul & Vollgraf 2017)."""
    found = _find(folder) or _download(on_progress)
    images, labels, test_images, test_labels = (_read(found / file) for file in FILES)
    given = _split(images, labels)
    train, validation = draw(given.labels, VALIDATION_IMAGES / len(given))
    return DataSet(
        name="fashion-mnist",
        labels=LABELS,
        train=given.take(train),
        validation=given.take(validation),
        test=_split(test_images, test_labels),
        mirrored=True,  # a mirrored boot is a boot
        origin=str(found),
    )


def _split(encoded: bytes, labels: bytes) -> Split:
    """From the two files' content in the IDX format: a header of 16 and of 8 bytes, then one byte a value."""
    images = np.frombuffer(encoded, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    indices = np.frombuffer(labels, np.uint8, offset=8).astype(np.int64)
    return Split(images, indices, tuple(str(i) for i in range(len(indices))))


def _find(folder: Path | None) -> Path | None:
    """The folder that holds the files. DataError where one was named and they aren't there, or some are missing."""
    for place in _places(folder):
        try:
            there = [file for file in FILES if (place / file).is_file()]
        except OSError as error:
            raise DataError(
                f"{place} can't be read ({error.strerror}): let this user read it, or name another"
            ) from None
        missing = [file for file in FILES if file not in there]
        if there and missing:
            raise DataError(f"{place} holds {there[0]}, but not {' and '.join(missing)}: add what is missing")
        if there:
            return place
    if folder:
        raise DataError(f"{folder} doesn't hold Fashion-MNIST, expected {', '.join(FILES)} in it")
    return None


def _places(folder: Path | None) -> Iterator[Path]:
    """Where to look, in this order. A folder that was named is the only place: nothing replaces it unasked."""
    if folder:
        yield from (folder, folder / "fashion-mnist")
        return
    if named := os.environ.get("ZOO_DATA"):
        yield from (Path(named), Path(named) / "fashion-mnist")
    yield DEBIAN_FOLDER
    yield _cache()


def _cache() -> Path:
    return cache_folder() / "fashion-mnist"


def _read(path: Path) -> bytes:
    try:
        return _unpack(path.name, path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path} is not the file of Fashion-MNIST ({error}): replace or remove it") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None


def _unpack(file: str, packed: bytes) -> bytes:
    """The content of one of the four files. ValueError where it isn't what the authors published."""
    size, sha256 = FILES[file]
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with the header of gzip
    try:
        content = unpacker.decompress(packed, size + 1)  # one more than expected is enough to know
    except zlib.error as error:
        raise ValueError(f"not a gzip file, {error}") from None
    if len(content) != size:
        raise ValueError(
            f"expected {size:,} bytes unpacked, received {'more' if len(content) > size else len(content)}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"expected the SHA-256 {sha256}, received {found}")
    return content


def _download(on_progress: Progress) -> Path:
    """Bring the four files to the user's cache: all of them, checked, or none."""
    cache = _cache()
    partial = cache.with_name(f"{cache.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        for done, file in enumerate(FILES):
            on_progress(done, len(FILES))
            (partial / file).write_bytes(_fetch(file))
        partial.replace(cache)
    except OSError as error:
        reason = f"{cache} can't be written ({error.strerror or error})"
        raise DataError(f"{reason}: set XDG_CACHE_HOME to a folder that can") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    on_progress(len(FILES), len(FILES))
    return cache


def _fetch(file: str) -> bytes:
    try:
        with urllib.request.urlopen(BASE_URL + file, timeout=PATIENCE) as answer:  # noqa: S310 (a constant)
            packed: bytes = answer.read(2 * FILES[file][0])  # no answer fills the memory
        _unpack(file, packed)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer, too
        reason = error.reason if type(error) is urllib.error.URLError else error
        looked = ", ".join(str(place) for place in _places(None))
        raise DataError(
            f"Fashion-MNIST is not in {looked}, and can't be downloaded ({reason}): "
            "apt-get install dataset-fashion-mnist, or put its four files in a folder and name that in ZOO_DATA"
        ) from None
    except ValueError as error:
        raise DataError(f"{BASE_URL}{file} is not the file of Fashion-MNIST ({error}): try again later") from None
    return packed
