"""Files and folders that appear whole or not at all, and stay when the power goes."""

from __future__ import annotations

import logging
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipelines.core.support.durable import make_folder, sync, sync_tree
from pipelines.core.support.exchange import exchange
from pipelines.core.support.locks import FileLock, Locked
from pipelines.core.support.reasons import reason_of
from zoo.checked import LARGEST_JSON, read_file
from zoo.contract import MANIFEST_FILE
from zoo.errors import ExportError

logger = logging.getLogger("zoo.files")

PARTIAL = re.compile(r".+\.partial-[0-9a-f-]+")  # what a killed process leaves of a file
_HIDDEN = re.compile(r"\.(?P<name>.+)\.[a-z0-9_]{8}")  # what it leaves of a folder, beside it
_NEW, _OLD = "new", "old"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path beside this one to write to, which takes its place if all goes well, and is gone if not."""
    partial = path.with_name(f"{path.name}.partial-{secrets.token_hex(8)}")
    try:
        yield partial
        sync(partial)  # first: or a power cut could leave the name without the content
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    goal: Path, *, holds: str = MANIFEST_FILE, kind: str = "an export", option: str = "--exports"
) -> Iterator[Path]:
    """A folder to write into, by default an export's, which takes the place of `goal` if all goes well, else is gone.

    Whoever reads `goal` finds the old one or the new one. No other process writes it meanwhile: that waits for this.
    holds: the file by which a folder of this kind is known: another one with something in it is not replaced.
    kind, option: what the folder is, and how its user names another place, for the errors.
    Raises ExportError where `goal` is something else, can't be written, or was changed by others meanwhile.
    """
    try:
        make_folder(goal.parent)
        with _alone(goal):
            _put_back(goal)
            for left in _beside(goal):
                shutil.rmtree(left, ignore_errors=True)
            before = _known(goal / holds)
            if before is None and goal.exists() and (goal.is_file() or any(goal.iterdir())):
                raise ExportError(
                    f"{goal} exists and is not {kind}, so it will not be replaced: move it, or choose another {option}"
                )
            beside = Path(tempfile.mkdtemp(prefix=f".{goal.name}.", dir=goal.parent))
            try:
                new = beside / _NEW
                new.mkdir()
                yield new
                sync_tree(new)
                if _known(goal / holds) != before:
                    raise ExportError(
                        f"{goal} was changed by another process in the meantime and was left alone: run the command "
                        "again"
                    )
                swap(new, goal)
            except ExportError as error:  # it names files where nobody will find them any more
                raise type(error)(str(error).replace(str(beside / _NEW), str(goal))) from None
            finally:
                if goal.exists() or not (beside / _OLD).exists():
                    shutil.rmtree(beside, ignore_errors=True)
    except Locked:
        raise ExportError(
            f"{goal} can't be locked against other writers: choose another folder with {option}"
        ) from None
    except OSError as error:  # a full disk, a folder that somebody has open
        raise ExportError(
            f"{goal} can't be written ({reason_of(error)}): choose another folder with {option}"
        ) from error


def restore(goal: Path) -> None:
    """Put a folder back that an interrupted command moved aside and didn't replace; nothing where all is well."""
    with suppress(OSError):  # who may not write here reads what there is
        if goal.name and not goal.exists() and any((hidden / _OLD).is_dir() for hidden in _beside(goal)):
            with untouched(goal) as mine:
                if mine:
                    _put_back(goal)


def restore_all(root: Path) -> None:
    """`restore` each folder DATA SET/MODEL below `root`."""
    for parent in root.glob("*/"):
        for goal in {goal for goal, _ in leftovers(parent)}:
            restore(goal)


def leftovers(parent: Path) -> Iterator[tuple[Path, Path]]:
    """(folder that was to be written, hidden folder beside it) for each that a command has left, or is writing.

    Only those that hold nothing but what such a command puts there.
    """
    for hidden in sorted(parent.glob(".*")):
        found = _HIDDEN.fullmatch(hidden.name)
        if found and hidden.is_dir() and not hidden.is_symlink():
            with suppress(OSError):  # its writer may have come to its end just now
                if {each.name for each in hidden.iterdir()} <= {_NEW, _OLD}:
                    yield parent / found["name"], hidden


@contextmanager
def untouched(goal: Path) -> Iterator[bool]:
    """Whether nobody writes the folder; then none begins to until the block ends."""
    try:
        lock = FileLock(_lock_of(goal))
    except Locked:
        yield False
        return
    with _held(lock):
        yield True


@contextmanager
def _alone(goal: Path) -> Iterator[None]:
    """Nobody else writes the folder until the block ends; who does now is waited for."""
    try:
        lock = FileLock(_lock_of(goal))
    except Locked as taken:
        logger.info("%s is being written by %s: waiting for it", goal, taken)
        lock = FileLock(_lock_of(goal), wait=True)
    with _held(lock):
        yield


@contextmanager
def _held(lock: FileLock) -> Iterator[None]:
    with lock:
        try:
            yield
        finally:
            with suppress(PermissionError):  # Windows keeps a file that is open
                lock.path.unlink(missing_ok=True)  # while it is held: who waits for it looks whether it is still there


def swap(new: Path, goal: Path) -> None:
    """Put a synced folder in the place of `goal`, whose own, if there was one, is `new` or beside it afterwards."""
    if not goal.exists():
        new.rename(goal)
    elif not exchange(new, goal):
        old = new.with_name(_OLD)
        goal.rename(old)
        try:
            new.rename(goal)
        except BaseException:  # an interruption, too
            old.rename(goal)
            raise
    sync(goal.parent)


def _put_back(goal: Path) -> None:
    """Put back what was moved aside and not replaced. Nobody writes it now."""
    for hidden in _beside(goal):
        if not goal.exists() and (hidden / _OLD).is_dir():
            (hidden / _OLD).rename(goal)
            sync(goal.parent)
            logger.warning("%s was restored: the command that was replacing it had been interrupted", goal)
            shutil.rmtree(hidden, ignore_errors=True)


def _beside(goal: Path) -> list[Path]:
    """What interrupted writers of a folder left."""
    return [hidden for each, hidden in leftovers(goal.parent) if each == goal]


def _lock_of(goal: Path) -> Path:
    return goal.with_name(f".{goal.name}.lock")


def _known(file: Path) -> bytes | None:
    """What a folder is known by: another content is another folder. Raises ExportError for what is no such file."""
    try:
        return read_file(file, LARGEST_JSON) if file.parent.is_dir() else None
    except FileNotFoundError:
        return None
