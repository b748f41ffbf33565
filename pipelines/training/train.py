"""`zoo train`: from a plan to a run in the store, with Keras' own `fit`."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias, Unpack

import numpy as np

from pipelines import tracking
from pipelines.core.provenance.environment import machine_facts
from pipelines.core.provenance.machine import choose_precision
from pipelines.core.provenance.plan import DataOptions, Plan, load_data, read_plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.core.support.progress import Advance, progress
from pipelines.datasets.report import log_data
from pipelines.training.artifacts import log_augmented
from pipelines.training.effective_recipe import effective_recipe
from pipelines.training.filing import check_name_is_free
from pipelines.training.fingerprint import code_of, fingerprint, fingerprints
from pipelines.training.following import follow, say_beginning, say_outcome
from pipelines.training.loop import checkpoint
from pipelines.training.loop.checkpoint import Best, Checkpoint
from pipelines.training.loop.feeding import Calls, Feeding, feeding_of
from pipelines.training.loop.fit import VALIDATION_BATCH, fit, state_of
from pipelines.training.loop.learner import build_for
from pipelines.training.loop.stages import out_of_patience
from pipelines.training.parallel.agreement import Spokesman, check_same_start, together_fingerprint
from pipelines.training.parallel.asking import check_resumable, together_of, unfinished
from pipelines.training.parallel.team import Team, team_of
from pipelines.training.planning.budget import check_time, within
from pipelines.training.planning.choosing import plan_for
from pipelines.training.preparing import Prepared, prepare
from pipelines.training.transfer.head import learn_head
from zoo.contract import LOGITS
from zoo.data import DataSet, Split
from zoo.data.batches import training_batches
from zoo.data.pixels import in_chunks
from zoo.errors import TrackingError, ZooError
from zoo.models import definition
from zoo.models.ledger import read_ledger
from zoo.recipe import Recipe

logger = logging.getLogger("zoo.training")

SAVING = 0.03  # of the time of a training, at most, goes into checkpoints: short epochs don't have one each
WEIGHTS_TAG = "weights_sha256"  # of a run: the digest of the weights that it kept

# Asked after each validation: the epoch (the first is 1) and what was measured, by the names in `tracking.HISTORY` ->
# why the training is to end here; "" or None to go on.
OnEpoch: TypeAlias = Callable[[int, Mapping[str, float]], str | None]

Begun: TypeAlias = tuple[str | None, Plan, Checkpoint | None]  # a run to go on with, and where; or None for a new one


@dataclass(frozen=True)
class Trained:
    """A finished training.

    run: its id in the store. parameters: of the model. epochs: passes over the training images, of planned_epochs.
    best_epoch: the one whose weights were kept. validation_accuracy: 0..1, of those; None where the recipe learns from
    the validation images, too. seconds: of this call. ended_early: why it ended before the last of the planned epochs;
    "" where it didn't. averaged: whether the kept weights are an average. unsent: records of the run that the store
    doesn't have yet, 0 where all went well; they wait on disk, and `zoo sync` sends them.
    """

    run: str
    model: str
    data: str
    family: str
    parameters: int
    epochs: int
    best_epoch: int
    validation_accuracy: float | None
    seconds: float
    planned_epochs: int
    ended_early: str = ""
    averaged: bool = False
    unsent: int = 0


def train(
    model: str | None = None,
    data: str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    plan: Plan | Path | None = None,
    resume: str | None = None,
    time: float | None = None,
    devices: int | str | None = None,
    workers: str | None = None,
    worker: int | None = None,
    tags: Mapping[str, str] | None = None,
    observer: OnEpoch | None = None,
    **reading: Unpack[DataOptions],
) -> Trained:
    """Train a model on a data set, repeat the run of a plan, or continue a run that was interrupted.

    settings: fields of the model's recipe to change. source: an export or a run whose features the model starts from:
    they are frozen at first and then fine-tuned, as the recipe's `frozen` and `fine_rate` define. The weights with the
    best validation accuracy are kept, in float32; or the last ones, if the recipe trains on the validation images.
    time: a time limit in seconds: as many epochs are planned, and then trained, as this machine can train in it.
    tags: additional tags of the new run. observer: called after each validation, to decide whether training continues.
    A run that ended early, because of it or the recipe's patience, is FINISHED, with its best weights and the reason.
    devices: how many devices of this machine train it together, or "all". workers: the addresses of processes that do,
    as "host1:port,host2:port", or "tf-config"; worker: which of them this is, counted from 0. If one of them dies, the
    others may crash or hang: only the command `zoo train` monitors them, and only if all are started by it. See
    `training.parallel.watching`.
    Raises any ZooError; and KeyboardInterrupt, with the command that continues, after the run was ended as KILLED.
    """
    started = monotonic()
    together = together_of(devices, workers, worker, time=time, resume=resume)
    with ExitStack() as held:
        team = held.enter_context(team_of(together.devices, together.cluster)) if together else None
        if resume is not None:
            others = (model, data, settings, source, plan, time, *reading.values())
            begun: Begun = _interrupted(resume, others, held, team)
        else:
            if time is not None:
                check_time(settings)
            plan = _plan(model, data, settings, source, plan, reading, time)
            if team is not None:
                check_same_start(team, plan)
                if not team.is_chief:
                    return Trained(**follow(plan, team))
            tracking.check_store()
            check_name_is_free(plan)
            if time is not None:
                plan, measured = within(plan, time, started)
                tags = {**measured, **(tags or {})}
            begun = None, plan, None
            if team is not None and team.cluster and (run_id := unfinished(plan)):
                begun = _interrupted(run_id, (), held, team)
        trained = _train(*begun, started, held, tags, observer, team)
        if team is not None:
            say_outcome(team, asdict(trained))
    return replace(trained, unsent=tracking.unsent(trained.run))


def _train(
    run_id: str | None,
    plan: Plan,
    begin: Checkpoint | None,
    started: float,
    held: ExitStack,
    tags: Mapping[str, str] | None,
    observer: OnEpoch | None,
    team: Team | None,
) -> Trained:
    """Train from the beginning, or go on with a run, whose outbox is open until `held` ends."""
    precision = begin.precision if begin else choose_precision(plan.recipe.precision)
    if team is not None:
        say_beginning(team, precision, begin)
    ready = prepare(plan, precision, team)
    data_set, learned, schedule, stages = ready.data_set, ready.learned, ready.schedule, ready.stages
    transfer, views, learner = ready.transfer, ready.views, ready.learner
    parameters = int(learner.count_params())
    happened = effective_recipe(plan.recipe, learned, schedule, stages, precision, views)
    if run_id is None:
        facts: dict[str, str | int | float] = {
            **happened,
            "arithmetic": precision,
            "parameters": parameters,
            "updates": schedule.steps * stages[-1].last,
            **machine_facts(),
            **(transfer.facts() if transfer else {}),
        }
        known = fingerprint(plan)
        if team is not None:
            facts |= {"devices": team.devices, "workers": team.workers}
            tags, known = {tracking.TRAINED_ON: str(team), **(tags or {})}, together_fingerprint(plan)
        run_id = tracking.start_run(plan, data_set, facts, tags, fingerprint=known, code=code_of(plan))
    else:
        tracking.reopen(run_id)
    if transfer:
        logger.info("%s", transfer)
    if epochs := stages[-1].last:
        logger.info(
            "updates of the weights: %s, in %s passes (epochs) over %s %s",
            *(f"{count:,}" for count in (schedule.steps * epochs, epochs, len(learned.train))),
            learned.kind,
        )
    with _ended(run_id, team):
        if begin is None:
            held.enter_context(tracking.outbox_of(run_id))
            tracking.log_metrics(run_id, _costs(learner))
            begin = _beginning(learner, precision, run_id)
        with tracking.watch_machine(run_id):
            if begin.epoch == 0:  # also where it was interrupted amid these
                log_data(run_id, data_set)
                log_augmented(run_id, plan.recipe, happened, learned)
            if views and begin.best is None:
                begin = _with_head(ready, begin, plan.recipe, run_id)
            with progress(f"{plan.model} on {learned.name}", begin.epoch) as advance:
                calls = Calls()
                recorder = _Recorder(run_id, schedule.epochs, advance, observer, calls)
                following = recorder if team is None else Spokesman(team, recorder)
                fitted = fit(learner, plan, learned, ready.teacher, schedule, stages, begin, following)
            best = fitted.best
            if fitted.stopped:
                logger.info("ended early, after epoch %d of %d: %s", fitted.epochs, schedule.epochs, fitted.stopped)
                planned = out_of_patience(plan.recipe, schedule, stages[-1], fitted.epochs, best.epoch)
                by = {} if fitted.stopped == planned else {tracking.ENDED_BY: tracking.OBSERVER}
                tracking.log_tags(run_id, {tracking.ENDED_EARLY: fitted.stopped, **by})
            if plan.recipe.average != "none":
                tracking.log_tags(run_id, {tracking.WEIGHTS_KEPT: "averaged" if best.averaged else "as learned"})
            trained = _in_float32(plan, data_set, best)
            accuracy = _accuracy(trained, learned.validation) if learned.validation else None
            tracking.log_tags(run_id, {WEIGHTS_TAG: weights_sha256(trained)})  # `zoo reproduce` asks for the same again
            tracking.log_keras_model(run_id, trained)
            tracking.log_metrics(run_id, {"best_epoch": best.epoch, "epochs_trained": fitted.epochs})
            if accuracy is not None:
                of_best = {"best_validation_accuracy": accuracy}
                tracking.log_metrics(run_id, of_best, model=tracking.KERAS_MODEL, split="validation")
            # A worker can't take a step alone; the time of a teacher and of averages isn't that of reading images.
            more = plan.recipe.teacher or plan.recipe.average != "none"
            if not more and (team is None or team.cluster is None):
                stream = _stream(plan.recipe, learned)
                _log_feeding(run_id, feeding_of(learner, calls, schedule, stream, learned.kind))
    checkpoint.delete(run_id)
    return Trained(
        run=run_id,
        model=plan.model,
        data=data_set.name,
        family=definition(plan.model).family,
        parameters=parameters,
        epochs=fitted.epochs,
        best_epoch=best.epoch,
        validation_accuracy=accuracy,
        seconds=monotonic() - started,
        planned_epochs=stages[-1].last,
        ended_early=fitted.stopped,
        averaged=best.averaged,
    )


def _plan(
    model: str | None,
    data: str | None,
    settings: Mapping[str, Any] | None,
    source: str | None,
    plan: Plan | Path | None,
    reading: DataOptions,
    time: float | None,
) -> Plan:
    if plan is None:
        if model is None or data is None:
            raise ZooError("a training needs a model and a data set, or a plan, or a run to resume")
        return plan_for(model, data, settings=settings, source=source, **reading)
    if any((model, data, settings, source, time, *reading.values())):
        raise ZooError("a plan determines the whole training: leave out model, data, size, settings, time, and source")
    found = plan if isinstance(plan, Plan) else read_plan(plan)
    definition(found.model)
    return found


def _interrupted(run: str, others: tuple[Any, ...], held: ExitStack, team: Team | None) -> Begun:
    """The run to go on with, its plan, and where it stopped. TrackingError where it can't come to the same weights.

    From here on no other process can go on with it, until `held` ends.
    """
    if any(others):
        raise ZooError("a run resumes as it was started: leave out model, data, plan, size, settings, time, and source")
    run_id = tracking.find_run(run)
    held.enter_context(tracking.outbox_of(run_id, resumed=True))
    tracked = tracking.load_run(run_id)
    if tracked.status == "FINISHED":
        raise TrackingError(f"run {tracked.run_id} is finished: there is nothing to resume")
    load_data(tracked.plan, digest=tracked.data_digest)
    check_resumable(tracked.run_id, tracked.tags, team)
    own = fingerprints(tracked.plan) if team is None else (together_fingerprint(tracked.plan),)
    if tracked.fingerprint not in own:
        what = "code, libraries, or teacher" if tracked.plan.recipe.teacher else "code or libraries"
        raise TrackingError(f"the {what} have changed since run {tracked.run_id} started: train again")
    begin = checkpoint.load(tracked.run_id)
    if team is not None:
        logger.info("%s: continuing run %s from epoch %d", tracked.plan.model, tracked.run_id[:8], begin.epoch)
        on = f"{tracked.tags[tracking.TRAINED_ON]}, then {team} from epoch {begin.epoch}"
        tracking.log_tags(tracked.run_id, {tracking.TRAINED_ON: on})
    return tracked.run_id, tracked.plan, begin


@contextmanager
def _ended(run_id: str, team: Team | None) -> Iterator[None]:
    """Whatever happens inside of the block, the run ends in the store as what it was."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(TrackingError):  # what ended the run is the error to report
            tracking.finish(run_id, "KILLED")
        again = f"zoo train --resume {run_id[:8]}"
        if team is not None:
            again = "the same command for all workers" if team.cluster else f"{again} --devices {team.devices}"
        raise KeyboardInterrupt(f"interrupted; to continue: {again}") from None
    except BaseException:
        with suppress(TrackingError):
            tracking.finish(run_id, "FAILED")
        raise
    tracking.finish(run_id, "FINISHED")


