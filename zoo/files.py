"""Which files of a folder somebody has put there as images, and in which order people read their names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from zoo.errors import InputError, printable
from zoo.formats import IMAGE_ENDINGS

# Folders that systems and programs leave behind: macOS, Windows, Linux, Synology, QNAP, Jupyter, Python. What lies in
# them are thumbnails, deleted files and copies. What begins with a dot is hidden anyway.
_LEFT_BEHIND = frozenset(
    (
        "__macosx",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "found.000",
        "lost+found",
        "network trash folder",
        "temporary items",
        "@eadir",
        "@__thumb",
        "@recycle",
        "@recently-snapshot",
        "#recycle",
        "#snapshot",
        "__pycache__",
    )
)


def is_left_behind(name: str) -> bool:
    """Whether a folder of that name is a system's, and nobody's images are in it."""
    return name.lower() in _LEFT_BEHIND


def natural(name: str) -> tuple[str, str]:
    """Sorts numbers inside of names by their value: image2 before image10."""
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0").rjust(20, "0"), name.casefold()), name


def image_files(folder: Path) -> Iterator[Path]:
    """The files at any depth whose names end as those of images do, those of a folder before those of its sub-folders.

    Hidden ones and what systems leave behind are none. Raises InputError for a folder that can't be listed.
    """
    found: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders += [] if is_left_behind(entry.name) else [entry.name]
                elif entry.name.lower().endswith(IMAGE_ENDINGS):
                    found.append(entry.name)
    except OSError as error:
        raise InputError(f"{printable(str(folder))} can't be listed ({error.strerror or error})") from None
    yield from (folder / name for name in sorted(found, key=natural))
    for name in sorted(folders, key=natural):
        yield from image_files(folder / name)
