"""Finding runs, and what the store knows of them."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from math import isnan, nan
from pathlib import Path
from typing import Any

from pipelines.core.provenance.plan import PLAN_FILE, Plan, parse_plan
from pipelines.tracking.describing import ENDED_BY, OBSERVER
from pipelines.tracking.runs.damage import DamagedRunError, intact, left_out
from pipelines.tracking.runs.system_metrics import SYSTEM
from pipelines.tracking.store import (
    RUN_ID,
    checked_run_id,
    existing_store,
    open_client,
    store_exists,
    store_uri,
    without_secrets,
)
from zoo.contract import renamed
from zoo.errors import RecipeError, TrackingError

# What is measured after each epoch; everything else that a run measures is a metric of the whole run.
HISTORY = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "learning_rate", "seconds")
AVERAGED_HISTORY = ("averaged_validation_loss", "averaged_validation_accuracy")  # of a run that averages, beside these
_BY_EPOCH = (*HISTORY, *AVERAGED_HISTORY)
NEEDED_TAGS = ("data_set", "data_digest", "commit")


@dataclass(frozen=True)
class TrackedRun:
    """What the store knows of a run.

    status: RUNNING, FINISHED, FAILED or KILLED. metrics: numbers by name, such as test_accuracy. history: "epoch",
    after which something was measured, 0 for a head that learned before, and for each name in HISTORY as many values,
    not a number where it wasn't measured. A name that never was isn't there: a run that held no images out has no
    validation_loss and no validation_accuracy; one that averages has AVERAGED_HISTORY, too. commit: of the code that
    trained.
    data_digest: of the images. fingerprint: of all that decides the weights. facts: the run's parameters but for its
    recipe, as text: what the machine was, what the model turned out to have. tags: all of them.
    """

    run_id: str
    status: str
    plan: Plan
    data_set: str
    data_digest: str
    fingerprint: str
    commit: str
    metrics: Mapping[str, float]
    history: Mapping[str, tuple[float, ...]]
    facts: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def was_exported(self) -> bool:
        """Whether its export is among its artifacts."""
        return "same_top_class" in self.metrics  # what an export logs last


def find_run(run: str) -> str:
    """The id of a run that is named by it, by its first digits, or as runs:/ID. TrackingError for none, or several."""
    prefix = run.removeprefix("runs:/").strip("/").lower()
    existing_store()
    found = [] if not prefix or set(prefix) - set("0123456789abcdef") else search(f"run_id LIKE '{prefix}%'")
    if len(found) == 1:
        return checked_run_id(found[0])
    if found:
        names = ", ".join(each.info.run_id[: len(prefix) + 4] for each in found[:5])
        raise TrackingError(f"{len(found)} runs begin with {prefix!r} ({names}): give more digits")
    recent = ", ".join(f"{each.info.run_id[:8]} ({each.info.run_name})" for each in search("", 3))
    there_are = f"the latest are {recent}" if recent else "there is none yet"
    raise TrackingError(f"no run in {without_secrets(store_uri())} begins with {run!r}: {there_are}")


def find_maker(named: str) -> str:
    """The id of the run that an export says made it, which may be anything. TrackingError where it isn't here."""
    if not RUN_ID.fullmatch(named):
        raise TrackingError(f"the export names no run, but {named[:40]!r}")
    return find_run(named)


def find_finished(plan: Plan, fingerprints: Sequence[str]) -> str | None:
    """The id of the latest run of a plan that was trained to its end, with this code on these images; None if none.

    A run of the same images in another place isn't meant: its own plan may lead nowhere by now. Nor is one that ended
    early because somebody who followed it said so.
    """
    if not store_exists():
        return None
    for fingerprint in fingerprints:
        found = search(f"status = 'FINISHED' AND tags.fingerprint = '{fingerprint}'")
        found = [run for run in found if run.data.tags.get(ENDED_BY) != OBSERVER]
        if (run_id := _first_of(plan, found)) is not None:
            return run_id
    return None


def trained_elsewhere(experiment: str, digest: str, data: str) -> str | None:
    """Where the data lie of a run in an experiment that learned others, from another place; None if there is none.

    digest: of the data that are meant, which lie at `data`.
    """
    if not store_exists():
        return None
    with open_client() as client:
        found = client.get_experiment_by_name(experiment)
        if found is None:
            return None
        same = client.search_runs([found.experiment_id], f"tags.data_digest = '{digest}'", max_results=1000)
        if any(run.data.params.get("data") == data for run in same):  # these are filed there already
            return None
        others = client.search_runs([found.experiment_id], f"tags.data_digest != '{digest}'", max_results=1000)
        places = (run.data.params.get("data", data) for run in others)
        return next((place for place in places if place != data), None)


