"""The tutorials: each code block runs as it stands, in the page's order, or says before it why it doesn't."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from blocks import ROOT, code_blocks
from test_pages import blocks

DOCS = ROOT / "docs"
TUTORIALS = sorted(DOCS.glob("tutorial-*.md"))
COMING_FROM = DOCS / "coming-from.md"  # its commands are examples of options, which test_pages.py parses
IN_THE_REPOSITORY = ("lesson", "uncertain")  # as they say: they use what is shipped
each_tutorial = pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)


def test_there_are_tutorials():
    assert len(TUTORIALS) >= 5


@each_tutorial
def test_a_block_is_one_that_runs_or_says_why_not(page):
    found = code_blocks(page)
    text = page.read_text(encoding="utf-8")
    assert len(found) == text.count("\n```") / 2 > 0
    files = {block.file for block in found if block.file}
    for block in found:
        assert block.language in ("sh", "python")
        assert block.language == "sh" or ast.parse(block.code)
        assert not block.skipped or "tests/" in block.skipped, "name the test that runs it otherwise"
        for test in re.findall(r"tests/[\w./]+\.py", block.skipped):
            assert (ROOT / test).is_file()
    shell = "".join(block.code for block in found if block.language == "sh")
    assert files == set(re.findall(r"^python (\w+\.py)", shell, re.MULTILINE)), "each file is written, and run"


def test_the_other_page_has_a_part_for_each_tool():
    text = COMING_FROM.read_text(encoding="utf-8")
    tools = ("Keras", "Ultralytics", "timm", "fastai")
    assert re.findall(r"^## Coming from (\w+)$", text, re.MULTILINE) == list(tools)
    assert len(blocks(COMING_FROM, "sh")) == len(tools)


@pytest.fixture
def folder(page: Path, tmp_path: Path) -> Path:
    """Empty, or with what is shipped; `zoo` and `python` are those of this checkout."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, words in {"zoo": "-m pipelines.cli", "python": ""}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    work = tmp_path / "my work"
    work.mkdir()
    if page.stem.removeprefix("tutorial-") in IN_THE_REPOSITORY:
        shutil.copytree(ROOT / "exports", work / "exports", ignore=shutil.ignore_patterns("study"))
    return work


@pytest.mark.slow
@pytest.mark.timeout(3600)  # three minutes at most on two cores that do nothing else
@each_tutorial
def test_a_tutorial_runs_from_top_to_bottom(page, folder):
    """Slow: all but one train models."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    environment["PATH"] = f"{folder.parent / 'programs'}{os.pathsep}{environment['PATH']}"
    environment.pop("MLFLOW_TRACKING_URI", None)
    for block in code_blocks(page):
        if block.skipped:
            continue
        if block.file:
            (folder / block.file).write_text(block.code, encoding="utf-8")
            continue
        command = ["sh", "-eu", "-c", block.code] if block.language == "sh" else [sys.executable, "-c", block.code]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert done.returncode == 0, (block.code, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        print(f"$ {block.code}{done.stdout}")  # what a reader sees, for `pytest -rP`
