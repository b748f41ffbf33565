"""What names say: the split that a folder means, the role of a column, and classes that are one, written twice."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction

_SPLITS = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "validate": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
}
# What may stand behind it: train_set, test-data, Training Images.
_BEHIND = re.compile(r"[ _.-]*(set|data|images|imgs|split)$")

# What columns are called, without what is between words; the likeliest first.
_COLUMNS = {
    "path": (
        *("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "imagefilename"),
        *("img", "imgpath", "imgname", "imgfile", "fname", "relpath", "imageid", "imgid", "id"),
    ),
    "label": (
        *("label", "labels", "class", "classname", "classlabel", "labelname", "target", "category", "categoryname"),
        *("categories", "y"),
    ),
    "split": ("split", "subset", "partition"),
    "group": ("group",),
}


def columns_for(role: str, header: Sequence[str]) -> list[int]:
    """Places of the columns that are called as those of a role are, in any case: path, label, split or group."""
    plain = [re.sub(r"[\s_.-]+", "", name.casefold()) for name in header]
    return [plain.index(name) for name in _COLUMNS[role] if name in plain]


def split_of(name: str) -> str | None:
    """train, validation or test, where a name means that, in any case; None for any other name."""
    return _SPLITS.get(_BEHIND.sub("", name.strip().lower()))


def splits_within(name: str) -> set[str]:
    """The splits that words of a name mean, as in seg_train or test2017."""
    return {_SPLITS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in _SPLITS}


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of names that differ in case, spaces, hyphens, or in how accents or a number are written, and in nothing
    else.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        plain = unicodedata.normalize("NFKC", name).strip().casefold()
        if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", plain):
            plain = str(Fraction(plain))  # 1.0 and 01 are 1, and -1 isn't
        else:
            plain = re.sub(r"[\s_-]+", " ", plain).strip()
        groups.setdefault(plain, []).append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def alike_sentence(names: tuple[str, ...]) -> str:
    """What to do about such a group."""
    return f"classes {' and '.join(map(repr, names))} differ in how they are written alone: are they one? Rename them"
