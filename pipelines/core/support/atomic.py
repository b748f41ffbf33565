"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zoo.contract import MANIFEST_FILE
from zoo.errors import ExportError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path beside this one to write to, which takes its place if all goes well, and is gone if not."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(
    goal: Path, *, holds: str = MANIFEST_FILE, kind: str = "export", option: str = "--exports"
) -> Iterator[Path]:
    """A folder to write into, by default an export's, which takes the place of `goal` if all goes well, else is gone.

    holds: the file by which a folder of this kind is known: another one with something in it is not replaced.
    kind, option: what the folder is, and how its user names another place, for the errors.
    Raises ExportError where `goal` is something else, or can't be written.
    """
    try:
        if goal.exists() and not (goal / holds).is_file() and (goal.is_file() or any(goal.iterdir())):
            raise ExportError(
                f"{goal} is there and is no {kind}, it will not be replaced: move it, or name other {option}"
            )
        goal.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{goal.name}.", dir=goal.parent))
    except OSError as error:
        raise ExportError(f"{goal} can't be written ({error.strerror}): name another folder by {option}") from None
    new, old = beside / "new", beside / "old"
    try:
        new.mkdir()
        yield new
        if goal.exists():
            goal.rename(old)
        try:
            new.rename(goal)
        except BaseException:  # an interruption, too
            if old.exists():
                old.rename(goal)
            raise
    except ExportError as error:  # it names files where nobody will find them any more
        raise type(error)(str(error).replace(str(new), str(goal))) from None
    except OSError as error:  # a full disk, a folder that somebody has open
        raise ExportError(f"{goal} can't be written ({error.strerror}): name another folder by {option}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
