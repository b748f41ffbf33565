"""`zoo run MODEL… --data DATA`: train, evaluate, export with its verification, and compare, in one go."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from pipelines import tracking
from pipelines.core.provenance.plan import DataOptions, Plan, load_data
from pipelines.evaluation.comparison.candidates import COMPARISON_FILE
from pipelines.evaluation.comparison.compare import compare
from pipelines.evaluation.comparison.rows import Comparison
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import check_place, export, tested_metrics
from pipelines.exporting.licenses import check_licenses, licenses_of
from pipelines.maintenance.stale import stale
from pipelines.training.filing import check_name_is_free
from pipelines.training.fingerprint import fingerprint, fingerprints
from pipelines.training.loop import checkpoint
from pipelines.training.planning.budget import asked, check_time, within
from pipelines.training.planning.choosing import plan_for
from pipelines.training.train import train
from pipelines.training.transfer.transfer import make_transfer
from zoo.contract import MANIFEST_FILE, check_file, read_manifest
from zoo.data import DataSet
from zoo.errors import ExportError, TrackingError
from zoo.models.registry import AUTO

logger = logging.getLogger("zoo.run")


def run(
    models: Sequence[str],
    data: str,
    *,
    settings: Mapping[str, Any] | None = None,
    source: str | None = None,
    exports: Path = Path("exports"),
    seeds: int = 1,
    again: bool = False,
    license: str = "",  # noqa: A002
    data_license: str = "",
    time: float | None = None,
    **reading: Unpack[DataOptions],
) -> Comparison:
    """Train, evaluate, export, and verify each model, and compare the exports, also in a plot.

    A model that was trained with the same plan, images, and code is not trained again, and its export is kept, unless
    `again` is set. Interrupted training is continued. A damaged run or export is named and replaced.
    models: names; `auto` is the model that `pipelines.training.planning.choosing` chooses for the data. source: an
    export or a run whose features they start from.
    seeds: how many times each model is trained, from the recipe's own seed upward. The export is of the recipe's own
    seed, whichever has the highest test accuracy, and lists the accuracies of all.
    license, data_license: as in `export`.
    time: seconds for training all of them, in equal shares: each model gets as many epochs as this machine can train in
    its share.
    Each step is logged to `zoo.run`. Raises any ZooError of the steps.
    """
    if time is not None:
        check_time(settings)
    plans = [plan_for(model, data, settings=settings, source=source, **reading) for model in models or [AUTO]]
    for plan in plans:
        check_name_is_free(plan)
        check_licenses(load_data(plan).name, license, data_license)
        check_place(exports / load_data(plan).name / plan.model, plan)
        make_transfer(plan, load_data(plan))  # a source that doesn't fit is refused before anything is trained
    if not again:
        _end_killed()
    planned: list[tuple[Plan, Mapping[str, str]]] = [(plan, {}) for plan in plans]
    if time is not None:  # a time too short for one of them is refused before anything is trained, too
        planned = [_in_time(plan, time / len(plans) / seeds, again) for plan in plans]
    folders = []
    for plan, tags in planned:
        own, *others = [evaluated(each, again, tags) for each in _with_seeds(plan, seeds)]
        if others:
            tracking.log_seeds([own, *others])
        folder = exports / load_data(plan).name / plan.model
        if not _is_export_of(folder, own, license, data_license):
            logger.info("%s: exporting and verifying", plan.model)
            try:
                folder = export(own, exports=exports, license=license, data_license=data_license).folder
            except tracking.DamagedRunError as error:
                tracking.left_out(own, error)
                made = evaluated(plan, True, tags)
                folder = export(made, exports=exports, license=license, data_license=data_license).folder
        folders.append(folder)
    logger.info("comparing")
    return compare(folders, plot=folders[0].parent / COMPARISON_FILE, data=_shared(plans))


def _shared(plans: Sequence[Plan]) -> DataSet | None:
    """The images of all plans; None where models take them at several sizes, and each is compared on its own."""
    found = {data_set.digest: data_set for data_set in map(load_data, plans)}
    return next(iter(found.values())) if len(found) == 1 else None


def _with_seeds(plan: Plan, seeds: int) -> list[Plan]:
    """The plan itself, and the same with each of the seeds that follow."""
    recipe = plan.recipe
    return [replace(plan, recipe=recipe.with_values({"seed": recipe.seed + k})) for k in range(seeds)]


def _in_time(plan: Plan, seconds: float, again: bool) -> tuple[Plan, Mapping[str, str]]:
    """The plan with the epochs that fit in a time, and tags for its runs; that of an earlier call, if there was one."""
    before = None if again else tracking.find_planned(plan, asked(plan, seconds))
    return (before, {}) if before is not None else within(plan, seconds)


def _end_killed() -> None:
    """Let runs whose process is gone count as killed, after what they had sent for the store is there."""
    if tracking.store_exists():
        stale()


def evaluated(plan: Plan, again: bool, tags: Mapping[str, str]) -> str:
    """The id of a run of the plan, finished and evaluated, by now if it wasn't before."""
    name = f"{plan.model}, seed {plan.recipe.seed}"
    finished = None if again else tracking.find_finished(plan, fingerprints(plan))
    if finished is not None:
        logger.info("%s: already trained, as run %s; --again retrains it", name, finished[:8])
    else:
        finished = _trained(plan, name, again, tags)
    # Evaluated also where an earlier call stopped here.
    if "test_accuracy" not in tracking.load_run(finished).metrics:
        logger.info("%s: evaluating on the test set", name)
        try:
            evaluate(finished)
        except tracking.DamagedRunError as error:
            if again:  # it was trained just now
                raise
            tracking.left_out(finished, error)
            return evaluated(plan, True, tags)
    return finished


def _trained(plan: Plan, name: str, again: bool, tags: Mapping[str, str]) -> str:
    """The id of a run that is trained now: an interrupted one of the plan from its checkpoint, else a new one."""
    interrupted = () if again else tracking.find_interrupted(plan, fingerprint(plan))
    for run_id in filter(checkpoint.exists, interrupted):
        try:
            epoch = checkpoint.load(run_id).epoch
        except TrackingError as error:
            logger.warning("%s: can't continue run %s: %s", name, run_id[:8], error)
            continue
        logger.info(
            "%s: continuing interrupted run %s from epoch %d; --again retrains it",
            name,
            run_id[:8],
            epoch,
        )
        return train(resume=run_id).run
    logger.info("%s: training on %s", name, load_data(plan).name)
    return train(plan=plan, tags=tags).run


def _is_export_of(folder: Path, run_id: str, license: str, data_license: str) -> bool:  # noqa: A002
    """Whether the folder holds an export of the run, with all that is known of it by now, and the run knows of it."""
    run = tracking.load_run(run_id)
    # os.path: a folder that can't be reached is no export, and writing it says why.
    if not run.was_exported or not os.path.isfile(folder / MANIFEST_FILE):  # noqa: PTH113
        return False
    try:
        manifest = read_manifest(folder)
        for file in manifest.files:
            check_file(folder, manifest, file.path)
    except ExportError as error:
        logger.warning("%s is rewritten: %s", folder, error)
        return False
    stated = licenses_of(manifest.metadata, license, data_license)
    if (license or data_license) and manifest.licenses != stated:
        return False
    return manifest.metadata.run_id == run_id and tested_metrics(run).items() <= manifest.metrics.items()
