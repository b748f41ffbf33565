"""What was found in a folder of images or in a table, for those who read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.data.listing import Problem


@dataclass(frozen=True)
class ClassCount:
    """Readable images of a class, and how many of them lie in each split that the source has itself."""

    label: str
    images: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class SizeCount:
    """How many images have a height and a width, in pixels."""

    height: int
    width: int
    images: int


@dataclass(frozen=True)
class Same:
    """Files that hold one image. kind: equal, pixel by pixel; near, saved or scaled or lightened anew.

    images: how many there are, of which `files` names some. labels, splits: where they lie.
    """

    kind: str
    images: int
    files: tuple[str, ...]
    labels: tuple[str, ...]
    splits: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """One thing to know. serious: whether nothing can be learned before it is seen to."""

    serious: bool
    sentence: str


@dataclass(frozen=True)
class Report:
    """What lies at a path.

    files: that should be images; readable: that are. splits: those that the source has. sizes: the commonest first,
    at most 2,000 of all_sizes. all_same: how many groups of duplicates there are, of which `same` has at most 1,000.
    formats, modes: Pillow's names -> images. unreadable, left_out, wrongly_named: file by file; the last are used.
    same: groups of duplicates, those across splits first, then those across classes. surplus: for equal and near, how
    many images more than one of each there are; near is absent where too many images were to be compared. understood:
    what was taken for what, where names left a choice.
    """

    path: str
    files: int
    readable: int
    splits: tuple[str, ...]
    classes: tuple[ClassCount, ...]
    sizes: tuple[SizeCount, ...]
    formats: Mapping[str, int]
    modes: Mapping[str, int]
    unreadable: tuple[Problem, ...]
    left_out: tuple[Problem, ...]
    wrongly_named: tuple[Problem, ...]
    same: tuple[Same, ...]
    surplus: Mapping[str, int]
    verdict: str
    findings: tuple[Finding, ...]
    understood: tuple[str, ...] = ()
    all_sizes: int = 0
    all_same: int = 0


@dataclass(frozen=True)
class ColumnFound:
    """A column of features.

    kind: numeric, categorical, or unusable, where a finding says why. missing: rows without a value. different: values
    among the others. values: the least, the median and the largest number, or the commonest categories.
    """

    name: str
    kind: str
    missing: int
    different: int
    values: tuple[str, ...]


@dataclass(frozen=True)
class ClassRows:
    """Rows of a class, and how many of them are in each split that the table has itself."""

    label: str
    rows: int
    splits: Mapping[str, int]


@dataclass(frozen=True)
class TableReport:
    """What a table holds.

    label: the column with the classes. splits: those that a column of the table gives. copies: how many rows more than
    one of each there are, value by value. understood: how the file was found to be written, where that isn't usual.
    """

    path: str
    rows: int
    label: str
    splits: tuple[str, ...]
    classes: tuple[ClassRows, ...]
    columns: tuple[ColumnFound, ...]
    copies: int
    verdict: str
    findings: tuple[Finding, ...]
    understood: tuple[str, ...] = ()
