"""A file that one process at a time may hold. The system lets go of it when that process ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# What a system answers where another has the lock: EDEADLK is what Windows says after ten seconds of waiting.
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class Locked(Exception):  # noqa: N818 (an answer, not a failure)
    """Another process holds it. pid: of that process; None where it isn't known."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"process {pid}" if pid else "another process")
        self.pid = pid


class FileLock:
    """Held from its making until `release`. Raises Locked where another process, or another part of this one, has it,
    and OSError where the file can't be written, or its file system knows no locks.

    wait: until whoever has it lets go, instead.
    """

    def __init__(self, path: Path, *, wait: bool = False) -> None:
        self.path, self._file = path, -1
        while self._file < 0:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                self._take(wait)
            except BaseException:  # a full disk, or Ctrl-C: what is locked and left open keeps this process out, too
                self.release()
                raise

    def _take(self, wait: bool) -> None:
        try:
            _lock(self._file, wait)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise OSError(
                    error.errno,
                    f"its file system has no locks ({error.strerror}), work in a folder of a local disk",
                    str(self.path),
                ) from None
            os.lseek(self._file, 0, os.SEEK_SET)
            content = os.read(self._file, 20)
            raise Locked(int(content) if content.strip().isdigit() else None) from None
        if not _same(self._file, self.path):
            self.release()  # whoever held it took the file away
            return
        os.truncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __enter__(self) -> FileLock:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go."""
        self.release()


def _lock(file: int, wait: bool) -> None:
    """Raises OSError where another has it."""
    if sys.platform == "win32":
        os.lseek(file, 1000, os.SEEK_SET)  # a byte that nobody reads: Windows keeps others from those that it locks
        msvcrt.locking(file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))  # noqa: PTH116 (as fstat has no other form)
    except FileNotFoundError:
        return False
