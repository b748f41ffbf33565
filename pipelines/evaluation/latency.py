"""How long exports take for one image, timed by turns on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.evaluation.predictions import made_up
from zoo.runtime import Classifier

# A small model gains nothing from more on one image, and several sessions' threads get in each other's way.
THREADS = 1
WARM_UP, ROUNDS = 20, 300  # calls
PATIENCE = 10.0  # seconds for all rounds, of which large models get fewer


def measure_latencies(classifiers: Sequence[Classifier], seconds: float = PATIENCE) -> list[float]:
    """The median milliseconds that each needs for one image or row, taken in turns, for so many seconds at most."""
    inputs = [made_up(classifier.metadata, 1) for classifier in classifiers]
    calls = [partial(classifier.probabilities, one) for classifier, one in zip(classifiers, inputs, strict=True)]
    times = seconds_in_turns(calls, ROUNDS, warm_up=WARM_UP, limit=seconds)  # [rounds, classifiers, 1]
    medians: list[float] = (1000 * np.median(times[..., 0], axis=0)).tolist()
    return medians
