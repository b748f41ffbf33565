"""What the runtime's tests share: small exports that lie in fixture/, and copies of them to damage."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import zoo

FIXTURE = Path(__file__).parent / "fixture"


@pytest.fixture(scope="session")
def digits() -> Path:
    """An export for gray images of 8x8."""
    return FIXTURE / "digits" / "softmax"


@pytest.fixture(scope="session")
def tinted() -> Path:
    """An export for color images of 8x8."""
    return FIXTURE / "tinted-digits" / "softmax"


@pytest.fixture(scope="session")
def wine() -> Path:
    """An export for the rows of a table."""
    return FIXTURE / "wine" / "softmax"


@pytest.fixture(scope="session")
def pooled() -> Path:
    """An export for gray images of 8x8 that carries an activation map of 8x8."""
    return FIXTURE / "digits" / "pooled"


@pytest.fixture(scope="session")
def foreign() -> Path:
    """A valid ONNX file that isn't ours."""
    return FIXTURE / "foreign.onnx"


@pytest.fixture(scope="session")
def classifier(digits: Path) -> zoo.Classifier:
    return zoo.load(digits)


@pytest.fixture(scope="session")
def samples(digits: Path) -> list[tuple[Path, str, list[float]]]:
    """(file, label, probabilities) of one image a class."""
    listed = json.loads((digits / "samples" / "samples.json").read_text())
    return [(digits / "samples" / s["file"], s["label"], s["probabilities"]) for s in listed]


@pytest.fixture
def exports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the exports that a test may change, where names are looked up."""
    copied = shutil.copytree(FIXTURE, tmp_path / "exports")
    monkeypatch.setenv("ZOO_EXPORTS", str(copied))
    return copied
