"""A listing: which files there are of which class, split and group, before any image is opened."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.errors import printable
from zoo.files import natural
from zoo.images import Decoded, decoding

SPLITS = ("train", "validation", "test")
OF_SYSTEM = "left by a system"  # the kind of a Problem that nobody has to look at


@dataclass(frozen=True)
class Problem:
    """A file that isn't used: its path relative to the root, what is wrong in a word or two, and the whole sentence."""

    file: str
    kind: str
    sentence: str


class Names(Sequence[str]):
    """Many names in little memory: a million of them as Python's own strings take 100 MB."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        return os.fsdecode(self._text[self._ends[place] : self._ends[place + 1]])

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(self._text[begin:end]) for begin, end in pairwise(self._ends.tolist()))


@dataclass(frozen=True, eq=False)
class Listing:
    """N files that should be images.

    root: the folder that they lie in. files: [N], relative to it, with forward slashes. labels: the names of the
    classes. classes: [N] int32, indices into labels. splits: [N] int8, indices into SPLITS. given: the splits that the
    source has itself; where there are none all images are train, and the others are drawn from them. groups: [N]
    int32, images of one group stay in one split; -1 for a group of its own. left_out: files that are none of these.
    expected: what would make an image in it, in words. understood: what was taken for what, where names left a choice.
    mirrored: whether a mirrored image is known to keep its label.
    """

    name: str
    root: Path
    files: Names
    labels: tuple[str, ...]
    classes: NDArray[np.int32]
    splits: NDArray[np.int8]
    given: tuple[str, ...]
    groups: NDArray[np.int32]
    left_out: tuple[Problem, ...]
    expected: str
    understood: tuple[str, ...] = ()
    mirrored: bool = False  # a mirrored 3 isn't one

    def __len__(self) -> int:
        return len(self.files)

    def holder(self, place: int) -> Path:
        """The file on the disk that the image at a place is read from."""
        return Path(self.root, self.files[place])

    def decoding(self, place: int, white: int = WHITE) -> AbstractContextManager[Decoded]:
        """The image at a place, in a block. white: as of `zoo.images.read_image`. Raises ImageError where it can't be
        read.
        """
        return decoding(self.root / self.files[place], white)

    def where(self, place: int) -> str:
        """The same image, in words."""
        return printable(str(self.root / self.files[place]))


@dataclass
class Gathering:
    """What a listing is gathered in, file by file."""

    files: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    left_out: list[Problem] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)

    def add(self, file: str, label: str, split: str, group: str = "") -> None:
        """One more file. group: "" for one of its own."""
        self.files.append(file)
        self.labels.append(label)
        self.splits.append(split)
        self.groups.append(group)

    def listing(self, name: str, root: Path, labels: Iterable[str], given: Iterable[str], expected: str) -> Listing:
        """All of them. labels: the classes, those without files among them. given: the splits that the source has."""
        names = tuple(sorted(set(labels), key=natural))
        number = {label: k for k, label in enumerate(names)}
        group = {name: k for k, name in enumerate(dict.fromkeys(name for name in self.groups if name))} | {"": -1}
        has = set(given)
        return Listing(
            name=name,
            root=root,
            files=Names(self.files),
            labels=names,
            classes=np.array([number[label] for label in self.labels], np.int32),
            splits=np.array([SPLITS.index(split) for split in self.splits], np.int8),
            given=tuple(split for split in SPLITS if split in has),
            groups=np.array([group[name] for name in self.groups], np.int32),
            left_out=tuple(sorted(self.left_out, key=lambda problem: natural(problem.file))),
            expected=expected,
            understood=tuple(self.understood),
        )
