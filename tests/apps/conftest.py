"""What the tests of the apps share: the exports that all of them answer for, and what has to be installed."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from chromium import CHROMIUM, browser, playwright  # noqa: F401 (two are fixtures)
from environments import ROOT, build_wheel, clean_environment, reseal, run

EXPORTS = ("mlp-small", "conv-small", "conv-mlp-small")  # a dense, a conv and a hybrid one
NODE = (20, 9)  # the first that sharp takes


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Stop at once, with one sentence, where something is missing that `make test` doesn't need."""
    missing = [name for name in ("node", "npm") if not shutil.which(name)]
    if "node" not in missing:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
        if tuple(map(int, re.findall(r"\d+", told)[:2])) < NODE:
            missing.append(f"node {NODE[0]}.{NODE[1]} or later (here is {told.strip()})")
    if not any(map(shutil.which, CHROMIUM)):
        missing.append("chromium")
    if importlib.util.find_spec("playwright") is None:
        missing.append("playwright, of the extra dev")
    if missing:
        pytest.exit(f"the apps can't be tested without {', '.join(missing)}: install what is missing", returncode=1)


@pytest.fixture(scope="session")
def exports3() -> tuple[Path, ...]:
    """The folders of a dense, a conv and a hybrid export, trained on Fashion-MNIST."""
    return tuple(ROOT / "exports" / "fashion-mnist" / name for name in EXPORTS)


@pytest.fixture(scope="session")
def samples_of() -> Callable[[Path], list[tuple[Path, str, dict[str, float]]]]:
    """(file, label, probabilities by label) of each sample of an export."""

    def samples(export: Path) -> list[tuple[Path, str, dict[str, float]]]:
        labels = json.loads((export / "manifest.json").read_text())["metadata"]["labels"]
        return [
            (export / "samples" / s["file"], s["label"], dict(zip(labels, s["probabilities"], strict=True)))
            for s in json.loads((export / "samples" / "samples.json").read_text())
        ]

    return samples


@pytest.fixture
def misled(exports3: tuple[Path, ...], tmp_path: Path) -> Path:
    """A copy of an export whose sample 3.png is expected to have other probabilities than it has."""
    copied = shutil.copytree(exports3[1], tmp_path / "misled")
    listed = copied / "samples" / "samples.json"
    samples = json.loads(listed.read_text())
    samples[3]["probabilities"][0] += 2e-5
    listed.write_text(json.dumps(samples))
    reseal(copied, listed)
    return copied


@pytest.fixture(scope="session")
def with_sets(exports3: tuple[Path, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a shipped export, which has familiarity, with sets that often hold several labels, for one coverage."""
    copied = shutil.copytree(exports3[1], tmp_path_factory.mktemp("exports") / "conv-small")
    for name in ("model.int8.onnx", "model.fp16.onnx"):
        (copied / name).unlink(missing_ok=True)
    sets = {
        "method": "LAC",
        "images": 5000,
        "images_by_class": [500] * 10,
        "thresholds": {"0.95": 0.01},
        "by_class": {"0.95": [0.0, *[0.2] * 9]},
    }
    model = onnx.load(copied / "model.onnx")
    properties = {p.key: p.value for p in model.metadata_props}
    assert json.loads(properties["zoo.familiarity"]) and model.graph.output[-1].name == "familiarity"
    onnx.helper.set_model_props(model, properties | {"zoo.sets": json.dumps(sets)})
    onnx.save(model, copied / "model.onnx")
    manifest = json.loads((copied / "manifest.json").read_text(encoding="utf-8"))
    manifest["metadata"]["sets"] = sets
    manifest["files"] = [each for each in manifest["files"] if (copied / each["path"]).is_file()]
    (copied / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    reseal(copied, copied / "model.onnx")
    return copied


@pytest.fixture(scope="session")
def python_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes an environment by `pip install` of what is named, and gives its python."""

    def make(*what: str | Path) -> Path:
        home = tmp_path_factory.mktemp("environment")
        run([sys.executable, "-m", "venv", home], home)
        run([home / "bin" / "python", "-m", "pip", "install", "--quiet", *what], home, seconds=270)
        return home / "bin" / "python"

    return make


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed_example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Copies examples/NAME to a folder of its own, installs its npm packages there as its lock says, and gives it."""

    def install(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / name
        shutil.copytree(ROOT / "examples" / name, folder, ignore=shutil.ignore_patterns("node_modules"))
        npm = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(
            npm, cwd=folder, env=clean_environment(), capture_output=True, text=True, timeout=270, check=False
        )
        assert done.returncode == 0, done.stderr
        return folder

    return install