class _Recorder:
    """Writes down how a training goes on: a line in the store after each validation, checkpoints, and progress."""

    def __init__(self, run_id: str, epochs: int, advance: Advance, observer: OnEpoch | None, calls: Calls) -> None:
        self._run_id, self._epochs, self._advance, self._observer = run_id, epochs, advance, observer
        self._calls = calls
        self._validated = self._saved = monotonic()
        self._saving = 0.0  # seconds that the last checkpoint took

    def on_step(self, epochs: float, best: Best | None) -> None:
        """Show how far it is."""
        self._calls.ended()
        validation = "" if best is None or best.accuracy is None else f", best validation accuracy {best.accuracy:.2%}"
        self._advance(epochs, self._epochs, f"epoch {math.ceil(epochs):,} of {self._epochs:,}{validation}")

    def on_validation(self, state: Checkpoint, metrics: Mapping[str, float]) -> str:
        """Keep what was measured and, unless that was done a moment ago, the state to go on from; say if it ends."""
        before, self._validated = self._validated, monotonic()
        metrics = {**metrics, "seconds": self._validated - before}
        tracking.log_epoch(self._run_id, state.epoch, metrics)
        reason = self._observer(state.epoch, metrics) if self._observer is not None else None
        if reason and not state.stopped and state.epoch < self._epochs:
            state = replace(state, stopped=reason)
        if state.stopped or self._validated - self._saved >= self._saving / SAVING:
            tracking.sync_log(self._run_id)  # first: what was measured before a checkpoint isn't measured again
            checkpoint.save(state, self._run_id)
            self._saved = monotonic()
            self._saving = self._saved - self._validated
        self._calls.goes_on()
        return state.stopped


