"""What an experiment came to: effects with intervals, and the verdict that follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import mean_interval
from pipelines.plotting.svg import Drawing
from zoo.errors import StudyError

if TYPE_CHECKING:
    pass


Sample = NDArray[np.float64]  # [seeds]: one value for each of them, in their order


class Judgement(StrEnum):
    """Where an effect's interval lies: within what the claim predicts, outside of it, or on the border."""

    AS_CLAIMED = "as claimed"
    AGAINST = "against the claim"
    OPEN = "undecided"


class Verdict(StrEnum):
    """What the effects say of a claim, all of them together."""

    HOLDS = "holds"
    LIMITS = "holds, with limits"
    REFUTED = "refuted"
    OPEN = "undecided"


@dataclass(frozen=True)
class Effect:
    """One number that the claim predicts, measured for each seed.

    sample: [seeds] in `unit`; a difference is taken within each seed. least, most: the claim says that it lies between
    them, written down before it was measured, with the smallest effect that matters; None for no bound.
    exact: counted rather than measured, so that there is no chance in it and no interval.
    """

    name: str
    sample: Sample
    unit: str
    least: float | None = None
    most: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        """Raises StudyError for an effect that nothing could refute."""
        if self.least is None and self.most is None:
            raise StudyError(f"the effect {self.name!r} has no bound: give it least, most or both, as the claim says")

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.sample))

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Student's t over the seeds (Student 1908); of a single value, which tells nothing, everything."""
        return (self.mean, self.mean) if self.exact else mean_interval(self.sample)

    @property
    def judgement(self) -> Judgement:
        """The whole interval within the bounds, the whole of it outside, or neither."""
        low, high = self.interval
        least = -np.inf if self.least is None else self.least
        most = np.inf if self.most is None else self.most
        if least <= low and high <= most:
            return Judgement.AS_CLAIMED
        return Judgement.AGAINST if high < least or low > most else Judgement.OPEN

    def written(self, value: float) -> str:
        """A value of it: percent and their differences to a hundredth, the latter signed; else three digits."""
        if self.exact:
            return f"{round(value, 9):.3g}"  # what is counted has no rounding errors
        if self.unit not in ("points", "%"):
            return f"{value:.3g}"
        sign = "+" if self.unit == "points" else ""
        return f"{value:{sign}.2f}" if round(value, 2) or not value else f"{value:{sign}.1g}"

    @property
    def prediction(self) -> str:
        """The bounds in words."""
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g} {self.unit}"
        how, bound = ("at least", self.least) if self.least is not None else ("at most", self.most)
        return f"{how} {bound:g} {self.unit.removesuffix('s') if bound == 1 else self.unit}"


@dataclass(frozen=True)
class Finding:
    """What an experiment came to. effects: the first is the claim's heart, the others are its limits.

    chart: shows the claim. more: the same from other sides.
    """

    effects: tuple[Effect, ...]
    chart: Drawing
    more: tuple[Drawing, ...] = ()

    def __post_init__(self) -> None:
        """Raises StudyError where there is no effect to judge by."""
        if not isinstance(self.effects, tuple) or not self.effects:
            raise StudyError("a finding has no effects, expected one or more: effects=(Effect(...),)")

    @property
    def verdict(self) -> Verdict:
        """It holds if all effects are as claimed, with limits if the first one is; the first alone can refute it."""
        first, *others = (effect.judgement for effect in self.effects)
        if first is Judgement.AS_CLAIMED:
            return Verdict.HOLDS if all(other is Judgement.AS_CLAIMED for other in others) else Verdict.LIMITS
        return Verdict.REFUTED if first is Judgement.AGAINST else Verdict.OPEN
