"""What has to hold before a version is released: `make release-check`. It builds, installs, and loads what is older.

Needs the network. Pythons that are on the path as python3.11 and so on are tried, and those that aren't are skipped.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from environments import ROOT, clean_environment, run

from zoo.contract import MANIFEST_FILE
from zoo.contract.names import CONTRACTS

pytestmark = [pytest.mark.apps, pytest.mark.timeout(1800)]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSION = PROJECT["version"]
PYTHONS = ("3.11", "3.12", "3.13")  # those that TensorFlow has; the Makefile names them, too
FIXTURE = ROOT / "tests" / "runtime" / "fixture"  # exports as the first version wrote them
PREDICT = """
import sys
from pathlib import Path

import zoo
from zoo.contract import read_manifest
from zoo.samples import read_samples

for folder in map(Path, sys.argv[1:]):
    classifier = zoo.load(folder, provider="cpu")
    for sample in read_samples(folder, read_manifest(folder)):
        found = dict(classifier.predict(folder / sample.file if sample.file else sample.row).ranking)
        for label, expected in zip(classifier.labels, sample.probabilities, strict=True):
            assert abs(found[label] - expected) < 1e-5, (folder, label, found[label], expected)
print(zoo.__version__, sorted({"tensorflow", "keras", "mlflow", "onnx"} & sys.modules.keys()))
"""


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a source distribution of what git has, and of the wheel that is built from that one."""
    folder = tmp_path_factory.mktemp("built")
    archive = folder / "source.tar"
    git("archive", "--output", str(archive), "HEAD")
    with tarfile.open(archive) as source:
        source.extractall(folder / "source", filter="data")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", "."], folder / "source", 600)
    return folder / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


# --- what is written about it ----------------------------------------------------------------------------------------


def test_nothing_is_left_to_commit():
    assert git("status", "--porcelain") == ""


def test_the_changelog_has_a_dated_entry_for_this_version_and_nothing_unreleased():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## \[([^\]]+)\](.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.get("Unreleased", "").strip() == "", f"move it below ## [{VERSION}] with the date"
    assert re.match(r" - \d{4}-\d\d-\d\d\n.*\w", sections.get(VERSION, ""), re.DOTALL)


def test_issue_templates_are_forms_that_github_takes():
    forms = [path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml"]
    assert len(forms) == 3
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form.keys() == {"name", "description", "labels", "body"}
        for part in form["body"]:
            assert part["type"] in {"markdown", "textarea", "input", "dropdown"}
            assert "value" in part["attributes"] if part["type"] == "markdown" else part["attributes"]["label"]
            assert part["type"] != "dropdown" or len(set(part["attributes"]["options"])) > 1
        assert any(part.get("validations", {}).get("required") for part in form["body"])


# --- what is built ---------------------------------------------------------------------------------------------------


def test_twine_finds_nothing_wrong(built):
    assert "PASSED" in run([sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()], built)


def test_the_distributions_hold_the_code_and_no_runs_exports_or_tests_of_ours(built, wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"zoo/py.typed", "pipelines/publishing/demo_page/wasm.html", "pipelines/plotting/page.css.j2"} <= names
    assert {name.split("/")[0] for name in names} == {"zoo", "pipelines", f"classifier_zoo-{VERSION}.dist-info"}
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as files:
        tops = {Path(name).parts[1] for name in files.getnames() if len(Path(name).parts) > 1}
    assert {"zoo", "pipelines", "pyproject.toml", "LICENSE", "README.md"} <= tops
    assert not tops & {"mlruns", "exports", ".venv", "build"}


# --- what is installed -----------------------------------------------------------------------------------------------


def interpreter(version: str) -> str | None:
    """The path of a Python of that version that starts; a shim that starts none is no such Python."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
    return found if works else None


def test_each_supported_python_is_tried():
    assert PROJECT["requires-python"] == f">={PYTHONS[0]}"
    assert any(map(interpreter, PYTHONS))


@pytest.mark.parametrize("version", PYTHONS)
def test_an_app_runs_in_an_empty_environment_and_loads_what_is_older(version, wheel, tmp_path):
    """With exports of each contract up to now, the shipped ones among them, each on its samples."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} is on the path")
    home = tmp_path / "environment"
    subprocess.run([python, "-m", "venv", home], env=clean_environment(), check=True)
    run([home / "bin" / "python", "-m", "pip", "install", "--quiet", f"{wheel}[cpu]"], tmp_path, 900)
    run([home / "bin" / "python", "-m", "pip", "check"], tmp_path)
    manifests = [*ROOT.glob(f"exports/*/*/{MANIFEST_FILE}"), *FIXTURE.glob(f"*/*/{MANIFEST_FILE}")]
    contracts = {json.loads(path.read_text(encoding="utf-8"))["metadata"]["contract"] for path in manifests}
    assert contracts == set(CONTRACTS), "an export of each contract is kept"
    folders = [path.parent for path in manifests if (path.parent / "samples" / "samples.json").exists()]
    assert len(folders) > 20
    told = run([home / "bin" / "python", "-c", PREDICT, *folders], tmp_path, 900)
    assert told.split() == [VERSION, "[]"]