def find_interrupted(plan: Plan, fingerprint: str, *, running: bool = False) -> tuple[str, ...]:
    """The ids of the runs of a plan that were killed or failed, and can be gone on with by this code; the latest first.

    Their checkpoints may be elsewhere, or gone. None where there is no store.
    running: also those that count as running, whose process may be gone.
    """
    if not store_exists():
        return ()
    ended = "" if running else "status != 'RUNNING' AND "
    found = search(f"status != 'FINISHED' AND {ended}tags.fingerprint = '{fingerprint}'")
    return tuple(_of_plan(plan, found))


def find_planned(plan: Plan, asked: str) -> Plan | None:
    """What an earlier call made of a plan whose epochs a time decides; None where there is no such run, or no store.

    asked: what that run's tag `planned_from` says. A run that came to its end counts before one that didn't.
    """
    if not store_exists():
        return None
    found = search(f"tags.planned_from = '{asked}'")
    ended = sorted(found, key=lambda run: run.info.status != "FINISHED")
    for run in intact((str(run.info.run_id) for run in ended), load_run):
        recipe = replace(run.plan.recipe, seed=plan.recipe.seed)  # one plan serves several seeds
        made = replace(plan, recipe=recipe)
        if made == replace(run.plan, recipe=recipe):
            return made
    return None


def _of_plan(plan: Plan, found: Iterable[Any]) -> Iterator[str]:
    runs = intact((str(run.info.run_id) for run in found), load_run)
    return (run.run_id for run in runs if run.plan == plan)


def _first_of(plan: Plan, found: Iterable[Any]) -> str | None:
    return next(_of_plan(plan, found), None)


def latest_by_model(experiment: str) -> tuple[TrackedRun, ...]:
    """Each model's latest finished run in an experiment, by the model's name; evaluated ones come first.

    Of several seeds trained in a row, it is the one that was exported: `zoo run --seeds` exports the first alone. A
    damaged run is left out, and one before it counts. None where there is no such experiment, or it holds no finished
    run. Raises TrackingError where the store fails.
    """
    by_model = _finished_by_model(experiment)
    latest = (_latest(intact(runs, load_run)) for _, runs in sorted(by_model.items()))
    return tuple(run for run in latest if run is not None)


def _latest(runs: Iterator[TrackedRun]) -> TrackedRun | None:
    """The first of them, or the exported one among the other seeds that follow."""
    first = next(runs, None)
    if first is None or first.was_exported:
        return first
    seeds = takewhile(lambda run: _differs_in_seed(run, first), runs)
    return next((run for run in seeds if run.was_exported), first)


def _differs_in_seed(run: TrackedRun, other: TrackedRun) -> bool:
    """Whether they are trainings of the same plan and the same data with two seeds."""
    plan = replace(run.plan, recipe=replace(run.plan.recipe, seed=other.plan.recipe.seed))
    return run.plan != plan == other.plan and run.data_digest == other.data_digest


def is_trained_on(experiment: str) -> bool:
    """Whether an experiment of that name holds a finished run. Raises TrackingError where the store fails."""
    return bool(_finished_by_model(experiment))


def _finished_by_model(experiment: str) -> dict[str, list[str]]:
    """The ids of an experiment's finished runs by model: those that were evaluated, then the others, latest first."""
    evaluated: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    with open_client() as client:
        known = client.get_experiment_by_name(experiment)
        token = None
        while known is not None:
            found = client.search_runs(
                [known.experiment_id], "status = 'FINISHED'", order_by=["start_time DESC"], page_token=token
            )
            for run in found:
                if "fingerprint" in run.data.tags:
                    several = evaluated if "test_accuracy" in run.data.metrics else others
                    several.setdefault(run.data.tags.get("model", ""), []).append(str(run.info.run_id))
            token = found.token
            if not token:
                break
    return {model: [*evaluated.get(model, ()), *others.get(model, ())] for model in {**evaluated, **others}}


def accuracies_by_seed(run: TrackedRun) -> dict[int, float]:
    """Seed -> test accuracy, ascending: of this run, and of each other finished one that differs in its seed alone.

    The same model, images and recipe; the code may have changed between them, or three seeds would have to be trained
    again for a comment. Of several runs of one seed the latest counts, but for the seed of this one. Raises
    TrackingError where the store fails.
    """
    own = run.plan.recipe
    of_the_same = f"tags.model = '{run.plan.model}' AND tags.data_digest = '{run.data_digest}'"  # size is in the digest
    found = {own.seed: run.metrics["test_accuracy"]}
    for other in search(f"status = 'FINISHED' AND metrics.test_accuracy >= 0 AND {of_the_same}", most=1000):
        if "fingerprint" not in other.data.tags or other.data.tags.get(ENDED_BY) == OBSERVER:
            continue  # a sweep or an export, which is no training, or one that somebody stopped
        try:
            with open_client() as client:
                plan = _plan_of(client, str(other.info.run_id))
        except RecipeError:  # of a version whose recipes had other fields: not the same recipe
            continue
        except DamagedRunError as error:
            left_out(str(other.info.run_id), error)
            continue
        recipe = plan.recipe
        if replace(recipe, seed=own.seed) == own and plan.source == run.plan.source:
            found.setdefault(recipe.seed, other.data.metrics["test_accuracy"])
    return dict(sorted(found.items()))


