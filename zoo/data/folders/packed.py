"""Images that lie in archives: listed with the places of their bytes, and decoded from there."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.data.listing import Gathering, Listing
from zoo.errors import ImageError
from zoo.images import LARGEST_STREAM, Decoded, decoding


class Member(BytesIO):
    """The bytes of one image, with the name that an error says."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def read_member(archive: Path, begin: int, size: int, where: str) -> Member:
    """The bytes of one image in an archive that isn't compressed. where: the image, in words.

    Raises ImageError where it is too large, or the archive can't be read or is shorter by now.
    """
    if size > LARGEST_STREAM:
        raise ImageError(f"{where} holds more than {LARGEST_STREAM // 2**20} MiB: make it smaller", "too large")
    try:
        with archive.open("rb") as opened:
            opened.seek(begin)
            content = opened.read(size)
    except OSError as error:
        raise ImageError(f"{where} can't be read ({error.strerror or error})", "unreachable") from None
    if len(content) < size:
        raise ImageError(f"{where} is damaged, its archive is truncated: replace the archive")
    return Member(content, where)


@dataclass(frozen=True, eq=False)
class Packed(Listing):
    """archives: the files on the disk. spans: [N, 3] int64, the archive of each image, and where its bytes begin and
    how many they are.
    """

    archives: tuple[Path, ...] = ()
    spans: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def holder(self, place: int) -> Path:
        """The archive."""
        return self.archives[int(self.spans[place, 0])]

    def decoding(self, place: int, white: int = WHITE) -> AbstractContextManager[Decoded]:
        """As of every listing."""
        begin, size = self.spans[place, 1:].tolist()
        return decoding(read_member(self.holder(place), begin, size, self.where(place)), white)

    def excerpt(self, begin: int, end: int) -> Self:
        """As of every listing."""
        used, archive = np.unique(self.spans[begin:end, 0], return_inverse=True)
        spans = np.column_stack([archive, self.spans[begin:end, 1:]])
        return replace(super().excerpt(begin, end), archives=tuple(self.archives[k] for k in used), spans=spans)


@dataclass
class PackedGathering(Gathering):
    """What such a listing is gathered in."""

    archives: list[Path] = field(default_factory=list)
    spans: array[int] = field(default_factory=lambda: array("q"))  # three numbers an image, as in `Packed`

    def add_packed(self, file: str, label: str, split: str, archive: Path, begin: int, size: int) -> None:
        """One more image: its name, class and split, and where its bytes lie."""
        if not self.archives or self.archives[-1] != archive:
            self.archives.append(archive)
        self.add(file, label, split)
        self.spans.extend((len(self.archives) - 1, begin, size))

    def packed(self, name: str, root: Path, given: Iterable[str], expected: str, *, mirrored: bool = False) -> Packed:
        """All of them. given: the splits that the source has."""
        found = self.listing(name, root, self.labels, given, expected)
        fields: dict[str, Any] = {**vars(found), "mirrored": mirrored}
        return Packed(**fields, archives=tuple(self.archives), spans=np.array(self.spans, np.int64).reshape(-1, 3))
