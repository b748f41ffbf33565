"""Entries that train in turns: each in a process of its own, which waits while another one trains.

So no library meets another's threads or settings, and what a busy machine does falls on neighboring turns. The talk is
lines of JSON: an entry writes what it measured after each turn, and takes a line as the word to go on. The standard
library alone: an entry may live in an environment that knows nothing of ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any


class Entry:
    """A process that trains, as the benchmark sees it."""

    def __init__(self, python: str, script: str, settings: Mapping[str, Any]) -> None:
        """Start benchmarks/SCRIPT; it trains its first turn at once, which warms it up."""
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self._command = [python, str(Path(__file__).with_name(script)), json.dumps(settings)]
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.first = self.answer()

    def go(self) -> dict[str, Any]:
        """Let it train a turn, and take what it measured."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Its next line. Ends the benchmark with its last words where it ended without one."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                return dict(json.loads(line))
        self._errors.seek(0)
        code = self._process.wait()
        raise SystemExit(f"{' '.join(self._command)} ended with code {code}:\n{self._errors.read()[-2000:]}")

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()


class Turns:
    """The same talk from an entry's side.

    The clock of a turn starts after some steps: who waited is cold. Its caches hold another's data, its threads sleep,
    and a thrifty system has dropped its pages; the first step of a turn once took seconds.
    """

    def __init__(self, warming: int) -> None:
        """warming: steps of each turn before the clock starts. The first turn begins without a word."""
        self._warming = warming
        self._first = True
        self._start: float | None = None

    def begin(self) -> None:
        """Wait for the word to go on; where none will come any more, leave."""
        if not self._first and not sys.stdin.readline():
            sys.exit()
        self._first = False
        self._start = None
        self.stepped(0)

    def stepped(self, steps: int) -> None:
        """So many steps of this turn are done."""
        if self._start is None and steps >= self._warming:
            self._start = perf_counter()

    def end(self, **measured: float) -> None:
        """Tell the seconds on the clock, and what else was measured."""
        assert self._start is not None
        tell(seconds=perf_counter() - self._start, **measured)


def tell(**measured: float) -> None:
    """One line to the benchmark."""
    print(json.dumps(measured), flush=True)


def wait_for_the_end() -> None:
    """Stay until all have had their turns: who leaves gives memory back, and that takes the others' time."""
    sys.stdin.read()
