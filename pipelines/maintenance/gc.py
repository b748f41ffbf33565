"""`zoo gc`: what nobody needs any more: listed first, and removed only on request."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines import tracking
from pipelines.core.support.locks import FileLock, Locked
from pipelines.training import checkpoint
from zoo.errors import TrackingError

OLD = 30.0  # days that a run may wait to be resumed


@dataclass(frozen=True)
class Leftover:
    """Folders of one run. kind: deleted run, checkpoint or outbox. size: bytes. reason: why they may go, or stay."""

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


def gc(*, yes: bool = False, days: float = OLD) -> Collected:
    """Find artifacts and models of deleted runs, checkpoints that nobody will resume from, and empty outboxes.

    yes: remove them, too. days: a checkpoint of an unfinished run is old after so many, and that of a run of which this
    store doesn't know. Nothing is removed but folders below that of the store, and no link is followed; a server's
    artifacts are its own to see to. Raises TrackingError where the store is away.
    """
    tracking.existing_store()
    tracking.check_store()
    deleted = {run.run_id: run for run in tracking.deleted_runs()}
    found = [*_of_deleted_runs(deleted), *_checkpoints(set(deleted), days), *_outboxes()]
    leftovers = tuple(each for each, goes in found if goes)
    kept = tuple(each for each, goes in found if not goes)
    if yes:
        for each in leftovers:
            for folder in each.folders:
                _remove(folder)
        tracking.forget([deleted[each.run] for each in leftovers if each.kind == "deleted run"])
    return Collected(yes, leftovers, kept)


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


def _checkpoints(deleted: set[str], days: float) -> Iterator[tuple[Leftover, bool]]:
    folders = {
        path.name: path for path in checkpoint.FOLDER.absolute().glob("*") if _is_inside(path, checkpoint.FOLDER)
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
        yield Leftover("outbox", folder.name, (folder,), _size(folder), reason), not waiting


def _is_inside(folder: Path, root: Path) -> bool:
    """Whether a folder itself, and no link, lies below another, wherever links on the way to it lead."""
    return folder.is_dir() and not folder.is_symlink() and root.resolve() in folder.resolve().parents


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)  # it removes links, and not where they lead
    except FileNotFoundError:
        pass
    except OSError as error:
        raise TrackingError(f"{error.filename or folder} can't be removed ({error.strerror})") from None
