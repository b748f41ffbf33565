"""Images that nobody has labeled, one after the other: of folders, tables of paths, tar shards and Parquet files.

None of them is decoded and none is kept: a million take as much memory as ten, but for the names in a single folder.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from zoo.data.folders.files_table import (
    HEAD,
    JSON_LINES,
    ROWS_LOOKED_AT,
    TABLE_ENDINGS,
    Places,
    is_inside,
    json_objects,
    path_place,
)
from zoo.data.folders.packed import Member, read_member
from zoo.data.folders.shards import SHARD_ENDING, is_pattern, matching_shards
from zoo.data.names import columns_for
from zoo.data.parquet import PARQUET_ENDING, is_bytes, read_parquet
from zoo.data.sources.tar import members_of
from zoo.errors import DataError, ImageError, InputError, printable, unknown
from zoo.files import image_files, natural
from zoo.formats import IMAGE_ENDINGS, is_address
from zoo.tables import UTF8, TextTable, read_cells, stream_cells

EXPECTED = (
    f"a folder of images, a table that names them ({', '.join(TABLE_ENDINGS)}), tar shards as 'part-*{SHARD_ENDING}', "
    f"or a {PARQUET_ENDING} file"
)


@dataclass(frozen=True, slots=True)
class Unread:
    """One image that waits to be read.

    name: what it is known by: its path as it was given, what a table says, or ARCHIVE/MEMBER. path: of the file on the
    disk. span: of an archive's, where its bytes begin and how many they are; of a Parquet file's, its row and 1.
    content: its bytes, where they are at hand. reason: why it can't be used, in a sentence; "" where nothing is known.
    places: where what a table names is looked for, which whoever reads it does. row: of the table, in words.
    """

    name: str
    path: Path | None = None
    span: tuple[int, int] | None = None
    content: bytes | None = None
    reason: str = ""
    places: Places | None = None
    row: str = ""

    def source(self) -> str | IO[bytes]:
        """The image, as `zoo.images.read_image` takes it. Raises ImageError where it can't be read."""
        if self.reason:
            raise ImageError(self.reason)
        if self.content is not None:
            return Member(self.content, printable(self.name))
        if self.places is not None:
            return self._found(self.places)
        if self.path is None:
            raise ImageError(f"{printable(self.name)} has no bytes")
        if self.span is not None:
            return read_member(self.path, *self.span, printable(self.name))
        return str(self.path)

    def _found(self, places: Places) -> str:
        """The file that a table's row means. ImageError where it lies outside of the folder."""
        try:
            file, reason = places.find(self.name)
        except (OSError, ValueError) as error:  # a null byte, what is no text
            file, reason = "", f"which can't be read ({error})"
        if reason:
            raise ImageError(f"{self.row} names {printable(self.name)!r}, {reason}")
        return str(places.root / file)


def unlabeled_images(
    path: Path, *, images: Path | None = None, follow_links: bool = False, skip: int = 0
) -> Iterator[Unread]:
    """The images at a path, in natural order or in the table's, whatever their number.

    path: a folder, whose images are taken at any depth, or the shards in it where it holds none; a table, a shard, a
    pattern of shards, a Parquet file with the bytes of images or their paths; an image. images: the folder that the
    files of a table lie in, by default its own. follow_links: whether links may lead out of the folder.
    skip: so many from the first on needn't bring the bytes that a Parquet file has of them.
    Raises DataError or InputError for what isn't there, and for a table that can't be understood; MissingExtraError
    where pyarrow isn't installed. An image that can't be used has its reason, as has the rest of a damaged shard.
    """
    name = path.name.lower()
    if path.is_dir():
        yield from _folder(path, follow_links)
    elif name.endswith(SHARD_ENDING) and path.is_file():
        yield from _shards([path])
    elif is_pattern(str(path)):
        yield from _shards(matching_shards(path))
    elif not path.exists():
        there = "it is an address: download it" if is_address(str(path)) else "nothing is there"
        raise InputError(f"expected {EXPECTED} at {printable(str(path))}, but {there}")
    elif name.endswith(PARQUET_ENDING):
        yield from _parquet(path, images, follow_links, skip)
    elif name.endswith(TABLE_ENDINGS):
        yield from _table(path, images, follow_links)
    else:
        yield Unread(str(path), path)


