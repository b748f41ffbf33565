"""What a Keras model answers, op by op: `predict` builds a graph first, which takes longer than a model's only call."""

from __future__ import annotations

from typing import Any

import numpy as np


def answers_of_keras(model: Any, inputs: Any) -> dict[str, np.ndarray]:
    """Its probabilities and its logits [N, K] for images [N, H, W, C] or rows [N, F]."""
    return {name: np.asarray(values) for name, values in model(inputs, training=False).items()}
