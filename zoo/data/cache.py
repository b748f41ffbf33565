"""Where downloads and decoded images are kept between two commands."""

from __future__ import annotations

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

NEW = ".new-"  # what names begin with, of files and folders that are being written
LEFT_AFTER = 24 * 3600  # seconds since something was written to them: no image and no block of a download takes longer
KEPT_FOR = 30 * 24 * 3600  # seconds since something was used last


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/classifier-zoo, by default below ~/.cache. May not exist yet, and may be removed at any time."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "classifier-zoo"


def remove_left(folder: Path) -> None:
    """Remove what processes that were killed have left half-written, after LEFT_AFTER: before, it may be in use."""
    for left in folder.glob(f"{NEW}*"):
        with suppress(OSError):  # another process has finished or removed it just now
            if time.time() - last_written(left) > LEFT_AFTER:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def last_written(path: Path) -> float:
    """When a file, or anything within a folder, was written to last, in seconds since 1970. Raises OSError."""
    return max(each.lstat().st_mtime for each in (path, *path.rglob("*")))
