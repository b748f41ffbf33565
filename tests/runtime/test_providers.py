"""Providers: the one that was asked for runs, or a sentence says which are there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import onnxruntime
import pytest

import zoo
from pipelines.cli import main
from zoo.contract import MODEL_FILE
from zoo.runtime.providers import PROVIDERS, available_providers, check_started, check_taken

ABSENT = [name for name in PROVIDERS if name not in available_providers()]


def test_the_classifier_says_what_it_runs_on(digits: Path) -> None:
    assert zoo.load(digits, provider="cpu").provider == "cpu"
    assert zoo.load(digits).provider in {"cuda", "cpu"}


@pytest.mark.parametrize("name", ABSENT)
def test_a_provider_that_is_not_there_is_an_error_that_lists_those_that_are(digits: Path, name: str) -> None:
    with pytest.raises(zoo.ProviderError) as error:
        zoo.load(digits, provider=name)
    assert f"which has {', '.join(available_providers())}" in str(error.value)
    assert f"install {PROVIDERS[name].package}" in str(error.value)


def test_an_unknown_provider_is_answered_with_the_nearest(digits: Path) -> None:
    with pytest.raises(zoo.ProviderError, match="did you mean cuda"):
        zoo.load(digits, provider="cudaa")


@pytest.mark.parametrize("name", ABSENT)
def test_a_program_that_asks_for_what_is_not_there_ends_with_the_error(digits: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import zoo; zoo.load({str(digits)!r}, provider={name!r})"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(
        f"zoo.errors.ProviderError: provider '{name}' isn't in the installed"
    )


def test_placement_names_every_node_and_where_it_runs(classifier: zoo.Classifier) -> None:
    places = classifier.placement()
    assert list(places) == ["cpu"]
    assert [node.operation for node in places["cpu"]] == ["Resize", "Reshape", "Cast", "Gemm", "Softmax"]


def test_the_command_shows_the_placement(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["placement", str(digits), "--provider", "cpu"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "cpu: 5 of 5 nodes"
    assert [line.split()[0] for line in told[1:]] == ["Resize", "Reshape", "Cast", "Gemm", "Softmax"]
    assert main(["placement", str(digits), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["places"]["cpu"][3]["operation"] == "Gemm"


def test_a_provider_that_takes_no_node_is_an_error(digits: Path, classifier: zoo.Classifier) -> None:
    with pytest.raises(zoo.ProviderError, match="'cuda' supports no node of this file"):
        check_taken(classifier.session, "cuda")  # as if CUDA had been asked for, and had left all of them
    check_taken(classifier.session, "cpu")


@pytest.mark.skipif("cuda" in available_providers(), reason="this onnxruntime has CUDA")
def test_a_provider_that_onnxruntime_drops_without_a_word_is_an_error(digits: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        session = onnxruntime.InferenceSession(digits / MODEL_FILE, providers=["CUDAExecutionProvider"])
    with pytest.raises(zoo.ProviderError, match=r"'cuda' is installed but doesn't start .* only cpu does"):
        check_started(session, "cuda")
    with pytest.raises(zoo.ProviderError, match=r"only cpu does \(libcublasLt\.so\.13 not found\)"):
        check_started(session, "cuda", ["libcublasLt.so.13"])
    check_started(session, "cpu")


def test_threads_are_those_asked_for(digits: Path) -> None:
    assert zoo.load(digits, threads=1).session.get_session_options().intra_op_num_threads == 1
    assert zoo.load(digits, threads=2).session.get_session_options().intra_op_num_threads == 2
    with pytest.raises(zoo.ProviderError, match="threads must be 1 or more"):
        zoo.load(digits, threads=0)
