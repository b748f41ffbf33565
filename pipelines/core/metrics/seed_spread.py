"""The spread over seeds: the accuracies of one recipe trained with several seeds.

An interval over the test images is the uncertainty of one model's accuracy; this is the variance of training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

METRIC = "test_accuracy_seed_"  # followed by the seed: metrics of a manifest


@dataclass(frozen=True)
class Spread:
    """Test accuracies, 0..1, of runs that differ in their seed alone: one for each of two or more seeds, ascending."""

    seeds: tuple[int, ...]
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """0..1."""
        return fmean(self.accuracies)

    @property
    def deviation(self) -> float:
        """The standard deviation of a single training, estimated with n - 1."""
        return stdev(self.accuracies)

    def __str__(self) -> str:
        return f"{self.mean:.2%} ± {100 * self.deviation:.2f}"


def by_seed(metrics: Mapping[str, float]) -> dict[int, float]:
    """The test accuracy, 0..1, of each seed that a manifest's metrics name, ascending by seed."""
    found = {name.removeprefix(METRIC): value for name, value in metrics.items() if name.startswith(METRIC)}
    return dict(sorted((int(seed), value) for seed, value in found.items() if seed.isdecimal()))


def spread(metrics: Mapping[str, float]) -> Spread | None:
    """The spread of a manifest's metrics; None where they name fewer than two seeds."""
    return spread_of(by_seed(metrics))


def spread_of(accuracies: Mapping[int, float]) -> Spread | None:
    """The same from accuracies by seed."""
    return Spread(tuple(accuracies), tuple(accuracies.values())) if len(accuracies) > 1 else None
