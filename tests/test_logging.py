"""What a library user reads and silences: the loggers below `zoo`, of which warnings alone are printed by default."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipelines.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of two classes, in which one file is no image."""
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for k in range(12):
            Image.new("L", (8, 8), 10 * k).save(tmp_path / label / f"{k}.png")
    (tmp_path / "cat" / "broken.png").write_bytes(b"")
    return tmp_path


def read(images: Path, settings: str) -> str:
    """What a program prints on standard error that reads images after the settings of its own."""
    code = (
        f"import logging; {settings}; from pipelines.core.provenance.reading import read_data; "
        f"logging.getLogger('zoo.data').info('a step'); read_data({str(images)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == ""
    return done.stderr


def test_a_program_that_asks_for_nothing_reads_warnings_alone(images):
    *findings, line = read(images, "pass").splitlines()
    assert line.startswith("left out: ")
    assert "broken.png is empty" in line
    assert findings
    assert all(finding.startswith(f"{images.name}: ") for finding in findings), "what the check found comes first"


def test_a_program_can_silence_it(images):
    assert read(images, "logging.getLogger('zoo').setLevel(logging.ERROR)") == ""


def test_a_program_can_read_each_step(images):
    first, *_, last = read(images, "logging.basicConfig(level=logging.INFO)").splitlines()
    assert first == "INFO:zoo.data:a step"
    assert last.startswith("WARNING:zoo.data:left out: ")


def test_the_command_shows_it_and_leaves_the_loggers_as_they_were(images, capsys):
    zoo = logging.getLogger("zoo")
    before = (zoo.level, zoo.propagate, list(zoo.handlers))
    assert main(["describe", "softmax", "--data", str(images)]) == 0
    assert (zoo.level, zoo.propagate, list(zoo.handlers)) == before
    assert "zoo: warning: left out: " in capsys.readouterr().err
