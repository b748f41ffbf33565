"""Take the screenshots of the documentation again: `PYTHONPATH=. python docs/screenshots.py [NAME…]`, some minutes.

It trains two small models on digits in an empty store, opens `zoo ui` and `zoo demo` in Chromium (the extra dev and a
browser), and replaces the files below, each 1,280 pixels wide. No test runs it; tests/test_screenshots.py looks at
what it left.
"""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WIDTH = 1280  # pixels
LARGEST = 150_000  # bytes
PATIENCE = 120_000  # milliseconds
MENU = (174, 24)  # where MLflow has the button that folds its menu
# Of each: the file, and its height in pixels.
UI = {
    "runs": (ROOT / "docs" / "mlflow" / "runs.png", 600),
    "run": (ROOT / "docs" / "mlflow" / "run.png", 860),
    "curves": (ROOT / "docs" / "mlflow" / "curves.png", 700),
    "artifacts": (ROOT / "docs" / "mlflow" / "artifacts.png", 720),
    "compare": (ROOT / "docs" / "mlflow" / "compare.png", 800),
}
DEMO = {"demo": (ROOT / "examples" / "web" / "screenshot.png", 900)}
FILES = UI | DEMO
# Machine and folder of whoever takes them are nobody's business.
PRIVATE = """for (const each of document.querySelectorAll("span, div, p")) {
    if (each.children.length < 4 && /^(Path: file:|process\\.)/.test(each.textContent)) each.style.visibility = "hidden"
}"""
LETTER = ([(0.25, 0.85), (0.5, 0.15), (0.75, 0.85)], [(0.35, 0.6), (0.65, 0.6)])  # an A, in shares of the canvas


def train() -> None:
    """Two models by two seeds each, so that there is something to compare."""
    from pipelines.run import run

    run(["softmax", "conv-tiny"], "digits", settings={"epochs": 40}, seeds=2)


@contextmanager
def served() -> Iterator[str]:
    """The address of the table of results, while `zoo ui` runs on the store of the working folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", str(port)]
    printed = Path("printed.txt")
    with printed.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:  # noqa: S603 (our own)
        try:
            until = time.monotonic() + 180
            while not (found := re.search(r"^results of digits: (\S+)$", printed.read_text("utf-8"), re.MULTILINE)):
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"zoo ui doesn't start: {printed.read_text('utf-8')}")
                time.sleep(0.5)
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)


def save(page: Any, path: Path, height: int) -> None:
    """The upper part of a page, in 256 colors: a quarter of the bytes, and nobody sees it."""
    from PIL import Image

    page.wait_for_timeout(3000)  # what comes into view slowly
    page.evaluate(PRIVATE)
    shot = Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": WIDTH, "height": height})))
    path.parent.mkdir(parents=True, exist_ok=True)
    shot.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{path} has {size:,} bytes, expected at most {LARGEST:,}")
    print(f"{path.relative_to(ROOT)}: {size:,} bytes")


def pages_of_the_ui(results: str) -> dict[str, tuple[str, str]]:
    """Of each screenshot: what stands behind the UI's address, and a text that shows when it is there."""
    import json

    from pipelines import runs
    from pipelines.tracking import open_client

    best, other = (runs(data="digits", model=name, sort="test_accuracy").runs[0] for name in ("conv-tiny", "softmax"))
    with open_client() as client:
        number = client.get_run(best.run).info.experiment_id
    run = f"#/experiments/{number}/runs/{best.run}"
    both = json.dumps([best.run, other.run])
    return {
        "runs": (results.partition("/#")[1].removeprefix("/") + results.partition("/#")[2], best.name),
        "run": (run, f"{best.test_accuracy:.2%}"),
        "curves": (f"{run}/model-metrics", "validation_accuracy"),
        "artifacts": (f"{run}/artifacts/evaluation/confusion.png", "confusion.png"),
        "compare": (f"#/compare-runs?runs={both}&experiments={json.dumps([number])}", "Parallel Coordinates Plot"),
    }


def photograph_ui(names: list[str], page: Any) -> None:
    """Each page of MLflow's UI, without its assistant and its menu, which would take a quarter of it."""
    page.add_init_script(
        "if (location.host) localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"
    )
    with served() as results:
        address = results.partition("/#")[0]
        for name, (where, text) in pages_of_the_ui(results).items():
            if name in names:
                page.goto("about:blank")
                page.goto(f"{address}/{where}")
                page.get_by_text(text).first.wait_for()
                page.mouse.click(*MENU)
                if name == "run":
                    page.get_by_text("Show more").first.click()
                if name == "curves":
                    page.get_by_placeholder("Search metric charts").fill("^(train|validation)_(accuracy|loss)$")
                page.mouse.move(WIDTH / 2, 5)
                save(page, *UI[name])


def photograph_demo(page: Any) -> None:
    """The page of three models, with a drawn letter, which is none of their classes."""
    import pipelines

    exports = [ROOT / "exports" / "fashion-mnist" / name for name in ("mlp-small", "conv-small", "conv-mlp-small")]
    page.goto(pipelines.demo(exports, Path("demo.html")).page.resolve().as_uri())
    page.wait_for_timeout(5000)
    page.click("#draw")
    box = page.locator("#source").bounding_box()
    for line in LETTER:
        for place, (x, y) in enumerate(line):
            page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=6)
            if place == 0:
                page.mouse.down()
        page.mouse.up()
    page.get_by_text("None of these").first.wait_for()
    save(page, *DEMO["demo"])


def main(names: list[str]) -> None:
    """Take those that are named, or all."""
    if unknown := set(names) - set(FILES):
        raise SystemExit(f"no screenshot is called {', '.join(sorted(unknown))}: there are {', '.join(FILES)}")
    names = names or list(FILES)
    sys.path.insert(0, str(ROOT / "tests"))
    from chromium import launch
    from playwright.sync_api import sync_playwright

    os.environ.pop("MLFLOW_TRACKING_URI", None)
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if set(names) & set(UI):
            train()
        with sync_playwright() as playwright:
            browser = launch(playwright)
            page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
            page.set_default_timeout(PATIENCE)
            if set(names) & set(UI):
                photograph_ui(names, page)
            if "demo" in names:
                photograph_demo(page)
            browser.close()
        os.chdir(ROOT)


if __name__ == "__main__":
    main(sys.argv[1:])
