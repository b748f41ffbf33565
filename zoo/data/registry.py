"""The one list of known data sets, and `load`, which takes one of them, a folder of images or a table.

@data_set("my-data")
def my_data(folder: Path | None, on_progress: Progress) -> DataSet:
    ...
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from zoo.contract import LARGEST_SIDE, RESIZINGS
from zoo.data.catalogs.hugging_face import is_folder, list_hf
from zoo.data.catalogs.tensorflow_datasets import list_tfds
from zoo.data.dataset import DataSet
from zoo.data.folders.files_table import names_images
from zoo.data.folders.layouts import list_images, near_paths
from zoo.data.folders.overview import Overview, overview
from zoo.data.folders.reading import ON_BAD, read_images, read_listing
from zoo.data.folders.shards import SHARD_ENDING, is_pattern
from zoo.data.listing import Listing
from zoo.data.resizing import at_size
from zoo.data.sources import download
from zoo.data.tables.reading import ENDINGS
from zoo.data.tables.report import read_table
from zoo.errors import DataError, printable, unknown

OTHER_TABLES = (
    ".npz",
    ".npy",
    ".parquet",
    ".xlsx",
    ".xls",
    ".ods",
    ".zip",
)  # that are no text, whatever is named in them

Progress: TypeAlias = download.Progress  # done, in all: bytes of a download, or images of a folder
# folder: where the user says that the files lie. Images of several sizes are listed alone, and decoded as a folder's.
Loader: TypeAlias = Callable[[Path | None, Progress], DataSet | Listing]


@dataclass(frozen=True)
class Terms:
    """Under which license a known data set is, where it comes from, and who described it; empty where it isn't said.

    files: those that are downloaded; None for what comes with a package.
    """

    license: str = ""
    source: str = ""
    reference: str = ""
    files: download.Source | None = None


_CATALOGS: dict[str, Callable[[str, Path | None, str | None, Progress], Listing]] = {"tfds": list_tfds, "hf": list_hf}
_loaders: dict[str, Loader] = {}
_terms: dict[str, Terms] = {}


def data_set(
    name: str,
    *,
    license: str = "",  # noqa: A002
    source: str = "",
    reference: str = "",
    files: download.Source | None = None,
) -> Callable[[Loader], Loader]:
    """Register a loader under a name. DataError where the name is taken.

    license, source: of the images, in words; every export that is made with them names both. reference: the paper.
    files: what is downloaded.
    """

    def register(loader: Loader) -> Loader:
        if name in _loaders:
            raise DataError(f"two data sets are called {name!r}: give one of them another name")
        _loaders[name], _terms[name] = loader, Terms(license, source, reference, files)
        return loader

    return register


def terms_of(name: str) -> Terms:
    """License and source of a known data set; both empty for any other."""
    return _terms.get(name, Terms())


def data_sets() -> dict[str, str]:
    """The known data sets: name -> the first line of the loader's docstring."""
    return {name: (loader.__doc__ or "").strip().partition("\n")[0] for name, loader in sorted(_loaders.items())}


def load(
    data: str,
    *,
    folder: Path | None = None,
    size: tuple[int, int] | None = None,
    resizing: str = RESIZINGS[0],
    groups: str | None = None,
    on_bad: str = ON_BAD[0],
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    on_progress: Progress | None = None,
) -> DataSet:
    """A known data set by its name, or images (a folder, a table of files, arrays, shards) or a table of values by its
    path, or one of a catalog: tfds:NAME of TensorFlow Datasets, hf:USER/NAME of the Hugging Face Hub.

    A known name wins over a folder of that name beside it: ./digits is the folder.
    folder: where the files of a known data set lie, or what TensorFlow Datasets prepared, if not in a usual place.
    size: (height, width) in pixels that the images are resized to; by default the data set's own. resizing: how, one
    of zoo.contract.RESIZINGS. groups, on_bad: of a folder or a table of files, see `zoo.data.folders.reading`.
    label: of a table or a catalog, the column that holds the class; of shards, the name in their .json. images: the
    folder that the files of a table lie in, where that isn't its own. follow_links: whether links may lead out of the
    folder.
    Raises DataError for what isn't there, can't be read, can be understood in two ways, or can't be learned from.
    """
    if size and not all(1 <= side <= LARGEST_SIDE for side in size):
        raise DataError(f"an image size is two numbers of 1..{LARGEST_SIDE} pixels, received {size[0]}x{size[1]}")
    for name, value, known in (("resizing", resizing, RESIZINGS), ("on_bad", on_bad, ON_BAD)):
        if value not in known:
            raise DataError(f"{name} is one of {', '.join(known)}, received {value!r}")
    progress = on_progress or _silent
    if has_name(data):
        _refuse_options_of_folders(data, groups, images, follow_links=follow_links)
        named, where = _load_named(data, folder, label, progress)
        if isinstance(named, DataSet):
            return at_size(named, *(size or (named.height, named.width)), resizing)
        return read_listing(named, size=size, resizing=resizing, on_bad=on_bad, origin=where, on_progress=progress)
    is_table = holds_values(data, label, images)
    if not is_table:
        _check_path(data)
    if folder:
        raise DataError(f"a data folder requires a known data set ({', '.join(_loaders)}), received one with {data}")
    if is_table and (size or groups or follow_links or resizing != RESIZINGS[0]):
        raise DataError(f"{data} is a table of values: sizes, groups, and links require images")
    if is_table:
        found = read_table(Path(data), label)
    else:
        found = read_images(
            Path(data),
            size=size,
            resizing=resizing,
            groups=groups,
            on_bad=on_bad,
            label=label,
            images=images,
            follow_links=follow_links,
            on_progress=progress,
        )
    if not str(Path(data).resolve()).isprintable() or found.name in (".", ".."):
        raise DataError(f"{printable(data)} has a name that nothing can be filed under: rename it")
    # Runs and exports are filed under the data set's name: nothing else may pass for a known one.
    kind = "table" if is_table else "folder"
    return replace(found, name=f"{found.name}-{kind}") if found.name in _loaders else found


