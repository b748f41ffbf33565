"""Rows of a list, filtered as `--where` says (a field, one of < <= > >= = and a value: parameters<100k), and sorted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import TypeAlias, TypeVar

from zoo.errors import QueryError

Value: TypeAlias = float | str | None  # of a field; None where a row has nothing there
Row = TypeVar("Row")

_SIGNS = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq}
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "%": 0.01}


@dataclass(frozen=True)
class Condition:
    """One condition. text: as written; value: the text behind the sign."""

    text: str
    field: str
    sign: str
    value: str

    def holds(self, found: Value) -> bool:
        """Whether a value fulfills it; nothing fulfills none.

        Raises QueryError for text with another sign than =, and for a number where what it is compared with isn't one.
        """
        if found is None:
            return False
        if isinstance(found, str):
            if self.sign != "=":
                raise QueryError(
                    f"{self.field} is text, which can be compared by = alone ({self.field}=…), not by {self.text!r}"
                )
            return found == self.value
        limit = parse_number(self.value, self.text)
        if "accuracy" in self.field and limit > 1 and "%" not in self.value:  # accuracy>90: nothing else can be meant
            limit = round(limit / 100, 12)
        return bool(_SIGNS[self.sign](found, limit))


def matching(rows: Iterable[Row], conditions: Sequence[Condition], value: Callable[[Row, str], Value]) -> list[Row]:
    """The rows for which all conditions hold. value: of a row's field. Raises QueryError as `Condition.holds` does."""
    return [row for row in rows if all(each.holds(value(row, each.field)) for each in conditions)]


def sorted_by(rows: Iterable[Row], field: str, value: Callable[[Row, str], Value], *, descending: bool) -> list[Row]:
    """The rows by a field: numbers, then text, each from low to high or the other way round; those without it last."""
    keyed = [(value(row, field), row) for row in rows]
    numbers = [(found, row) for found, row in keyed if found is not None and not isinstance(found, str)]
    texts = [(found, row) for found, row in keyed if isinstance(found, str)]
    numbers.sort(key=lambda each: each[0], reverse=descending)
    texts.sort(key=lambda each: each[0], reverse=descending)
    return [row for _, row in (*numbers, *texts)] + [row for found, row in keyed if found is None]


def parse_condition(text: str) -> Condition:
    """The condition in a text. Raises QueryError where it is none."""
    found = re.fullmatch(r"\s*([\w/-]+)\s*(<=|>=|<|>|=)\s*(.*?)\s*", text)
    if not found:
        raise QueryError(f"a condition is a field, one of < <= > >= = and a value (parameters<100k), not {text!r}")
    return Condition(text, *found.groups())


def parse_number(text: str, condition: str) -> float:
    """100k, 1.8M, 1MB or 93% as a number; condition: where it stands."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|[kmg]?)b?", text, re.IGNORECASE)
    if not found:
        raise QueryError(f"{condition!r} compares with {text!r}, expected a number such as 100000, 100k, 1.8M or 93%")
    # Rounded: 93.3 * 0.01 isn't the 0.933 that somebody means.
    return round(float(found[1]) * _UNITS[found[2].lower()], 12)
