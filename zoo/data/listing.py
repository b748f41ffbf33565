"""A listing: which files there are of which class, split and group, before any image is opened."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

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


class ListedNames(Names):
    """Names that come one by one, and whose parts share the letters: a listing and its splits have them once.

    16 bytes for each, beside the letters.
    """

    def __init__(self) -> None:
        self._letters, self._from, self._to = bytearray(), array("q"), array("q")

    def append(self, name: str) -> None:
        """One more."""
        self._from.append(len(self._letters))
        self._letters += os.fsencode(name)
        self._to.append(len(self._letters))

    def take(self, indices: NDArray[np.int64]) -> ListedNames:
        """Those at the indices, in that order."""
        taken = ListedNames()
        taken._letters = self._letters
        taken._from = array("q", np.asarray(self._from)[indices].tobytes())
        taken._to = array("q", np.asarray(self._to)[indices].tobytes())
        return taken

    def __len__(self) -> int:
        return len(self._to)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return os.fsdecode(bytes(self._letters[self._from[index] : self._to[index]]))

    def __iter__(self) -> Iterator[str]:
        return (os.fsdecode(bytes(self._letters[begin:end])) for begin, end in zip(self._from, self._to, strict=True))


class _Words:
    """Many words of few kinds: the number of its kind for each. kinds: in the order in which they came first."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}
        self._each = array("i")

    def append(self, word: str) -> None:
        self._each.append(self.kinds.setdefault(word, len(self.kinds)))

    def numbered(self, numbers: Mapping[str, int], kind: type[np.integer]) -> NDArray[Any]:
        """[N] of that dtype: the number that stands for each word."""
        found: NDArray[Any] = np.array([numbers[word] for word in self.kinds], kind)[np.asarray(self._each)]
        return found


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
    files: ListedNames
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

    def excerpt(self, begin: int, end: int) -> Self:
        """Those of some places alone, to be decoded in another process; nothing of what is said of the whole."""
        rows, files = slice(begin, end), ListedNames()
        for name in self.files[rows]:
            files.append(name)
        alone = replace(self, files=files, labels=(), left_out=(), understood=())
        return replace(alone, classes=self.classes[rows], splits=self.splits[rows], groups=self.groups[rows])


@dataclass
class Gathering:
    """What a listing is gathered in, file by file."""

    files: ListedNames = field(default_factory=ListedNames)
    left_out: list[Problem] = field(default_factory=list)
    understood: list[str] = field(default_factory=list)
    _labels: _Words = field(default_factory=_Words)
    _splits: _Words = field(default_factory=_Words)
    _groups: _Words = field(default_factory=_Words)

    @property
    def labels(self) -> Iterable[str]:
        """Those that a file has."""
        return self._labels.kinds

    def add(self, file: str, label: str, split: str, group: str = "") -> None:
        """One more file. group: "" for one of its own."""
        self.files.append(file)
        self._labels.append(label)
        self._splits.append(split)
        self._groups.append(group)

    def listing(self, name: str, root: Path, labels: Iterable[str], given: Iterable[str], expected: str) -> Listing:
        """All of them. labels: the classes, those without files among them. given: the splits that the source has."""
        names = tuple(sorted(set(labels), key=natural))
        groups = {name: k for k, name in enumerate(name for name in self._groups.kinds if name)} | {"": -1}
        has = set(given)
        return Listing(
            name=name,
            root=root,
            files=self.files,
            labels=names,
            classes=self._labels.numbered({label: k for k, label in enumerate(names)}, np.int32),
            splits=self._splits.numbered({split: k for k, split in enumerate(SPLITS)}, np.int8),
            given=tuple(split for split in SPLITS if split in has),
            groups=self._groups.numbered(groups, np.int32),
            left_out=tuple(sorted(self.left_out, key=lambda problem: natural(problem.file))),
            expected=expected,
            understood=tuple(self.understood),
        )
