"""Copies of an export from anywhere: what has no end isn't read, and what a link leads to isn't taken."""

from __future__ import annotations

import shutil
from pathlib import Path

from zoo.contract import MANIFEST_FILE, Manifest, check_file


def copy_export(folder: Path, manifest: Manifest, goal: Path) -> Path:
    """Copy the files that the manifest names, and whatever else lies in an export's folder as a file. Returns `goal`.

    Links that the manifest doesn't name, devices and pipes are left out. Raises ExportError for a named file that isn't
    there, or is another one, and OSError where `goal` can't be written.
    """
    named = {MANIFEST_FILE, *(file.path for file in manifest.files)}
    for file in manifest.files:
        check_file(folder, manifest, file.path)

    def left_out(at: str, names: list[str]) -> list[str]:
        paths = [Path(at, name) for name in names]
        own = [path.relative_to(folder).as_posix() in named for path in paths]
        files = [not path.is_symlink() and (path.is_file() or path.is_dir()) for path in paths]
        return [path.name for path, *taken in zip(paths, own, files, strict=True) if not any(taken)]

    return Path(shutil.copytree(folder, goal, ignore=left_out, dirs_exist_ok=True))
