"""The wheel as a user gets it, and commands that know nothing of this session's Python."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def clean_environment() -> dict[str, str]:
    """This process' environment without the settings of its Python, its tests and the zoo."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST", "ZOO"))}


def run(command: list[str | Path], folder: Path, seconds: int = 110) -> str:
    """What a command prints, run from a folder in a clean environment."""
    done = subprocess.run(
        command, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(work: Path) -> Path:
    """The wheel, built in an empty folder from a copy, so that nothing is written into the checkout."""
    unwanted = shutil.ignore_patterns(
        ".*", "__pycache__", "*.egg-info", "mlruns", "node_modules", "build", "dist", "*.partial-*"
    )
    shutil.copytree(ROOT, work / "source", ignore=unwanted)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", work], work / "source")
    (built,) = work.glob("*.whl")
    return built


def build_site(folder: Path) -> Path:
    """The documentation site, built as `make docs` builds it, into a folder beside the repository."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def reseal(export: Path, file: Path) -> None:
    """Let the manifest of an export name what a file of it holds now, as an attacker would."""
    manifest = json.loads((export / "manifest.json").read_text(encoding="utf-8"))
    entry = next(each for each in manifest["files"] if export / each["path"] == file)
    entry |= {"size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    (export / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
