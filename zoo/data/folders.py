"""A folder of pictures in which each sub-folder is a class, or train, validation and test with the classes in each."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zoo.data.dataset import DataSet, Split
from zoo.data.splits import TEST_SHARE, VALIDATION_SHARE_OF_REST, draw
from zoo.errors import DataError, PictureError
from zoo.pictures import Pixels, picture_size, read_picture, resize

ENDINGS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}  # folder -> split
USUAL_SIZE = (64, 64)  # height and width in pixels, where the pictures have several sizes
LARGEST_UNREADABLE_SHARE = 0.05  # above it, something is wrong with the folder rather than with a few files
LARGEST_DATA_SET = 8 * 2**30  # bytes of pixels that are kept in memory


@dataclass(frozen=True)
class _Picture:
    """A file that should be a picture: its path relative to the folder, its split, and the name of its class."""

    file: str
    split: str
    label: str


@dataclass
class _Listing:
    """What lies in a folder. The pictures of one without splits are all train: the others are drawn from them."""

    pictures: list[_Picture] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # to folders: not followed
    others: list[str] = field(default_factory=list)  # files that don't end as pictures do


def read_folder(folder: Path, size: tuple[int, int] | None, on_progress: Callable[[int, int], None]) -> DataSet:
    """Read every picture below the folder into a data set of the folder's name.

    size: (height, width); by default the one that all pictures share, else 64x64. One channel where every picture is
    grey, else three. Splits that the folder doesn't have are drawn from its train pictures: 70/10/20 where it has none.
    Raises DataError for a folder that isn't there, one class, a class with too few pictures for the splits, or more
    than 5 % of pictures that can't be read.
    """
    listing = _list(folder)
    _check_classes(folder, listing, listing.pictures)
    size = size or _shared_size(folder, listing.pictures) or USUAL_SIZE
    _check_memory(folder, len(listing.pictures), size)
    read, damaged = _read(folder, listing.pictures, size, on_progress)
    _check_damaged(folder, listing, [picture for picture, _ in read], damaged)

    channels = max(pixels.shape[2] for _, pixels in read)
    splits = _fill_missing({name: _split(read, name, listing.labels, (*size, channels)) for name in listing.splits})
    return DataSet(
        name=folder.resolve().name or "pictures",
        labels=tuple(listing.labels),
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        mirrored=False,  # nobody knows: a mirrored 3 isn't one
        origin=str(folder.resolve()),
        skipped=(*damaged, *_left_out(folder, listing)),
    )


# --- what lies there -----------------------------------------------------------------------------------------------


def _list(folder: Path) -> _Listing:
    """The pictures, in natural order: picture2 before picture10."""
    if not folder.is_dir():
        found = "it is a file" if folder.exists() else "there is none"
        raise DataError(f"expected a folder with a sub-folder for each class at {folder}, but {found}")
    listing = _Listing()
    tops = _folders(folder, listing)
    is_split = bool(tops) and all(top.lower() in SPLITS and _folders(folder / top, _Listing()) for top in tops)
    for top in tops if is_split else ("",):
        split = SPLITS[top.lower()] if top else "train"
        if split in listing.splits:
            raise DataError(f"{folder} holds two folders for {split} pictures, {top} is one of them: keep one")
        listing.splits.append(split)
        for label in _folders(folder / top, listing) if top else tops:
            if label not in listing.labels:
                listing.labels.append(label)
            files = _pictures(folder / top / label, listing)
            listing.pictures += [_Picture(file.relative_to(folder).as_posix(), split, label) for file in files]
    listing.labels.sort(key=_natural)
    return listing


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: _natural(entry.name))
    except OSError as error:
        raise DataError(f"{folder} can't be listed: {error.strerror}") from None


def _folders(folder: Path, listing: _Listing) -> list[str]:
    """Names of the sub-folders. A link to a folder isn't followed: it may lead out of here, or round in a circle."""
    folders = [entry for entry in _entries(folder) if entry.is_dir()]
    listing.links += [entry.path for entry in folders if entry.is_symlink()]
    return [entry.name for entry in folders if not entry.is_symlink()]


