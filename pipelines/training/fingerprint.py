"""What the weights of a training depend on, as one digest: two runs of one fingerprint come to the same weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from typing import Any

from pipelines.core.provenance.code import code_digest
from pipelines.core.provenance.machine import choose_precision, compiles_steps, versions
from pipelines.core.provenance.plan import Plan, load_data
from pipelines.core.provenance.weights import teacher_digest
from pipelines.core.support.to_json import digest_of
from pipelines.training.earlier_code import FILES, fingerprint_before, is_same_since
from pipelines.training.loop.fit import fit
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import learned_from, make_schedule, make_stages, schedule_for
from pipelines.training.transfer.head import learn_head
from pipelines.training.transfer.transfer import with_weights_of
from zoo.models import definition
from zoo.runtime import Classifier

LIBRARIES = ("tensorflow", "keras", "numpy", "pillow")  # whose versions change the weights


def fingerprint(plan: Plan) -> str:
    """SHA-256, in hex, of all that decides the weights: model, recipe, images, code that trains, library versions.

    Two runs of one fingerprint on one machine, with as many threads, have the same weights. Where the images lie
    doesn't matter, nor do comments, and where in the project the code stands: see `core.provenance.code`.
    """
    data_set = load_data(plan)
    decisive = {
        "model": plan.model,
        "architecture": architecture_digest(plan.model),
        "recipe": plan.recipe.decisive(),
        "data": data_set.digest,
        "mirrored": data_set.mirrored and plan.recipe.mirrored == "auto",
        "code": _training_code_of(plan),
        "versions": library_versions(),
        "teacher": teacher_digest(plan.recipe),
        "source": plan.source.digest if plan.source else "",
    }
    return digest_of({**decisive, **_exact_schedule(plan)})


def fingerprints(plan: Plan) -> tuple[str, ...]:
    """All under which a run of the plan may be found: today's first, then that of runs that are older than it."""
    if _is_same_since(plan) and not _exact_schedule(plan):
        return fingerprint(plan), fingerprint_before(plan, library_versions())
    return (fingerprint(plan),)


def code_of(plan: Plan) -> str:
    """SHA-256, in hex, of the code alone that decides the weights."""
    parts = (_training_code_of(plan), architecture_digest(plan.model))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def is_code_of(run_code: str, plan: Plan) -> bool:
    """Whether today's code is the one that a run of the plan says of itself."""
    return run_code == code_of(plan) or (run_code == FILES and _is_same_since(plan))


def _exact_schedule(plan: Plan) -> Mapping[str, Any]:
    """Of a plan whose epochs were rounded up in runs before there was `schedule_for`; of others nothing."""
    learned = learned_from(plan.recipe, load_data(plan))
    schedule = schedule_for(plan.recipe, learned)
    return {} if schedule == make_schedule(plan.recipe, learned) else {"schedule": asdict(schedule)}


def _is_same_since(plan: Plan) -> bool:
    return is_same_since(plan, _training_code_of(plan), architecture_digest(plan.model))


def _training_code_of(plan: Plan) -> str:
    transfers = plan.source is not None
    views = transfers and plan.recipe.views > 0
    return training_code(transfers=transfers, distills=bool(plan.recipe.teacher), views=views)


@cache
def training_code(*, transfers: bool = False, distills: bool = False, views: bool = False) -> str:
    """Of the code that turns a model and images into weights, but for the model's own architecture.

    transfers: whether layers start from another model's. distills: whether a teacher's answers are learned.
    views: whether a head learns from frozen features first.
    """
    steps: list[Callable[..., Any]]
    steps = [learned_from, make_schedule, make_stages, choose_precision, compiles_steps, make_learner, fit]
    steps += [with_weights_of] if transfers else []
    steps += [Classifier.probabilities] if distills else []
    steps += [learn_head] if views else []
    return code_digest(*steps)


def architecture_digest(model: str) -> str:
    """Of a registered model's function, and all that it is made of.

    One that no file holds, typed at a prompt, is another model each time: nothing says that it is the same.
    """
    try:
        return code_digest(definition(model).architecture)
    except ValueError:
        return os.urandom(32).hex()


def library_versions() -> Mapping[str, Any]:
    """Of the libraries that have a part in the weights; None for one that isn't installed."""
    return {name: versions().get(name) for name in LIBRARIES}
