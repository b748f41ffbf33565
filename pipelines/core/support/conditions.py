"""Conditions on a list, as `--where` takes them: a field, one of < <= > >= = and a value, such as parameters<100k."""

from __future__ import annotations

import re
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt

from zoo.errors import QueryError

_SIGNS = {"<": lt, "<=": le, ">": gt, ">=": ge, "=": eq}
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "%": 0.01}


@dataclass(frozen=True)
class Condition:
    """One condition. text: as written; value: the text behind the sign."""

    text: str
    field: str
    sign: str
    value: str

    def holds_for_text(self, found: str) -> bool:
        """Whether text fulfills it. Raises QueryError for another sign than =."""
        if self.sign != "=":
            raise QueryError(
                f"{self.field} is text, which can be compared by = alone ({self.field}=…), not by {self.text!r}"
            )
        return found == self.value

    def holds_for(self, found: float) -> bool:
        """Whether a number fulfills it. Raises QueryError where its value isn't one."""
        limit = parse_number(self.value, self.text)
        if "accuracy" in self.field and limit > 1 and "%" not in self.value:  # accuracy>90: nothing else can be meant
            limit = round(limit / 100, 12)
        return bool(_SIGNS[self.sign](found, limit))


def parse_condition(text: str) -> Condition:
    """The condition in a text. Raises QueryError where it is none."""
    found = re.fullmatch(r"\s*([\w/-]+)\s*(<=|>=|<|>|=)\s*(.*?)\s*", text)
    if not found:
        raise QueryError(f"a condition is a field, one of < <= > >= = and a value (parameters<100k), not {text!r}")
    return Condition(text, *found.groups())


def parse_number(text: str, condition: str) -> float:
    """100k, 1.8M or 93% as a number; condition: where it stands."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg%]?)", text, re.IGNORECASE)
    if not found:
        raise QueryError(f"{condition!r} compares with {text!r}, expected a number such as 100000, 100k, 1.8M or 93%")
    # Rounded: 93.3 * 0.01 isn't the 0.933 that somebody means.
    return round(float(found[1]) * _UNITS[found[2].lower()], 12)
