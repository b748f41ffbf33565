"""Files of runs and models on this machine: there whole, and to stay, which MLflow leaves to the system."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pipelines.core.support.atomic import atomic_file, swap
from pipelines.core.support.durable import make_folder, sync_all, sync_tree


def local_folder(location: str) -> Path | None:
    """The folder that a place of artifacts is, as the store names it; None for one that isn't on this machine."""
    parts = urlsplit(location)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        return None
    return Path(url2pathname(parts.path) if parts.scheme else location)


def log_files(client: Any, run_id: str, files: Path, path: str | None) -> None:
    """Add a folder's files to a run's artifacts: below `path` all of them at once, else one after the other.

    Whoever reads finds what was there before, or what is there now. A server sees to that by itself.
    """
    root = local_folder(client.get_run(run_id).info.artifact_uri)
    if root is None:
        client.log_artifacts(run_id, str(files), path)
    elif path is None:
        for file in sorted(each for each in files.rglob("*") if each.is_file()):
            goal = root / file.relative_to(files)
            make_folder(goal.parent)
            with atomic_file(goal) as partial:
                shutil.copyfile(file, partial)
    else:
        goal = root / path
        make_folder(goal.parent)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=root.parent.parent) as temporary:
            new = Path(temporary) / "new"
            if goal.exists():
                shutil.copytree(goal, new)
            shutil.copytree(files, new, dirs_exist_ok=True)
            sync_tree(new)
            swap(new, goal)


def sync_model(location: str, files: Path) -> None:
    """Sync what MLflow copied into the folder of a model that isn't ready yet; a server sees to its own."""
    root = local_folder(location)
    if root is not None:
        copied = [root / path.relative_to(files) for path in files.rglob("*")]
        # Up to the folder of all models: the names on the way may be as new.
        sync_all([*sorted(copied, reverse=True), root, *list(root.parents)[:3]])
