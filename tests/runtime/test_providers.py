"""Providers: the one that was asked for runs, or a sentence says which are there."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnxruntime
import pytest

import zoo
from zoo.contract import MODEL_FILE
from zoo.runtime.providers import PROVIDERS, available_providers, check_started

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


@pytest.mark.skipif("cuda" in available_providers(), reason="this onnxruntime has CUDA")
def test_a_provider_that_onnxruntime_drops_without_a_word_is_an_error(digits: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        session = onnxruntime.InferenceSession(digits / MODEL_FILE, providers=["CUDAExecutionProvider"])
    with pytest.raises(zoo.ProviderError, match=r"'cuda' is installed but doesn't start .* only cpu does"):
        check_started(session, "cuda")
    check_started(session, "cpu")


def test_threads_are_those_asked_for(digits: Path) -> None:
    assert zoo.load(digits, threads=1).session.get_session_options().intra_op_num_threads == 1
    assert zoo.load(digits, threads=2).session.get_session_options().intra_op_num_threads == 2
    with pytest.raises(zoo.ProviderError, match="threads must be 1 or more"):
        zoo.load(digits, threads=0)
