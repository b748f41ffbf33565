"""Images in tar shards, as WebDataset has them (https://github.com/webdataset/webdataset).

The files of a sample have one name, up to its first dot, and lie next to each other: 000.jpg and 000.cls.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import IO, TypeAlias

from zoo.data.folders.files_table import is_inside
from zoo.data.folders.packed import Packed, PackedGathering
from zoo.data.listing import Problem
from zoo.data.names import columns_for, split_of, splits_within
from zoo.data.sources.tar import members_of
from zoo.errors import DataError, unknown
from zoo.files import is_left_behind, natural
from zoo.formats import IMAGE_ENDINGS

SHARD_ENDING = ".tar"
LARGEST_LABEL = 2**20  # bytes
MOST_SHARDS = 100_000  # that a pattern may stand for
EXPECTED = "samples of an image and a .cls or .json with its label, of one name and next to each other"

Shard: TypeAlias = tuple[Path, str]  # the split that it is of: "" where nothing says so


def is_pattern(path: str) -> bool:
    """Whether it stands for several shards: part-*.tar, or part-{000..011}.tar."""
    return path.lower().endswith(SHARD_ENDING) and bool(re.search(r"[*?\[{]", path))


def find_shards(path: Path) -> list[Shard]:
    """The shards that a file, a pattern or a folder means, in natural order; none where it means something else.

    Splits are those that folders in a folder are called by, or else words in the names of all shards.
    Raises DataError where a pattern means none, and where names of shards can be understood in two ways.
    """
    if path.is_dir():
        return _shards_in(path)
    if path.is_file():
        return [(path, "")] if path.name.lower().endswith(SHARD_ENDING) else []
    return _by_name(list(matching_shards(path)), path) if is_pattern(str(path)) else []


def list_shards(path: Path, shards: Sequence[Shard], *, label: str | None = None, follow_links: bool = False) -> Packed:
    """The samples of the shards, in their order. label: the name in the .json that has the class, if not a usual one.

    Raises DataError, with the shard, for one that was cut short, is damaged or compressed, and for a label that can't
    be read.
    """
    root = path if path.is_dir() else _holding(shards)
    found = PackedGathering()
    for shard, split in shards:
        if not follow_links and not is_inside(os.path.realpath(root), shard):
            raise DataError(f"{shard} is a link that leads out of {root}: --follow-links allows it")
        try:
            with shard.open("rb") as opened:
                _gather(found, shard.relative_to(root).as_posix(), shard, split or "train", opened, label)
        except ValueError as error:
            raise DataError(f"{shard} can't be read as a shard ({error}): replace it, or leave it out") from None
        except OSError as error:
            raise DataError(f"{shard} can't be read ({error.strerror or error})") from None
    given = {split for _, split in shards if split} or {"train"}
    name = path.stem if path.is_file() else root.resolve().name or "images"
    return found.packed(name, root, given, EXPECTED)


def _holding(shards: Sequence[Shard]) -> Path:
    """The folder that all lie in: a pattern may have wildcards in its folders, too."""
    return Path(os.path.commonpath([shard.parent for shard, _ in shards]) or ".")


# --- which there are -------------------------------------------------------------------------------------------------


def _shards_in(folder: Path) -> list[Shard]:
    """Those in a folder without sub-folders; or those in its sub-folders, if they are called as splits are."""
    files, folders = _entries(folder)
    if files and not folders:
        return _by_name(files, folder)
    if files or not folders or not all(split_of(each.name) for each in folders):
        return []
    found = []
    for each in folders:
        within, deeper = _entries(each)
        if deeper or not within:
            return []
        found += [(shard, split_of(each.name) or "") for shard in within]
    return found


def _entries(folder: Path) -> tuple[list[Path], list[Path]]:
    """Shards and sub-folders, those that aren't hidden or left by a system, in natural order."""
    try:
        entries = sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_natural)
        folders = [each for each in entries if each.is_dir() and not is_left_behind(each.name)]
        return [each for each in entries if each.name.lower().endswith(SHARD_ENDING) and each.is_file()], folders
    except OSError as error:
        raise DataError(f"{folder} can't be listed: {error.strerror}") from None


def _natural(path: Path) -> tuple[str, str]:
    return natural(str(path))


def matching_shards(path: Path) -> Iterator[Path]:
    """The files that a pattern means, in natural order. Raises DataError where there is none."""
    for text in _expanded(str(path)):
        found = sorted((Path(each) for each in glob.glob(text)), key=_natural)  # noqa: PTH207 (also of an absolute path)
        if not found:
            raise DataError(f"{text} matches no shard: expected files that end in {SHARD_ENDING}")
        yield from found


