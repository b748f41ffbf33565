"""An app's environment: the built wheel, its `cpu` extra, and nothing else; the runtime's tests run in there.

No network: what the extra needs is linked from the environment that runs the tests.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest
from environments import ROOT, build_wheel, run
from packaging.requirements import Requirement

TRAINING = ("tensorflow", "keras", "tf2onnx", "onnx", "mlflow", "matplotlib", "sklearn", "rich")


def needed(requirement: Requirement, found: set[str]) -> set[str]:
    """The names of the distributions that a requirement brings, among them those that these bring in turn."""
    if requirement.name in found:
        return found
    found.add(requirement.name)
    for line in distribution(requirement.name).requires or ():
        inner = Requirement(line)
        extras = requirement.extras or {""}
        if not inner.marker or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
            needed(inner, found)
    return found


def link(names: set[str], site: Path) -> None:
    """Put each file of the distributions where they would be installed, as links."""
    for name in names:
        there = distribution(name)
        for file in there.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                (site / file).symlink_to(Path(there.locate_file(file)).resolve())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def app(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of an environment as `pip install 'classifier-zoo[cpu]'` makes it, and pytest in a place beside."""
    home = tmp_path_factory.mktemp("app")
    run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], home)
    python = home / "venv" / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check", wheel]
    run([sys.executable, "-m", "pip", "--python", python, *install], home)
    site = Path(run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], home).strip())
    (metadata,) = site.glob("classifier_zoo-*.dist-info/METADATA")
    link(app_requirements(metadata), site)
    (home / "pytest").mkdir()
    link(needed(Requirement("pytest"), set()), home / "pytest")
    shutil.copytree(ROOT / "tests" / "runtime", home / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    yield home
    shutil.rmtree(home)


def app_requirements(metadata: Path) -> set[str]:
    """All that the wheel itself says it needs with the extra cpu."""
    found: set[str] = set()
    for line in metadata.read_text(encoding="utf-8").splitlines():
        if line.startswith("Requires-Dist: "):
            requirement = Requirement(line.removeprefix("Requires-Dist: "))
            if not requirement.marker or requirement.marker.evaluate({"extra": "cpu"}):
                needed(requirement, found)
    return found


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.partition("/")[0] for name in names}
    assert folders - {f for f in folders if f.endswith(".dist-info")} == {"zoo", "pipelines"}
    source = wheel.parent / "source"
    modules = {p.relative_to(source).as_posix() for part in ("zoo", "pipelines") for p in (source / part).rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == modules
    assert "zoo/py.typed" in names
    page = {p.relative_to(source).as_posix() for p in (source / "pipelines" / "publishing" / "demo_page").iterdir()}
    assert page <= set(names)  # what `zoo demo` fills
    templates = {p.relative_to(source).as_posix() for p in (source / "pipelines").rglob("*.j2")}
    assert "pipelines/plotting/page.html.j2" in templates
    assert templates <= set(names)
    assert not [name for name in names if name.endswith((".onnx", ".png", ".pyc", ".db"))]


def test_the_app_environment_holds_nothing_of_training(app: Path) -> None:
    python = app / "venv" / "bin" / "python"
    code = f"import importlib.util; print([n for n in {TRAINING} if importlib.util.find_spec(n)])"
    assert run([python, "-c", code], app).strip() == "[]"
    where = Path(run([python, "-c", "import zoo; print(zoo.__file__)"], app).strip())
    assert where.is_relative_to(app / "venv")


def test_an_export_is_loaded_there(app: Path) -> None:
    fixture = app / "runtime" / "fixture" / "digits" / "softmax"
    code = f"import zoo; print(zoo.load({str(fixture)!r}).predict({str(fixture / 'samples' / '3.png')!r}).label)"
    assert run([app / "venv" / "bin" / "python", "-I", "-W", "error", "-c", code], app).strip() == "3"


def test_a_model_of_a_store_names_what_is_missing_and_where_it_is_installed_from(app: Path, wheel: Path) -> None:
    code = """
import zoo
try:
    zoo.load("models:/digits@champion")
except zoo.MissingExtraError as error:
    print(error)
"""
    told = run([app / "venv" / "bin" / "python", "-I", "-c", code], app).strip()
    assert told.endswith(f" is not installed: pip install '{wheel}[train]'"), told


@pytest.mark.slow  # they pass in the environment that runs the tests, too, which loads an export by the same files
def test_the_runtime_s_tests_pass_there(app: Path) -> None:
    python = app / "venv" / "bin" / "python"
    start = "import sys; sys.path.append('pytest'); import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    told = run([python, "-I", "-c", start, "-q", "-W", "error", "runtime"], app)
    assert " passed" in told
    assert "skipped" not in told


def test_the_command_answers_there(app: Path) -> None:
    export = app / "runtime" / "fixture" / "digits" / "softmax"
    told = run([app / "venv" / "bin" / "zoo", "predict", export, export / "samples" / "3.png"], app)
    assert told.split()[1] == "3"
