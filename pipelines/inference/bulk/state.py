"""How far a job has come, beside the file that it writes: what it is the job of, and which lines are durable."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.durable import sync
from pipelines.core.support.locks import FileLock, Locked
from zoo.checked import LARGEST_JSON, is_number, parse_json, read_file
from zoo.errors import ExportError, InputError

FORM = 1  # of the file of a state
_COUNTS = ("images", "unreadable", "size")


@dataclass(frozen=True)
class State:
    """job: what sets it apart from others: export, data and options. images: answered; unreadable: of these.

    size: bytes of their lines. error: of the first unreadable one. finished: whether the file
    is made, or being made, of the lines.
    """

    job: Mapping[str, Any]
    images: int = 0
    unreadable: int = 0
    size: int = 0
    error: str = ""
    finished: bool = False

    def after(self, images: int, unreadable: int, size: int, error: str) -> State:
        """The same when so much more is answered. error: of the first of these that is unreadable."""
        counts = (self.images + images, self.unreadable + unreadable, self.size + size)
        return State(self.job, *counts, self.error or error)


def lines_of(out: Path) -> Path:
    """Where the lines are until the file is finished."""
    return out.with_name(f"{out.name}.partial")


def state_of(out: Path) -> Path:
    """Where it says how far a job is, and afterwards what the file is made of."""
    return out.with_name(f"{out.name}.job.json")


def save(state: State, out: Path) -> None:
    """What it says is durable; the lines have to be before."""
    with atomic_file(state_of(out)) as partial:
        partial.write_text(json.dumps({"form": FORM, **asdict(state)}, indent=2) + "\n", encoding="utf-8")


def resume(job: Mapping[str, Any], out: Path) -> State:
    """How far this job has come; a new one has answered nothing.

    Raises InputError where the file, or what is begun of it, is another job's, or was changed by others.
    """
    found, made, lines = _read(out), _size(out), _size(lines_of(out))
    if found is None:
        if there := next((path for path in (out, lines_of(out)) if os.path.lexists(path)), None):
            raise InputError(
                f"{there} exists and wasn't written by `zoo predict --out`: choose another file with --out"
            )
        return State(job)
    if made is None and (not found.images or (found.finished and lines is None)):  # there is nothing to lose
        return State(job)
    if different := [name for name in {**found.job, **job} if found.job.get(name) != job.get(name)]:
        raise InputError(
            f"{out} belongs to another job, which differs in its {' and '.join(different)}: choose another file with "
            f"--out, or remove {state_of(out)} and the files next to it"
        )
    if is_made(found, out):
        return found
    check_free(found, out)
    if (lines or 0) < found.size:
        raise InputError(f"{lines_of(out)} is shorter than what its job wrote: remove {state_of(out)}, and start again")
    return found


def check_free(state: State, out: Path) -> None:
    """Raise InputError where the file is there before its job has made it, so that it is another's."""
    if not state.finished and os.path.lexists(out):
        raise InputError(f"{out} exists, but its job isn't finished: move it, or choose another file with --out")


def is_made(state: State, out: Path) -> bool:
    """Whether the file is complete, and nothing is left to be done."""
    return state.finished and out.is_file() and not lines_of(out).exists()


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """No other job writes the file until the block ends. Raises InputError where one does, or it can't be written."""
    path = out.with_name(f".{out.name}.lock")
    try:
        lock = FileLock(path)
    except Locked as taken:
        raise InputError(f"{out} is being written by {taken}: wait for it, or choose another file with --out") from None
    except OSError as error:
        raise InputError(
            f"{out} can't be written ({error.strerror or error}): choose another file with --out"
        ) from None
    with lock:
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def appending(state: State, out: Path, heading: bytes) -> Iterator[IO[bytes]]:
    """The lines, open behind those that the state says. What a killed job wrote further is cut off."""
    path = lines_of(out)
    with open(path, "r+b", opener=_made) as lines:
        lines.truncate(state.size)
        lines.seek(state.size)
        if not state.size:
            lines.write(heading)
            sync(path.parent)
        yield lines


def _made(path: str, flags: int) -> int:
    """Open a file, which is made where there is none; a link is refused."""
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)


def _read(out: Path) -> State | None:
    path = state_of(out)
    try:
        found = parse_json(read_file(path, LARGEST_JSON).decode())
        form = found.pop("form")
        state = State(**found)
        counts = [getattr(state, name) for name in _COUNTS]
        whole = all(is_number(count, 0) and type(count) is int for count in counts)
        if form != FORM or not whole or type(state.finished) is not bool or not isinstance(state.job, dict):
            raise ValueError("of another form")
    except FileNotFoundError:
        return None
    except (ExportError, ValueError, TypeError, AttributeError, KeyError, RecursionError):
        raise InputError(
            f"{path} can't be read as the state of a job: remove it, or choose another file with --out"
        ) from None
    return state


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