def is_table(path: Path) -> bool:
    """Whether it names files that may lie in another folder."""
    return path.name.lower().endswith((*TABLE_ENDINGS, PARQUET_ENDING))


# --- folders and shards ----------------------------------------------------------------------------------------------


def _folder(folder: Path, follow_links: bool) -> Iterator[Unread]:
    real = os.path.realpath(folder)
    empty = True
    for file in image_files(folder):
        empty = False
        if file.is_symlink() and not follow_links and not is_inside(real, file):
            reason = f"{printable(str(file))} is a link that leads out of {folder}: --follow-links allows it"
            yield Unread(str(file), reason=reason)
        else:
            yield Unread(str(file), file)
    if empty:
        shards = (each for each in folder.iterdir() if each.name.lower().endswith(SHARD_ENDING) and each.is_file())
        yield from _shards(sorted(shards, key=lambda shard: natural(shard.name)))


def _shards(shards: Iterable[Path]) -> Iterator[Unread]:
    for shard in shards:
        try:
            for name, begin, size in members_of(shard):
                last = name.rpartition("/")[2]
                if last.lower().endswith(IMAGE_ENDINGS) and not last.startswith("."):
                    yield Unread(f"{shard}/{name}", shard, (begin, size))
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            sentence = f"{printable(str(shard))} can't be read from here on ({reason}): replace it"
            yield Unread(str(shard), reason=sentence)


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(path: Path, images: Path | None, follow_links: bool) -> Iterator[Unread]:
    rows: Iterator[tuple[str, object]]
    if path.name.lower().endswith(JSON_LINES):
        header, first = _head_of_objects(path)
        column = header[_path_column(path, header, first, images)]
        rows = ((where, row.get(column)) for where, row in json_objects(path))
        places = _places(path, images, follow_links)
    else:
        head = read_cells(path, most=HEAD)
        place = _path_column(path, head.header, head.rows[:ROWS_LOOKED_AT], images)
        rows = ((f"{path}, line {line},", cells[place]) for line, cells in stream_cells(head))
        places = _places(path, images, follow_links, head)
    return (_named(places, where, value) for where, value in rows)


def _head_of_objects(path: Path) -> tuple[tuple[str, ...], list[list[object]]]:
    objects = [row for _, row in itertools.islice(json_objects(path), ROWS_LOOKED_AT)]
    header = tuple(dict.fromkeys(name for row in objects for name in row))
    return header, [[row.get(name) for name in header] for row in objects]


def _path_column(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], images: Path | None) -> int:
    root = path.parent if images is None else images
    place = header.index("path") if "path" in header else path_place(header, rows, root)
    if place is None and images is not None:
        place = next(iter(columns_for("path", header)), None)
    if place is None:
        raise DataError(
            f"{path} lacks a column with the names of images: {unknown('column', 'path', header)}"
            if header
            else f"{path} holds no rows: expected one for each image, with its path"
        )
    return place


def _places(path: Path, images: Path | None, follow_links: bool, head: TextTable | None = None) -> Places:
    if images is not None and not images.is_dir():
        raise DataError(f"there is no folder at {images}: --images takes the one that the images of {path} lie in")
    root, encoding = path.parent if images is None else images, UTF8 if head is None else head.encoding
    return Places(root, follow_links, elsewhere=images is not None, encoding=encoding)


def _named(places: Places, where: str, value: object) -> Unread:
    if value is None or not str(value).strip() or isinstance(value, (dict, list, bool)):
        return Unread(str(value or ""), reason=f"{where} names no image: give it a path")
    places.settle(str(value))
    return Unread(str(value), places=places, row=where)


def _parquet(path: Path, images: Path | None, follow_links: bool, skip: int) -> Iterator[Unread]:
    if is_bytes(path):
        for row, (name, content) in enumerate(read_parquet(path, skip)):
            known = f"{path}/{row}" if name is None else name
            if content is None and row >= skip:
                yield Unread(known, path, (row, 1), reason=f"{path}, row {row}, holds no image")
            else:
                yield Unread(known, path, (row, 1), content)
    else:
        places = _places(path, images, follow_links)
        for row, (name, _) in enumerate(read_parquet(path, skip)):
            yield _named(places, f"{path}, row {row},", name)
