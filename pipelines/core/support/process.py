"""Which process a run is trained by, written down such that anybody can tell later whether it still lives."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process.

    host: the machine's name. space: within which process ids tell processes apart: one start of a machine, and of a
    container on it. pid: its id. started: when, as the system counts: an id is given again, the two together aren't.
    """

    host: str
    space: str
    pid: int
    started: str

    def to_tags(self) -> dict[str, str]:
        """As a run's tags."""
        return {f"process.{name}": str(value) for name, value in vars(self).items()}

    def is_gone(self) -> bool | None:
        """Whether it has ended; None where that can't be told from here."""
        if self.space != _space() or not self.started:
            return None
        return _start_of(self.pid) != self.started


def this_process() -> Process:
    """The one that asks."""
    return Process(platform.node(), _space(), os.getpid(), _start_of(os.getpid()))


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


def _start_of(pid: int) -> str:
    """When a process began; "" where there is none of that id, or it can't be asked."""
    if Path("/proc/self/stat").exists():
        try:
            told = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        fields = told.rpartition(")")[2].split()  # the name before it may hold anything
        return "" if fields[0] in "ZX" else fields[19]  # a zombie has ended, its parent hasn't looked
    try:
        asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S603, S607
    except OSError:  # Windows
        return ""
    return asked.stdout.strip()
