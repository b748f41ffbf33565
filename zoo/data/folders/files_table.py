"""A table that names image files and says what each shows, as CSV or as JSON lines, read into a listing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.listing import Gathering, Listing, Problem
from zoo.data.names import columns_for, split_of
from zoo.errors import DataError, printable, unknown
from zoo.formats import IMAGE_ENDINGS, is_address
from zoo.tables import UTF8, bounded_lines, column_called, read_cells

ANY_CASE = (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS))  # cameras write IMG_1.JPG

NO_GROUPS = "none"  # what `groups` says where no images belong together
JSON_LINES = ".jsonl"
TABLE_ENDINGS = (".csv", ".tsv", ".txt", JSON_LINES)
HEAD = 2**18  # bytes of a table that show what it is
ROWS_LOOKED_AT = 50


def list_table(
    path: Path, groups: str | None, *, label: str | None = None, images: Path | None = None, follow_links: bool = False
) -> Listing:
    """The images that a table names, in its order. The arguments are those of `zoo.data.folders.layouts.list_images`.

    Columns may be called as people call them: see `zoo.data.names`. Raises DataError, with the line, for a table that
    can't be read, lacks a column, or has a row without a value in one of them.
    """
    if images is not None and not images.is_dir():
        raise DataError(f"there is no folder at {images}: --images takes the folder with the images of {path}")
    root = path.parent if images is None else images
    table = _read(path)
    found = Gathering(understood=[table.written] if table.written else [])
    roles = _roles(table, root, groups, label, images_given=images is not None)
    stated = {"label": label, "group": groups}
    called = [f"{table.header[k]!r} as the {r}" for r, k in roles.items() if table.header[k] != r and not stated.get(r)]
    if called:
        found.understood.append(f"took the column {', '.join(called)}")
    places = Places(root, follow_links, elsewhere=images is not None, encoding=table.encoding)
    given: dict[str, str] = {}  # split -> the first row that names it; "" for the first that names none
    for where, cells in table.rows:
        value, name = _text(cells, roles["path"], "path", where), _text(cells, roles["label"], "label", where)
        group = cells[roles["group"]] if "group" in roles else None
        if groups and "group" in roles and group in (None, ""):
            raise DataError(f"{where} has no {groups}, by which images are to be grouped: give it one")
        split = str(cells[roles["split"]] or "") if "split" in roles else ""
        kept = split_of(split) if split else "train"
        if kept is None:
            raise DataError(f"{where} names the split {split!r}, expected train, validation or test")
        given.setdefault(kept if split else "", where)
        file, reason = places.find(value)
        if reason:
            kind = "an address" if is_address(value) else "outside of the folder"
            found.left_out.append(Problem(file, kind, f"{where} names {printable(value)!r}, {reason}"))
            continue
        found.add(file, name, kept, "" if group is None else str(group))
    if not given:
        raise DataError(f"{path} holds no rows: expected one for each image, with its path and its label")
    if "" in given and len(given) > 1:
        raise DataError(f"{given['']} names no split, though other rows do: give all of them one, or none")
    below = "an image below it" if images is not None else "an image beside or below it, or --images FOLDER"
    expected = f"rows of {path.name} whose {table.header[roles['path']]} leads to {below}"
    return found.listing(path.stem, root, found.labels, ["train"] if "" in given else given, expected)


def names_images(path: Path, images: Path | None = None) -> bool:
    """Whether a table names files, rather than to hold values: by its columns, and by what its first rows say.

    images: the folder that the files lie in, where somebody says that there is one.
    """
    if images is not None or path.suffix.lower() == JSON_LINES:
        return True
    try:
        table = read_cells(path, most=HEAD)
    except DataError:  # whoever reads it says what is wrong
        return False
    if {"path", "label"} <= set(table.header):
        return True
    return path_place(table.header, table.rows[:ROWS_LOOKED_AT], path.parent) is not None


# --- columns --------------------------------------------------------------------------------------------------------


def _roles(table: _Rows, root: Path, groups: str | None, label: str | None, *, images_given: bool) -> Mapping[str, int]:
    """Which column is the path, the label, and where there are such the split and the group."""
    header, path = table.header, table.path
    if not header:
        raise DataError(f"{path} holds no rows: expected one for each image, with its path and its label")
    if any(name.lower().endswith(IMAGE_ENDINGS) for name in header):
        raise DataError(f"{path} names no columns in its first line: put one before it, such as path,label")
    place = header.index("path") if "path" in header and "label" in header else None
    if place is None:
        place = path_place(header, [cells for _, cells in table.rows[:ROWS_LOOKED_AT]], root)
    if place is None and images_given:
        place = next(iter(columns_for("path", header)), None)
    if place is None:
        raise DataError(f"{path} lacks a column with the names of images: {unknown('column', 'path', header)}")
    roles = {"path": place}
    if label is not None:
        named = column_called(label, header)
        if named is None:
            raise DataError(f"{path}: {unknown('column', label, header)}")
        roles["label"] = named
    for role in ("label", "split", "group"):
        free = [k for k in columns_for(role, header) if k not in roles.values()]
        if role not in roles and free and (role != "group" or groups is None):
            roles[role] = free[0]
    if groups not in (None, NO_GROUPS):
        grouped = column_called(groups, header)
        if grouped is None:
            raise DataError(f"{path} lacks a column: {unknown('column', groups, header)}")
        roles["group"] = grouped
    if "label" not in roles:
        others = [k for k, name in enumerate(header) if k not in roles.values() and name]
        if len(others) != 1:
            raise DataError(
                f"{path} names images, in column {header[place]!r}: name the column with their class with --label"
                + (f", one of {', '.join(header[k] for k in others[:20])}" if others else ", once it has one")
            )
        roles["label"] = others[0]
    return roles


def path_place(header: Sequence[str], rows: Sequence[Sequence[object]], root: Path) -> int | None:
    """The place of the column whose values are names of image files; of several, the one that is called so."""
    called = columns_for("path", header)
    order = [*called, *(k for k in range(len(header)) if k not in called)]
    for place in order:
        values = [str(row[place]) for row in rows if row[place]]
        if values and 2 * sum(value.lower().endswith(IMAGE_ENDINGS) for value in values) >= len(values):
            return place
    for place in called:  # names without an ending, such as numbers
        values = [str(row[place]) for row in rows if row[place]]
        places = Places(root, follow_links=True)
        if values and all(places.is_there(value) for value in values[:3]):
            return place
    return None


def _text(cells: Sequence[object], place: int, column: str, where: str) -> str:
    value = cells[place]
    if value is None or not str(value).strip():
        raise DataError(f"{where} has no {column}: give it one, or remove the row")
    try:
        os.fsencode(str(value))
        unusable = isinstance(value, (dict, list, bool)) or "\0" in str(value)
    except UnicodeEncodeError:
        unusable = True
    if unusable:
        raise DataError(f"{where} has {value!r} for a {column}: expected text or a number")
    return str(value).strip() if column == "label" else str(value)


# --- where the files are --------------------------------------------------------------------------------------------


@dataclass
class Places:
    """Finds what rows name below a root.

    elsewhere: whether the root isn't the folder that the table was written for: then the beginnings of its paths are
    left out, as many folders in each row as in the first one that is found so. ending: what names lack. settled:
    whether no row changes these any more.
    """

    root: Path
    follow_links: bool
    elsewhere: bool = False
    encoding: str = UTF8
    real_root: str = field(init=False)
    ending: str | None = None
    skipped: int | None = None
    settled: bool = False

    def __post_init__(self) -> None:
        self.real_root = os.path.realpath(self.root)

    def find(self, value: str) -> tuple[str, str]:
        """The file relative to the root, and why it isn't to be used; "" where it is, or where none is there."""
        if is_address(value):
            return value, "which is an address: download it, and name the file"
        file = Path(self._there(value) or value)
        if file.is_absolute() and is_inside(self.real_root, file.parent):
            file = Path(os.path.realpath(file.parent)).relative_to(self.real_root) / file.name
        if file.is_absolute() or os.path.normpath(file).startswith(os.pardir):
            reason = f"which lies outside of {self.root}: move it there, or name its folder with --images"
        elif not self.follow_links and not is_inside(self.real_root, self.root / file):
            reason = f"a link that leads outside of {self.root}: move it there, or allow it with --follow-links"
        else:
            reason = ""
        return file.as_posix(), reason

    def is_there(self, value: str) -> bool:
        """Whether there is such a file."""
        return self._there(value) is not None

    def settle(self, value: str) -> None:
        """Let this row decide how all are found, if it is the first that can.

        Rows that are found in several processes, or from the middle of a table on, are found the same way then. One
        that is found as it is written says nothing of how many folders to leave out.
        """
        if not self.settled and not is_address(value):
            self.settled = self.is_there(value) and (not self.elsewhere or self.skipped is not None)

    def _there(self, value: str) -> str | None:
        return next((file for file in self._readings(value) if self._exists(file)), None)

    def _readings(self, value: str) -> Iterator[str]:
        """What a value may mean, the likeliest first."""
        for text in self._spellings(value):
            yield text
            if not text.lower().endswith(IMAGE_ENDINGS):
                for ending in dict.fromkeys((self.ending, *ANY_CASE)) if self.ending else ANY_CASE:
                    if self._exists(text + ending):
                        if not self.settled:
                            self.ending = ending
                        yield text + ending

    def _spellings(self, value: str) -> Iterator[str]:
        yield value
        if "\\" in value:
            yield value.replace("\\", "/")  # as Windows writes it
        if self.encoding != UTF8:
            yield os.fsdecode(value.encode(self.encoding, errors="replace"))  # a name that isn't in UTF-8
        if self.elsewhere:
            parts = re.split(r"[\\/]+", re.sub(r"^[A-Za-z]:", "", value))
            for skipped in range(1, len(parts)) if self.skipped is None else (self.skipped,):
                file = "/".join(parts[skipped:])
                if self._exists(file) or any(self._exists(file + ending) for ending in ANY_CASE):
                    if not self.settled:
                        self.skipped = skipped
                    yield file

    def _exists(self, file: str) -> bool:
        path = self.root / file
        try:
            there = path.is_file() or path.is_symlink()
        except (OSError, ValueError):  # a name too long, a null byte
            return False
        return there and (path.is_relative_to(self.root) or is_inside(self.real_root, path.parent))


