"""What holds for everything that is registered, and that a new file is all it takes.

Models have a file of their own, test_models.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from recipes import RECIPES, moved_in

from pipelines.cli.registry import commands
from pipelines.study.experiment import experiments
from zoo.contract import MANIFEST_FILE
from zoo.data import data_sets, load
from zoo.data.registry import terms_of
from zoo.errors import DataError, ProviderError
from zoo.models import definitions, pretrained_definitions
from zoo.runtime.providers import PROVIDERS, Provider, add_provider

ROOT = Path(__file__).parent.parent


def test_the_docs_name_models_that_there_are_and_each_in_its_family():
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \*\*(\w+)\*\* \|.*\| (`.*`) \|$", text, re.MULTILINE)
    families = {model.name: model.family for model in definitions()}
    named = [(model, family) for family, models in rows for model in re.findall(r"`(.+?)`", models)]
    assert len(named) >= 10
    assert {family for _, family in named} == set(families.values())
    assert set(named) <= set(families.items())


# --- data sets -------------------------------------------------------------------------------------------------------


def brought_by_a_package() -> list[str]:
    """Those that needn't be downloaded. The others' authors have published some images twice, and two in two splits."""
    return [name for name in sorted(data_sets()) if not (files := terms_of(name).files) or files.elsewhere]


@pytest.fixture(scope="module", params=brought_by_a_package())
def data_set(request):
    """Each that is there offline."""
    asked = []

    def refused(*address):
        asked.append(address)
        raise OSError("these tests use no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refused)
        patch.setattr(socket, "getaddrinfo", refused)
        try:
            return load(request.param)
        except DataError as error:
            if not asked:
                raise
            pytest.skip(f"not on this machine: {error}")


def test_a_data_set_holds_uint8_images_with_labels_in_range(data_set):
    for split in (data_set.train, data_set.validation, data_set.test):
        assert split.inputs.dtype == np.uint8
        assert split.inputs.shape == (len(split), data_set.height, data_set.width, data_set.channels)
        assert np.ptp(split.inputs) > 128, "raw pixels, 0 to 255"
        assert len(split.labels) == len(split.names) == len(set(split.names)) > 0
        assert sorted(set(split.labels.tolist())) == list(range(data_set.classes)), "each class is in each split"
    assert len(set(data_set.labels)) == data_set.classes
    assert data_set.name in data_sets()
    assert data_set.origin


def test_no_image_is_in_two_splits(data_set):
    splits = [
        {(label, image.tobytes()) for label, image in zip(split.labels, split.inputs, strict=True)}
        for split in (data_set.train, data_set.validation, data_set.test)
    ]
    assert [len(one & other) for one, other in combinations(splits, 2)] == [0, 0, 0]


def test_a_data_set_is_the_same_each_time_and_the_one_that_exports_were_trained_on(data_set):
    manifests = (ROOT / "exports" / data_set.name).glob(f"*/{MANIFEST_FILE}")
    shipped = {json.loads(file.read_text(encoding="utf-8"))["metadata"]["data_digest"] for file in manifests}
    assert {load(data_set.name).digest, *shipped} == {data_set.digest}


def test_a_data_set_says_what_it_is():
    assert all(summary.endswith(".") for summary in data_sets().values())


# --- providers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=list(PROVIDERS))
def test_onnxruntime_knows_every_provider(provider):
    assert provider.technical_name in onnxruntime.get_all_providers()
    assert provider.package.startswith("onnxruntime")
    assert provider.behind in ("", *PROVIDERS)


def test_no_two_providers_share_a_name():
    for name in ("cpu", "auto"):
        with pytest.raises(ProviderError, match=f"two providers are called '{name}'"):
            add_provider(Provider(name, "XnnpackExecutionProvider", "onnxruntime"))
    technical = [provider.technical_name for provider in PROVIDERS.values()]
    assert len(technical) == len(set(technical)), "or a session's own could be taken for the other"


def test_the_docs_tell_of_providers_that_there_are_and_how_they_are_started():
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", text, re.MULTILINE))
    assert rows.keys() <= PROVIDERS.keys()
    for name, row in rows.items():
        package = PROVIDERS[name].package.partition(" ")[0]
        assert f"`{package}`" in row or "the same and" in row
        precise = {key: value for key, value in PROVIDERS[name].options.items() if key != "device_type"}
        assert all(f"`{key}={value}`" in row for key, value in precise.items())


# --- a new file is all it takes --------------------------------------------------------------------------------------

# folder -> what CONTRIBUTING.md would put there, its name, and a line that prints the names of what is registered
FOLDERS = {
    "zoo/models/families": (
        "my_model.py",
        "conv-wide",
        "from zoo.models import definitions as d; print(*(m.name for m in d()))",
    ),
    "zoo/data/known": ("my_data.py", "stripes", "from zoo.data import data_sets; print(*data_sets())"),
    "pipelines/study/claims": (
        "my_claim.py",
        "wider-is-better",
        "from pipelines.study import experiments as e; print(*(x.name for x in e()))",
    ),
    "pipelines/cli/commands": (
        "my_command.py",
        "classes",
        "from pipelines.cli.registry import commands as c; print(*(x.name for x in c()))",
    ),
}
PROVIDER_LINE = re.search(r"^add_provider.*\n", RECIPES["my_provider.py"], re.MULTILINE).group()


@pytest.fixture
def copy(tmp_path):
    """A copy of both packages, with their bytecode, which stays valid as their times of change do."""
    for package in ("zoo", "pipelines"):
        # Another process may be writing bytecode just now, under a name that ends in a number.
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def listed(copy: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_dropped_into_the_folder_is_found_and_a_broken_one_is_no_secret(copy, folder):
    recipe, name, code = FOLDERS[folder]
    added = copy / folder / "added.py"
    added.write_text(moved_in(recipe), encoding="utf-8")
    after = listed(copy, code)
    assert name in after.stdout.split(), after.stderr
    for check in (["check"], ["format", "--check"]):
        subprocess.run([Path(sys.executable).parent / "ruff", *check, added], cwd=copy, check=True)
    shutil.copy(added, copy / folder / "again.py")
    twice = listed(copy, code)
    assert twice.returncode != 0
    assert f"are called '{name}'" in twice.stderr
    (copy / folder / "again.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    broken = listed(copy, code)
    assert broken.returncode != 0
    assert "No module named 'nothing_of_that_name'" in broken.stderr


@pytest.mark.slow
def test_all_tests_of_what_is_registered_pass_with_one_more_of_each(copy):
    """A model, a data set, a claim and a command are a file each, a provider is a line; nothing else has changed."""
    for path in ("tests", "docs", "README.md", "CONTRIBUTING.md"):
        whole = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        whole(ROOT / path, copy / path)
    (copy / "exports").symlink_to(ROOT / "exports")
    for folder, (recipe, name, _) in FOLDERS.items():
        text = moved_in(recipe)  # under another name, as the recipe itself is tried there, too
        for old in (name, name.replace("-", "_")):
            text = text.replace(f'"{old}"', f'"another-{old}"').replace(f"def {old}(", f"def another_{old}(")
        (copy / folder / "added.py").write_text(text, encoding="utf-8")
    providers = copy / "zoo" / "runtime" / "providers.py"
    text = providers.read_text(encoding="utf-8")
    last = re.findall(r"^add_provider\(Provider\(.*\n", text, re.MULTILINE)[-1]
    providers.write_text(text.replace(last, last + PROVIDER_LINE.replace("xnnpack", "other").replace("Xnnpack", "QNN")))
    names = ("models", "registries", "commands", "cli", "public_surface", "ledger", "licenses")
    files = [*(f"tests/test_{name}.py" for name in names), "tests/runtime/test_providers.py"]
    others = "not dropped and not bash_completes and not version_is_that"  # of copies, and of what is installed
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", others],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_file_of_these_folders_registers_something():
    models = {each.architecture.__module__ for each in (*definitions(), *pretrained_definitions())}
    claims = {each.run.__module__ for each in experiments()}
    from zoo.data.registry import _loaders

    loaders = {loader.__module__ for loader in _loaders.values()}
    called = {each.call.__module__ for each in commands()}
    for folder, found in zip(FOLDERS, (models, loaders, claims, called), strict=True):
        files = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
        assert files <= {module.rpartition(".")[2] for module in found}
