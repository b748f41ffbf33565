"""A word at once for who interrupts a command: Python itself answers only after the step that a library is in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.cli.console import show_error
from pipelines.core.support.watched import is_watched

WAIT = 0.5  # seconds in which most commands end, and then nothing needs to be said
END = b"\0"  # no signal has this number


@contextmanager
def interrupts_noticed() -> Iterator[None]:
    """Say once that the command is stopping, where that takes longer than WAIT, until the block ends.

    A signal is written to a pipe in the moment that it comes, and a thread reads it there. Outside of the main thread,
    which alone gets signals, nothing happens, nor in a process that another one watches, which says it.
    """
    if threading.current_thread() is not threading.main_thread() or is_watched():
        yield
        return
    ended = threading.Event()
    reader, writer = os.pipe()
    if os.name == "posix":  # where set_wakeup_fd insists on it
        os.set_blocking(writer, False)

    def listen() -> None:
        while (number := os.read(reader, 1)) != END:
            if number[0] == signal.SIGINT and not ended.wait(WAIT):
                show_error("stopping, please wait")
                return

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        os.write(writer, END)  # to close it wouldn't do: a process that was forked has it, too
        listener.join()
        os.close(writer)
        os.close(reader)
