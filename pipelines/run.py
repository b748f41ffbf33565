"""`zoo run MODEL… --data DATA`: train, evaluate, export with its verification, and compare, in one go."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from pipelines import tracking
from pipelines.core.provenance.plan import DataOptions, Plan, load_data, make_plan
from pipelines.evaluation.comparison.candidates import COMPARISON_FILE
from pipelines.evaluation.comparison.compare import compare
from pipelines.evaluation.comparison.rows import Comparison
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import check_place, export, tested_metrics
from pipelines.training.filing import check_name_is_free
from pipelines.training.fingerprint import fingerprints
from pipelines.training.train import train
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.contract import MANIFEST_FILE, read_manifest

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
    **reading: Unpack[DataOptions],
) -> Comparison:
    """Take each model the whole way and compare their exports; the comparison is also plotted.

    A model that was trained by the same plan, on the same images, with the same code is not trained again, and an
    export of such a run is kept, unless `again` asks for it.
    source: an export or a run whose features they start from.
    seeds: how often each model is trained, from the seed of its recipe upwards. The export is of the recipe's own seed,
    whichever does best in the test, and names the accuracies of all.
    Each step is logged to `zoo.run`. Raises any ZooError of the steps.
    """
    origins = [find_source(source, model) if source else None for model in models]
    plans = [
        make_plan(model, data, settings=settings, source=origin, **reading)
        for model, origin in zip(models, origins, strict=True)
    ]
    for plan in plans:
        check_name_is_free(plan)
        check_place(exports / load_data(plan).name / plan.model, plan)
        make_transfer(plan, load_data(plan))  # a source that doesn't fit is refused before anything is trained
    folders = []
    for plan in plans:
        own, *others = [_evaluated(each, again) for each in _with_seeds(plan, seeds)]
        if others:
            tracking.log_seeds([own, *others])
        folder = exports / load_data(plan).name / plan.model
        if not _is_export_of(folder, own):
            logger.info("%s: exporting and verifying", plan.model)
            folder = export(own, exports=exports).folder
        folders.append(folder)
    logger.info("comparing")
    return compare(folders, plot=folders[0].parent / COMPARISON_FILE, data=load_data(plans[0]))


def _with_seeds(plan: Plan, seeds: int) -> list[Plan]:
    """The plan itself, and the same with each of the seeds that follow."""
    recipe = plan.recipe
    return [replace(plan, recipe=recipe.with_values({"seed": recipe.seed + k})) for k in range(seeds)]


def _evaluated(plan: Plan, again: bool) -> str:
    """The id of a run of the plan, finished and evaluated, by now if it wasn't before."""
    name = f"{plan.model}, seed {plan.recipe.seed}"
    finished = None if again else tracking.find_finished(plan, fingerprints(plan))
    if finished is None:
        logger.info("%s: training on %s", name, load_data(plan).name)
        finished = train(plan=plan).run
    else:
        logger.info("%s: trained before, as run %s; --again trains it anew", name, finished[:8])
    if "test_accuracy" not in tracking.load_run(finished).metrics:  # also where an earlier call stopped here
        logger.info("%s: evaluating on the test set", name)
        evaluate(finished)
    return finished


def _is_export_of(folder: Path, run_id: str) -> bool:
    """Whether the folder holds an export of the run, with all that is known of it by now, and the run knows of it."""
    run = tracking.load_run(run_id)
    # os.path: a folder that can't be reached is no export, and writing it says why.
    if "same_top_class" not in run.metrics or not os.path.isfile(folder / MANIFEST_FILE):  # noqa: PTH113
        return False
    manifest = read_manifest(folder)
    return manifest.metadata.run_id == run_id and tested_metrics(run).items() <= manifest.metrics.items()
