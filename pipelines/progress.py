"""How far a training is, on standard error: a bar in a terminal, now and then a line where nobody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

QUIET_SECONDS = 10.0  # between two lines of a log

Advance: TypeAlias = Callable[[float, str], None]  # epochs seen (fractions count), and what there is to say


@contextmanager
def training_progress(name: str, epochs: int, seen: int = 0) -> Iterator[Advance]:
    """Yields the function to call as a training advances from `seen` to `epochs` epochs."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[said]}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(name, total=epochs, completed=seen, said="")
            yield lambda epoch, said: progress.update(task, completed=epoch, said=said)
    else:
        told = time.monotonic()

        def tell(epoch: float, said: str) -> None:
            nonlocal told
            if epoch >= epochs or time.monotonic() - told >= QUIET_SECONDS:
                told = time.monotonic()
                print(f"{name}: {said}", file=sys.stderr, flush=True)

        yield tell