def look(
    data: str,
    *,
    folder: Path | None = None,
    groups: str | None = None,
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    on_progress: Progress | None = None,
) -> Overview:
    """What `load` would find of images, of which no more than some are decoded. Raises DataError as it does."""
    if has_name(data):
        named, _ = _load_named(data, folder, label, on_progress or _silent)
        if isinstance(named, DataSet):
            tested = len(named.test)
            in_all = len(named.train) + len(named.validation) + tested
            return Overview(in_all, named.classes, named.height, named.width, named.channels == 3, tested)
        return overview(named)
    _check_path(data)
    return overview(list_images(Path(data), groups, label=label, images=images, follow_links=follow_links))


def list_data(
    data: str,
    *,
    folder: Path | None = None,
    groups: str | None = None,
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
    on_progress: Progress | None = None,
) -> Listing:
    """The images of a path or of a catalog, listed and not decoded yet. The arguments are those of `load`.

    Raises DataError for what isn't there, and for a catalog's with an option that goes with a folder or a table.
    """
    if not is_catalogued(data):
        if folder is not None:
            raise DataError(f"a data folder requires tfds:NAME, received one with {data}")
        return list_images(Path(data), groups, label=label, images=images, follow_links=follow_links)
    _refuse_options_of_folders(data, groups, images, follow_links=follow_links)
    catalog, _, name = data.partition(":")
    return _CATALOGS[catalog](name, folder, label, on_progress or _silent)


def _refuse_options_of_folders(data: str, groups: str | None, images: Path | None, *, follow_links: bool) -> None:
    chosen = {"groups": groups, "images": images, "follow_links": follow_links}
    if any(chosen.values()):
        option = next(name for name, value in chosen.items() if value).replace("_", "-")
        raise DataError(f"{data} is a known data set: --{option} requires your own folder or table")


def is_catalogued(data: str) -> bool:
    """Whether it is a data set of a catalog, such as tfds:NAME."""
    return data not in _loaders and data.partition(":")[0] in _CATALOGS


def has_name(data: str) -> bool:
    """Whether it is a known data set, or one of a catalog, and no path."""
    return data in _loaders or is_catalogued(data)


def _load_named(
    data: str, folder: Path | None, label: str | None, on_progress: Progress
) -> tuple[DataSet | Listing, str]:
    """What has a name, and where it was found, if that isn't said by itself."""
    if data not in _loaders:
        catalog, _, name = data.partition(":")
        return _CATALOGS[catalog](name, folder, label, on_progress), data
    if label is not None:
        raise DataError(f"{data} holds images: a label column requires a table, a CSV file")
    found = _loaders[data](folder, on_progress)
    return found, found.origin if isinstance(found, DataSet) else str(found.root)


def holds_values(path: str, label: str | None = None, images: Path | None = None) -> bool:
    """Whether a table of values is meant, by its name and its columns, and not a table of files.

    label: the column of the class, where one is named: only a table has that. images: the folder that its files lie in.
    """
    if has_name(path):
        return False
    named = path.lower().endswith(ENDINGS) or (label is not None and not path.lower().endswith(OTHER_TABLES))
    named = named and not os.path.isdir(path) and not path.lower().endswith(SHARD_ENDING)  # noqa: PTH112 (it never raises)
    return named and not names_images(Path(path), images)


def absolute(data: str) -> str:
    """The same data, for a command that starts in another folder: a path, or a pattern of shards, from the root on."""
    if data.startswith("hf:") and is_folder(data[3:]):
        return f"hf:{Path(data[3:]).expanduser().resolve()}"
    if data in _loaders or not (os.path.exists(data) or is_pattern(data)):  # noqa: PTH110 (it never raises)
        return data
    return str(Path(data).resolve())


def _check_path(data: str) -> None:
    """Raise DataError for a name that isn't known, and no path either."""
    try:
        is_path = _is_path(data)
    except OSError as error:  # no permission on the way there, a name too long
        raise DataError(f"{data} can't be read ({error.strerror}): name another folder of images") from None
    if not is_path:
        folders = [f"./{near}" for near in near_paths(Path(data))]
        path = (
            f"did you mean {' or '.join(folders)}?" if folders else f"a folder of images is given as a path: ./{data}"
        )
        raise DataError(f"{unknown('data set', data, _loaders)} ({path})")


def _is_path(data: str) -> bool:
    there = Path(data).exists() or is_pattern(data)
    return there or any(separator in data for separator in (os.sep, os.altsep) if separator)


def _silent(done: int, in_all: int) -> None:
    pass
