"""How a quantized model answers, beside the float32 one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.evaluation.predictions import Answers, ask_all, in_batches
from zoo.contract import LOGITS, PROBABILITIES
from zoo.data import Split


def answers_in_memory(model: Any, split: Split) -> Answers:
    """Logits [N, K] and probabilities [N, K] of a ModelProto for the N images of a split."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return ask_all(
        lambda some: session.run([LOGITS, PROBABILITIES], {name: some}),
        in_batches(split.inputs, "trying quantization"),
    )


def divergence(expected: Answers, found: Answers) -> float:
    """Kullback and Leibler's, of the probabilities found from those expected: the mean over all images, in nats."""
    true, other = (_log_probabilities(logits) for logits, _ in (expected, found))
    return float((np.exp(true) * (true - other)).sum(axis=1).mean())


def _log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalized


def correct(answers: Answers, split: Split) -> NDArray[np.bool_]:
    """[N]: whether the likeliest class is the label."""
    found: NDArray[np.bool_] = answers[1].argmax(axis=1) == split.labels
    return found


def lost(expected: Answers, found: Answers, split: Split) -> int:
    """How many fewer images are correct than expected."""
    return int(correct(expected, split).sum()) - int(correct(found, split).sum())


def allowed_losses(margin: float, images: int) -> int:
    """How many images may be lost. One of few is more than the margin, and proves nothing."""
    return max(1, int(margin / 100 * images + 1e-9))
