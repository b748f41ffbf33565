"""The trials of a sweep, as the storage has them: which count, which were lost and are repeated, which is the best."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipelines.core.support.process import process_of, this_process
from pipelines.search.objective import MEASURED
from pipelines.search.storage import GRACE, HISTORY, import_optuna, repeat

# What a trial writes down beside Optuna's own: its process, its MLflow run, why it ended, and that it was one too many.
PROCESS, RUN, REASON, SURPLUS, EPOCHS = "process", "run", "reason", "surplus", "epochs"
MODEL = "model"  # the parameter that says which model it is, where there are several

STATES = ("finished", "pruned", "failed", "lost", "running", "waiting")


@dataclass(frozen=True)
class Trial:
    """A trial.

    state: finished; pruned, after fewer epochs than planned; failed, for a reason of its own; lost with its worker, and
    repeated where a later trial says so; running; or waiting. values: of the fields that are searched. accuracy: of the
    validation images, 0..1; None where it wasn't trained to its end. measured: what else it is judged by, by name.
    reason: why it failed or was pruned. run: its id in the tracking store, "" where it has none.
    """

    number: int
    model: str
    values: Mapping[str, Any]
    state: str
    accuracy: float | None
    measured: Mapping[str, float]
    epochs: int
    seconds: float
    reason: str
    run: str
    repeats: int | None


def read_trials(study: Any, models: Sequence[str]) -> tuple[Trial, ...]:
    """All of a study that count, by number: those that were begun beyond the number that was asked for don't."""
    found = study.get_trials(deepcopy=False)
    return tuple(_read(each, models) for each in found if SURPLUS not in each.user_attrs)


def _read(trial: Any, models: Sequence[str]) -> Trial:
    values = dict(trial.params)
    measured = trial.user_attrs.get(MEASURED, {})
    history = trial.system_attrs.get(HISTORY, ())
    return Trial(
        number=trial.number,
        model=str(values.pop(MODEL, models[0])),
        values=values,
        state=_state(trial),
        accuracy=measured.get("accuracy"),
        measured=measured,
        epochs=int(trial.user_attrs.get(EPOCHS, 0)),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        reason=str(trial.user_attrs.get(REASON, "")),
        run=str(trial.user_attrs.get(RUN, "")),
        repeats=history[-1] if history else None,
    )


def _state(trial: Any) -> str:
    known = {"COMPLETE": "finished", "PRUNED": "pruned", "RUNNING": "running", "WAITING": "waiting"}
    return known.get(trial.state.name) or ("failed" if REASON in trial.user_attrs else "lost")


def begun(study: Any) -> list[int]:
    """The numbers of the trials that count against the number that was asked for: those that repeat another don't."""
    found = study.get_trials(deepcopy=False)
    return [each.number for each in found if SURPLUS not in each.user_attrs and not each.system_attrs.get(HISTORY)]


def is_surplus(study: Any, number: int, most: int | None) -> bool:
    """Whether a trial that has just begun is one too many, because another worker began one at the same moment.

    Of these, all workers take the same ones for it: those with the highest numbers.
    """
    counted = begun(study)
    return most is not None and number in counted and counted.index(number) >= most


def any_in(study: Any, *states: str) -> bool:
    """Whether a trial is in one of the states."""
    return any(_state(each) in states for each in study.get_trials(deepcopy=False))


def repeated(study: Any) -> set[int]:
    """The numbers of the trials that others repeat."""
    found = study.get_trials(deepcopy=False)
    return {number for each in found for number in each.system_attrs.get(HISTORY, ())}


def claim(trial: Any) -> None:
    """Write down whose a trial is, which may repeat another's."""
    trial.set_user_attr(PROCESS, this_process().to_tags())


def repeat_lost(study: Any) -> int:
    """Put trials whose worker is gone in the queue again, and return how many.

    On this machine a process is known to be gone at once, of another one the signs of life stay away for a while.
    """
    optuna = import_optuna()
    found = 0
    for each in study.get_trials(deepcopy=False):
        if each.state.name == "RUNNING" and _is_gone(each):
            # Another worker that looks at the same moment has it repeated, or this one, not both.
            with suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):
                study.tell(each.number, state=optuna.trial.TrialState.FAIL)
                repeat(study, study.get_trials()[each.number])
                found += 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    return found


def repeat_forgotten(study: Any) -> None:
    """Put lost trials in the queue that nobody did: who was about to, was killed at that moment.

    For a sweep that goes on. Another worker may be about to just now: then a trial is done twice, and counts once.
    """
    known = repeated(study)
    for each in study.get_trials(deepcopy=False):
        if _state(each) == "lost" and SURPLUS not in each.user_attrs and each.number not in known:
            repeat(study, each)


def _is_gone(trial: Any) -> bool:
    process = process_of(trial.user_attrs.get(PROCESS, {}))
    if process is not None:
        return process.is_gone() is True
    # Its worker was gone before it had written that down, and gives no sign of life either.
    return bool(trial.datetime_start is not None and time.time() - trial.datetime_start.timestamp() > GRACE)


def importances(study: Any) -> dict[str, float]:
    """How much of the first objective's variation comes from each parameter: shares of 1 (PED-ANOVA, Watanabe 2023).

    Empty where all trials did as well.
    """
    optuna = import_optuna()
    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if len({each.values[0] for each in done}) < 2:
        return {}
    sign = -1 if study.directions[0].name == "MAXIMIZE" else 1  # what is asked is what makes a value low
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is new, and that some of the parameters are categories
        try:
            found = optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
                target=lambda trial: sign * trial.values[0],
            )
        except (ValueError, RuntimeError):
            return {}
    return {name: float(share) for name, share in found.items() if share == share}