def search(filters: str, most: int = 100) -> Sequence[Any]:
    """Runs of all experiments that fit, the latest first."""
    with open_client() as client:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        return list(client.search_runs(experiments, filters, max_results=most, order_by=["start_time DESC"]))


def load_run(run: str) -> TrackedRun:
    """What the store knows of a run, named as `find_run` takes it. Raises TrackingError where it isn't one of ours."""
    run_id = find_run(run)
    with open_client() as client:
        found = client.get_run(run_id)
        if "fingerprint" not in found.data.tags:
            raise TrackingError(f"run {run_id} was not made by `zoo train`: choose another")
        if missing := [name for name in NEEDED_TAGS if name not in found.data.tags]:
            raise DamagedRunError(f"run {run_id} has lost its {', '.join(missing)}: train again")
        plan = _plan_of(client, run_id)
        by_epoch = {name: _by_epoch(client, run_id, name) for name in _BY_EPOCH if name in found.data.metrics}
    epochs = tuple(sorted(set[int]().union(*by_epoch.values())))
    # What was never a number was not measured: who draws a history asks for the names that are in it.
    history: dict[str, tuple[float, ...]] = {
        name: tuple(values.get(epoch, nan) for epoch in epochs)
        for name, values in by_epoch.items()
        if not all(map(isnan, values.values()))
    }
    history["epoch"] = epochs
    tags = found.data.tags
    return TrackedRun(
        run_id=run_id,
        status=found.info.status,
        plan=plan,
        data_set=tags["data_set"],
        data_digest=tags["data_digest"],
        fingerprint=tags["fingerprint"],
        commit=tags["commit"],
        metrics={
            name: value
            for name, value in renamed(found.data.metrics).items()
            if name not in _BY_EPOCH and not name.startswith(SYSTEM)
        },
        history=history,
        facts={name: value for name, value in renamed(found.data.params).items() if name not in plan.recipe.to_json()},
        tags=dict(tags),
    )


def _plan_of(client: Any, run_id: str) -> Plan:
    """A run's plan. DamagedRunError where its file is gone or no JSON, RecipeError where that is no plan of today's."""
    text = read_text(client, run_id, PLAN_FILE)
    where = f"{PLAN_FILE} of run {run_id}"
    try:
        json.loads(text)
    except ValueError as error:
        what = f"damaged ({error})" if text else "empty"
        raise DamagedRunError(f"{where} is {what}: train again") from None
    return parse_plan(text, where)


def labels_of(run_id: str) -> tuple[str, ...]:
    """The class names that a run learned, as `start_run` wrote them down; none where it is older than that."""
    with open_client() as client:
        inputs = client.get_run(run_id).inputs.dataset_inputs
    try:
        profiles = [json.loads(each.dataset.profile or "{}") for each in inputs]
    except ValueError as error:
        raise DamagedRunError(f"run {run_id} has lost its class names ({error}): train again") from None
    return tuple(str(label) for label in next((p["labels"] for p in profiles if "labels" in p), ()))


def _by_epoch(client: Any, run_id: str, name: str) -> dict[int, float]:
    """A metric by epoch, in order. What a resumed run measured again counts as it was measured last."""
    values = {metric.step: metric.value for metric in client.get_metric_history(run_id, name)}
    return dict(sorted(values.items()))


def fetch_folder(run_id: str, artifact_path: str, into: Path, *, written_by: str = "evaluate") -> Path:
    """Copy a folder of a run's artifacts below `into`, where it keeps its name. TrackingError where there is none.

    written_by: the command that writes it.
    """
    with open_client() as client:
        if not client.list_artifacts(run_id, artifact_path):
            raise TrackingError(f"run {run_id} holds no {artifact_path}: `zoo {written_by} {run_id[:8]}` writes it")
        return Path(client.download_artifacts(run_id, artifact_path, str(into)))


def read_text(client: Any, run_id: str, path: str) -> str:
    """One of the run's artifacts, as text. DamagedRunError where it isn't there, or no text."""
    with tempfile.TemporaryDirectory() as temporary:
        try:
            return Path(client.download_artifacts(run_id, path, temporary)).read_text(encoding="utf-8")
        except (UnicodeDecodeError, IsADirectoryError):
            raise DamagedRunError(f"{path} of run {run_id} is damaged (it isn't text): train again") from None
        except Exception as error:
            # A store that is away fails again here, and says so.
            if path in {file.path for file in client.list_artifacts(run_id)}:
                raise
            raise DamagedRunError(f"{path} of run {run_id} is gone: train again") from error
