"""What a run logs, kept on disk in order until the store has confirmed it: nothing here knows of MLflow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.durable import make_folder, sync, sync_all, sync_tree
from pipelines.core.support.locks import FileLock, Locked
from pipelines.core.support.reasons import reason_of
from zoo.errors import TrackingError

Record: TypeAlias = Mapping[str, Any]  # a kind, and what belongs to it; see delivery.py

JOURNAL_FILE, SENT_FILE, STORE_FILE, LOCK_FILE, FILES = "journal.jsonl", "sent", "store", "lock", "files"


@dataclass(frozen=True)
class Entry:
    """A record in its journal. end: the byte after it. files: the folder that goes with it, if one does."""

    record: Record
    end: int
    files: Path | None


class InUseError(TrackingError):
    """Another process has the journal open, and sends it."""


class Journal:
    """A folder that one process at a time may have open.

    journal.jsonl   a record a line: appended and synced, so each is there whole or not at all
    files/N/        what the record at byte N adds to the run's artifacts, until the store has it
    sent            how many bytes of the journal the store has confirmed
    store           where the run is kept, without user and password
    lock            held by whoever may append and send

    Raises InUseError where another process has it open, TrackingError where it is damaged or can't be written.
    """

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder, self._path, self._appending, self._writing = folder, folder / JOURNAL_FILE, Lock(), Lock()
        try:
            make_folder(folder)
            self._lock = FileLock(folder / LOCK_FILE)
            try:
                if store:
                    _write(folder / STORE_FILE, store)
                with self._path.open("ab") as file:  # what was torn was never said to be there
                    file.truncate(self._whole())
                sync(folder)  # the journal's name
            except BaseException:
                self._lock.release()
                raise
        except Locked as taken:
            raise InUseError(f"run {folder.name} is being trained by {taken}: two can't write one run") from None
        except OSError as error:
            raise TrackingError(f"the outbox {folder} can't be written ({reason_of(error)})") from None

    @property
    def store(self) -> str:
        """Where the run is kept, without user and password."""
        path = self.folder / STORE_FILE
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def append(self, record: Record, files: Path | None = None, *, synced: bool = True) -> None:
        """Add a record, and a copy of the folder that goes with it. On return both are on disk, with all before them.

        synced: without it a power cut may take the record; a kill doesn't.
        Raises TrackingError where they can't be written; then neither is there.
        """
        line = (json.dumps(record) + "\n").encode()
        with self._appending:
            end = None
            try:
                end = self._path.stat().st_size
                if files is not None:
                    _copy(files, self.folder / FILES / str(end))
                with self._writing, self._path.open("ab") as file:  # not while its files are copied: one may read
                    file.write(line)
                    file.flush()
                    if synced:
                        os.fsync(file.fileno())
            except OSError as error:
                if end is not None:
                    with suppress(OSError):
                        os.truncate(self._path, end)
                raise TrackingError(f"the outbox {self.folder} can't be written ({reason_of(error)})") from None

    def sync(self) -> None:
        """Return when all records are on disk. Raises TrackingError where they can't be written."""
        try:
            sync(self._path)
        except OSError as error:
            raise TrackingError(f"the outbox {self.folder} can't be written ({error.strerror})") from None

    def waiting(self) -> list[Entry]:
        """What the store hasn't confirmed yet, the oldest first. TrackingError where the journal is damaged."""
        end, found = self._sent(), []
        with self._writing, self._path.open("rb") as file:
            file.seek(end)
            lines = file.readlines()
        for line in lines:
            record = _parsed(line)
            if record is None:
                if line is not lines[-1]:  # only the last can have been torn
                    raise TrackingError(f"the outbox {self._path} is damaged at byte {end}: nothing after it is sent")
                break
            files = self.folder / FILES / str(end)
            end += len(line)
            found.append(Entry(record, end, files if files.is_dir() else None))
        return found

    def confirm(self, entry: Entry) -> None:
        """The store has this record, and all before it."""
        _write(self.folder / SENT_FILE, str(entry.end))
        for folder in (self.folder / FILES).glob("[0-9]*"):
            if folder.name.isdigit() and int(folder.name) < entry.end:
                shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Let others have it; a journal in which nothing waits is removed."""
        try:
            if not self.waiting():
                # First, and for good: without what is confirmed, its records would be sent again, whose files are gone.
                self._path.unlink()
                sync(self.folder)
                shutil.rmtree(self.folder, ignore_errors=True)
        finally:
            self._lock.release()

    def _sent(self) -> int:
        try:
            sent = int((self.folder / SENT_FILE).read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):  # what is sent a second time is recognized
            sent = 0
        return sent if sent <= self._path.stat().st_size else 0

    def _whole(self) -> int:
        """The end of the last whole record, in bytes."""
        return max([self._sent(), *(entry.end for entry in self.waiting())])


def waits(folder: Path) -> int:
    """How many records wait in a journal that may be somebody else's; 0 where there is none."""
    path = folder / JOURNAL_FILE
    try:
        sent = int((folder / SENT_FILE).read_text(encoding="ascii"))
    except (OSError, ValueError):
        sent = 0
    try:
        return path.read_bytes()[sent:].count(b"\n")
    except OSError:
        return 0


def _parsed(line: bytes) -> Record | None:
    """A record; None for a line that isn't whole."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "kind" in found else None


def _write(path: Path, text: str) -> None:
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _copy(folder: Path, goal: Path) -> None:
    """A copy that appears under its name when it is whole, and on disk."""
    partial = goal.with_name(f"copy-of-{goal.name}")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(goal, ignore_errors=True)  # of an append that failed: no record leads to it
    shutil.copytree(folder, partial)
    sync_tree(partial)
    partial.rename(goal)
    sync_all([goal.parent, goal.parent.parent])
