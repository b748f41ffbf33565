"""Sweeps: a run above those of its trials, with the space, the best recipe and what came of it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.provenance.machine import commit
from pipelines.core.support.process import this_process
from pipelines.tracking.describing import ENDED_BY, NOTE, OBSERVER, shown, update_experiment
from pipelines.tracking.outbox.sender import sign_of_life
from pipelines.tracking.resuming import SWEEP, TRIAL
from pipelines.tracking.runs.logging import log_folder, log_metrics, log_tags
from pipelines.tracking.runs.reading import search
from pipelines.tracking.store import RUN_ID, checked_run_id, experiment_id, open_client
from zoo.checked import parse_json
from zoo.data import DataSet
from zoo.errors import TrackingError

PARENT = "mlflow.parentRunId"  # a tag of a run: the one above it
BEST, WINNERS = "sweep_best", "sweep_winners"  # tags of a sweep's run: a run's id; and ids of trainings by trial's run
SOURCE = "zoo sweep"  # what its run says that it was made by
SEARCHED = "search."  # followed by a field: parameters of a sweep's run
JUDGED_BY = "best_validation_accuracy"
MOST_TRIALS = 10_000  # that are read of a sweep


def start_sweep(name: str, data_set: DataSet, models: Sequence[str], searched: Mapping[str, str]) -> str:
    """Open the run of a sweep, in the experiment of its data set. Returns its id.

    searched: the range or the choices of each field. It is no training: it has no plan, and `zoo runs` doesn't list it.
    """
    tags = {
        SWEEP: name,
        "model": ", ".join(models),
        "data_set": data_set.name,
        "data_digest": data_set.digest,
        "commit": commit(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": SOURCE,
        NOTE: f"Sweep **{shown(name)}** of {shown(', '.join(models))}: its trials are the runs below it.",
        **this_process().to_tags(),
        **sign_of_life(),
    }
    with open_client() as client:
        from mlflow.entities import Param

        experiment = experiment_id(client, data_set.name)
        update_experiment(client, experiment, data_set)
        run_id = checked_run_id(client.create_run(experiment, run_name=f"sweep {name}", tags=tags))
        params = [Param("models", ", ".join(models)), *(Param(SEARCHED + k, v) for k, v in searched.items())]
        client.log_batch(run_id, params=params)
    return run_id


def log_sweep(run_id: str, counts: Mapping[str, int], metrics: Mapping[str, float], files: Sequence[Path]) -> None:
    """Write how many trials came to what, the metrics, and the files of a sweep."""
    log_metrics(run_id, {**{f"trials_{state}": float(count) for state, count in counts.items()}, **metrics})
    with tempfile.TemporaryDirectory() as temporary:
        for each in files:
            shutil.copy(each, temporary)
        log_folder(run_id, Path(temporary), "sweep")


def log_winners(run_id: str, best: str, winners: Mapping[str, Sequence[str]]) -> None:
    """Write down which trial of a sweep is the best, and what became of each that wins.

    best: its run. winners: of each trial that no other beats, its run, and the runs of its new trainings so far.
    """
    log_tags(run_id, {BEST: best, WINNERS: json.dumps({run: list(runs) for run, runs in winners.items()})})


@dataclass(frozen=True)
class TrackedSweep:
    """A sweep as the store has it.

    run: its own. searched: the fields of the recipe. trials: of those that were trained to their end the numbers by
    run, the most accurate first. pruned: how many were ended early. best: the run of the best one, "" as long as none
    is chosen. winners: of each trial that no other beats, its run, and the runs of its trainings with new seeds.
    """

    name: str
    run: str
    searched: tuple[str, ...]
    trials: Mapping[str, int]
    pruned: int
    best: str
    winners: Mapping[str, tuple[str, ...]]


def find_sweep(named: str) -> TrackedSweep | None:
    """The sweep of a name, the latest where there are several, or of its run's id; None where there is none.

    Raises TrackingError where the store fails, or has something else where the winners are.
    """
    if "'" in named or '"' in named:
        return None
    which = f"run_id = '{named}'" if RUN_ID.fullmatch(named) else f"tags.{SWEEP} = '{named}'"
    found = search(f"tags.`mlflow.source.name` = '{SOURCE}' AND {which}", 1)
    return _read(found[0]) if found else None


def _read(run: Any) -> TrackedSweep:
    tags, run_id = run.data.tags, checked_run_id(run)
    below = search(f"tags.`{PARENT}` = '{run_id}' AND status = 'FINISHED'", MOST_TRIALS)
    trials = [each for each in below if each.data.tags.get(TRIAL, "").isdecimal() and "fingerprint" in each.data.tags]
    whole = [each for each in trials if each.data.tags.get(ENDED_BY) != OBSERVER]
    whole.sort(key=lambda each: (-each.data.metrics.get(JUDGED_BY, 0.0), int(each.data.tags[TRIAL])))
    try:
        winners = {
            _checked(trial): tuple(map(_checked, runs)) for trial, runs in parse_json(tags.get(WINNERS, "{}")).items()
        }
        best = _checked(tags[BEST]) if BEST in tags else ""
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TrackingError(f"run {run_id} doesn't say which trials of its sweep win ({error}): not used") from None
    return TrackedSweep(
        name=tags.get(SWEEP, ""),
        run=run_id,
        searched=tuple(each.removeprefix(SEARCHED) for each in run.data.params if each.startswith(SEARCHED)),
        trials={checked_run_id(each): int(each.data.tags[TRIAL]) for each in whole},
        pruned=len(trials) - len(whole),
        best=best,
        winners=winners,
    )


def _checked(run_id: Any) -> str:
    if not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise ValueError(f"{run_id!r} is no run")
    return run_id
