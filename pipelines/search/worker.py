"""A worker: it takes one trial after the other, trains it, and reports how it goes, until nothing is left to do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines import tracking
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.search import trials
from pipelines.search.definition import Definition
from pipelines.search.objective import MEASURED, constrain, measure
from pipelines.search.space import suggest
from pipelines.search.storage import import_optuna, repeat
from pipelines.training.loop.stages import learned_from, schedule_for
from pipelines.training.train import train
from zoo.errors import SweepError, TrackingError

logger = logging.getLogger("zoo.sweep")

MOST_FAILURES = 5  # trials that all fail before anything else comes of them: then no other will do better
PARTS = 10  # of a training: pruners compare trials at the same tenth of their epochs, however many these are
POLL = 2.0  # seconds between two looks at what other workers do
CLOSED = "closed"  # of a study: why no trial begins any more, "" as long as they do
MOST = "trials"  # of a study: how many there are to be, None for as many as fit in the time
UNTIL = "until"  # of a study: when its time is over, in seconds since 1970; None for a number of trials alone
MOST_REPEATED = 50  # trials in a row whose recipes were tried before: then a space has hardly any others


class _Failed(Exception):  # noqa: N818 (of one trial, which says why)
    """A trial that came to nothing. What Optuna is to catch, so that the next one begins."""


@dataclass
class Worker:
    """One process that takes part in a sweep.

    study: Optuna's. name: of the sweep. run: its parent run in the tracking store. over: asked often, why this worker
    is to stop; "" to go on. joined: whether another process leads, so that others do what this one leaves. repeated:
    trials in a row that were trained before.
    """

    study: Any
    name: str
    definition: Definition
    run: str
    over: Callable[[], str]
    joined: bool = False
    repeated: int = 0

    def work(self) -> str:
        """Take part until no trial is left, also none that another worker may lose. Returns why it ended.

        Raises SweepError where all trials fail, TrackingError where the store is away; KeyboardInterrupt, after the
        trial that was running is in the queue again.
        """
        while not (reason := self.ends()):
            self._check_failures()
            trials.repeat_lost(self.study)
            most = self.study.user_attrs.get(MOST)
            if most is None and self.repeated >= MOST_REPEATED:
                return f"the last {self.repeated} trials repeated recipes that had been tried"
            if trials.any_in(self.study, "waiting") or most is None or len(trials.begun(self.study)) < most:
                self._take_one(most)
            elif trials.any_in(self.study, "running"):
                time.sleep(POLL)
            else:
                self._check_failures()
                return ""
        return reason

    def ends(self) -> str:
        """Why it is to stop by now, or all are; "" to go on."""
        return self.over() or self._closed()

    def _closed(self) -> str:
        """Why no trial begins any more, for whatever worker."""
        known = self.study.user_attrs
        until = known.get(UNTIL) if self.joined else None  # whoever leads looks at a clock, or is gone
        return str(known.get(CLOSED, "")) or ("the time of the sweep is over" if until and time.time() > until else "")

    def _check_failures(self) -> None:
        ended = [each for each in trials.read_trials(self.study, self.definition.models) if each.state in _ENDED]
        failed = [each for each in ended if each.state == "failed"]
        if len(ended) == len(failed) >= MOST_FAILURES:
            raise SweepError(
                f"the first {len(failed)} trials of sweep {self.name!r} all failed, trial {failed[0].number} because: "
                f"{failed[0].reason}"
            )

    def _take_one(self, most: int | None) -> None:
        optuna = import_optuna()
        begun: list[Any] = []

        def objective(trial: Any) -> float | tuple[float, ...]:
            begun.append(trial)
            if trials.is_surplus(self.study, trial.number, most):
                trial.set_user_attr(trials.SURPLUS, True)
                raise _Failed
            trials.claim(trial)
            return self._try(trial)

        try:
            self.study.optimize(objective, n_trials=1, catch=(_Failed,))
            self._leave(begun[0].number)
        except BaseException as error:
            mine = self.study.get_trials()[begun[0].number] if begun else None
            if mine is not None and mine.number in trials.repeated(self.study):
                # What Optuna raises of it is one of several errors, by the moment.
                logger.warning("trial %d sent no heartbeat for a while: another worker repeats it", mine.number)
                if isinstance(error, Exception):
                    return
            elif mine is not None and mine.state == optuna.trial.TrialState.FAIL:
                repeat(self.study, mine)  # this worker goes, the trial stays to be done
            raise

    def _leave(self, number: int) -> None:
        """Put a trial in the queue that came to nothing, and not by its own fault."""
        mine = self.study.get_trials()[number]
        if mine.state.name == "FAIL" and not {trials.REASON, trials.SURPLUS} & mine.user_attrs.keys():
            repeat(self.study, mine)

    def _try(self, trial: Any) -> float | tuple[float, ...]:
        """Train a trial's recipe. Returns what it is judged by; raises TrialPruned or _Failed."""
        models, errors = self.definition.models, import_optuna().exceptions
        model = trial.suggest_categorical(trials.MODEL, models) if len(models) > 1 else models[0]
        values = suggest(self.definition.spaces[models.index(model)], trial)
        if (same := self._same(trial.number, model, values)) is not None:
            logger.info("trial %d is the same as trial %d", trial.number, same.number)
            self.repeated += 1
            return self._note(trial, same.measured, same.epochs, same.run)
        self.repeated = 0
        logger.info("trial %d: %s %s", trial.number, model, " ".join(f"{k}={v}" for k, v in values.items()))
        try:
            plan = self.definition.plan_of(model, values)
            follow = _Follower(trial, plan, self)
            trained = train(plan=plan, tags=self._tags(trial), observer=follow)
            pruned = bool(trained.ended_early) and trained.ended_early == follow.reason
            measured = {} if pruned else measure(trained, self.definition.judged_by)
        except (TrackingError, errors.UpdateFinishedTrialError, errors.StorageInternalError):
            raise
        except Exception as error:  # whatever it is, other values may do better
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            logger.warning("trial %d failed: %s", trial.number, reason)
            trial.set_user_attr(trials.REASON, reason)
            raise _Failed from error
        if pruned:
            if self.joined and self.over() and not self._closed():
                raise _Failed  # this worker's own time is over, and not that of the sweep
            trial.set_user_attr(trials.REASON, follow.reason)
            self._note(trial, {}, trained.epochs, trained.run)
            raise errors.TrialPruned
        return self._note(trial, measured, trained.epochs, trained.run)

    def _same(self, number: int, model: str, values: Mapping[str, Any]) -> trials.Trial | None:
        """A finished trial of the same recipe."""
        found = trials.read_trials(self.study, self.definition.models)
        same = (each for each in found if each.state == "finished" and (each.model, each.values) == (model, values))
        return next((each for each in same if each.number != number), None)

    def _note(self, trial: Any, measured: Mapping[str, float], epochs: int, run: str) -> float | tuple[float, ...]:
        """Write down what came of a trial, and return what the sampler learns from."""
        trial.set_user_attr(trials.RUN, run)
        trial.set_user_attr(trials.EPOCHS, epochs)
        trial.set_user_attr(MEASURED, dict(measured))
        if measured:  # not of a trial that was pruned
            constrain(trial, measured, self.definition.where)
        found = tuple(measured.get(name, 0.0) for name in self.definition.objectives)
        return found if len(found) > 1 else found[0]

    def _tags(self, trial: Any) -> dict[str, str]:
        return {tracking.PARENT: self.run, "sweep": self.name, "sweep_trial": str(trial.number)}


_ENDED = ("finished", "pruned", "failed")


class _Follower:
    """Asked after each validation: it reports to the pruner how good the trial is by then, and may end it.

    reason: why it did.
    """

    def __init__(self, trial: Any, plan: Plan, worker: Worker) -> None:
        self._trial, self._worker, self.reason = trial, worker, ""
        self._epochs = schedule_for(plan.recipe, learned_from(plan.recipe, load_data(plan))).epochs
        self._best, self._reported = 0.0, 0

    def __call__(self, epoch: int, metrics: Mapping[str, float]) -> str | None:
        now = (metrics.get(name) for name in ("validation_accuracy", "averaged_validation_accuracy"))
        self._best = max(self._best, *(each for each in now if each is not None and each == each))  # not a NaN
        part = PARTS * epoch // self._epochs
        if part > self._reported and tuple(self._worker.definition.objectives) == ("accuracy",):
            self._reported = part
            self._trial.report(self._best, part)
            if part < PARTS and self._trial.should_prune():
                self.reason = f"the sweep pruned trial {self._trial.number}: others were better at this point"
                return self.reason
        self.reason = self._worker.ends()
        return self.reason or None
