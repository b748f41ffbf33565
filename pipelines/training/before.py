"""Runs that were begun when code was compared by the bytes of its files: which of today's code is theirs.

Their fingerprints hold one digest of the files of that time. Today's code is the same as long as it means what it meant
when the two ways were laid side by side, which MEANINGS says. Whatever changes afterwards is another code, as ever.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import zoo
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import teacher_digest
from zoo.contract import OLD_NAMES
from zoo.models import definition

FILES = "1be5356fda5a8494cf2c350e6df04d01d6898d69893db6aa50798d666039e56e"  # of the files, at commit 683047b
# What the same code meant then: of the training, with a transfer and without, and of each model of the zoo.
MEANINGS: Mapping[str, str] = {}


def is_same_since(plan: Plan, training: str, architecture: str) -> bool:
    """Whether the code that trains a plan means what it meant. training, architecture: the digests of today's code."""
    kind = "transfer" if plan.source else "training"
    known = MEANINGS.get(plan.model) == architecture or bool(_file_outside(plan.model))
    return known and MEANINGS.get(kind) == training


def fingerprint_before(plan: Plan, versions: Mapping[str, str | None]) -> str:
    """What a plan's fingerprint was then. versions: of the libraries that count."""
    names = {new: old for old, new in OLD_NAMES.items()}
    decisive = {
        "model": plan.model,
        "recipe": {names.get(name, name): value for name, value in plan.recipe.to_json().items()},
        "data": load_data(plan).digest,
        "code": FILES,
        "versions": versions,
        "teacher": teacher_digest(plan.recipe),
        "outside": _file_outside(plan.model),
        "source": plan.source.digest if plan.source else "",
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def _file_outside(model: str) -> str:
    """The SHA-256 of the file of a model that isn't the zoo's; "" for one that is."""
    path = inspect.getsourcefile(inspect.unwrap(definition(model).architecture)) or ""
    if Path(path).is_relative_to(Path(zoo.__file__).parent):
        return ""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
