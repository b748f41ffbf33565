"""Values from files that anyone may have written: read within bounds, and looked at once, where they come in."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any, NoReturn

from zoo.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# Bytes of text, or of JSON, that are read: a thousand times a usual manifest. Brackets take up to 80 bytes of memory
# each.
LARGEST_JSON = 4 * 2**20
LONGEST_NAME = 1000  # letters of a label, a column or anything else that is shown
MOST_LEVELS = 20  # of lists and objects within one another: metadata have three
LARGEST_NUMBER = 1e19  # of a seed, which has 64 bits; what is counted or measured is far smaller


def read_file(path: str | Path, most: int) -> bytes:
    """The content of a regular file of at most so many bytes.

    Raises FileNotFoundError where there is none, and ExportError for anything else: a device, a pipe or a folder, a
    file that is larger, and one that can't be read. None of them is waited for.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ExportError(f"{path} isn't a regular file: don't use this export")
            content = file.read(most + 1) if found.st_size <= most else b""
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror}): let this user read it") from None
    if found.st_size > most or len(content) > most:
        raise ExportError(f"{path} is larger than {most:,} bytes: it is damaged, or not what its name says")
    return content


def read_text(path: str | Path) -> str:
    """The text of a file of at most LARGEST_JSON bytes, in UTF-8. Raises FileNotFoundError or ExportError, as above."""
    try:
        return read_file(path, LARGEST_JSON).decode("utf-8")
    except UnicodeDecodeError:
        raise ExportError(f"{path} isn't UTF-8 text: export the model again") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, or a pipe that nobody writes to, which would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: str | Path) -> Any:
    """What a JSON file of at most LARGEST_JSON bytes holds. Raises FileNotFoundError, or ExportError, as above."""
    text = read_text(path)
    try:
        return parse_json(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{path} can't be read ({error}): export the model again") from None


def parse_json(text: str) -> Any:
    """JSON as its standard has it, without NaN and infinity. Raises ValueError or RecursionError."""
    if len(text) > LARGEST_JSON:
        raise ValueError(f"longer than {LARGEST_JSON:,} letters")
    return json.loads(text, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def is_number(value: Any, low: float = -LARGEST_NUMBER, high: float = LARGEST_NUMBER) -> bool:
    """Whether it is a number within both bounds. True, a text and NaN are none."""
    return type(value) in (int, float) and low <= value <= high


def is_name(value: Any) -> bool:
    """Whether it is text of a sensible length that can be shown."""
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        return False
    return value.isprintable() or all(letter.isprintable() or letter.isspace() for letter in value)


def is_plain(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether it is made of names and numbers alone, in lists and objects: what a recipe or a list of versions is.

    levels: of lists and objects within one another, at most; more are hostile.
    """
    if isinstance(value, dict):
        return levels > 0 and all(is_name(name) and is_plain(item, levels - 1) for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return levels > 0 and all(is_plain(item, levels - 1) for item in value)
    return value is None or isinstance(value, bool) or is_number(value) or is_name(value)


# What a metric can be, by its name: a share of accuracy, of answers or of probability; a number of things.
_SHARES = (
    "accuracy",
    "top3",
    "same_top_class",
    "calibration_error",
    "recall",
    "f1",
    "coverage",
    "answer_from",
    "accepted",
)
_COUNTS = ("parameters", "multiply_accumulates", "receptive_field", "test_images")


def _range_of(name: str) -> tuple[float, float]:
    """The least and the largest number that a metric of that name can be. No regular expressions: they take 2 ms."""
    if name.endswith(("_difference", "_difference_low", "_difference_high")):
        return -1, 1
    if any(f"{share}_" in f"{name}_" for share in _SHARES):
        return 0, 1
    if name in (*_COUNTS, "size") or name.endswith("_size"):
        return 0, 1e15
    if name.rpartition("speedup_")[2].isdecimal() and "speedup_" in name:
        return 0, 1e6
    return -1e15, 1e15


def checked_metrics(found: Mapping[str, Any], path: str | Path) -> dict[str, float]:
    """Metrics by name, each a number that one of its name can be. Raises ExportError for the first that isn't."""
    metrics = {}
    for name, value in found.items():
        low, high = _range_of(name)
        if not is_name(name) or not is_number(value, low, high):
            raise ExportError(
                f"{path} has a {name} of {value!r}, expected a number from {low:g} to {high:g}: export the model again"
            )
        metrics[name] = float(value)
    return metrics
