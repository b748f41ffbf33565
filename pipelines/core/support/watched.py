"""What a process does that another one watches over: it ends with that one, and where it fails, it ends at once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

WATCHED = "ZOO_WATCHED"  # environment variable of such a process, whose standard input is a pipe from the other one


def is_watched() -> bool:
    """Whether another process watches over this one."""
    return WATCHED in os.environ


def end_with_watcher() -> None:
    """From now on, end this process as soon as the one that watches over it is gone."""
    threading.Thread(target=_end_with_watcher, daemon=True).start()


def _end_with_watcher() -> None:
    os.read(0, 1)  # nothing is ever written: it returns when the other end is closed
    os._exit(1)


def failing_at_once(command: Callable[[], int]) -> int:
    """The exit code of a command. In a process that is watched, one that failed doesn't return.

    The usual end of a process may wait forever for what libraries have begun.
    """
    if not is_watched():
        return command()
    try:
        code = command()
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    if code:
        exit_now(code)
    return code


def exit_now(code: int) -> None:
    """End this process, with nothing of what is usually done at its end but that all is printed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
