"""The answer for one image or row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or row.

    probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first. labels: the set, likeliest first,
    that holds the true one in the share of cases that was asked for as `coverage`; empty where none was.
    """

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
