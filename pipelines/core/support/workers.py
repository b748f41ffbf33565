"""Processes that work for this one: they leave Ctrl-C to it, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from types import TracebackType
from typing import TypeVar

from zoo.errors import InputError

AHEAD = 2  # pieces of work for each process that wait, or are done and not taken yet

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool(ProcessPoolExecutor):
    """New processes, which start when there is work. A block that an error ends doesn't wait for what they are at."""

    def __init__(self, processes: int) -> None:
        # Spawned: a fork of a process with onnxruntime's threads may wait for one of them for ever.
        context = multiprocessing.get_context("spawn")
        # What ends them is the end of this pipe, which the system closes, too, if this process is killed.
        self._given, self._kept = context.Pipe(duplex=False)
        super().__init__(processes, context, _begin, (self._given,))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._kept.close()
        self.shutdown(cancel_futures=True)


def in_workers(function: Callable[[T], R], pieces: Iterable[T], processes: int) -> Generator[R]:
    """`map` in several processes: each result, in order, and few pieces at a time. function: one of a module.

    Raises what the function raises, and InputError where the processes don't start, or one is killed or crashes.
    """
    with Pool(processes) as pool:
        check_starts(pool)
        waiting: deque[Future[R]] = deque()
        try:
            for piece in pieces:
                waiting.append(pool.submit(function, piece))
                if len(waiting) >= AHEAD * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise InputError(
                f"one of {processes} processes that read images was killed or crashed: check how much memory "
                "is free, or use fewer processes"
            ) from None


def check_starts(pool: Pool) -> None:
    """Raises InputError where its processes don't start."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise InputError(
            "the processes that read images can't start: in a program of your own, call this below "
            '`if __name__ == "__main__":`, or use one process'
        ) from None


def _begin(given: Connection) -> None:
    """In each process: what Ctrl-C ends is the whole, which ends this one; and so it is where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # of the provider: the process that started this one has said so
    threading.Thread(target=_end_with, args=(given,), daemon=True).start()


def _end_with(given: Connection) -> None:
    given.poll(None)  # nothing is ever sent: it returns when the other end is closed
    os._exit(1)
