"""What comes of a sweep: its winners, trained again with new seeds, and what is written down of it all."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from pipelines import tracking
from pipelines.core.metrics.seed_spread import Spread, spread_of
from pipelines.core.provenance.plan import Plan
from pipelines.core.provenance.recipe_file import write_recipe
from pipelines.core.support.atomic import atomic_file
from pipelines.core.support.to_json import to_json
from pipelines.run import evaluated
from pipelines.search import plots
from pipelines.search.definition import Definition
from pipelines.search.objective import OBJECTIVES, fulfills
from pipelines.search.trials import STATES, Trial, importances
from zoo.errors import SweepError

logger = logging.getLogger("zoo.sweep")

BEST_FILE, SPACE_FILE, TRIALS_FILE = "best.json", "space.json", "trials.json"
ENOUGH = 5  # finished trials, to ask which fields mattered
MOST_CONFIRMED = 5  # trials of a front that are trained again: a front may have dozens, and each takes all seeds


@dataclass(frozen=True)
class Confirmed:
    """A winner, trained again with seeds that the search didn't know.

    trial: its number. recipe: the file of its recipe. size: height and width of its images, where they are stated or
    `auto` chose them. runs: of these trainings. validation, test: their accuracies,
    0..1, in the same order; the test images were asked of them alone. Where there are two and more, spread is that of
    the test accuracies.
    """

    trial: int
    recipe: Path
    size: tuple[int, int] | None
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    validation: tuple[float, ...]
    test: tuple[float, ...]

    @property
    def spread(self) -> Spread | None:
        """Of the test accuracies."""
        return spread_of(dict(zip(self.seeds, self.test, strict=True)))


@dataclass(frozen=True)
class Swept:
    """A sweep as it is by now.

    run: in the tracking store, above those of its trials. trials: all of them. best: the number of the best one, None
    as long as there is none; front: with several objectives, the numbers of those that no other one beats in all.
    confirmed: the winners that were trained again, the best one first; none for who only took part. recipe: the file of
    the best recipe.
    """

    name: str
    storage: str
    run: str
    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]
    best: int | None
    front: tuple[int, ...]
    confirmed: tuple[Confirmed, ...] = ()
    recipe: Path | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Trials by state; one that was lost and repeated is in it twice, as lost and as what became of it."""
        found = {state: sum(each.state == state for each in self.trials) for state in STATES}
        return {state: count for state, count in found.items() if count}


def summarize(name: str, storage: str, run: str, definition: Definition, trials: Sequence[Trial]) -> Swept:
    """A sweep as it is, without a training more."""
    able = [each for each in trials if each.state == "finished" and fulfills(each.measured, definition.where)]
    front = pareto(able, definition.objectives)
    best = max(front, key=lambda each: _goodness(each, definition.objectives)[0], default=None)
    return Swept(
        name=name,
        storage=tracking.without_secrets(storage),
        run=run,
        objectives=definition.objectives,
        trials=tuple(trials),
        best=best.number if best else None,
        front=tuple(each.number for each in front) if len(definition.objectives) > 1 else (),
    )


def conclude(
    name: str,
    storage: str,
    run: str,
    definition: Definition,
    trials: Sequence[Trial],
    seeds: int,
    folder: Path,
    study: Any,
) -> Swept:
    """Choose the winners by the validation images, train them with new seeds, test these, and log it all to the run.

    Of a front, at most MOST_CONFIRMED are trained again: see `spread_out`.

    Raises SweepError where no trial came to its end, or none fulfills the conditions.
    """
    found = summarize(name, storage, run, definition, trials)
    if found.best is None:
        counts = ", ".join(f"{count} {state}" for state, count in found.counts.items()) or "there was none"
        where = f" and fulfilled {' and '.join(definition.where)}" if definition.where else ""
        raise SweepError(f"no trial of sweep {name!r} finished{where} ({counts}): give it more --trials or --time")
    best = next(each for each in trials if each.number == found.best)
    front = [each for each in trials if each.number in found.front] or [best]
    chosen = spread_out(front, definition.objectives)
    folder.mkdir(parents=True, exist_ok=True)
    plans = {each.number: definition.plan_of(each.model, each.values) for each in chosen}
    recipes = {number: folder / (BEST_FILE if number == best.number else f"trial-{number}.json") for number in plans}
    for number, plan in plans.items():
        write_recipe(plan.recipe, recipes[number])
    _write(
        folder / SPACE_FILE, {m: list(map(str, s)) for m, s in zip(definition.models, definition.spaces, strict=True)}
    )
    _write(folder / TRIALS_FILE, found.trials)
    files = [*recipes.values(), folder / SPACE_FILE, folder / TRIALS_FILE]
    files += _draw(found, definition, study, folder)
    tracking.log_sweep(run, found.counts, {"best_validation_accuracy": best.accuracy or 0.0}, files)
    again: dict[str, tuple[str, ...]] = {each.run: () for each in front}
    tracking.log_winners(run, best.run, again)
    if len(chosen) < len(front):
        logger.info("%d trials are on the Pareto front: %d of them are trained again", len(front), len(chosen))
    confirmed = []
    for each in chosen:
        which = "the best is trial" if each == best else "of the front, trial"
        logger.info("%s %d: trained again with %d new seeds", which, each.number, seeds)
        runs = _confirm(plans[each.number], seeds, {tracking.PARENT: run, "sweep": name})
        confirmed.append(Confirmed(each.number, recipes[each.number], plans[each.number].size, *runs))
        again[each.run] = confirmed[-1].runs
        tracking.log_winners(run, best.run, again)
    tested = {"test_accuracy": fmean(confirmed[0].test)}
    if (spread := confirmed[0].spread) is not None:
        tested["test_accuracy_deviation"] = spread.deviation
    tracking.log_metrics(run, tested)
    return replace(found, confirmed=tuple(confirmed), recipe=folder / BEST_FILE)