def is_inside(real_root: str, path: str | Path) -> bool:
    """Whether what a path leads to lies below a folder, by its real path."""
    return Path(os.path.realpath(path)).is_relative_to(real_root)


# --- rows -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """rows: the place of each, as an error names it, and its values by column. written: how, where that is unusual."""

    path: Path
    header: tuple[str, ...]
    rows: list[tuple[str, Sequence[object]]]
    encoding: str = UTF8
    written: str = ""


def _read(path: Path) -> _Rows:
    if path.suffix.lower() != JSON_LINES:
        table = read_cells(path)
        places = (f"{path}, line {line}," for line in table.lines)
        rows: Iterable[tuple[str, Sequence[object]]] = zip(places, table.rows, strict=True)
        return _Rows(path, table.header, list(rows), table.encoding, table.written())
    objects = list(json_objects(path))
    header = tuple(dict.fromkeys(name for _, row in objects for name in row))
    return _Rows(path, header, [(where, [row.get(name) for name in header]) for where, row in objects])


def json_objects(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The objects in a file of JSON lines, one after the other, each with its place in words, which a comma ends.

    Raises DataError, with the line, for what isn't one, and for a file that can't be read.
    """
    try:
        # A file's name need not be text; a label that isn't is reported later.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            for number, line in enumerate(bounded_lines(lines, path), start=1):
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{path}, line {number}, is not JSON ({error}): repair it") from None
                if not isinstance(found, dict):
                    raise DataError(f"{path}, line {number}, isn't a JSON object: expected path and label in one")
                yield f"{path}, line {number},", found
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from None
