"""Small data sets in the formats that their authors publish, served as these do."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

from zoo.data.sources.download import Published, Source


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def published_in(folder: Path, source: Source, address: str = "") -> Source:
    """A source whose files are those of a folder, at an address, or at one where nobody answers."""
    address = address or f"http://127.0.0.1:{closed_port()}/"
    files = {}
    for name in source.files:
        content = (folder / name).read_bytes()
        files[name] = Published(address + name, len(content), hashlib.sha256(content).hexdigest())
    return replace(source, files=files, elsewhere=())


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """The folder behind real HTTP: its address, and the paths that were asked for."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


# --- formats ---------------------------------------------------------------------------------------------------------


def noise(seed: int, *shape: int):
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


def in_turn(count: int, classes: int):
    """[N] labels: 0, 1, 2, …"""
    return (np.arange(count) % classes).astype(np.uint8)


def idx(array) -> bytes:
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def tar(members: Mapping[str, bytes], mode: str = "w") -> bytes:
    """An archive of files by their names; mode: w, or w:gz."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def jpeg(seed: int, height: int = 20, width: int = 30) -> bytes:
    out = io.BytesIO()
    Image.fromarray(noise(seed, height, width, 3)).save(out, "JPEG")
    return out.getvalue()


# --- data sets, each with what its first test image is ---------------------------------------------------------------


def save_mnist(folder: Path, classes: int = 10):
    images = noise(1, 60, 28, 28)
    for name, pixels in (("train", images[:40]), ("t10k", images[40:])):
        for kind, array in (("images-idx3", pixels), ("labels-idx1", in_turn(len(pixels), classes))):
            (folder / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    return images[40][..., None]


EMNIST_MAPPING = "".join(f"{k} {ord(c)}\n" for k, c in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"))


def save_emnist(folder: Path):
    images = noise(2, 47 * 3, 28, 28)
    with zipfile.ZipFile(folder / "gzip.zip", "w") as archive:
        archive.writestr("gzip/emnist-balanced-mapping.txt", EMNIST_MAPPING)
        for split, pixels in (("train", images[:94]), ("test", images[94:])):
            for kind, array in (("images-idx3", pixels.swapaxes(1, 2)), ("labels-idx1", in_turn(len(pixels), 47))):
                archive.writestr(f"gzip/emnist-balanced-{split}-{kind}-ubyte.gz", gzip.compress(idx(array)))
    return images[94][..., None]


CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def records(images, labels) -> bytes:
    """labels: [N, 1], or [N, 2] with the coarse ones first."""
    return np.concatenate([labels, images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1).tobytes()


def save_cifar10(folder: Path):
    images, labels = noise(3, 60, 32, 32, 3), in_turn(60, 10)[:, None]
    batches = {f"data_batch_{k + 1}.bin": slice(10 * k, 10 * k + 10) for k in range(5)}
    batches["test_batch.bin"] = slice(50, 60)
    members = {name: records(images[part], labels[part]) for name, part in batches.items()}
    members = {"batches.meta.txt": "\n".join((*CIFAR10_NAMES, "")).encode(), "readme.html": b"hello", **members}
    archive = tar({f"cifar-10-batches-bin/{name}": content for name, content in members.items()}, "w:gz")
    (folder / "cifar-10-binary.tar.gz").write_bytes(archive)
    return images[50]


def save_cifar100(folder: Path):
    images, fine = noise(4, 300, 32, 32, 3), in_turn(300, 100)[:, None]
    labels = np.concatenate([fine // 5, fine], axis=1)
    members = {
        "coarse_label_names.txt": b"coarse\n" * 20,
        "fine_label_names.txt": "".join(f"thing_{k}\n" for k in range(100)).encode(),
        "train.bin": records(images[:200], labels[:200]),
        "test.bin": records(images[200:], labels[200:]),
    }
    archive = tar({f"cifar-100-binary/{name}": content for name, content in members.items()}, "w:gz")
    (folder / "cifar-100-binary.tar.gz").write_bytes(archive)
    return images[200]


def save_svhn(folder: Path):
    from scipy.io import savemat

    images = noise(5, 60, 32, 32, 3)
    for name, pixels in (("train", images[:40]), ("test", images[40:])):
        labels = np.where(in_turn(len(pixels), 10) == 0, 10, in_turn(len(pixels), 10))[:, None].astype(np.uint8)
        savemat(folder / f"{name}_32x32.mat", {"X": pixels.transpose(1, 2, 3, 0), "y": labels}, do_compression=True)
    return images[40]


SAVED: Mapping[str, Callable[[Path], np.ndarray]] = {
    "mnist": save_mnist,
    "kmnist": save_mnist,
    "emnist": save_emnist,
    "cifar10": save_cifar10,
    "cifar100": save_cifar100,
    "svhn": save_svhn,
}


PETS = ("Abyssinian", "american_bulldog", "great_pyrenees")


def save_pets(folder: Path):
    names = [f"{breed}_{number}" for number in range(1, 13) for breed in PETS]
    images = {f"images/{name}.jpg": jpeg(k, 20 + k % 3) for k, name in enumerate(names)}
    images["images/Abyssinian_100.mat"] = b"not in a list"
    lines = [f"{name} {1 + PETS.index(name.rpartition('_')[0])} 1 1\n" for name in names]
    lists = {"annotations/test.txt": "".join(lines[24:]), "annotations/trainval.txt": "".join(lines[:24])}
    (folder / "images.tar.gz").write_bytes(tar(images, "w:gz"))
    (folder / "annotations.tar.gz").write_bytes(tar({name: text.encode() for name, text in lists.items()}, "w:gz"))
    return images


FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def save_flowers(folder: Path):
    images = {f"flower_photos/{kind}/{k}.jpg": jpeg(k) for k, kind in enumerate(FLOWERS * 10)}
    (folder / "flower_photos.tgz").write_bytes(tar({"flower_photos/LICENSE.txt": b"CC BY", **images}, "w:gz"))
    return images
