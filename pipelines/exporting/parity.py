"""Whether an exported file answers as the Keras model that it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pipelines.evaluation.held_out import cooled
from pipelines.evaluation.predictions import in_batches
from zoo.contract import LOGITS, PARITY_TOLERANCE, PROBABILITIES
from zoo.data import Split
from zoo.errors import VerificationError


@dataclass(frozen=True)
class Parity:
    """How an exported file and its Keras model answer on the same images.

    largest_difference: of a probability, over all images and classes. same_top_class: share of the images, 0..1; an
    image counts if the file's answer is among Keras' equally probable ones. worst_image: index of the first image
    with another answer, else of the one with the largest difference.
    """

    largest_difference: float
    same_top_class: float
    worst_image: int

    def metrics(self) -> dict[str, float]:
        """The two numbers that an export keeps."""
        return {"largest_difference": self.largest_difference, "same_top_class": self.same_top_class}


def compare_with_keras(onnx_bytes: bytes, model: Any, test: Split, temperature: float = 1.0) -> Parity:
    """How a converted model and the `keras.Model` that it was made from answer on every test image.

    temperature: what the file divides the logits of the Keras model by.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    batches = partial(in_batches, test.inputs, "comparing the file with the model")
    from_file = np.concatenate([session.run([PROBABILITIES], {name: batch})[0] for batch in batches()])
    outputs = [model.predict_on_batch(batch) for batch in batches()]
    logits, from_keras = (
        np.concatenate([np.asarray(each[name]) for each in outputs]) for name in (LOGITS, PROBABILITIES)
    )
    if temperature != 1:
        from_keras = cooled(logits, temperature)[1]
    differences = np.abs(from_file - from_keras).max(axis=1)  # [N]
    top = from_file.argmax(axis=1)
    same = np.take_along_axis(from_keras, top[:, np.newaxis], axis=1)[:, 0] == from_keras.max(axis=1)
    worst = int(differences.argmax() if same.all() else same.argmin())
    return Parity(float(differences.max()), float(same.mean()), worst)


def check_parity(parity: Parity, test: Split, name: str) -> str:
    """The file answers as Keras does. Raises VerificationError, with the difference and the image."""
    if not parity.largest_difference <= PARITY_TOLERANCE or parity.same_top_class < 1:  # `not <=`: NaN fails too
        raise VerificationError(
            f"{name} doesn't match its Keras model: probabilities differ by up to "
            f"{parity.largest_difference:.1e}, expected at most {PARITY_TOLERANCE:.0e}, and "
            f"{1 - parity.same_top_class:.2%} of the predictions differ, expected none; "
            f"the worst test {test.kind[:-1]} is {test.names[parity.worst_image]!r}"
        )
    return f"{len(test):,} test {test.kind}, probabilities within {parity.largest_difference:.0e}, same answers"
