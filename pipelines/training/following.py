"""A worker beside the chief: it takes every step with it, and writes nothing down."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pipelines.core.provenance.plan import Plan
from pipelines.training.loop.checkpoint import Checkpoint
from pipelines.training.loop.fit import fit, state_of
from pipelines.training.loop.learner import enter
from pipelines.training.parallel.agreement import Spokesman
from pipelines.training.parallel.team import Team
from pipelines.training.preparing import prepare


def say_beginning(team: Team, precision: str, begin: Checkpoint | None) -> None:
    """Say to those who follow where the chief's training begins. begin: None for a new one."""
    epoch, over = (begin.epoch, bool(begin.stopped)) if begin else (0, False)
    team.from_chief(json.dumps({"precision": precision, "epoch": epoch, "over": over}))


def follow(plan: Plan, team: Team) -> dict[str, Any]:
    """Take part in the training of the chief. Returns what that says at the end.

    Values of weights and moments come from the chief before the first step of each stage.
    """
    begins = json.loads(team.from_chief(""))
    ready = prepare(plan, begins["precision"], team)
    left = [stage for stage in ready.stages if begins["epoch"] < stage.last]
    if left and not begins["over"]:
        if left[0].first > 0:
            enter(ready.learner, plan.recipe, ready.schedule, left[0])
        begin = Checkpoint(begins["epoch"], begins["precision"], state_of(ready.learner), None)
        # Which weights are the best, and when it ends, is the chief's to find out.
        quiet = replace(plan, recipe=plan.recipe.with_values({"average": "none", "patience": 0}))
        learned, teacher, schedule = ready.learned, ready.teacher, ready.schedule
        fit(ready.learner, quiet, learned, teacher, schedule, ready.stages, begin, Spokesman(team, None))
    found: dict[str, Any] = json.loads(team.from_chief(""))
    team.part()
    return found


def say_outcome(team: Team, found: dict[str, Any]) -> None:
    """Say to those who follow what came out."""
    team.from_chief(json.dumps(found))
    team.part()
