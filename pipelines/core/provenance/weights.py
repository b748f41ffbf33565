"""What weights are the same: their digests."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from zoo.contract import (
    MODEL_FILE,
    sha256,
)
from zoo.recipe import Recipe
from zoo.runtime.loading import find_export


def teacher_digest(recipe: Recipe) -> str:
    """SHA-256, in hex, of the teacher's file, which decides the weights as the images do; "" for none."""
    if not recipe.teacher:
        return ""
    found = find_export(recipe.teacher)
    return sha256(found / MODEL_FILE if found.is_dir() else found)


def weights_sha256(model: Any) -> str:
    """SHA-256, in hex, over shapes and values of all weights, in Keras' order: the same before and after saving."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(json.dumps(weights.shape).encode())
        digest.update(np.ascontiguousarray(weights, "<f4").tobytes())
    return digest.hexdigest()
