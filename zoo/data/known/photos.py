"""Photographs of several sizes, published as archives: pets (Parkhi et al. 2012), and flowers (TensorFlow's tutorials).

They are listed alone: like those of a folder they are decoded to the size that is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zoo.data.cache import cache_folder
from zoo.data.folders.packed import Packed, PackedGathering
from zoo.data.registry import Progress, data_set
from zoo.data.sources.download import Published, Source, checked_file, find_files
from zoo.data.sources.tar import members_of, read_members, uncompressed
from zoo.errors import DataError

# Sizes and SHA-256 as TensorFlow Datasets has them.
PETS = Source(
    "oxford-pets",
    "Oxford-IIIT Pet",
    {
        "images.tar.gz": Published(
            "https://thor.robots.ox.ac.uk/~vgg/data/pets/images.tar.gz",
            791_918_971,
            "67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
        ),
        "annotations.tar.gz": Published(
            "https://thor.robots.ox.ac.uk/~vgg/data/pets/annotations.tar.gz",
            19_173_078,
            "52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
        ),
    },
)
FLOWERS = Source(
    "flowers",
    "the flowers of TensorFlow's tutorials",
    {
        "flower_photos.tgz": Published(
            "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
            228_813_984,
            "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
        )
    },
)
LARGEST_ARCHIVE = 2**31  # bytes, unpacked
LARGEST_LIST = 2**20  # bytes of the names of one split


@data_set(
    "oxford-pets",
    license="CC BY-SA 4.0",
    source="https://www.robots.ox.ac.uk/~vgg/data/pets/",
    reference="Parkhi, Vedaldi, Zisserman & Jawahar 2012, doi:10.1109/CVPR.2012.6248092",
    files=PETS,
)
def oxford_pets(folder: Path | None, on_progress: Progress) -> Packed:
    """Cats and dogs by breed, color photographs, 37 classes, 3,680 + 3,669 images (Parkhi et al. 2012)."""
    found = find_files(PETS, folder, on_progress)
    archive = _archive(PETS, "images.tar.gz", found)
    annotations = checked_file(PETS, "annotations.tar.gz", found)
    gathering = PackedGathering()
    try:
        spans = {name: span for name, *span in members_of(archive)}
        lists = read_members(annotations, {"trainval.txt", "test.txt"}, largest=LARGEST_LIST, most=LARGEST_ARCHIVE)
        for split, file in (("train", "trainval.txt"), ("test", "test.txt")):
            for line in lists[file].decode("ascii").splitlines():
                name = line.split(" ")[0]  # such as great_pyrenees_104
                begin, size = spans[f"images/{name}.jpg"]
                gathering.add_packed(f"{name}.jpg", name.rpartition("_")[0], split, archive, begin, size)
    except (ValueError, KeyError, OSError) as error:
        raise DataError(f"{found} doesn't contain {PETS.title} ({error}): replace its files") from None
    return gathering.packed(PETS.name, archive, ("train", "test"), "the pets that its lists name", mirrored=True)


@data_set(
    "flowers",
    license="CC BY 2.0",
    source="https://www.tensorflow.org/datasets/catalog/tf_flowers",
    reference="The TensorFlow Team 2019, Flowers; the photographers are credited in the archive's LICENSE.txt",
    files=FLOWERS,
)
def flowers(folder: Path | None, on_progress: Progress) -> Packed:
    """Daisies, dandelions, roses, sunflowers and tulips, color photographs, 5 classes, 3,670 images."""
    found = find_files(FLOWERS, folder, on_progress)
    archive = _archive(FLOWERS, "flower_photos.tgz", found)
    gathering = PackedGathering()
    try:
        for file, label, begin, size in sorted(_flowers(archive)):
            gathering.add_packed(file, label, "train", archive, begin, size)
    except (ValueError, OSError) as error:
        raise DataError(f"{found} doesn't contain {FLOWERS.title} ({error}): replace its file") from None
    return gathering.packed(FLOWERS.name, archive, ("train",), "flower_photos/CLASS/*.jpg", mirrored=True)


def _flowers(archive: Path) -> Iterator[tuple[str, str, int, int]]:
    """From members such as flower_photos/roses/1.jpg: roses/1.jpg, roses, and the span of its bytes."""
    for name, begin, size in members_of(archive):
        parts = name.split("/")
        if len(parts) == 3 and parts[2].endswith(".jpg"):
            yield "/".join(parts[1:]), parts[1], begin, size


def _archive(source: Source, name: str, found: Path) -> Path:
    """One of the files, checked, and once unpacked into the cache as an archive that can be read at any place."""
    path = checked_file(source, name, found)
    kept = cache_folder() / source.name / f"{source.files[name].sha256[:16]}.tar"
    try:
        return uncompressed(path, kept, LARGEST_ARCHIVE)
    except ValueError as error:
        raise DataError(f"{path} doesn't contain {source.title} ({error}): replace it") from None
    except OSError as error:
        raise DataError(
            f"{kept} can't be written ({error.strerror or error}): set XDG_CACHE_HOME to a folder that can"
        ) from None
