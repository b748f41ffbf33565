"""`zoo train MODEL --data DATA --find-rate`: which learning rate a model bears, from a few hundred steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.plan import DataOptions, load_data
from pipelines.core.support.progress import progress
from pipelines.training.loop.distillation import teacher_of
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import Schedule, Stage, learned_from, make_schedule, make_stages
from pipelines.training.planning.choosing import plan_for
from pipelines.training.planning.plots import rate_curve
from pipelines.training.transfer.transfer import Transfer, make_transfer
from zoo.data.batches import training_batches
from zoo.errors import RecipeError
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

LOWEST, HIGHEST = 1e-6, 10.0
STEPS = 300
SMOOTHING = 0.95  # of the loss, for each step: it looks back over about 20
DIVERGED = 4.0  # times the lowest smoothed loss: there the test ends
BELOW = 10.0  # the rate that is suggested is by so much below that of the lowest loss, where steps are already too long


@dataclass(frozen=True)
class FoundRate:
    """What a range test found. rate: the learning rate that is suggested. lowest: that of the lowest loss.

    share: of the recipe's rate at which the training begins, below 1 where all of it is fine-tuning; the suggestion
    makes up for it. rates, losses: of each step, the losses smoothed. plot: the file that was written, None if there
    is none.
    """

    model: str
    data: str
    rate: float
    lowest: float
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    plot: Path | None = None
    share: float = 1.0


def find_rate(
    model: str,
    data: str,
    *,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    plot: Path | None = None,
    **reading: Unpack[DataOptions],
) -> FoundRate:
    """Train a model that is thrown away, at rates that rise from step to step, and see where its loss falls.

    settings, source: as `pipelines.train` takes them; everything learns, also what it would freeze at first. The peak
    of a recipe's rate is what is suggested. There is no run of it; plot: a PNG to write.
    Raises RecipeError where no rate lets the loss fall, or where only a head learns; and what `train` raises before it
    begins.
    """
    plan = plan_for(model, data, settings=settings, source=source, **reading)
    data_set = load_data(plan)
    learned = learned_from(plan.recipe, data_set)
    schedule = replace(make_schedule(plan.recipe, learned), call=1)
    transfer = make_transfer(plan, learned)
    share = _share_of_rate(plan.recipe, schedule, transfer)
    stage = Stage(0, schedule.epochs, plan.recipe.learning_rate)
    precision = choose_precision(plan.recipe.precision)
    learner = make_learner(plan, data_set, schedule, stage, precision, transfer.layers if transfer else {})
    learner.optimizer.learning_rate = start_keras().optimizers.schedules.ExponentialDecay(
        LOWEST, decay_steps=STEPS - 1, decay_rate=HIGHEST / LOWEST
    )
    batches = training_batches(
        learned.train,
        learned.classes,
        plan.recipe,
        mirrored=learned.mirrored,
        first_epoch=0,
        epochs=math.ceil(STEPS / schedule.steps),
        teacher=teacher_of(plan.recipe, learned),
    )
    losses: list[float] = []
    with progress(f"learning rates of {plan.model}") as advance:
        for images, targets in batches.take(STEPS):
            learner.reset_metrics()  # or Keras would report the mean of all steps
            losses.append(float(learner.train_on_batch(images, targets)[0]))
            smooth = smoothed(losses)
            advance(len(losses), STEPS, f"step {len(losses)} of {STEPS}, loss {smooth[-1]:.3g}")
            if not smooth[-1] <= DIVERGED * smooth.min():  # not a number, too
                break
    rates = LOWEST * (HIGHEST / LOWEST) ** (np.arange(len(losses)) / (STEPS - 1))
    at = lowest_at(smooth)
    if at is None:
        raise RecipeError(
            f"the loss of {plan.model} falls at no learning rate from {LOWEST:g} to {HIGHEST:g}: check its data"
        )
    borne = rates[at] / BELOW
    found = FoundRate(
        model=plan.model,
        data=learned.name,
        rate=float(f"{borne / share:.2g}"),
        lowest=float(rates[at]),
        rates=tuple(map(float, rates)),
        losses=tuple(map(float, smooth)),
        plot=plot,
        share=share,
    )
    if plot is not None:
        rate_curve(plot, f"{plan.model} on {learned.name}", found.rates, found.losses, found.lowest, float(borne))
    return found


def _share_of_rate(recipe: Recipe, schedule: Schedule, transfer: Transfer | None) -> float:
    """Of the recipe's learning rate, at which its first stage learns. RecipeError where only a head does."""
    if transfer is None:
        return 1.0
    first, *_ = make_stages(recipe, schedule, transfer.layers, transfer.norms, new=transfer.has_new)
    if first.first == first.last:
        raise RecipeError(
            "with frozen=1 and views, only the head learns, and this test trains all layers: leave out --find-rate, or "
            "set frozen below 1"
        )
    return first.learning_rate / recipe.learning_rate


def smoothed(losses: Sequence[float]) -> NDArray[np.float64]:
    """[N]: the moving average of the losses, without the weight of the zero that it begins at (Kingma & Ba 2015)."""
    average, smooth = 0.0, np.empty(len(losses))
    for step, loss in enumerate(losses):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth[step] = average / (1 - SMOOTHING ** (step + 1))
    return smooth


def lowest_at(smooth: NDArray[np.float64]) -> int | None:
    """Where the loss is lowest; None where it never fell by a twentieth of what it was."""
    finite = np.where(np.isfinite(smooth), smooth, np.inf)
    at = int(finite.argmin())
    return at if finite[at] < 0.95 * finite[0] else None
