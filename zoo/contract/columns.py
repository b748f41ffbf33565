"""The columns of a table, as the metadata of a file that answers rows have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from zoo.checked import is_name
from zoo.errors import ExportError


@dataclass(frozen=True)
class Column:
    """A column of a table.

    categories: of a categorical one, whose value in `features` is its place among them, or -1 for any other; "" stands
    for a missing value. None: the column holds numbers, NaN where one is missing.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Category -> its value in `features`."""
        return {category: code for code, category in enumerate(self.categories or ())}


def read_columns(found: Any, where: str) -> tuple[Column, ...]:
    """The columns of a decoded JSON list; ExportError where they are none, or have names that no table can have."""
    try:
        columns = [Column(c["name"], None if c["categories"] is None else (*c["categories"],)) for c in found]
        listed = all(isinstance(c["categories"], (list, type(None))) for c in found)
        lists = [[column.name for column in columns], *(column.categories or () for column in columns)]
        fits = all(all(map(is_name, names)) and len(set(names)) == len(names) for names in lists)
        fits = fits and all(column.name and column.categories != () for column in columns)
    except (TypeError, KeyError):
        fits = listed = False
    if not fits or not listed or not isinstance(found, list):
        raise ExportError(f"{where} holds no list of columns with names of their own: export the model again")
    return tuple(columns)
