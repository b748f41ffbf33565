"""A plan: all that decides what a training makes. Written beside every run, so that the same run can be made again."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.machine import ROOT, versions
from pipelines.progress import progress
from pipelines.teacher import teacher_digest
from zoo.data import DataSet, data_sets, load
from zoo.errors import DataError, RecipeError
from zoo.models import check_takes_tables, definition
from zoo.recipe import Recipe

PLAN_FILE = "plan.json"
LEARNED_AS_THEY_ARE: Mapping[str, Any] = {"augmentation": "none", "mixup": 0}  # the rows of a table


@dataclass(frozen=True)
class Plan:
    """Which model learns which pictures, or which table, and how.

    data: a known data set or the absolute path of a folder or a table. data_folder: where the files of a known one lie,
    if not in a usual place. size: (height, width) in pixels, None for the data set's own. label: of a table, the column
    that holds the class.
    """

    model: str
    data: str
    data_folder: str | None
    size: tuple[int, int] | None
    recipe: Recipe
    label: str | None = None

    def to_json(self) -> str:
        """The text of plan.json."""
        found = {
            "model": self.model,
            "data": self.data,
            "data_folder": self.data_folder,
            "size": self.size,
            "recipe": self.recipe.to_json(),
            **({} if self.label is None else {"label": self.label}),
        }
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def make_plan(
    model: str,
    data: str,
    *,
    data_folder: str | Path | None = None,
    size: tuple[int, int] | None = None,
    label: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan for a model on a data set, by the model's own recipe; `settings` change fields of it.

    Where they name the epochs and no least_updates, that number of epochs it is. label: of a table, whose rows are
    learned as they are.

    Raises ModelError for an unknown model, or one that looks at pictures and is to learn a table; RecipeError for an
    unknown field or a value that it can't have.
    """
    settings = dict(settings or {})
    if "epochs" in settings:
        settings.setdefault("least_updates", 0)  # who names the epochs gets them, however few the pictures
    if label is not None:
        check_takes_tables(model)
        settings = {**LEARNED_AS_THEY_ARE, **settings}
    recipe = definition(model).recipe.with_values(settings)
    if data not in data_sets() and os.path.exists(data):  # noqa: PTH110 (where Path raises, loading says why)
        data = str(Path(data).resolve())  # a later command may start elsewhere
    return Plan(model, data, str(Path(data_folder).resolve()) if data_folder else None, size, recipe, label)


def read_plan(path: Path) -> Plan:
    """The plan in a plan.json. Raises RecipeError where the file isn't one, or holds an unknown field."""
    try:
        return parse_plan(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it isn't text"
        raise RecipeError(f"{path} can't be read as a plan ({reason}): expected a run's {PLAN_FILE}") from None


def parse_plan(text: str, where: str) -> Plan:
    """What `Plan.to_json` wrote. where: named in the RecipeError for a text that isn't a plan."""
    try:
        found = json.loads(text)
        height, width = found["size"] or (0, 0)
        return Plan(
            model=str(found["model"]),
            data=str(found["data"]),
            data_folder=None if found["data_folder"] is None else str(found["data_folder"]),
            size=(int(height), int(width)) if found["size"] else None,
            recipe=Recipe.from_json(found["recipe"]),
            label=None if found.get("label") is None else str(found["label"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecipeError(f"{where} is not a plan ({error!r}): expected the {PLAN_FILE} of a run") from None


def load_data(plan: Plan, *, digest: str | None = None) -> DataSet:
    """The plan's pictures, decoded once in a process, or its table.

    digest: what they had when a run was trained on them. Raises DataError where they differ now, and what
    `zoo.data.load` raises.
    """
    data_set = _load(plan.data, plan.data_folder, plan.size, plan.label)
    if digest is not None and data_set.digest != digest:
        raise DataError(
            f"the {data_set.kind} of {plan.data} have changed since the run was trained on them "
            f"(digest {data_set.digest[:12]}, expected {digest[:12]}): restore them, or train anew"
        )
    return data_set


@lru_cache(maxsize=2)
def _load(data: str, folder: str | None, size: tuple[int, int] | None, label: str | None) -> DataSet:
    with progress(f"reading {Path(data).name}") as advance:
        found = load(
            data,
            folder=Path(folder) if folder else None,
            size=size,
            label=label,
            on_progress=lambda done, in_all: advance(done, in_all, f"{done:,} of {in_all:,}"),
        )
    for sentence in found.skipped:
        print(f"left out: {sentence}", file=sys.stderr, flush=True)
    return found


def fingerprint(plan: Plan) -> str:
    """SHA-256, in hex, of all that decides the weights: model, recipe, pictures, code that trains, library versions.

    Two runs of one fingerprint on one machine, with as many threads, have the same weights. Where the pictures lie
    doesn't matter.
    """
    library = {name: versions().get(name) for name in ("tensorflow", "keras", "numpy", "pillow")}
    decisive = {
        "model": plan.model,
        "recipe": plan.recipe.to_json(),
        "data": load_data(plan).digest,
        "code": _code_digest(),
        "versions": library,
        "teacher": teacher_digest(plan.recipe),
        "outside": _outside_digest(plan.model),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _code_digest() -> str:
    digest = hashlib.sha256()
    trains = [ROOT / "pipelines" / f"{name}.py" for name in ("train", "norms", "optimizer", "teacher")]
    for path in sorted([*(ROOT / "zoo").rglob("*.py"), *trains]):
        if path.relative_to(ROOT).parts[1] != "runtime":  # it runs what was trained
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _outside_digest(model: str) -> str:
    """Of the file that a model from outside of the zoo is written in; "" for ours, which `_code_digest` covers.

    One that no file holds, typed at a prompt, is another model each time: nobody can say that it is the same.
    """
    try:
        path = Path(inspect.getsourcefile(definition(model).diagram) or "").resolve()
        if path.is_relative_to(ROOT / "zoo"):
            return ""
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, TypeError):  # TypeError: a diagram that isn't a function, but can be called
        return os.urandom(32).hex()
