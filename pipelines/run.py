"""`zoo run MODEL… --data DATA`: train, evaluate, export with its verification, and compare, in one go."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines import tracking
from pipelines.compare import Comparison, compare
from pipelines.evaluate import evaluate
from pipelines.export import export
from pipelines.plan import load_data, make_plan
from pipelines.train import train
from zoo.contract import MANIFEST_FILE, read_manifest


def run(
    models: Sequence[str],
    data: str,
    *,
    data_folder: Path | None = None,
    size: tuple[int, int] | None = None,
    settings: Mapping[str, Any] | None = None,
    exports: Path = Path("exports"),
    again: bool = False,
    tell: Callable[[str], None] = print,
) -> Comparison:
    """Take each model the whole way and compare their exports; the comparison is also drawn as a picture.

    A model that was trained by the same plan, on the same pictures, with the same code is not trained again, and an
    export of such a run is kept, unless `again` asks for it. Raises any ZooError of the steps.
    """
    plans = [make_plan(model, data, data_folder=data_folder, size=size, settings=settings or {}) for model in models]
    folders = []
    for plan in plans:
        finished = None if again else tracking.find_finished(plan)
        if finished is None:
            tell(f"{plan.model}: training on {load_data(plan).name}")
            finished = train(plan=plan).run
        else:
            tell(f"{plan.model}: trained before, as run {finished[:8]}; --again trains it anew")
        known = dict(tracking.load_run(finished).figures)
        if "test_robust_accuracy" not in known:  # also where an earlier call stopped here
            tell(f"{plan.model}: evaluating on the test set")
            evaluate(finished)
            known.clear()  # an export of these is older than they are
        folder = exports / load_data(plan).name / plan.model
        if "same_top_class" not in known or not _is_export_of(folder, finished):
            tell(f"{plan.model}: exporting and verifying")
            folder = export(finished, exports=exports).folder
        folders.append(folder)
    tell("comparing")
    return compare(folders, picture=folders[0].parent / "comparison.png")


def _is_export_of(folder: Path, run_id: str) -> bool:
    # os.path: a folder that can't be reached is no export, and writing it says why.
    return os.path.isfile(folder / MANIFEST_FILE) and read_manifest(folder).metadata.run_id == run_id  # noqa: PTH113
