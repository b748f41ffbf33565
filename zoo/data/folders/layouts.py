"""The layouts that people have their images in, each read into a listing.

A folder in which each sub-folder is a class; one of train, validation and test with the classes in each; a table of
files, as CSV or as JSON lines; arrays of NumPy; tar shards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.folders.arrays import ARRAYS_ENDING, list_arrays
from zoo.data.folders.files_table import NO_GROUPS, TABLE_ENDINGS, is_inside, list_table
from zoo.data.folders.shards import find_shards, list_shards
from zoo.data.listing import OF_SYSTEM, Gathering, Listing, Problem
from zoo.data.names import split_of, splits_within
from zoo.errors import DataError, nearest, printable
from zoo.files import is_left_behind, natural
from zoo.formats import IMAGE_ENDINGS, is_address

BY_FOLDER = "folder"  # what `groups` says where images of one sub-folder of a class belong together
MOST_NAMED = 5  # folders in an error
# Files that are given in the place of a folder -> what they are, and what to do.
_FILES = {
    (".zip", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar"): ", an archive: unpack it",
    (".dvc",): " of DVC: fetch what it stands for by `dvc pull`, and give that",
    (".parquet", ".arrow", ".feather", ".xls", ".xlsx", ".ods"): ", a table that isn't CSV: save it as CSV",
    (".json",): ", and JSON: save it as JSON lines (.jsonl), an object for each image",
    (".npy",): ", one array alone: save images and labels together by np.savez",
    IMAGE_ENDINGS: ", an image: give the folder of its class's folder",
}


def list_images(
    path: Path,
    groups: str | None = None,
    *,
    label: str | None = None,
    images: Path | None = None,
    follow_links: bool = False,
) -> Listing:
    """The images of a folder, a table of files, arrays or shards, in natural order or in the table's.

    groups: a column of the table, or `folder`: which images are to stay together when splits are drawn; `none` where
    none are. A table's column `group` is taken unasked. label: the table's column with the class, where its name
    doesn't say so. images: the folder that the table's files lie in, by default its own. follow_links: whether links
    may lead out of the folder.
    Raises DataError for what isn't there, can't be read, or can be understood in two ways.
    """
    if path.suffix.lower() in TABLE_ENDINGS and path.is_file():
        return list_table(path, groups, label=label, images=images, follow_links=follow_links)
    if shards := find_shards(path):
        if images is not None or groups not in (None, NO_GROUPS):
            option = "--images" if images is not None else "--groups"
            raise DataError(f"{path} holds shards, which bring their images: {option} requires a table or a folder")
        return list_shards(path, shards, label=label, follow_links=follow_links)
    if images is not None or label is not None:
        option = "--images" if images is not None else "--label"
        raise DataError(f"{path} isn't a table: {option} requires one that names files")
    if path.suffix.lower() == ARRAYS_ENDING and path.is_file():
        if groups not in (None, NO_GROUPS):
            raise DataError(f"{path} holds arrays, which have no column {groups!r} to group by")
        return list_arrays(path)
    if not path.is_dir():
        found = _instead(path)
        raise DataError(
            f"expected a folder with a sub-folder for each class, a table of images ({', '.join(TABLE_ENDINGS)}), "
            f"arrays ({ARRAYS_ENDING}), or shards (.tar) at {path}, but {found}"
        )
    if groups not in (None, BY_FOLDER, NO_GROUPS):
        raise DataError(
            f"a folder has no column {groups!r} to group by: ask for {BY_FOLDER} or {NO_GROUPS}, or give a table"
        )
    return _list_folder(path, groups, follow_links=follow_links)


def _instead(path: Path) -> str:
    """What is there in the place of a folder, and what to do about it."""
    if path.is_file():
        what = next((what for endings, what in _FILES.items() if path.name.lower().endswith(endings)), "")
        return f"it is a file{what}"
    if is_address(str(path)):
        return "it is an address: download it, and give the folder"
    if path.is_symlink():
        return "it is a link to where nothing is"
    near = near_paths(path)
    return f"there is none: did you mean {' or '.join(near)}?" if near else "there is none"


def near_paths(path: Path) -> list[str]:
    """What lies beside a path that isn't there, and is called nearly like it; nothing where that can't be read."""
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
    return [str(path.with_name(name)) for name in nearest(path.name, beside)]


def _list_folder(root: Path, groups: str | None, *, follow_links: bool) -> Listing:
    found = Gathering()
    tree = _Tree(root, follow_links, found.left_out)
    base, tops = _through(tree, "", found.understood)
    is_split = _are_splits(tree, base, tops, are_classes=groups is not None)
    labels: list[str] = []
    given: dict[str, str] = {}  # split -> the folder that is called so
    for top in tops if is_split else ("",):
        split = (split_of(top) or "") if top else "train"
        if split in given:
            raise DataError(f"{root} holds two folders for {split} images, {given[split]} and {top}: keep one")
        given[split] = top
        within, names = _through(tree, _below(base, top), found.understood) if top else (base, tops)
        for label in names:
            labels.append(label)
            folder = _below(within, label)
            inner: set[str] = set()
            for file in tree.images(folder):
                part = file[len(folder) + 1 :].rpartition("/")[0].partition("/")[0]
                inner.add(part)
                found.add(file, label, split, f"{label}/{part}" if groups == BY_FOLDER and part else "")
            if groups is None:
                _refuse_splits_below(root, folder, inner)
    renamed = [f"{top} as {split}" for split, top in given.items() if top and top != split]
    if renamed:
        found.understood.append(f"took the folder {', '.join(renamed)}")
    tables = [] if labels else sorted(entry.name for entry in tree.entries("") if _is_table(entry))
    hint = f"; {tables[0]} beside them may say what they show: give it with --data" if tables else ""
    expected = f"a sub-folder for each class, with files in it that end in {' '.join(IMAGE_ENDINGS)}{hint}"
    return found.listing(root.resolve().name or "images", root, labels, given, expected)


def _is_table(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(TABLE_ENDINGS) and not _is_folder(entry)


def _below(base: str, name: str) -> str:
    return f"{base}/{name}" if base and name else base or name


def _through(tree: _Tree, base: str, understood: list[str]) -> tuple[str, list[str]]:
    """A folder and those in it; where that is a single one with nothing but folders in it, that one and those in it."""
    tree.leave_out_loose(base)
    tops = tree.folders(base)
    if len(tops) == 1 and split_of(tops[0]) in (None, split_of(base.rpartition("/")[2])) and not tree.has_images(base):
        inner = tree.quietly().folders(_below(base, tops[0]))
        if len(inner) > 1 and not tree.has_images(_below(base, tops[0])):
            understood.append(f"looked through {tree.root / base / tops[0]}, which is alone in its folder")
            return _below(base, tops[0]), tree.folders(_below(base, tops[0]))
    return base, tops


# --- splits or classes ----------------------------------------------------------------------------------------------


def _are_splits(tree: _Tree, base: str, tops: Sequence[str], *, are_classes: bool) -> bool:
    """Whether the folders are train, validation and test, rather than classes. DataError where it could be both.

    are_classes: the user says so, unless all of them are called like splits and hold folders.
    """
    where, inside = tree.root / base, tree.quietly()
    named = [top for top in tops if split_of(top)]
    holding = [top for top in named if inside.folders(_below(base, top))]
    if holding and len(holding) == len(tops):
        return True
    if "train" in map(split_of, holding):
        other = next(top for top in tops if top not in holding)
        raise DataError(
            f"{where} holds folders for splits ({', '.join(holding)}) and next to them {other!r}, which isn't a split "
            "or has no folder for each class: move it elsewhere, or, if all of them are classes, name their images in "
            "a table with the columns path and label"
        )
    if are_classes:
        return False
    classes = (
        "if they are classes, say so with --groups none, or folder, where images of one sub-folder belong together"
    )
    if named:
        beside = [entry.name for entry in inside.entries(base) if _is_table(entry)]
        tables = sorted(beside, key=lambda name: "train" not in splits_within(name))
        table = f"give {where / tables[0]}" if tables else "give a table with the columns path and label"
        raise DataError(
            f"{where} holds {_listed(named)}, called like a split, without a folder for each class in it: if it is a "
            f"split, sort its images into folders of classes, or {table} with --data (and --images, if they are "
            f"elsewhere); {classes}"
        )
    rename = "if they are splits, call them train, validation and test"
    if len(set().union(*map(splits_within, tops), ())) > 1:
        raise DataError(f"{where} holds {_listed(tops)}, which may be splits or classes: {rename}; {classes}")
    shared = _shared_folders(inside, base, tops)
    if len(shared) > 1:
        raise DataError(
            f"{where} holds {_listed(tops)}, in each of which there are folders alone, of the same names "
            f"({_listed(sorted(shared, key=natural))}): {rename}; {classes}"
        )
    return False


def _shared_folders(tree: _Tree, base: str, tops: Sequence[str]) -> set[str]:
    """The names that all of the folders hold folders of; none where one of them holds images itself, or is alone."""
    shared: set[str] | None = None
    for top in tops if len(tops) > 1 else ():
        if tree.has_images(_below(base, top)):
            return set()
        names = set(tree.folders(_below(base, top)))
        shared = names if shared is None else shared & names
        if not shared:
            return set()
    return shared or set()


def _refuse_splits_below(root: Path, folder: str, inner: set[str]) -> None:
    splits = sorted(name for name in inner if split_of(name))
    if len({split_of(name) for name in splits}) > 1:
        raise DataError(
            f"{root / folder} holds {_listed(splits)}, called like splits, below a class: if they are splits, put them "
            "above the classes (train/CLASS), or give a table with the columns path, label and split; if they are not, "
            "say so with --groups none, or folder, where images of one sub-folder belong together"
        )


def _listed(names: Sequence[str]) -> str:
    named = ", ".join(map(printable, names[:MOST_NAMED]))
    return named + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")


# --- walking --------------------------------------------------------------------------------------------------------


@dataclass
class _Tree:
    """The folders and files below a root, by their paths relative to it. What isn't used goes to `left_out`."""

    root: Path
    follow_links: bool
    left_out: list[Problem]
    real_root: str = field(init=False)

    def __post_init__(self) -> None:
        self.real_root = os.path.realpath(self.root)

    def quietly(self) -> _Tree:
        """The same, to look at twice: it leaves nothing out."""
        return _Tree(self.root, self.follow_links, [])

    def entries(self, base: str) -> list[os.DirEntry[str]]:
        """Those that aren't hidden, in natural order."""
        folder = self.root / base
        try:
            with os.scandir(folder) as entries:
                shown = (entry for entry in entries if not entry.name.startswith("."))
                return sorted(shown, key=lambda entry: natural(entry.name))
        except OSError as error:
            raise DataError(f"{folder} can't be listed: {error.strerror}") from None

    def folders(self, base: str) -> list[str]:
        """Names of the sub-folders. A link to a folder is followed on demand: it may lead out of here."""
        names = []
        for entry in self.entries(base):
            if not _is_folder(entry):
                continue
            if is_left_behind(entry.name):
                self._leave_out(base, entry, OF_SYSTEM, "is a system's folder, and no class")
            elif entry.is_symlink() and not self.follow_links:
                what = "is a link to a folder, and isn't followed: --follow-links allows it"
                self._leave_out(base, entry, "link to a folder", what)
            elif entry.is_symlink() and _leads_back(entry.path):
                self._leave_out(base, entry, "link to a folder", "is a link that leads round in a circle")
            else:
                names.append(entry.name)
        return names

    def images(self, base: str) -> Iterator[str]:
        """The files at any depth below a class's folder, those of a folder before those of its sub-folders."""
        waiting = [base]
        while waiting:
            base = waiting.pop()
            for entry in self.entries(base):
                if _is_folder(entry):
                    continue
                if not entry.name.lower().endswith(IMAGE_ENDINGS):
                    self._leave_out(base, entry, "not called an image", "doesn't end as images do")
                elif entry.is_symlink() and not self.follow_links and not is_inside(self.real_root, entry.path):
                    what = f"is a link that leads out of {self.root}: --follow-links allows it"
                    self._leave_out(base, entry, "link to elsewhere", what)
                else:
                    yield _below(base, entry.name)
            waiting += [_below(base, name) for name in reversed(self.folders(base))]

    def has_images(self, base: str) -> bool:
        """Whether some lie in it directly."""
        try:
            with os.scandir(self.root / base) as entries:
                return any(
                    entry.name.lower().endswith(IMAGE_ENDINGS)
                    and not entry.name.startswith(".")
                    and not _is_folder(entry)
                    for entry in entries
                )
        except OSError as error:
            raise DataError(f"{self.root / base} can't be listed: {error.strerror}") from None

    def leave_out_loose(self, base: str) -> None:
        """Images beside the folders of classes are of no class."""
        for entry in self.entries(base):
            if entry.name.lower().endswith(IMAGE_ENDINGS) and not _is_folder(entry):
                self._leave_out(base, entry, "in no class", "lies in no class's folder")

    def _leave_out(self, base: str, entry: os.DirEntry[str], kind: str, what: str) -> None:
        self.left_out.append(Problem(_below(base, entry.name), kind, f"{printable(entry.path)} {what}"))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _leads_back(path: str) -> bool:
    """Whether a link leads to a folder that it lies in itself, by whatever way that was come to."""
    real = os.path.realpath(path)
    return any(Path(os.path.realpath(parent)).is_relative_to(real) for parent in Path(path).parents)
