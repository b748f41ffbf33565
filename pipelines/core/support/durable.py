"""What is said to be written stays written when the power goes: content and names are synced to the disk."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path

if sys.platform == "darwin":
    import fcntl


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a folder, are on the disk.

    A new file is durable when it is synced and then the folder that holds its name. Raises OSError where it can't be.
    """
    folder = path.is_dir()
    if folder and sys.platform == "win32":
        return  # it can't be asked for: NTFS keeps a journal of names by itself
    file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        if sys.platform == "darwin":
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)  # fsync alone leaves it in the disk's own cache
        else:
            os.fsync(file)
    except OSError as error:
        if not (folder and error.errno in (errno.EINVAL, errno.ENOTSUP)):  # file systems without folders on a disk
            raise
    finally:
        os.close(file)


def sync_all(paths: Iterable[Path]) -> None:
    """Sync files and folders, each once; links and what is gone by now are left out."""
    for path in dict.fromkeys(paths):
        if path.exists() and not path.is_symlink():
            sync(path)


def sync_tree(folder: Path) -> None:
    """Sync a folder and all below it, what lies deepest first."""
    sync_all([*sorted(folder.rglob("*"), reverse=True), folder])


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, as far as they are missing, and sync their names."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    sync_all(each.parent for each in missing)
