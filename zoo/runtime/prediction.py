"""The answer for one image or row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The answer for one image or row.

    probability: 0..1, of `label`; ranking: all labels with theirs, likeliest first. labels: the set, likeliest first,
    that holds the true one in the share of cases that was asked for as `coverage`; empty where none was.
    familiarity: 0..1, the share of images of the known classes, none of which the model learned from, that look less
    familiar to it; known: whether that is as much as of 95 % of them, else it is likely none of the classes, however
    probable the label. None where the file doesn't say.
    """

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    familiarity: float | None = None
    known: bool | None = None
