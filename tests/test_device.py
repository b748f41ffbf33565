"""What a training says of where it computes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pipelines.core.provenance.machine import card_names, describe_machine
from pipelines.training import device as module
from pipelines.training.device import EXTRA, device, has_gpu, unused_gpu

ON_PROCESSOR = pytest.mark.skipif(bool(card_names()), reason="TensorFlow trains on a GPU here")


@pytest.fixture
def with_gpu(tmp_path, monkeypatch):
    """A machine on whose path there is NVIDIA's tool."""
    monkeypatch.setattr(module, "SIGNS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not has_gpu()
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)


@ON_PROCESSOR
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_processor_its_threads_and_the_precision_are_named(precision):
    text = device(precision)
    assert text.startswith(describe_machine().processor)
    assert "thread" in text
    assert text.endswith(f" in {precision}")


@ON_PROCESSOR
def test_a_gpu_that_tensorflow_cannot_use_is_named_with_the_extra_that_helps(with_gpu):
    assert "isn't used: TensorFlow 2." in unused_gpu()
    assert f"pip install 'classifier-zoo[{EXTRA}]'" in unused_gpu()


@ON_PROCESSOR
@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_is_said_to_be(hidden, with_gpu, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert unused_gpu() == f"the NVIDIA GPU is hidden by CUDA_VISIBLE_DEVICES={hidden!r}: unset it to train there"
    for shown in ("0", "1", "1,1", "0,-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
        assert "isn't used" in unused_gpu()


def test_without_a_gpu_nothing_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SIGNS", (str(tmp_path / "nowhere"),))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert unused_gpu() == ""
    monkeypatch.setattr(module, "SIGNS", (str(tmp_path),))
    assert has_gpu()


def test_the_extra_is_there():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert EXTRA in tomllib.loads(text)["project"]["optional-dependencies"]
