"""`zoo gc`: what nobody needs any more: listed first, and removed only on request.

What was listed may be in use by the time that it is removed: it is looked at again, while nobody can begin to use it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import tracking
from pipelines.core.support.atomic import PARTIAL, leftovers, restore_all, untouched
from pipelines.core.support.durable import make_folder
from pipelines.core.support.locks import FileLock, Locked
from pipelines.training.loop import checkpoint
from zoo.data.cache import last_written
from zoo.errors import TrackingError

OLD = 30.0  # days that a run may wait to be resumed
IN_USE = 3600.0  # seconds for which a partial file may have a writer on another machine, whose lock isn't seen here

# Names of folders that `tracking` and `search` let `tempfile` make, and what these put into them.
_NEW = re.compile(r"\.new-(store-|sweeps-)?[a-z0-9_]{8}")
_IN_NEW = re.compile(r"new|old|.*\.db(-journal|-wal|-shm)?")


@dataclass(frozen=True)
class Leftover:
    """What one run, or one interrupted command, has left.

    kind: deleted run, checkpoint, outbox or partial. run: its id, "" for a partial. folders: or files. size: bytes.
    reason: why they may go, or stay.
    """

    kind: str
    run: str
    folders: tuple[Path, ...]
    size: int
    reason: str


@dataclass(frozen=True)
class Collected:
    """What may go and what stays, and whether the former was removed (removed) or only listed."""

    removed: bool
    leftovers: tuple[Leftover, ...]
    kept: tuple[Leftover, ...]

    @property
    def size(self) -> int:
        """Of what may go, in bytes."""
        return sum(each.size for each in self.leftovers)


def gc(*, yes: bool = False, days: float = OLD, exports: Path = Path("exports")) -> Collected:
    """List what deleted runs left behind, checkpoints that are no longer needed, empty outboxes, and partial files.

    yes: remove them, too. days: after how many days the checkpoint of an unfinished run, or of a run that isn't in this
    store, counts as old. exports: the folder of exports, in which interrupted commands may have left hidden folders and
    partial files; exports that they moved aside are restored. Only files in the folder of the store and in this one are
    removed. No link is followed, and nothing that a running command uses is touched. On a server, artifacts are left to
    the server. Raises TrackingError if the store can't be reached.
    """
    tracking.existing_store()
    tracking.check_store()
    restore_all(exports)
    found = list(_found(days, exports))
    going, kept = ([each for each, goes in found if goes is wanted] for wanted in (True, False))
    if yes:
        removed = [each for each in going if _remove(each, days)]
        kept += [
            replace(each, reason="it was restored, or came into use, in the meantime")
            for each in going
            if each not in removed
        ]
        going = removed
        deleted = {run.run_id: run for run in tracking.deleted_runs()}
        tracking.forget([deleted[each.run] for each in removed if each.run in deleted and each.kind == "deleted run"])
    return Collected(yes, tuple(going), tuple(kept))


def _found(days: float, exports: Path) -> Iterator[tuple[Leftover, bool]]:
    """All that was left behind, and whether it may go."""
    deleted = {run.run_id: run for run in tracking.deleted_runs()}
    yield from _of_deleted_runs(deleted)
    yield from _checkpoints(set(deleted), days)
    yield from _outboxes()
    yield from _partials(exports)


def _remove(leftover: Leftover, days: float) -> bool:
    """Remove it if it may still go, while its run can't be resumed and its folder not be written. Whether it could."""
    with _unused(leftover) as unused:
        if not unused or not _goes(leftover, days):
            return False
        for path in leftover.folders:
            _remove_path(path)
        return True


def _goes(leftover: Leftover, days: float) -> bool:
    """Whether it is still one to remove: its run may have been resumed and ended again, or restored in the UI."""
    if leftover.kind == "outbox":  # which has records again, if the store was away
        return not tracking.unsent(leftover.run)
    if leftover.kind == "partial":
        return True
    run = leftover.run
    deleted = {each.run_id: each for each in tracking.deleted_runs(run)}
    now = _checkpoints(set(deleted), days, run) if leftover.kind == "checkpoint" else _of_deleted_runs(deleted)
    return any(each.run == run and goes for each, goes in now)


@contextmanager
def _unused(leftover: Leftover) -> Iterator[bool]:
    """Whether no training and no command uses it; then none begins to until the block ends."""
    if leftover.kind == "partial":
        with untouched(_written_by(leftover.folders[0])) as unused:
            yield unused
        return
    outbox = (tracking.OUTBOX_FOLDER / leftover.run).absolute()
    new = not outbox.exists()
    make_folder(outbox)
    try:
        lock = FileLock(outbox / "lock")  # whoever trains the run holds it, and whoever resumes it asks for it first
    except Locked:
        yield False
        return
    with lock:
        yield True
        if new:
            shutil.rmtree(outbox, ignore_errors=True)


