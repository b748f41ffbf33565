"""How far a long job is, on standard error: a bar in a terminal, now and then a line where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TypeAlias

from pipelines.core.support.duration import roughly
from zoo.errors import printable

QUIET_SECONDS = 10.0  # between two lines of a log

Advance: TypeAlias = Callable[[float, float, str], None]  # done, in all, and what there is to say

_reporting: ContextVar[bool] = ContextVar("_reporting", default=False)  # whether a job does that this one is part of


def remaining(seconds: float, done: float, left: float) -> str:
    """What a line ends with: how long is to go, by what was done in so many seconds; "" where nothing is known."""
    return f", {roughly(seconds * left / done)} to go" if done > 0 and left > 0 else ""


@contextmanager
def progress(name: str, done: int = 0) -> Iterator[Advance]:
    """Yields the function to call as a job advances, which has come as far as `done` already.

    A job within another one reports nothing: the outer one does.
    """
    if _reporting.get():
        yield _nothing
        return
    _reporting.set(True)
    try:
        with _shown(name, done) as advance:
            yield advance
    finally:
        _reporting.set(False)


def _nothing(*_: object) -> None:
    pass


@contextmanager
def _shown(name: str, done: int) -> Iterator[Advance]:
    if sys.stderr.isatty() and find_spec("rich"):  # what an app has installed draws no bars
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            bar = bars.add_task(printable(name), total=None, completed=done, said="")
            yield lambda now, in_all, said: bars.update(bar, completed=now, total=in_all, said=printable(said))
    else:
        reported = time.monotonic()
        first: tuple[float, float] | None = None  # when, and how far: a job may go on where another ended

        def report(now: float, in_all: float, said: str) -> None:
            nonlocal reported, first
            at = time.monotonic()
            first = first or (at, now)
            if at - reported >= QUIET_SECONDS:
                reported = at
                to_go = remaining(at - first[0], now - first[1], in_all - now)
                print(printable(f"{name}: {said}{to_go}"), file=sys.stderr, flush=True)

        yield report
