"""Images of a catalog, written once into the user's cache as shards, one for each split, and listed from there."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from zoo.data.cache import NEW, cache_folder, remove_left
from zoo.data.folders.packed import Packed
from zoo.data.folders.shards import list_shards
from zoo.data.listing import SPLITS
from zoo.data.names import split_of
from zoo.data.sources.download import Progress
from zoo.errors import DataError, ImageError
from zoo.formats import BEGINNING, ENDINGS, formats_of

FORM = 1  # of these files: another number leaves older ones alone
NOTES_FILE = "notes.json"

Example: TypeAlias = tuple[bytes, str | None]  # an encoded image, and its class; None where nobody says which


@dataclass(frozen=True)
class Catalogued:
    """What a catalog has under a name. splits: as it calls them -> their images, which are asked for once. images: how
    many there are in all, as far as it says. notes: what was taken for what.
    """

    splits: Mapping[str, Callable[[], Iterable[Example]]]
    images: int = 0
    notes: list[str] = field(default_factory=list)


def list_kept(
    name: str, key: tuple[object, ...], catalogued: Callable[[], Catalogued], on_progress: Progress
) -> Packed:
    """The images of a catalog, from the cache, or from what `catalogued` gives.

    name: what the data set is called. key: what decides the images.
    Raises DataError where none are labeled, splits are unclear, or the cache can't be written, and what that raises.
    """
    digest = hashlib.sha256(repr((FORM, name, *key)).encode(errors="surrogateescape")).hexdigest()
    kept = cache_folder() / "catalogs" / f"{name}-{digest[:16]}"
    if not kept.is_dir():
        found = catalogued()
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            remove_left(kept.parent)
            new = Path(tempfile.mkdtemp(prefix=NEW, dir=kept.parent))
            try:
                _write(name, found, new, on_progress)
                try:
                    new.rename(kept)
                except OSError:
                    if not kept.is_dir():  # else another process was faster, whose images are as good
                        raise
            finally:
                shutil.rmtree(new, ignore_errors=True)
        except OSError as error:
            reason = f"{kept.parent} can't be written ({error.strerror or error})"
            raise DataError(f"{reason}: set XDG_CACHE_HOME to a folder that can") from None
    shards = [(kept / f"{split}.tar", split) for split in SPLITS if (kept / f"{split}.tar").is_file()]
    try:
        notes = tuple(map(str, json.loads((kept / NOTES_FILE).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError):
        raise DataError(f"{kept} is damaged: remove it, and it will be created again") from None
    return replace(list_shards(kept, shards), name=name, understood=notes)


def file_name(text: str) -> str:
    """What a data set of a catalog is filed under: letters, digits, dots and hyphens of its name."""
    return re.sub(r"[^\w.]+", "-", text).strip("-.")


def stamps(folder: Path) -> str:
    """The same as long as no file below a folder changes: by path, length and time of change."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found = str(file.relative_to(folder)), file.stat().st_size, file.stat().st_mtime_ns
            digest.update(repr(found).encode(errors="surrogateescape"))
    return digest.hexdigest()


def first_line(error: Exception) -> str:
    """What an error says, of somebody else's code, as far as it fits into a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _write(name: str, catalogued: Catalogued, folder: Path, on_progress: Progress) -> None:
    notes, done = catalogued.notes, 0
    called: dict[str, str] = {}
    for split in catalogued.splits:
        meant = split_of(split) or ("train" if len(catalogued.splits) == 1 else None)
        if meant is None:
            notes.append(f"left out the split {split!r}, which is none of train, validation and test")
        elif meant in called:
            raise DataError(f"{name} has two splits for {meant} images, {called[meant]} and {split}: it can't be used")
        else:
            called[meant] = split
    for meant, split in called.items():
        written = unlabeled = 0
        path = folder / f"{meant}.tar"
        with tarfile.open(path, "w") as archive:
            for image, label in catalogued.splits[split]():
                if label is None:
                    unlabeled += 1
                else:
                    _add(archive, f"{written:07}.cls", label.encode())
                    _add(archive, f"{written:07}{_ending(image)}", image)
                    archive.members = []  # type: ignore[attr-defined]  # which it would keep of every image
                    written += 1
                done += 1
                on_progress(done, max(done, catalogued.images))
        if unlabeled:
            notes.append(f"left out {unlabeled:,} images of {split}, which have no label")
        if not written:
            path.unlink()
    if not list(folder.glob("*.tar")):
        raise DataError(f"{name} has no image with a label: it can't be learned from")
    (folder / NOTES_FILE).write_text(json.dumps(notes), encoding="utf-8")


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def _ending(image: bytes) -> str:
    """Such as .png. Of what is no image it doesn't matter: whoever decodes it says what is wrong."""
    with suppress(ImageError):
        return ENDINGS[next(iter(formats_of(image[:BEGINNING])), "JPEG")][0]
    return ENDINGS["JPEG"][0]