def _of_deleted_runs(deleted: dict[str, tracking.DeletedRun]) -> Iterator[tuple[Leftover, bool]]:
    root = tracking.artifacts_folder()
    for run in deleted.values():
        there = tuple(folder for folder in run.folders if folder.exists() or folder.is_symlink())
        outside = [folder for folder in there if root is None or not _is_inside(folder, root)]
        if run.used_by:
            reason, goes = f"the registered model {run.used_by} is of this run", False
        elif outside:
            reason, goes = f"{outside[0]} isn't a folder of {root}", False
        else:
            reason, goes = f"{run.name} was deleted", True
        yield Leftover("deleted run", run.run_id, there, 0 if outside else sum(map(_size, there)), reason), goes


def _checkpoints(deleted: set[str], days: float, named: str = "*") -> Iterator[tuple[Leftover, bool]]:
    folders = {
        path.name: path for path in checkpoint.FOLDER.absolute().glob(named) if _is_inside(path, checkpoint.FOLDER)
    }
    status = tracking.statuses(folders)
    for run_id, folder in sorted(folders.items()):
        age = (time.time() - max((path.stat().st_mtime for path in folder.glob("*")), default=0)) / 86400
        if run_id in deleted:
            reason, goes = "its run was deleted", True
        elif status[run_id] == "":  # nor does a store have the runs of another one, where this may be needed yet
            reason, goes = f"this store has no such run, it was written {age:.0f} days ago", age > days
        elif status[run_id] == "FINISHED":
            reason, goes = "its run is finished", True
        elif status[run_id] == "RUNNING":
            continue  # or killed: `zoo runs --stale` finds out
        else:
            reason, goes = f"its run was {status[run_id].lower()} {age:.0f} days ago", age > days
        yield Leftover("checkpoint", run_id, (folder,), _size(folder), reason), goes


def _outboxes() -> Iterator[tuple[Leftover, bool]]:
    for folder in sorted(tracking.OUTBOX_FOLDER.absolute().glob("*")):
        if not _is_inside(folder, tracking.OUTBOX_FOLDER):
            continue
        waiting = tracking.unsent(folder.name)
        if not waiting:
            try:
                FileLock(folder / "lock").release()
            except Locked:
                continue  # its run is being trained
        reason = f"{waiting} records wait in it: `zoo sync` sends them" if waiting else "it is empty"
        if waiting == 1:
            reason = "1 record waits in it: `zoo sync` sends it"
        yield Leftover("outbox", folder.name, (folder,), _size(folder), reason), not waiting


def _partials(exports: Path) -> Iterator[tuple[Leftover, bool]]:
    """What commands that were killed have left unfinished, in the folder of exports and beside the store."""
    roots = [exports.absolute(), *exports.absolute().glob("*/")]
    hidden = [each for root in roots for _, each in leftovers(root)]
    beside = [checkpoint.FOLDER.absolute().parent, *checkpoint.FOLDER.absolute().glob("*/")]
    files = [file for root in (*roots, *beside) for file in sorted(root.glob("*")) if PARTIAL.fullmatch(file.name)]
    for path in (*hidden, *files, *_left_in_the_making()):
        with suppress(OSError):  # its writer came to its end just now, or it is somebody else's
            if time.time() - path.lstat().st_mtime > IN_USE and _is_unused(path):
                reason, goes = f"{path.name}: its command was interrupted", True
                if _NEW.fullmatch(path.name) and all((path / name).exists() for name in ("new", "old")):
                    reason, goes = f"{reason} while it replaced artifacts, which may be nowhere else", False
                yield Leftover("partial", "", (path,), _size(path), reason), goes


def _left_in_the_making() -> list[Path]:
    """Folders in which commands made what was to appear whole: the store, sweeps' storage, artifacts of runs."""
    places = {checkpoint.FOLDER.absolute().parent}
    if artifacts := tracking.artifacts_folder():
        places |= {artifacts.absolute(), artifacts.absolute().parent}
    found = [path for place in sorted(places) for path in sorted(place.glob(".new-*")) if _NEW.fullmatch(path.name)]
    return [path for path in found if path.is_dir() and not path.is_symlink() and _was_left(path)]


def _was_left(folder: Path) -> bool:
    """Whether it holds what commands put into such a folder, and nothing was written to it for IN_USE."""
    with suppress(OSError):
        if all(_IN_NEW.fullmatch(each.name) for each in folder.iterdir()):
            return time.time() - last_written(folder) > IN_USE
    return False


def _is_unused(partial: Path) -> bool:
    with untouched(_written_by(partial)) as unused:
        return unused


def _written_by(partial: Path) -> Path:
    """The file or the folder that a partial one was to become."""
    return next(
        (goal for goal, hidden in leftovers(partial.parent) if hidden == partial),
        partial.with_name(partial.name.partition(".partial-")[0]),
    )


def _is_inside(folder: Path, root: Path) -> bool:
    """Whether a folder itself, and no link, lies below another, wherever links on the way to it lead."""
    return folder.is_dir() and not folder.is_symlink() and root.resolve() in folder.resolve().parents


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(each.lstat().st_size for each in files if not each.is_dir())


def _remove_path(path: Path) -> None:
    try:
        if path.is_file() or path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path)  # it removes links, and not where they lead
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TrackingError(f"{error.filename or path} can't be removed ({error.strerror})") from None
