"""The answer for one image or row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or row.

    probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first.
    """

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
