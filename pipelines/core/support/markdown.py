"""Markdown with escaped text, as class names and folders may hold any characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from textwrap import fill


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is, on one line."""
    return re.sub(r"([\\`*_\[\]<>|$~&])", r"\\\1", " ".join(text.split()))


def filled(text: str) -> str:
    """A paragraph in lines of at most 120 characters, for those who read it as text."""
    return fill(" ".join(text.split()), 120, break_long_words=False, break_on_hyphens=False)


def points(share: float | None) -> str:
    """A difference of accuracies in points, with its sign."""
    return "" if share is None else f"{100 * share:+.2f}"


def table(columns: Sequence[str], rows: Iterable[str]) -> str:
    """A table of rows that `row` made. Names of columns of numbers begin with '>'."""
    rules = ("---:" if column.startswith(">") else "---" for column in columns)
    return "\n".join((row(column.lstrip(">") for column in columns), row(rules), *rows))


def row(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(cells)} |"
