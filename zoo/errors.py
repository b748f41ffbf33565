"""All errors, as one tree. Each message is one sentence: what was expected, what was received, where, and what to do.

Messages quote names and files from anywhere, so the text of an error is always printable and bounded in length.

ZooError
├── DataError            a data set, folder, or table that can't be used
│   └── ImageError       one image that can't be read
├── ModelError           an unknown model, or one that doesn't fit the images or the table
├── RecipeError          an unknown field, or a value that isn't allowed
├── ExportError          a file that `zoo export` didn't write, that is damaged, or that doesn't match its manifest
│   └── VerificationError  an export whose predictions differ from its Keras model's
├── InputError           images or rows of a shape or type that the classifier doesn't accept
├── ProviderError        an execution provider that isn't available or doesn't start
├── QueryError           an unknown field, filter, or order of a list
├── StudyError           an unknown experiment, or one without the results it needs
├── SweepError           a sweep that can't be started, joined, or continued
├── ParallelError        devices or workers that can't train together, or that lost one another
├── ReproductionError    a run whose weights weren't reproduced
├── TrackingError        a tracking store that can't be opened, read, or written
│   └── PromotionError   a model that doesn't pass the gates of an alias
└── MissingExtraError    an optional part of the project that isn't installed
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

PROJECT = "classifier-zoo"  # as pip knows it
LONGEST = 2000  # letters of a sentence that are shown: a file may hold a name of megabytes
SIMILAR = 0.6  # by difflib's measure, 0..1: names that a mistyped one may have meant


class ZooError(Exception):
    """The base class of all errors that this project raises.

    Each argument is one sentence. As text, each is one printable line of at most LONGEST characters.
    """

    def __str__(self) -> str:
        return "\n".join(printable(str(sentence)) for sentence in self.args)


class DataError(ZooError):
    """A data set, folder, or table that can't be used."""


class ImageError(DataError):
    """One image that can't be read.

    kind: missing, unreachable, empty, not an image, unsupported, too large, or damaged.
    """

    def __init__(self, message: str, kind: str = "damaged") -> None:
        super().__init__(message)
        self.kind = kind


def __getattr__(name: str) -> Any:
    """`PictureError`, as `ImageError` was called before."""
    if name != "PictureError":
        raise AttributeError(f"module 'zoo.errors' has no attribute {name!r}")
    return picture_error()


def picture_error() -> type[ImageError]:
    """`ImageError`, for an app that asks for it by its old name."""
    warnings.warn("PictureError is called ImageError now: catch that", DeprecationWarning, stacklevel=3)
    return ImageError


class ModelError(ZooError):
    """An unknown model, or one that doesn't fit the images or the table."""


class RecipeError(ZooError):
    """An unknown recipe field, or a value that isn't allowed."""


class ExportError(ZooError):
    """A file that `zoo export` didn't write, that is damaged, or that doesn't match its manifest."""


class VerificationError(ExportError):
    """An export whose predictions differ from those of its Keras model."""


class InputError(ZooError):
    """Images or rows of a shape or type that the classifier doesn't accept."""


class ProviderError(ZooError):
    """An execution provider that isn't available or doesn't start."""


class QueryError(ZooError):
    """An unknown field, filter, or order of a list."""


class StudyError(ZooError):
    """An unknown experiment, or one without the results it needs."""


class SweepError(ZooError):
    """A sweep that can't be started, joined, or continued."""


class ParallelError(ZooError):
    """Devices or workers that can't train together, or that lost one another."""


class ReproductionError(ZooError):
    """A run whose weights weren't reproduced by training it again."""


class TrackingError(ZooError):
    """A tracking store that can't be opened, read, or written."""


class PromotionError(TrackingError):
    """A model that doesn't pass the gates of an alias."""


class MissingExtraError(ZooError):
    """An optional part of the project that isn't installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install '{_installed_from()}[{extra}]'")


def _installed_from() -> str:
    """What pip takes to install the project again: the folder or wheel that it came from (PEP 610), else its name."""
    import json  # an error has the time
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        url = urlsplit(json.loads(distribution(PROJECT).read_text("direct_url.json") or "{}")["url"])
    except (PackageNotFoundError, ValueError, KeyError, TypeError):  # from an index, or not installed at all
        return PROJECT
    path = url2pathname(url.path)
    return path if url.scheme == "file" and Path(path).exists() else PROJECT


def printable(text: str, longest: int | None = LONGEST) -> str:
    """Text from anywhere as a terminal may have it, on one line: what it would obey, and what is no text, as escapes.

    longest: how many letters are shown; of more, the middle is left out. None: all.
    """
    if text.isprintable() and (longest is None or len(text) <= longest):
        return text
    shown = _shortened(text, longest)  # first: megabytes needn't be looked through
    return _shortened("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown), longest)


def _shortened(text: str, longest: int | None) -> str:
    """The beginning, and the end, where a sentence says what to do."""
    if longest is None or len(text) <= longest:
        return text
    kept = longest // 2 - 2
    return f"{text[:kept]} … {text[-kept:]}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that nobody registered, with the nearest ones that somebody did."""
    names = sorted(known)
    near = nearest(name, names)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"no {kind} is called {name!r}: {hint}"


def nearest(name: str, names: Iterable[str]) -> list[str]:
    """Up to three names that a mistyped one may have meant, the most similar first.

    Each part of a path counts by itself: the same data set doesn't make exports of other models similar.
    """
    from difflib import SequenceMatcher  # 2 ms, which an app without an error needn't wait for

    parts = name.split("/")

    def similarity(other: str) -> float:
        others = other.split("/")[-len(parts) :]
        if len(others) < len(parts):
            return 0
        pairs = [SequenceMatcher(None, *pair) for pair in zip(parts, others, strict=True)]
        # By length alone, first: a name may have megabytes, and to compare letters takes the product of two lengths.
        return min(pair.ratio() if pair.real_quick_ratio() >= SIMILAR else 0 for pair in pairs)

    similar = sorted((-similarity(other), other) for other in names)
    return [other for negative, other in similar if -negative >= SIMILAR][:3]
