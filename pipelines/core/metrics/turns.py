"""Time by turns: each call waits for the others, so that whatever else the machine does falls on all of them alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray


def seconds_in_turns(
    calls: Sequence[Callable[[], Any]], rounds: int, *, in_a_row: int = 1, warm_up: int = 0, limit: float = inf
) -> NDArray[np.float64]:
    """Seconds that each call took, [rounds, calls, in_a_row].

    in_a_row: how often a call is repeated in its turn. warm_up: rounds before those that count. limit: seconds, warm-up
    included, after which no further round begins; one is always counted.
    """
    began = perf_counter()
    found: list[list[list[float]]] = []
    for turn in range(warm_up + rounds):
        taken = [[_seconds(call) for _ in range(in_a_row)] for call in calls]
        if turn >= warm_up:
            found.append(taken)
            if perf_counter() - began > limit:
                break
    return np.array(found).reshape(len(found), len(calls), in_a_row)


def _seconds(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
