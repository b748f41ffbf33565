"""The prediction for one image or row."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image or row.

    label: the most probable class. probability: that of `label`, 0..1. ranking: all labels with their probabilities,
    most probable first. labels: the prediction set, most probable first, which contains the true label in the share of
    cases that was requested as `coverage`; empty without one. familiarity: 0..1, the share of held-out images of the
    known classes that look less familiar to the model than this one. known: False if the familiarity is below that of
    95% of the held-out images; the class is then probably an unknown one, however high the probability. Both are None
    if the file has no such output.
    """

    label: str
    probability: float
    ranking: tuple[tuple[str, float], ...]
    labels: tuple[str, ...] = ()
    familiarity: float | None = None
    known: bool | None = None
