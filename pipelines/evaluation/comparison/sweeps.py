"""The trials of a sweep in a comparison: which of them, what was searched in each, and what its new seeds came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pipelines import tracking
from pipelines.core.metrics.seed_spread import Spread, spread_of
from pipelines.tracking import TrackedRun, TrackedSweep
from zoo.errors import TrackingError

SHOWN = 10  # trials of a sweep, unless more of them win: lines and columns that a person can take in


@dataclass(frozen=True)
class Trial:
    """A trial of a sweep.

    mark: best; front, where no other trial beats it in all objectives; "" for others. values: of the fields that were
    searched. again: seed -> test accuracy of its trainings with new seeds, 0..1; of winners alone.
    """

    sweep: TrackedSweep
    number: int
    mark: str
    values: Mapping[str, str]
    again: Mapping[int, float]

    @property
    def title(self) -> str:
        """What to call it beside others."""
        return f"trial {self.number}" + (f" ({self.mark})" if self.mark else "")

    @property
    def spread(self) -> Spread | None:
        """Of the test accuracies of its new trainings; None for fewer than two."""
        return spread_of(self.again)


def trials_of(sweep: TrackedSweep) -> Iterator[tuple[Trial, TrackedRun]]:
    """The best trial of a sweep, then the others of its front, then the most accurate of the rest.

    Raises TrackingError where none has come to its end, or the store fails.
    """
    if not sweep.trials:
        raise TrackingError(f"no trial of sweep {sweep.name!r} has finished yet: wait for one, or give it --trials")
    winners = [run for run in sweep.trials if run in sweep.winners]
    order = dict.fromkeys([*(run for run in winners if run == sweep.best), *winners, *sweep.trials])
    for run_id in list(order)[: max(SHOWN, len(winners))]:
        run = tracking.load_run(run_id)
        recipe = run.plan.recipe.to_json()
        mark = "best" if run_id == sweep.best else "front" if run_id in sweep.winners else ""
        values = {name: _text(recipe[name]) for name in sweep.searched if name in recipe}
        yield Trial(sweep, sweep.trials[run_id], mark, values, _again(sweep.winners.get(run_id, ()))), run


def notes_on(trials: Iterable[Trial]) -> tuple[str, ...]:
    """What a comparison doesn't show of their sweeps, a sentence each."""
    notes = []
    for sweep in {each.sweep.run: each.sweep for each in trials}.values():
        shown = [each for each in trials if each.sweep.run == sweep.run]
        left = len(sweep.trials) - len(shown)
        if left or sweep.pruned:
            notes.append(
                f"sweep {sweep.name}: {left} other trials and {sweep.pruned} pruned ones are left out; name "
                "their runs to see them"
            )
        if not sweep.best:
            notes.append(f"sweep {sweep.name} has chosen no winner yet: these are its trials so far")
        for each in shown:
            if len(each.again) == 1:
                ((seed, accuracy),) = each.again.items()
                notes.append(f"trial {each.number}, trained again with seed {seed}: test accuracy {accuracy:.2%}")
    return tuple(notes)


def _again(runs: Iterable[str]) -> dict[int, float]:
    """Seed -> test accuracy of those that were tested."""
    found = (tracking.load_run(run) for run in runs)
    return {run.plan.recipe.seed: run.metrics["test_accuracy"] for run in found if "test_accuracy" in run.metrics}


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
