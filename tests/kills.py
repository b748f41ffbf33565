"""Commands in processes of their own, killed at a random moment, and what is left by them, which has to be whole."""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from processes import end, start
from swaps import version_of

from pipelines import tracking
from pipelines.maintenance.stale import stale

MODEL = "mlp-small"
EXPORT = f"exports/digits/{MODEL}"
SETTINGS = ["--set", "epochs=24", "--set", "precision=float32"]

# Each with {run} for a finished and evaluated run of MODEL, and {seed} for another each time.
COMMANDS: dict[str, list[str]] = {
    "run": ["run", MODEL, "--data", "digits", *SETTINGS, "--set", "seed={seed}", "--exports", "others"],
    "evaluate": ["evaluate", "{run}"],
    "export": ["export", "{run}"],
    "quantize": ["quantize", EXPORT, "--margin", "100"],
    "export/triton": ["export", EXPORT, "--layout", "triton"],
    "promote": ["promote", EXPORT],
    "compare": ["compare", EXPORT, "exports/digits/softmax", "--plot", "comparison.png", "--html", "comparison.html"],
    "demo": ["demo", EXPORT, "--html", "demo.html"],
    "gallery": ["gallery"],
    "predict/explain": ["predict", "exports/digits/conv-tiny", f"{EXPORT}/samples/0.png", "--explain", "maps"],
    "data check": ["data", "check", "images", "--html", "data.html"],
    "gc": ["gc", "--yes"],
}


def call(arguments: list[str]) -> None:
    """What the command `zoo` does."""
    from pipelines.cli import main

    sys.exit(main(arguments))


def killed_at_random(folder: Path, run: str, commands: list[str], kills: int, seed: int) -> int:
    """Kill commands so often in all, look at what is left, and repeat each. Returns how many were faster."""
    moments, faster = random.Random(seed), 0
    seconds = {name: done(folder, filled(COMMANDS[name], run, 0)) for name in commands}
    for number in range(kills):
        name = commands[number % len(commands)]
        arguments = filled(COMMANDS[name], run, seed * 1000 + number + 1)
        before = finished()
        process = start(folder, call, arguments=arguments)
        time.sleep(moments.uniform(0, seconds[name]))
        process.kill()
        faster += end(process) != -signal.SIGKILL
        look(folder, before)
        done(folder, arguments)
        look(folder, before)
    return faster


def filled(command: list[str], run: str, seed: int) -> list[str]:
    return [each.format(run=run, seed=seed) for each in command]


def done(folder: Path, arguments: list[str]) -> float:
    """Run a command to its end, and return the seconds that it took."""
    began = time.monotonic()
    assert end(start(folder, call, arguments=arguments)) == 0, (folder / "told.txt").read_text()[-3000:]
    return time.monotonic() - began


def finished() -> set[str]:
    return {str(run.info.run_id) for run in tracking.search("status = 'FINISHED'", 1000)}


def look(folder: Path, before: set[str]) -> None:
    """Nothing is lost of what was there, and nothing is there in half."""
    stale()
    assert finished() >= before
    for run in finished():
        tracked = tracking.load_run(run) if run in before else None
        if tracked is not None and tracked.was_exported:
            with tracking.open_client() as client:
                root = Path(client.get_run(run).info.artifact_uri.removeprefix("file://").replace("%20", " "))
            assert version_of(root / "export") == tracked.plan.model
            assert (root / "evaluation/evaluation.json").read_text().endswith("}\n")
    for name in (EXPORT, "exports/digits/softmax", "exports/digits/conv-tiny"):
        assert version_of(folder / name) == Path(name).name
    for manifest in folder.glob("others/*/*/manifest.json"):
        version_of(manifest.parent)
    for path in [
        *folder.glob("*.*"),
        *folder.glob("exports/*.*"),
        *folder.glob("exports/*/*.*"),
        *folder.glob("maps/*"),
    ]:
        if path.is_file() and ".partial-" not in path.name and path.suffix in WHOLE:
            WHOLE[path.suffix](path)
    for model in folder.glob("models/[!.]*"):  # a lock may stay, which the next writer takes away
        assert {"config.pbtxt", "labels.txt"} <= {path.name for path in model.iterdir()}


def _image(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def _page(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>"), path


def _text(path: Path) -> None:
    assert path.read_text(encoding="utf-8").endswith("\n"), path


WHOLE: dict[str, Callable[[Path], None]] = {".png": _image, ".html": _page, ".md": _text}
