"""Each code block of each page is run by a test, or a comment before it says why it isn't.

A comment is `<!-- run by tests/FILE.py: TEST -->` or `<!-- not run: REASON -->`, on the line before the block. Without
one, the test of its page runs it, and where the page has none, a test below does.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from blocks import ROOT, Block, code_blocks, read_by_people
from PIL import Image

LANGUAGES = ("sh", "python", "js", "json", "yaml", "text")
PAGES = read_by_people()
BY_NAME = {page.relative_to(ROOT).as_posix(): page for page in PAGES}
# The tests that run each block of a page that has no comment.
RUN_WHOLE = {
    "README.md": ("tests/test_pages.py", "test_each_command_of_the_readme_runs"),
    "CONTRIBUTING.md": ("tests/test_contributing.py", "test_there_is_a_recipe_for_all_that_is_registered"),
    **{
        name: ("tests/test_tutorials.py", "test_a_tutorial_runs_from_top_to_bottom")
        for name in BY_NAME
        if name.startswith("docs/tutorial-")
    },
}
# Written by a command, so without comments: training all models again takes hours, so its lines are parsed only.
WRITTEN = {"exports/README.md": ("tests/test_pages.py", "test_the_parser_takes_each_command")}
SAMPLES = {"shirt.png": 6, "shoe.png": 7, "boot.png": 9}  # of the shipped exports on Fashion-MNIST
each_page = pytest.mark.parametrize("name", BY_NAME)


def left(name: str, language: str) -> list[Block]:
    """The blocks that no comment and no other test speaks for."""
    if name in RUN_WHOLE or name in WRITTEN:
        return []
    return [block for block in code_blocks(BY_NAME[name]) if block.language == language and not block.marked]


@cache
def functions_of(file: str) -> frozenset[str]:
    """The names of its tests."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


# --- every block -----------------------------------------------------------------------------------------------------


def test_the_pages_are_all_that_git_has():
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    cards = re.compile(r"(exports/.+/README|\.github/.+)\.md")
    assert {name for name in listed.stdout.split() if not cards.fullmatch(name)} <= set(BY_NAME)


@each_page
def test_a_block_is_found_and_in_a_language_that_is_checked(name):
    text = BY_NAME[name].read_text(encoding="utf-8")
    fences = re.findall(r"^\s*(?:`{3,}|~{3,}).*$", text, re.M)
    found = code_blocks(BY_NAME[name])
    assert len(fences) == 2 * len(found), "begin each block with three backticks at the start of a line"
    for block in found:
        assert block.language in LANGUAGES, block.place
    around = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    assert re.findall(r"\n\n(?: {4}|\t)(?![-*] ).*|<pre\b.*", around) == [], "fence it"


@each_page
def test_a_comment_names_a_test_that_there_is(name):
    text = BY_NAME[name].read_text(encoding="utf-8")
    comments = re.findall(r"<!-- (?:not )?run\b", text)
    found = code_blocks(BY_NAME[name])
    assert len(comments) == sum(block.marked for block in found), "a comment is the line before its block"
    for block in found:
        for file in re.findall(r"tests/[\w./]+\.py", block.skipped):
            assert (ROOT / file).is_file(), (block.place, file)
        if block.test:
            assert block.test[1] in functions_of(block.test[0]), block.place


@each_page
def test_a_block_without_a_comment_is_one_that_a_test_runs(name):
    blocks = [block for block in code_blocks(BY_NAME[name]) if not block.marked]
    if name in RUN_WHOLE or name in WRITTEN:
        file, test = (RUN_WHOLE | WRITTEN)[name]
        assert test in functions_of(file)
    else:
        assert [block.place for block in blocks if block.language not in ("python", "sh")] == []
    for block in blocks:
        assert block.language != "python" or ast.parse(block.code), block.place


def test_the_comment_and_the_line_numbers_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("blocks.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- not run: hours -->\n```sh\nzoo a\n```\n"
        "\n<!-- run by tests/test_b.py: test_c -->\n```js\nd\n```\n"
        "\n<!-- not run: too far away -->\n\n```sh\nzoo e\n```\n",
        encoding="utf-8",
    )
    assert [(block.place, block.skipped, block.test, block.marked) for block in code_blocks(page)] == [
        ("page.md:4", "hours", None, True),
        ("page.md:9", "", ("tests/test_b.py", "test_c"), True),
        ("page.md:15", "", None, False),
    ]


# --- blocks that no other test runs ----------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images as the pages name them. `exports` is a link: what writes into it copies it first."""
    samples = ROOT / "exports" / "fashion-mnist" / "conv-small" / "samples"
    for name, number in SAMPLES.items():
        shutil.copy(samples / f"{number}.png", tmp_path / name)
    Image.effect_noise((64, 64), 80).convert("RGB").save(tmp_path / "cat.png")
    (tmp_path / "exports").symlink_to(ROOT / "exports")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [name for name in BY_NAME if left(name, "python")])
def test_the_python_of_a_page_runs(name, folder):
    """Its blocks in their order, as one program."""
    names: dict[str, object] = {}
    for block in left(name, "python"):
        exec(compile(block.code, block.place, "exec"), names)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [name for name in BY_NAME if left(name, "sh")])
def test_the_commands_of_a_page_run(name, folder):
    """Slow: some quantize, some load TensorFlow."""
    (folder / "exports").unlink()
    shutil.copytree(ROOT / "exports", folder / "exports", ignore=shutil.ignore_patterns("study"))
    (folder / "shoes").mkdir()
    (folder / "shards").mkdir()
    shutil.copy("shoe.png", folder / "shoes")
    shutil.make_archive(str(folder / "shards" / "part-0"), "tar", folder / "shoes")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "zoo").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pipelines.cli "$@"\n', encoding="utf-8")
    (programs / "zoo").chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    for block in left(name, "sh"):
        done = subprocess.run(
            ["sh", "-eu", "-c", block.code], env=environment, capture_output=True, encoding="utf-8", check=False
        )
        assert done.returncode == 0, (block.place, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, block.place
