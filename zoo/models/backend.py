"""Keras on TensorFlow, started once, quietly, and with a clear word where it isn't there."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from zoo.errors import MissingExtraError, ModelError


@cache
def start_keras() -> Any:
    """The module `keras`. Raises MissingExtraError where it isn't installed, ModelError for another backend."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of retracing where models come one by one
    try:
        with _quiet():
            import keras
            import tensorflow  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or "keras").partition(".")[0], "train") from None
    if keras.backend.backend() != "tensorflow":
        raise ModelError(f"Keras runs on {keras.backend.backend()!r}: unset KERAS_BACKEND, or set it to tensorflow")
    return keras


@contextmanager
def _quiet() -> Iterator[None]:
    """TensorFlow's native code greets on standard error before any setting of its own can stop it."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
