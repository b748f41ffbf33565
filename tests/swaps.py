"""Writers of an export that are killed at each step, or write one version after the other, in processes of their own.

`python swaps.py kill FOLDER STEPS` and `python swaps.py forever FOLDER STEPS`; STEPS: "one" where folders are exchanged
in one step, "two" where the file system can't.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from pipelines.core.support import atomic
from pipelines.core.support.atomic import atomic_folder, restore_all
from zoo.contract import check_file, read_manifest

EVENTS = ("os.", "open", "shutil.", "tempfile.", "ctypes.")
KILLED = 9


def version_of(goal: Path) -> str:
    """The model of the export that lies there, every file of which is the one that its manifest names."""
    manifest = read_manifest(goal)
    for file in manifest.files:
        check_file(goal, manifest, file.path)
    return manifest.metadata.model


def put(goal: Path, version: Path) -> None:
    """Write another version of an export."""
    with atomic_folder(goal) as new:
        shutil.copytree(version, new, dirs_exist_ok=True)


def kill_at_each_step(goal: Path, old: Path, new: Path) -> list[dict[str, object]]:
    """Write `new` in place of `old`, killed at the first step, then anew at the second, until nobody is killed.

    For each: what there was then, what there was after the next command looked, and what that command wrote.
    """
    found: list[dict[str, object]] = []
    while True:
        shutil.rmtree(goal.parent, ignore_errors=True)
        shutil.copytree(old, goal)
        child = os.fork()
        if not child:
            left = len(found)

            def step(event: str, arguments: object) -> None:
                nonlocal left
                if event.startswith(EVENTS):
                    left -= 1
                    if left < 0:
                        os._exit(KILLED)

            sys.addaudithook(step)
            put(goal, new)
            os._exit(0)
        killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == KILLED
        there = version_of(goal) if goal.exists() else ""
        restore_all(goal.parent.parent)
        restored = version_of(goal)
        put(goal, new)
        left_over = sorted(path.name for path in goal.parent.iterdir() if path != goal)
        found.append({"there": there, "restored": restored, "again": version_of(goal), "left": left_over})
        if not killed:
            return found


def main(what: str, folder: Path, steps: str) -> None:
    old, new, goal = folder / "old", folder / "new", folder / "exports" / "digits" / "one"
    if steps == "two":
        atomic.exchange = lambda *_: False
    if what == "kill":
        print(json.dumps(kill_at_each_step(goal, old, new)))
    while what == "forever":
        for version in (new, old):
            put(goal, version)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
