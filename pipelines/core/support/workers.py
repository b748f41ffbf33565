"""Processes that work for this one: they leave Ctrl-C to it, and end with it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from zoo.errors import InputError

AHEAD = 2  # pieces of work for each process that wait, or are done and not taken yet


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool_of(processes: int) -> ProcessPoolExecutor:
    """New processes, which start when there is work."""
    # Spawned: a fork of a process with onnxruntime's threads may wait for one of them for ever.
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin)


def check_starts(pool: ProcessPoolExecutor) -> None:
    """Raises InputError where its processes don't start."""
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        raise InputError(
            "the processes that are to read images don't start: in a program of your own, call this below "
            '`if __name__ == "__main__":`, or ask for one process'
        ) from None


def _begin() -> None:
    """In each process: what Ctrl-C ends is the whole, which ends this one; and so it is where that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # of the provider: the process that started this one has said so
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
