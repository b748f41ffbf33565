"""How long exports take for one image, timed by turns on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from statistics import median

from pipelines.evaluation.predictions import made_up
from zoo.runtime import Classifier

# A small model gains nothing from more on one image, and several sessions' threads get in each other's way.
THREADS = 1
WARM_UP, ROUNDS = 20, 300  # calls
PATIENCE = 10.0  # seconds for all rounds, of which large models get fewer


def measure_latencies(classifiers: Sequence[Classifier], seconds: float = PATIENCE) -> list[float]:
    """The median milliseconds that each needs for one image or row, taken in turns, for so many seconds at most."""
    inputs = [made_up(classifier.metadata, 1) for classifier in classifiers]
    times: list[list[float]] = [[] for _ in classifiers]
    began = time.perf_counter()
    for turn in range(WARM_UP + ROUNDS):
        for classifier, one, taken in zip(classifiers, inputs, times, strict=True):
            start = time.perf_counter()
            classifier.probabilities(one)
            if turn >= WARM_UP:
                taken.append(time.perf_counter() - start)
        if turn >= WARM_UP and time.perf_counter() - began > seconds:
            break
    return [1000 * median(taken) for taken in times]
