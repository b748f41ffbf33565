"""`zoo ui` in a browser: the pages of a database in a file."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow_pages import *  # noqa: F403 (the tests)
from mlflow_pages import PATIENCE, Ui, make_runs, of

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(tmp_path_factory.mktemp("browsed"))
        make_runs()
        yield Path.cwd()


@pytest.fixture(scope="module")
def ui(place):
    """A running `zoo ui`, which names the results of digits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = place / "told.txt"
    with (
        told.open("wb") as out,
        subprocess.Popen(command, cwd=place, env=environment, stdout=out, stderr=out) as zoo_ui,
    ):
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 120
            while time.monotonic() < until:
                with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5):
                    break
                time.sleep(0.5)
            said = told.read_text(encoding="utf-8")
            (results,) = re.findall(rf"^results of digits: {address}/(\S+)$", said, re.MULTILINE)
            yield Ui(address, results)
        finally:
            zoo_ui.send_signal(signal.SIGINT)
            zoo_ui.wait(timeout=30)


@pytest.mark.parametrize(("width", "phone"), [(1500, False), (390, True)], ids=["desk", "phone"])
def test_a_browser_that_comes_for_the_first_time_finds_the_table_of_results(browser, ui, best, width, phone):
    context = browser.new_context(viewport={"width": width, "height": 844}, is_mobile=phone)
    try:
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(ui.address)
        page.get_by_text("softmax epochs=1", exact=True).first.wait_for()  # of the data set that was trained on last
        assert page.get_by_text("Table of results").count()
        page.goto("about:blank")
        page.goto(f"{ui.address}/{ui.results}")
        page.get_by_text(best.name, exact=True).first.wait_for()
        accuracy = page.locator(f'.ag-row[row-id="{best.run}"] .ag-cell[col-id="metrics.`test_accuracy`"]')
        assert accuracy.inner_text() == f"{best.test_accuracy:.4g}"
        box = accuracy.bounding_box()
        assert box["x"] + box["width"] < page.evaluate("window.innerWidth")  # nothing covers it, or pushes it out
        assert page.get_by_text("Welcome to MLflow").count() == 0
        assert (
            page.get_by_text("Ask questions about your experiments").count() == 0
        )  # its assistant, which opens itself
        page.goto("about:blank")
        page.goto(f"{ui.address}/{of(best.run)}")  # an address that names a page leads there
        page.get_by_text("About this run").first.wait_for()
    finally:
        context.close()