def _stream(recipe: Recipe, data_set: DataSet) -> Any:
    return training_batches(
        data_set.train, data_set.classes, recipe, mirrored=data_set.mirrored, first_epoch=0, epochs=1
    )


def _log_feeding(run_id: str, feeding: Feeding | None) -> None:
    if feeding is not None:
        logger.info("%s", feeding)
        tracking.log_metrics(run_id, {"input_share": feeding.share})


def _beginning(learner: Any, precision: str, run_id: str) -> Checkpoint:
    """The checkpoint of a run that is about to begin: an interruption in its first epoch has one, too."""
    begin = Checkpoint(0, precision, state_of(learner), None)
    checkpoint.save(begin, run_id)
    return begin


def _with_head(ready: Prepared, begin: Checkpoint, recipe: Recipe, run_id: str) -> Checkpoint:
    """The checkpoint after the new head has learned from the features of the layers that come trained.

    On one device, whatever follows: it takes seconds, and Keras' `fit`, which knows no copies on several.
    """
    learner, alone = ready.learner, ready.alone
    head = learn_head(alone, ready.layers, recipe, ready.learned)
    if alone is not learner:
        for there, here in zip(learner.variables, alone.variables, strict=True):
            there.assign(here)
    logger.info("%s", head)
    tracking.log_tags(run_id, {"head_weight_decay": f"{head.decay:g}"})
    if head.best.accuracy is not None and head.best.loss is not None:
        measured = {"validation_accuracy": head.best.accuracy, "validation_loss": head.best.loss}
        tracking.log_epoch(run_id, 0, {**measured, "seconds": head.seconds})
    begin = replace(begin, variables=state_of(learner), best=head.best)
    tracking.sync_log(run_id)
    checkpoint.save(begin, run_id)
    return begin


def _costs(learner: Any) -> dict[str, float]:
    """What the model costs, as numbers that a list of runs can be sorted by."""
    entries = read_ledger(learner)
    return {
        "parameters": float(learner.count_params()),
        "multiply_accumulates": float(sum(layer.multiply_accumulates for layer in entries)),
    }


def _in_float32(plan: Plan, data_set: DataSet, best: Best) -> Any:
    """The model with its best weights, computing in float32: the one that is kept, measured and exported."""
    model = build_for(plan, data_set)
    model.set_weights(best.weights)
    return model


def _accuracy(model: Any, split: Split) -> float:
    """The share of a split's images that the model is right on, 0..1."""
    answers = [model.predict_on_batch(inputs)[LOGITS] for inputs in in_chunks(split.inputs, VALIDATION_BATCH)]
    return float(np.mean(np.concatenate(answers).argmax(1) == split.labels))
