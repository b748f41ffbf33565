"""Jobs of `zoo predict --out` that are killed at a stated moment, and an image that kills whoever reads it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.inference.bulk import answers
from pipelines.inference.bulk import predict_all as job
from zoo.data.unlabeled import Unread

CHUNK = 4  # images, after each of which the state is saved
PLACES = {"job": job, "answers": answers}


class Deadly(Unread):
    """An image that a decoder crashes at."""

    def source(self) -> Any:
        kill()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(place: str, name: str, number: int, when: str, words: list[str]) -> int:
    """Run `zoo predict` in a process that is killed before or after its nth call of a function. Its exit code."""
    command = [sys.executable, __file__, place, name, str(number), when, *words]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, env=paths, check=False, capture_output=True).returncode


def small_steps(change: Callable[[Any, str, Any], None]) -> None:
    change(job, "CHUNK", CHUNK)
    change(job, "SECONDS", 0)


if __name__ == "__main__":
    place, name, number, when = sys.argv[1:5]
    original, calls = getattr(PLACES[place], name), []

    def counted(*arguments: Any) -> Any:
        calls.append(name)
        if len(calls) == int(number) and when == "before":
            kill()
        found = original(*arguments)
        if len(calls) == int(number) and when == "after":
            kill()
        return found

    small_steps(setattr)
    setattr(PLACES[place], name, counted)
    sys.path.insert(0, str(Path(__file__).parent))
    from pipelines.cli import main

    sys.exit(main(["predict", *sys.argv[5:]]))