def _expanded(pattern: str) -> Iterator[str]:
    """part-{08..10}.tar -> part-08.tar, part-09.tar, part-10.tar."""
    parts = re.split(r"\{(\d+)\.\.(\d+)\}", pattern)
    ranges = [(first, range(int(first), int(last) + 1)) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    count = 1
    for _, numbers in ranges:
        count *= len(numbers)
    if not 1 <= count <= MOST_SHARDS:
        raise DataError(f"{pattern} stands for {count:,} shards, expected 1 to {MOST_SHARDS:,}")
    for chosen in product(*(numbers for _, numbers in ranges)):
        text = parts[0]
        for number, (first, _), behind in zip(chosen, ranges, parts[3::3], strict=True):
            text += f"{number:0{len(first)}}{behind}"
        yield text


def _by_name(shards: Iterable[Path], where: Path) -> list[Shard]:
    """Each with the split that its name means, as in imagenet-train-000.tar; with none where no name means one."""
    meant = [(shard, splits_within(shard.stem)) for shard in shards]
    if len({shard.parent for shard, _ in meant}) > 1 and not any(splits for _, splits in meant):
        meant = [(shard, splits_within(shard.parent.name)) for shard, _ in meant]  # of a pattern of several folders
    if not any(splits for _, splits in meant):
        return [(shard, "") for shard, _ in meant]
    unclear = next((shard for shard, splits in meant if len(splits) != 1), None)
    if unclear is not None:
        raise DataError(
            f"{where} holds shards that are called like splits, and {unclear}, which isn't called like one of "
            "them: sort them into folders train, validation and test"
        )
    return [(shard, next(iter(splits))) for shard, splits in meant]


# --- what is in them -------------------------------------------------------------------------------------------------


def _gather(found: PackedGathering, named: str, shard: Path, split: str, opened: IO[bytes], label: str | None) -> None:
    for key, files in _samples(shard):
        images = [ending for ending in files if f".{ending}" in IMAGE_ENDINGS]
        if len(images) > 1:
            raise ValueError(f"{key} has two images, {images[0]} and {images[1]}")
        endings = ("cls", "json") if label is None else ("json", "cls")  # only an entry of a .json has a name
        labelled = next((ending for ending in endings if ending in files), None)
        if not images or labelled is None:
            what = "image" if labelled else "label"
            sentence = f"{key} in {shard} has no {what}: expected {EXPECTED}"
            found.left_out.append(Problem(f"{named}/{key}", f"no {what}", sentence))
            continue
        begin, size = files[labelled]
        if size > LARGEST_LABEL:
            raise ValueError(f"{key}.{labelled} has {size:,} bytes, expected at most {LARGEST_LABEL:,}")
        opened.seek(begin)
        try:
            text = opened.read(size).decode()
            name = text.strip() if labelled == "cls" else _label_in(text, label)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{key}.{labelled}: {error}") from None
        if not name:
            raise ValueError(f"{key}.{labelled} has no label")
        found.add_packed(f"{named}/{key}.{images[0]}", name, split, shard, *files[images[0]])


def _samples(shard: Path) -> Iterator[tuple[str, dict[str, tuple[int, int]]]]:
    """Each sample's name, and its files by what is behind the first dot: where their bytes begin, how many they are."""
    current, files = "", dict[str, tuple[int, int]]()
    for name, begin, size in members_of(shard):
        folder, slash, last = name.removeprefix("./").rpartition("/")
        stem, _, ending = last.partition(".")
        if not stem or not ending:  # hidden, or no part of a sample
            continue
        key = folder + slash + stem
        if key != current:
            if files:
                yield current, files
            current, files = key, {}
        if ending.lower() in files:
            raise ValueError(f"{name} is in it twice")
        files[ending.lower()] = (begin, size)
    if files:
        yield current, files


def _label_in(text: str, label: str | None) -> str:
    """The class in a .json: a name or a whole number. ValueError where there is none."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("expected an object with the label in it")
    names = list(found)
    places = columns_for("label", names) if label is None else [k for k, name in enumerate(names) if name == label]
    if not places:
        raise ValueError(unknown("entry", label or "label", names) + ("" if label else "; --label names another"))
    value = found[names[places[0]]]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise ValueError(f"{value!r} isn't a label, expected a name or a whole number")
    return str(value).strip()
