"""Runs whose record can't be read, after a power cut or by hand: each is named once, and left out where others do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from zoo.errors import RecipeError, TrackingError

logger = logging.getLogger("zoo.tracking")

T = TypeVar("T")

_named: set[str] = set()  # runs, by this process


class DamagedRunError(TrackingError):
    """Of one run alone: the store answers, and what it has of the run isn't what was written."""


def left_out(run_id: str, error: Exception) -> None:
    """Name a run that is left out, and why, once."""
    if run_id not in _named:
        _named.add(run_id)
        logger.warning("run %s is left out: %s; `zoo ui` deletes it", run_id[:8], error)


def intact(run_ids: Iterable[str], read: Callable[[str], T]) -> Iterator[T]:
    """What `read` gives of each run that can be read, also by this version; the others are named and left out."""
    for run_id in run_ids:
        try:
            found = read(run_id)
        except (DamagedRunError, RecipeError) as error:
            left_out(run_id, error)
        else:
            yield found