def spread_out(front: Sequence[Trial], objectives: Sequence[str], most: int = MOST_CONFIRMED) -> list[Trial]:
    """At most so many trials of a front: the best in the first objective, the worst in it, and evenly between them."""
    ordered = sorted(front, key=lambda each: -_goodness(each, objectives)[0])
    steps = max(1, min(most, len(ordered)) - 1)
    return [ordered[place] for place in sorted({round(k * (len(ordered) - 1) / steps) for k in range(steps + 1)})]


def _draw(found: Swept, definition: Definition, study: Any, folder: Path) -> list[Path]:
    """Its plots; the importance of fields from some trials on, of which fewer say nothing."""
    finished = [each for each in found.trials if each.state == "finished"]
    dimensions = list({each: None for space in definition.spaces for each in space})
    plots.history(folder / "history.png", finished)
    plots.parallel(folder / "parallel.png", finished, dimensions)
    drawn = ["history.png", "parallel.png"]
    if len(finished) >= ENOUGH and (shares := importances(study)):
        plots.importance(folder / "importance.png", shares)
        drawn.append("importance.png")
    first, *others = found.objectives
    for name in others:
        plots.front(folder / f"front-{name}.png", finished, found.front, name, first)
        drawn.append(f"front-{name}.png")
    return [folder / name for name in drawn]


def _confirm(
    plan: Plan, seeds: int, tags: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Train a plan with the seeds that follow its own, which the search has seen, and test each.

    Returns runs, seeds, validation and test accuracies.
    """
    chosen = tuple(plan.recipe.seed + k for k in range(1, seeds + 1))
    plans = [replace(plan, recipe=plan.recipe.with_values({"seed": seed})) for seed in chosen]
    runs = tuple(evaluated(each, False, tags) for each in plans)
    above = [tracking.log_seeds(runs)] if seeds > 1 else runs
    for each in above:
        tracking.log_tags(each, tags)
    metrics = [tracking.load_run(each).metrics for each in runs]
    validation, test = (tuple(m[name] for m in metrics) for name in ("best_validation_accuracy", "test_accuracy"))
    return runs, chosen, validation, test


def pareto(trials: Sequence[Trial], objectives: Sequence[str]) -> list[Trial]:
    """Those that no other one equals in all objectives and beats in one; of equal ones the first."""
    scored = [(_goodness(each, objectives), each) for each in trials]
    front = []
    for place, (score, each) in enumerate(scored):
        beaten = any(
            all(a >= b for a, b in zip(other, score, strict=True)) and (other != score or k < place)
            for k, (other, _) in enumerate(scored)
            if k != place
        )
        if not beaten:
            front.append(each)
    return front


def _goodness(trial: Trial, objectives: Sequence[str]) -> tuple[float, ...]:
    """What it is judged by, more of which is better."""
    return tuple(trial.measured[name] if OBJECTIVES[name][0] else -trial.measured[name] for name in objectives)


def _write(path: Path, found: Any) -> None:
    with atomic_file(path) as partial:
        partial.write_text(to_json(found) + "\n", encoding="utf-8")
