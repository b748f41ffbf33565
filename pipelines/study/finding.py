"""The result of an experiment: effects with intervals, and the verdict that follows from them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import mean_interval
from pipelines.plotting.svg import Drawing
from zoo.errors import StudyError

Sample = NDArray[np.float64]  # [seeds]: one value for each of them, in their order
_CHOICE = re.compile(r"\{([^{}|]+)\|([^{}|]+)\}")


class Judgement(StrEnum):
    """Where an effect's interval lies: within the bounds of the claim, outside of them, or across one."""

    AS_CLAIMED = "as claimed"
    CONTRADICTS = "contradicts the claim"
    OPEN = "undecided"


class Verdict(StrEnum):
    """What all effects together say about a claim."""

    HOLDS = "holds"
    LIMITS = "holds, with limits"
    PART = "holds in part"
    REFUTED = "refuted"
    OPEN = "undecided"


@dataclass(frozen=True)
class Effect:
    """A quantity that the claim makes a prediction about, measured for each seed.

    sample: [seeds] in `unit`; differences are paired by seed. least, most: the bounds that the claim predicts, chosen
    before the measurement with the smallest effect that matters; None for no bound. exact: counted rather than
    measured, without variance and without an interval. overlap: where seeds split the same rows again, test over
    training rows.
    """

    name: str
    sample: Sample
    unit: str
    least: float | None = None
    most: float | None = None
    exact: bool = False
    overlap: float = 0.0

    def __post_init__(self) -> None:
        """Raises StudyError for an effect without a bound, which nothing could refute."""
        if self.least is None and self.most is None:
            raise StudyError(f"the effect {self.name!r} has no bound: give it least, most or both, as the claim says")

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.sample))

    @property
    def interval(self) -> tuple[float, float]:
        """95 % by Student's t over the seeds (Student 1908); unbounded for a single value."""
        return (self.mean, self.mean) if self.exact else mean_interval(self.sample, overlap=self.overlap)

    @property
    def judgement(self) -> Judgement:
        """By whether the whole interval lies within the bounds, outside of them, or neither."""
        low, high = self.interval
        least = -np.inf if self.least is None else self.least
        most = np.inf if self.most is None else self.most
        if least <= low and high <= most:
            return Judgement.AS_CLAIMED
        return Judgement.CONTRADICTS if high < least or low > most else Judgement.OPEN

    @property
    def decimals(self) -> int:
        """As many as the mean and its interval deserve: those of two significant digits of the interval's half-width.

        More where an end would be rounded onto or over a bound or 0, which would contradict the judgement, or the mean
        onto 0. What has no width has as many as it needs, 4 at most.
        """
        low, high = self.interval
        half = (high - low) / 2
        if not 0 < half < np.inf:
            return next(k for k in range(5) if k == 4 or abs(round(self.mean, k) - self.mean) < 1e-9)
        fewest = max(0, 1 - int(np.floor(np.log10(half))))
        marks = [mark for mark in (self.least, self.most, 0.0) if mark is not None]
        pairs = [(self.mean, 0.0), *((end, mark) for end in (low, high) for mark in marks)]
        for count in range(fewest, fewest + 3):
            if all(np.sign(round(end, count) - mark) == np.sign(end - mark) for end, mark in pairs):
                return count
        return fewest

    def rounded(self, value: float, *, signed: bool = True) -> str:
        """A value as text, with `decimals`, the same wherever it is read; a difference with its sign."""
        return f"{value:{'+' if signed and self.unit == 'points' else ''}z.{self.decimals}f}"

    @property
    def between(self) -> str:
        """The interval as text. What was counted has none, and values that are the same for each seed no spread."""
        low, high = self.interval
        if low < high:
            return f"{self.rounded(low)} to {self.rounded(high)}"
        return "counted" if self.exact else "no spread"

    @property
    def measured(self) -> str:
        """The mean as text, with its unit and interval."""
        text = f"{self.rounded(self.mean)}{self._unit}"
        return text if self.exact else f"{text} ({self.between})"

    @property
    def bounds(self) -> str:
        """What the claim predicts as text, without its unit."""
        if self.least is not None and self.most is not None:
            return f"from {self.least:g} to {self.most:g}"
        return f"at least {self.least:g}" if self.least is not None else f"at most {self.most:g}"

    @property
    def prediction(self) -> str:
        """The same with its unit."""
        one = self.bounds in ("at least 1", "at most 1")
        return f"{self.bounds}{self._unit.removesuffix('s') if one else self._unit}"

    @property
    def _unit(self) -> str:
        return self.unit if self.unit == "%" else f" {self.unit}"


@dataclass(frozen=True)
class Finding:
    """The result of an experiment. effects: the first is the main effect, the others are further parts of the claim.

    chart: shows the main effect. more: further charts. main: the main effect as a sentence, where {} is its size and
    {more|less} the word for an effect above 0 and for one below.
    """

    effects: tuple[Effect, ...]
    chart: Drawing
    more: tuple[Drawing, ...] = ()
    main: str = ""

    def __post_init__(self) -> None:
        """Raises StudyError where there are no effects."""
        if not isinstance(self.effects, tuple) or not self.effects:
            raise StudyError("a finding has no effects, expected one or more: effects=(Effect(...),)")

    @property
    def statement(self) -> str:
        """The main effect as a sentence with its interval, as a paper has it; its name and values if none was given."""
        effect = self.effects[0]
        if not self.main:
            return f"{effect.name}: {effect.measured}"
        sign = -1 if effect.mean < 0 and "|" in self.main else 1
        words = _CHOICE.sub(lambda found: found[1 if sign > 0 else 2], self.main)
        size, *interval = (effect.rounded(sign * value, signed=False) for value in (effect.mean, *effect.interval))
        sentence = words.replace("{}", size)
        low, high = interval[::sign]
        if effect.interval[0] < effect.interval[1]:
            return f"{sentence} (95% interval {low} to {high})"
        return sentence if effect.exact else f"{sentence} (the same for every seed)"

    @property
    def verdict(self) -> Verdict:
        """Where the main effect is as claimed: holds if all others are, in part if one contradicts, else with limits.

        The main effect alone can refute.
        """
        first, *others = (effect.judgement for effect in self.effects)
        if first is Judgement.AS_CLAIMED:
            if Judgement.CONTRADICTS in others:
                return Verdict.PART
            return Verdict.LIMITS if Judgement.OPEN in others else Verdict.HOLDS
        return Verdict.REFUTED if first is Judgement.CONTRADICTS else Verdict.OPEN
