"""hf:USER/NAME, a data set of the Hugging Face Hub, and hf:./FOLDER, a folder in one of the forms that these have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from zoo.data.catalogs.kept import Catalogued, Example, file_name, first_line, list_kept, stamps
from zoo.data.folders.files_table import is_inside
from zoo.data.folders.packed import Packed
from zoo.data.sources.download import Progress
from zoo.errors import DataError, MissingExtraError

_NAME = re.compile(r"(?P<name>[\w.-]+/[\w.-]+|[\w.-]+)(/(?P<config>[\w.-]+))?")
_PATHS = ("./", "../", "/", "~")


def is_folder(name: str) -> bool:
    """Whether a folder is meant, and nothing at the Hub: ./FOLDER, ../FOLDER, /FOLDER or ~/FOLDER."""
    return name in (".", "..") or name.startswith(_PATHS)


def list_hf(name: str, folder: Path | None, label: str | None, on_progress: Progress) -> Packed:
    """The images of a data set, read by Hugging Face's `datasets`; code in a data set is never run.

    name: USER/NAME, USER/NAME/CONFIG, or a folder as `is_folder` says. label: the column with the class, where there
    are several.
    Raises DataError for what isn't there, and for a data set without one image and one class.
    """
    if folder:
        raise DataError(f"hf:{name} takes no data folder: name the folder itself, as hf:{folder}")
    if is_folder(name):
        path = Path(name).expanduser().resolve()
        if not path.is_dir():
            raise DataError(f"there is no folder at {path}, expected one with a data set of Hugging Face")
        catalogued = partial(_catalogued, str(path), None, label, path)
        return list_kept(f"hf-{file_name(path.name)}", (str(path), label, stamps(path)), catalogued, on_progress)
    parts = _NAME.fullmatch(name)
    if not parts:
        raise DataError(f"hf:{name} isn't a name on the Hub, expected one such as hf:USER/NAME or hf:USER/NAME/CONFIG")
    if Path(parts["name"]).is_dir():  # `datasets` would take it for the one that is meant
        raise DataError(f"{name} is a folder here, too: give it as hf:./{name}, or start elsewhere to mean the Hub's")
    return list_kept(
        f"hf-{file_name(name)}",
        (name, label),
        partial(_catalogued, parts["name"], parts["config"], label, None),
        on_progress,
    )


def _catalogued(name: str, config: str | None, label: str | None, folder: Path | None) -> Catalogued:
    """folder: the one that the data set lies in; None for one of the Hub."""
    try:
        import datasets
    except ModuleNotFoundError:
        raise MissingExtraError("Hugging Face's datasets", "hf") from None

    where = str(folder) if folder else f"hf:{name}"
    try:
        found = datasets.load_dataset(name, config, streaming=True)
        kinds = next(iter(found.values())).features
        if kinds is None:  # known once rows are looked at
            kinds = next(iter(found.values()))._resolve_features().features
    except (ConnectionError, datasets.exceptions.DatasetNotFoundError) as error:
        raise DataError(
            f"{where} is neither in the cache nor found at the Hugging Face Hub ({first_line(error)}): download it "
            "on a machine with a network, and give its folder as hf:./FOLDER"
        ) from None
    except Exception as error:  # of whatever reads the files
        raise DataError(f"{where} can't be read as a data set of Hugging Face ({first_line(error)})") from None
    image, wanted, named = _columns(dict(kinds), where, label, datasets)

    def examples(split: str) -> Iterator[Example]:
        rows = found[split].select_columns([image, wanted]).cast_column(image, datasets.Image(decode=False))
        try:
            for row in rows:
                yield _content(row[image], folder, where), named(row[wanted])
        except DataError:
            raise
        except Exception as error:  # of the network, of Arrow
            raise DataError(f"{where} can't be read completely ({first_line(error)})") from None

    splits: dict[str, Callable[[], Iterator[Example]]] = {str(split): partial(examples, split) for split in found}
    sizes = [info.num_examples or 0 for info in (next(iter(found.values())).info.splits or {}).values()]
    return Catalogued(splits, sum(sizes), [f"took {image!r} as the image, {wanted!r} as the label"])


def _columns(
    kinds: dict[str, Any], where: str, label: str | None, datasets: Any
) -> tuple[str, str, Callable[[Any], str | None]]:
    """The columns of the image and of the class, and what gives a value of that its name."""
    images = [name for name, kind in kinds.items() if isinstance(kind, datasets.Image)]
    labels = [name for name, kind in kinds.items() if isinstance(kind, datasets.ClassLabel)]
    if label is not None:
        labels = [
            name
            for name, kind in kinds.items()
            if name == label and isinstance(kind, (datasets.ClassLabel, datasets.Value))
        ]
    if len(images) != 1 or len(labels) != 1:
        shown = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in sorted(kinds.items())) or "none"
        raise DataError(
            f"{where} has the columns {shown}, expected one Image and one ClassLabel: name the label with --label, "
            "or take another data set"
        )
    kind = kinds[labels[0]]
    names = [str(name) for name in kind.names] if isinstance(kind, datasets.ClassLabel) else None
    return images[0], labels[0], partial(_named, names)


def _named(names: list[str] | None, value: Any) -> str | None:
    if names is None:
        return None if value is None else str(value)
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else None


def _content(image: Any, folder: Path | None, where: str) -> bytes:
    """The bytes of an image: its own, or those of a file of the folder, which nothing else may lead to."""
    if image and image.get("bytes") is not None:
        return bytes(image["bytes"])
    path = str((image or {}).get("path") or "")
    if folder is None or not path or not is_inside(str(folder), path):
        raise DataError(
            f"{where} has an image that is stored elsewhere ({path or 'nowhere'}): download all of it, and give "
            "its folder as hf:./FOLDER"
        )
    return Path(path).read_bytes()