def _pictures(folder: Path, listing: _Listing) -> Iterable[Path]:
    files = [entry for entry in _entries(folder) if not entry.is_dir()]
    for entry in files:
        if entry.name.lower().endswith(ENDINGS):
            yield Path(entry.path)
        else:
            listing.others.append(entry.path)
    for name in _folders(folder, listing):
        yield from _pictures(folder / name, listing)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers inside of names by their value."""
    parts = enumerate(re.split(r"(\d+)", name))
    return [(int(part), "") if i % 2 else (0, part.casefold()) for i, part in parts], name


# --- whether one can learn from it ---------------------------------------------------------------------------------


def _check_classes(folder: Path, listing: _Listing, pictures: Sequence[_Picture], among: str = "") -> None:
    """DataError unless each class has a picture for each split, those that will be drawn from train among them."""
    if not pictures:
        raise DataError(
            f"{folder} holds no pictures{among}: expected a sub-folder for each class, with files in it that end in "
            f"{' '.join(ENDINGS)}"
        )
    if "train" not in listing.splits:
        raise DataError(f"{folder} holds {' and '.join(listing.splits)} pictures, but no folder train to learn from")
    if len(listing.labels) < 2:
        raise DataError(f"{folder} holds one class, {listing.labels[0]!r}: expected a sub-folder for each of 2 or more")
    counts = Counter((picture.split, picture.label) for picture in pictures)
    drawn = len({"train", "validation", "test"}) - len(listing.splits)
    for label in listing.labels:
        if not label.isprintable():
            raise DataError(f"{folder} holds a class {label!r} whose name can't be printed: rename that sub-folder")
        for split in listing.splits:
            expected = 1 + drawn if split == "train" else 1
            if (found := counts[split, label]) < expected:
                where = f"{split} of {folder}" if len(listing.splits) > 1 else str(folder)
                raise DataError(
                    f"class {label!r} in {where} has {found} picture{'' if found == 1 else 's'}{among}, expected at "
                    f"least {expected}, so that train, validation and test have one each: add some, or remove the class"
                )


def _check_memory(folder: Path, pictures: int, size: tuple[int, int]) -> None:
    if pictures * size[0] * size[1] * 3 > LARGEST_DATA_SET:
        raise DataError(
            f"{folder} holds {pictures:,} pictures, which at {size[0]}x{size[1]} pixels take more than "
            f"{LARGEST_DATA_SET // 2**30} GiB of memory: ask for a smaller size"
        )


def _check_damaged(folder: Path, listing: _Listing, readable: Sequence[_Picture], damaged: Sequence[str]) -> None:
    if not damaged:
        return
    _check_classes(folder, listing, readable, f" that can be read ({damaged[0]})")
    if len(damaged) > LARGEST_UNREADABLE_SHARE * len(listing.pictures):
        raise DataError(
            f"{len(damaged)} of {len(listing.pictures)} pictures in {folder} can't be read, expected at most "
            f"{LARGEST_UNREADABLE_SHARE:.0%}: {'; '.join(damaged[:3])}{'; ...' if len(damaged) > 3 else ''}"
        )


def _left_out(folder: Path, listing: _Listing) -> list[str]:
    sentences = [f"{link} is a link to a folder, and isn't followed" for link in sorted(set(listing.links))]
    if listing.others:
        named = f"{listing.others[0]}{' and others' if len(listing.others) > 1 else ''}"
        sentences.append(f"{len(listing.others)} files in {folder} don't end as pictures do: {named}")
    return sentences


# --- pixels --------------------------------------------------------------------------------------------------------


def _shared_size(folder: Path, pictures: Sequence[_Picture]) -> tuple[int, int] | None:
    """(height, width) where all pictures agree, by their headers alone; those without one are told of later."""
    shared = None
    for picture in pictures:
        try:
            size = picture_size(folder / picture.file)
        except PictureError:
            continue
        if size != (shared or size):
            return None
        shared = size
    return shared


def _read(
    folder: Path, pictures: Sequence[_Picture], size: tuple[int, int], on_progress: Callable[[int, int], None]
) -> tuple[list[tuple[_Picture, Pixels]], list[str]]:
    """Each picture that can be read as uint8 [height, width, 1 or 3], and a sentence for each that can't."""

    def read(picture: _Picture) -> Pixels | PictureError:
        try:
            pixels = read_picture(folder / picture.file, channels=3)
        except PictureError as error:
            return error
        return resize(_without_equal_channels(pixels), *size)

    readable, damaged = [], []
    with ThreadPoolExecutor() as threads:  # Pillow lets go of the interpreter while it decodes
        for done, (picture, pixels) in enumerate(zip(pictures, threads.map(read, pictures), strict=True), start=1):
            if isinstance(pixels, PictureError):
                damaged.append(str(pixels))
            else:
                readable.append((picture, pixels))
            on_progress(done, len(pictures))
    return readable, damaged


def _without_equal_channels(pixels: Pixels) -> Pixels:
    """A picture is grey by what it shows, however it was saved: [H, W, 3] of three equal channels -> [H, W, 1]."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return pixels[..., :1] if np.array_equal(red, green) and np.array_equal(green, blue) else pixels


def _split(
    read: Iterable[tuple[_Picture, Pixels]], name: str, labels: Sequence[str], shape: tuple[int, int, int]
) -> Split:
    mine = [(picture, pixels) for picture, pixels in read if picture.split == name]
    images = np.empty((len(mine), *shape), np.uint8)
    for i, (_, pixels) in enumerate(mine):
        images[i] = pixels  # grey pixels among coloured ones spread over the three channels
    indices = np.array([labels.index(picture.label) for picture, _ in mine], np.int64)
    return Split(images, indices, tuple(picture.file for picture, _ in mine))


def _fill_missing(splits: dict[str, Split]) -> dict[str, Split]:
    """Draw test, then validation, from train where the folder had none."""
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE_OF_REST)):
        if name not in splits:
            stays, drawn = draw(splits["train"].labels, share)
            splits |= {"train": splits["train"].take(stays), name: splits["train"].take(drawn)}
    return splits
