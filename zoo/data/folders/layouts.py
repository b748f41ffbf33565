"""The layouts that people have their images in, each read into a listing.

A folder in which each sub-folder is a class; one of train, validation and test with the classes in each; a table of
files, as CSV or as JSON lines; arrays of NumPy.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data.folders.arrays import ARRAYS_ENDING, list_arrays
from zoo.data.listing import SPLITS, Listing, Names, Problem
from zoo.errors import DataError, printable, unknown
from zoo.files import natural
from zoo.formats import IMAGE_ENDINGS

SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}
TABLE_ENDINGS = (".csv", ".jsonl")
PATH, LABEL, SPLIT, GROUP = "path", "label", "split", "group"  # the columns of a table
BY_FOLDER = "folder"  # what `groups` says where images of one sub-folder of a class belong together


def list_images(path: Path, groups: str | None = None) -> Listing:
    """The images of a folder, or of a table that ends in .csv or .jsonl, in natural order or in the table's.

    groups: a column of the table, or `folder`: which images are to stay together when splits are drawn. A table's
    column `group` is taken unasked.
    Raises DataError for what isn't there or can't be read.
    """
    if path.suffix.lower() in TABLE_ENDINGS and path.is_file():
        return _list_table(path, groups)
    if path.suffix.lower() == ARRAYS_ENDING and path.is_file():
        if groups is not None:
            raise DataError(f"{path} holds arrays, which have no column {groups!r} to group by")
        return list_arrays(path)
    if not path.is_dir():
        found = "it is a file" if path.exists() else "there is none"
        raise DataError(
            f"expected a folder with a sub-folder for each class, a table of images ({', '.join(TABLE_ENDINGS)}) or "
            f"arrays ({ARRAYS_ENDING}) at {path}, but {found}"
        )
    if groups not in (None, BY_FOLDER):
        raise DataError(f"a folder has no column {groups!r} to group by: ask for {BY_FOLDER}, or give a table")
    return _list_folder(path, by_folder=groups == BY_FOLDER)


@dataclass
class _Found:
    """What a listing is gathered in."""

    files: list[str]
    labels: list[str]
    splits: list[str]
    groups: list[str]
    left_out: list[Problem]

    def add(self, file: str, label: str, split: str, group: str = "") -> None:
        self.files.append(file)
        self.labels.append(label)
        self.splits.append(split)
        self.groups.append(group)

    def listing(self, name: str, root: Path, labels: Iterable[str], given: Sequence[str], expected: str) -> Listing:
        names = tuple(sorted(set(labels), key=natural))
        number = {label: k for k, label in enumerate(names)}
        group = {name: k for k, name in enumerate(dict.fromkeys(name for name in self.groups if name))} | {"": -1}
        return Listing(
            name=name,
            root=root,
            files=Names(self.files),
            labels=names,
            classes=np.array([number[label] for label in self.labels], np.int32),
            splits=np.array([SPLITS.index(split) for split in self.splits], np.int8),
            given=tuple(split for split in SPLITS if split in given),
            groups=np.array([group[name] for name in self.groups], np.int32),
            left_out=tuple(sorted(self.left_out, key=lambda problem: natural(problem.file))),
            expected=expected,
        )


# --- folders -------------------------------------------------------------------------------------------------------


def _list_folder(root: Path, *, by_folder: bool) -> Listing:
    found = _Found([], [], [], [], [])
    tops = _folders(root, root, found.left_out)
    splits = [top for top in tops if top.lower() in SPLIT_NAMES and _folders(root, root / top, [])]
    is_split = bool(splits) and len(splits) == len(tops)
    if not is_split and "train" in map(str.lower, splits):
        other = next(top for top in tops if top not in splits)
        raise DataError(
            f"{root} holds folders for splits ({', '.join(splits)}) and beside them {other!r}: move that elsewhere, or "
            "rename the others if they are classes"
        )
    _leave_out_loose(root, root, found.left_out)
    labels: list[str] = []
    given: list[str] = []
    for top in tops if is_split else ("",):
        split = SPLIT_NAMES[top.lower()] if top else "train"
        if split in given:
            raise DataError(f"{root} holds two folders for {split} images, {top} is one of them: keep one")
        given.append(split)
        if top:
            _leave_out_loose(root, root / top, found.left_out)
        for label in _folders(root, root / top, found.left_out) if top else tops:
            labels.append(label)
            base = f"{top}/{label}" if top else label
            for file in _images(root, base, found.left_out):
                folder = file[len(base) + 1 :].rpartition("/")[0].partition("/")[0]
                found.add(file, label, split, f"{label}/{folder}" if by_folder and folder else "")
    expected = f"a sub-folder for each class, with files in it that end in {' '.join(IMAGE_ENDINGS)}"
    return found.listing(root.resolve().name or "images", root, labels, given, expected)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise DataError(f"{folder} can't be listed: {error.strerror}") from None


def _folders(root: Path, folder: Path, left_out: list[Problem]) -> list[str]:
    """Names of the sub-folders. A link to a folder isn't followed: it may lead out of here, or round in a circle."""
    names = []
    for entry in _entries(folder):
        if not _is_folder(entry):
            continue
        if entry.is_symlink():
            sentence = f"{printable(entry.path)} is a link to a folder, and isn't followed"
            left_out.append(Problem(_relative(root, entry.path), "link to a folder", sentence))
        else:
            names.append(entry.name)
    return names


