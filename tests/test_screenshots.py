"""The screenshots of the documentation: each is made by docs/screenshots.py, shown by a page, and small."""

from __future__ import annotations

import runpy

import pytest
from blocks import ROOT, read_by_people
from PIL import Image

MADE = runpy.run_path(str(ROOT / "docs" / "screenshots.py"), run_name="screenshots")
each_file = pytest.mark.parametrize("name", MADE["FILES"])


def test_every_screenshot_is_one_that_the_script_makes():
    files = {path for path, _ in MADE["FILES"].values()}
    assert set((ROOT / "docs" / "mlflow").glob("*.png")) | set((ROOT / "examples").glob("*/*.png")) == files


@each_file
def test_it_is_as_the_script_takes_it(name):
    path, height = MADE["FILES"][name]
    with Image.open(path) as image:
        assert image.size == (MADE["WIDTH"], height)
    assert path.stat().st_size <= MADE["LARGEST"]


@each_file
def test_a_page_shows_it(name):
    path, _ = MADE["FILES"][name]
    shown = [page for page in read_by_people() if path.name in page.read_text(encoding="utf-8")]
    assert shown


def test_one_that_there_is_not_is_refused():
    with pytest.raises(SystemExit, match="no screenshot is called nowhere: there are runs, run, "):
        MADE["main"](["nowhere"])
