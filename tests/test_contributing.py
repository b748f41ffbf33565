"""CONTRIBUTING.md: each recipe runs as it stands, in a folder of one's own, and the map of the code is the code's."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recipes import RECIPES, TEXT

import zoo
from pipelines.cli import main
from pipelines.publishing.describe import describe
from pipelines.study.experiment import _experiments
from zoo.data.registry import _loaders
from zoo.models.registry import _models

ROOT = Path(__file__).parent.parent
DIGITS = ROOT / "tests" / "runtime" / "fixture" / "digits" / "softmax"


@pytest.fixture
def folder(store: Path) -> Path:
    """A working folder with the recipes in it, and a store of its own."""
    for name, code in RECIPES.items():
        (store / name).write_text(code, encoding="utf-8")
    return store


@pytest.fixture
def python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., dict[str, Any]]]:
    """`python FILE ARGUMENT…`, in this process: it has Keras already. What a file registers is forgotten after."""
    registries: tuple[dict[str, Any], ...] = (_models, _loaders, _experiments)
    before = [dict(registry) for registry in registries]

    def run(*command: str) -> None:
        monkeypatch.setattr(sys, "argv", list(command))
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(command[0], run_name="__main__")
        assert ended.value.code == 0

    yield run
    for registry, known in zip(registries, before, strict=True):
        registry.clear()
        registry.update(known)


def called(*command: str) -> subprocess.CompletedProcess[str]:
    """The same in a process of its own."""
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def commands(name: str) -> list[list[str]]:
    """Those that the page gives for a recipe, word by word."""
    return [line.split() for line in re.findall(rf"`python ({name} .*?)`", TEXT)]


def test_there_is_a_recipe_for_all_that_is_registered():
    assert list(RECIPES) == ["my_model.py", "my_data.py", "my_claim.py", "my_provider.py", "my_command.py"]
    assert all(len(commands(name)) == 1 for name in RECIPES)


def test_the_model_is_trained_exported_and_answers_in_an_app(folder, python, capsys):
    (command,) = commands("my_model.py")
    python(*command)
    text = _models["conv-wide"].architecture.__doc__
    formula, count = re.search(r"K = 10: (.*) = ([\d,]+) parameters", text).groups()
    assert eval(formula) == int(count.replace(",", "")) == describe("conv-wide").parameters
    classifier = zoo.load("digits/conv-wide", provider="cpu")
    assert classifier.predict(folder / "exports/digits/conv-wide/samples/0.png").label in set("0123456789")
    capsys.readouterr()
    assert main(command[1:]) == 0
    assert "conv-wide, seed 1: already trained" in capsys.readouterr().err


@pytest.mark.slow  # a whole run; that each data set loads is in test_registries
def test_the_data_set_is_learned(folder, python):
    (command,) = commands("my_data.py")
    python(*command)
    classifier = zoo.load("stripes/mlp-small", provider="cpu")
    assert classifier.labels == ("horizontal", "vertical")
    assert classifier.metadata.test_accuracy > 0.8, "chance is right on half of them"


def test_the_claim_comes_to_a_verdict(folder, python, capsys):
    (command,) = commands("my_claim.py")
    python(*command)
    assert "A dense model with more neurons" in (folder / "mlruns/study/report.html").read_text(encoding="utf-8")
    assert "holds" in capsys.readouterr().out
    del _experiments["wider-is-better"]
    assert main(["study", "--report", "--folder", "mlruns/study"]) == 1, "nothing else is in there"
    assert "left out of the report: mlruns/study/wider-is-better.json, whose experiment" in capsys.readouterr().err


def test_the_provider_is_one_of_those_that_can_be_asked_for(folder):
    (command,) = commands("my_provider.py")
    words = [str(DIGITS) if word == "digits/lenet5" else word for word in command]
    done = called(*words)
    assert done.returncode == 1
    assert "provider 'xnnpack' isn't in the installed onnxruntime" in done.stderr
    assert "install onnxruntime built with --use_xnnpack" in done.stderr
    assert called(*words[:-1], "cpu").returncode == 0
    assert "did you mean xnnpack" in called(*words[:-1], "xnnpak").stderr


def test_the_command_is_listed_and_has_json(folder):
    (command,) = commands("my_command.py")
    words = [str(DIGITS) if word == "digits/lenet5" else word for word in command]
    assert json.loads(called(*words).stdout) == list("0123456789")
    assert re.search(r"^ +9  9 *$", called(*words[:-1]).stdout, re.MULTILINE)
    assert re.search(r"^  classes +list the classes of an export", called(words[0], "--help").stdout, re.MULTILINE)


def test_the_map_of_the_code_is_the_order_that_is_enforced():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["pipelines"])
    assert re.findall(r"^\| `(\w+)(?:/|\.py)` \|", TEXT, re.MULTILINE) == layers
    named = re.findall(r"`((?:zoo|pipelines)/[\w/.]+)`", TEXT)
    assert len(named) > 5
    assert [path for path in named if not (ROOT / path).exists()] == []
