"""Which process a run is trained by, written down so that it is known later whether it still lives."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil

TOLERANCE = 2  # seconds: a system that corrects its clock moves the time of its boot by up to one


@dataclass(frozen=True)
class Process:
    """A process.

    host: the machine's name. space: within which process ids are unique: one start of a machine, and of a
    container on it. pid: its id. started: when, a number as `_start_of` has it, "" where that isn't known: an id is
    given again, the two together aren't.
    """

    host: str
    space: str
    pid: int
    started: str

    def to_tags(self) -> dict[str, str]:
        """As a run's tags."""
        return {f"process.{name}": str(value) for name, value in vars(self).items()}

    def is_gone(self) -> bool | None:
        """Whether it has ended; None where that can't be known from here."""
        import psutil

        if self.space != _space() or not self.started:
            return None
        try:
            found = psutil.Process(self.pid)
            if found.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):  # ended, and its parent hasn't looked
                return True
            return abs(_start_of(found) - int(self.started)) > TOLERANCE * _per_second()
        except psutil.NoSuchProcess:
            return True
        except (psutil.AccessDenied, ValueError):  # ValueError: on macOS, earlier runs stored a date
            return None


def this_process() -> Process:
    """The one that asks."""
    import psutil

    return Process(platform.node(), _space(), os.getpid(), str(_start_of(psutil.Process())))


def process_of(tags: Mapping[str, str]) -> Process | None:
    """What `to_tags` wrote; None where a run doesn't say."""
    try:
        host, space, pid, started = (tags[f"process.{name}"] for name in ("host", "space", "pid", "started"))
        return Process(host, space, int(pid), started)
    except (KeyError, ValueError):
        return None


@cache
def _space() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (it is no path)
    except OSError:  # not Linux
        return platform.node()


def _start_of(process: psutil.Process) -> int:
    """When a process began: on Linux in clock ticks since the boot, as the kernel counts; elsewhere in Unix seconds.

    A clock that is set anew changes neither. Psutil's own time is the kernel's with the boot's, by that clock, added.
    """
    import psutil

    seconds: float = process.create_time() - (psutil.boot_time() if psutil.LINUX else 0)
    return round(seconds * _per_second())


def _per_second() -> int:
    import psutil

    ticks: int = os.sysconf("SC_CLK_TCK") if psutil.LINUX else 1
    return ticks
