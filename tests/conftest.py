"""What tests share: a quiet TensorFlow, a working folder of their own, and models that exist for one test only."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest


@pytest.fixture
def registered():
    """The `model` decorator, forgetting after the test what it registered."""
    from zoo.models import model
    from zoo.models.registry import _models

    before = dict(_models)
    yield model
    _models.clear()
    _models.update(before)