def _images(root: Path, base: str, left_out: list[Problem]) -> Iterator[str]:
    """The files at any depth below a class's folder, those of a folder before those of its sub-folders."""
    waiting = [base]
    while waiting:
        base = waiting.pop()
        for entry in _entries(root / base):
            file = f"{base}/{entry.name}"
            if _is_folder(entry):
                continue
            if not entry.name.lower().endswith(IMAGE_ENDINGS):
                left_out.append(
                    Problem(file, "not called an image", f"{printable(entry.path)} doesn't end as images do")
                )
            elif entry.is_symlink() and not _inside(os.path.realpath(root), entry.path):
                left_out.append(
                    Problem(file, "link to elsewhere", f"{printable(entry.path)} is a link that leads out of {root}")
                )
            else:
                yield file
        waiting += [f"{base}/{name}" for name in reversed(_folders(root, root / base, left_out))]


def _leave_out_loose(root: Path, folder: Path, left_out: list[Problem]) -> None:
    """Images beside the folders of classes are of no class."""
    for entry in _entries(folder):
        if entry.name.lower().endswith(IMAGE_ENDINGS) and not _is_folder(entry):
            sentence = f"{printable(entry.path)} lies in no class's folder"
            left_out.append(Problem(_relative(root, entry.path), "in no class", sentence))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _relative(root: Path, path: str) -> str:
    return Path(path).relative_to(root).as_posix()


def _inside(real_root: str, path: str | Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(real_root)


# --- tables of files -------------------------------------------------------------------------------------------------


def _list_table(path: Path, groups: str | None) -> Listing:
    root = path.parent
    found = _Found([], [], [], [], [])
    given: dict[str, str] = {}  # split -> the first row that names it; "" for the first that names none
    column: str | None = None
    real_root = os.path.realpath(root)
    for where, row in _rows(path):
        if column is None:
            _check_columns(path, row, groups)
            column = groups or GROUP
        file, label = _text(row, PATH, where), _text(row, LABEL, where)
        group = row.get(column)
        if groups and group is None:
            raise DataError(f"{where} has no {groups}, by which images are to be grouped: give it one")
        split = row.get(SPLIT) or ""
        if split and str(split).lower() not in SPLIT_NAMES:
            raise DataError(f"{where} names the split {split!r}, expected train, validation or test")
        kept = SPLIT_NAMES[str(split).lower()] if split else "train"
        given.setdefault(kept if split else "", where)
        if not _inside(real_root, root / file):
            sentence = f"{where} names {file!r}, which lies outside of {root}: move it there"
            found.left_out.append(Problem(file, "outside of the folder", sentence))
            continue
        found.add(file, label.strip(), kept, "" if group is None else str(group))
    if column is None:
        raise DataError(f"{path} holds no rows: expected one for each image, with its {PATH} and its {LABEL}")
    if "" in given and len(given) > 1:
        raise DataError(f"{given['']} names no split, though other rows do: give all of them one, or none")
    expected = f"rows of {path.name} whose {PATH} leads to an image beside or below it"
    return found.listing(path.stem, root, found.labels, ["train"] if "" in given else sorted(given), expected)


def names_images(path: Path) -> bool:
    """Whether a CSV has the columns of a table of files: one without them holds values, and no images."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            return {PATH, LABEL} <= set(next(csv.reader(lines), []))
    except (OSError, csv.Error):  # whoever reads it says what is wrong
        return False


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The place of each row, as an error names it, and its values by column."""
    try:
        # A file's name need not be text; a label that isn't is reported later.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
            if path.suffix.lower() == ".csv":
                table = csv.DictReader(lines, strict=True)
                for row in table:
                    where = f"{path}, line {table.line_num},"
                    if None in row or None in row.values():
                        raise DataError(f"{where} has more or fewer values than the header names: repair it")
                    yield where, row
                return
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{path}, line {number}, is not JSON ({error}): repair it") from None
                if not isinstance(found, dict):
                    raise DataError(f"{path}, line {number}, is no JSON object: expected {PATH} and {LABEL} in one")
                yield f"{path}, line {number},", found
    except csv.Error as error:
        raise DataError(f"{path} can't be read as a table ({error}): is there a quote that doesn't end?") from None
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror})") from None


def _check_columns(path: Path, row: Mapping[str, object], groups: str | None) -> None:
    for name in (PATH, LABEL, *([groups] if groups else [])):
        if name not in row:
            raise DataError(f"{path} lacks a column: {unknown('column', name, row)}")


def _text(row: Mapping[str, object], column: str, where: str) -> str:
    value = row.get(column)
    if value is None or not str(value).strip():
        raise DataError(f"{where} has no {column}: give it one, or remove the row")
    try:
        os.fsencode(str(value))
        unusable = isinstance(value, (dict, list, bool)) or "\0" in str(value)
    except UnicodeEncodeError:
        unusable = True
    if unusable:
        raise DataError(f"{where} has {value!r} for a {column}: expected text or a number")
    return str(value)
