"""What a sweep is: plans, spaces and how they are searched, with all that must not change while it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.core.provenance.plan import DataOptions, Plan, load_data, parse_plan
from pipelines.core.support.conditions import parse_condition
from pipelines.search.objective import OBJECTIVES
from pipelines.search.space import DEFAULT, Dimension, parse_dimension, parse_search
from pipelines.training.fingerprint import code_of, library_versions
from pipelines.training.loop.stages import OF_A_SOURCE
from pipelines.training.planning.choosing import plan_for
from zoo.checked import parse_json
from zoo.data import data_sets
from zoo.data.registry import absolute
from zoo.errors import RecipeError, SweepError, ZooError, unknown
from zoo.models import definition

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "hyperband", "none")


@dataclass(frozen=True)
class Definition:
    """A sweep.

    plans: of each model, whose recipes trials change. spaces: of each, in the same order. data_name, data_digest: of
    the images or rows. code: of each model, what its code means. versions: of the libraries that decide the weights.
    sampler, pruner: of SAMPLERS and PRUNERS. objectives: of OBJECTIVES, the first counts where one has to. where:
    conditions that a winner fulfills, such as parameters<100k.
    """

    plans: tuple[Plan, ...]
    spaces: tuple[tuple[Dimension, ...], ...]
    data_name: str
    data_digest: str
    code: tuple[str, ...]
    versions: Mapping[str, Any]
    sampler: str
    pruner: str
    objectives: tuple[str, ...]
    where: tuple[str, ...]

    @property
    def judged_by(self) -> tuple[str, ...]:
        """What is measured of each trial."""
        return tuple(dict.fromkeys([*self.objectives, *(parse_condition(each).field for each in self.where)]))

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(plan.model for plan in self.plans)

    def plan_of(self, model: str, values: Mapping[str, Any]) -> Plan:
        """The plan of a trial. Raises RecipeError where the values don't go together."""
        plan = self.plans[self.models.index(model)]
        return replace(plan, recipe=plan.recipe.with_values(values))

    def to_json(self) -> str:
        """As the storage keeps it."""
        spaces = [[str(each) for each in space] for space in self.spaces]
        return json.dumps({**asdict(self), "plans": [plan.to_json() for plan in self.plans], "spaces": spaces})


def define(
    models: Sequence[str],
    data: str,
    search: Sequence[str],
    *,
    settings: Mapping[str, Any] | None,
    source: str | None,
    sampler: str,
    pruner: str,
    objectives: Sequence[str],
    where: Sequence[str],
    reading: DataOptions,
) -> Definition:
    """The sweep that somebody asks for.

    Raises RecipeError for a field or a value that can't be searched, SweepError for models that are named twice, an
    unknown sampler or pruner, and any ZooError of a plan and its data.
    """
    for kind, name, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if name not in known:
            raise SweepError(unknown(kind, name, known))
    _check_objectives(objectives, where)
    if tuple(objectives) != ("accuracy",) and pruner != "none":  # the accuracy alone is known while a trial goes on
        raise SweepError(f"trials are pruned by their accuracy alone: leave out --pruner {pruner}, or --objective")
    named = [parse_dimension(text).field for text in search if text != DEFAULT]
    for name in settings or {}:
        if name in named:
            raise RecipeError(f"{name} is stated by --set and searched by --search: leave out one of them")
    if "epochs" in named and "least_updates" not in named:
        settings = {"least_updates": 0, **(settings or {})}  # who names the epochs gets them
    plans = [_plan(model, data, settings, source, reading) for model in models]
    names = [plan.model for plan in plans]
    if len(set(names)) < len(names):
        raise SweepError(f"a model is named twice ({', '.join(names)}): name each once")
    spaces = [_space(plan, search, settings or {}) for plan in plans]
    return _defined(plans, spaces, sampler=sampler, pruner=pruner, objectives=tuple(objectives), where=tuple(where))


def _plan(model: str, data: str, settings: Mapping[str, Any] | None, source: str | None, reading: DataOptions) -> Plan:
    options: DataOptions = {**reading}
    plan = plan_for(model, data, settings=settings, source=source, **options)
    if plan.recipe.images != "train":
        raise RecipeError(
            f"images={plan.recipe.images} leaves {plan.model} no images to compare trials on: --set images=train"
        )
    if not len(load_data(plan).validation):
        raise RecipeError(f"{load_data(plan).name} has no validation {load_data(plan).kind} to compare trials on")
    return plan


def _space(plan: Plan, search: Sequence[str], settings: Mapping[str, Any]) -> tuple[Dimension, ...]:
    family, table = definition(plan.model).family, bool(load_data(plan).columns)
    found = parse_search(search, family=family, table=table, pretrained=plan.source is not None)
    if plan.source is None and (idle := [each.field for each in found if each.field in OF_A_SOURCE]):
        raise RecipeError(f"{idle[0]} has no effect on {plan.model}, which is trained from scratch: add --from")
    found = tuple(each for each in found if each.field not in settings)  # of a default space, what isn't stated
    if not found:
        raise RecipeError(f"there is nothing to search for {plan.model}: name a field with --search")
    return found


def _check_objectives(objectives: Sequence[str], where: Sequence[str]) -> None:
    for name in (*objectives, *(parse_condition(each).field for each in where)):
        if name not in OBJECTIVES:
            raise SweepError(unknown("objective", name, OBJECTIVES))
    for each in map(parse_condition, where):
        each.holds(0.0)  # raises QueryError where it compares with no number
    if not objectives or len(set(objectives)) < len(objectives):
        raise SweepError(f"--objective takes each of {', '.join(OBJECTIVES)} once at most, received {objectives}")


def _defined(
    plans: Sequence[Plan],
    spaces: Sequence[tuple[Dimension, ...]],
    *,
    sampler: str,
    pruner: str,
    objectives: tuple[str, ...],
    where: tuple[str, ...],
) -> Definition:
    return Definition(
        plans=tuple(plans),
        spaces=tuple(spaces),
        data_name=load_data(plans[0]).name,
        data_digest=load_data(plans[0]).digest,
        code=tuple(code_of(plan) for plan in plans),
        versions=dict(library_versions()),
        sampler=sampler,
        pruner=pruner,
        objectives=objectives,
        where=where,
    )


def parse_definition(text: str) -> Definition:
    """What `Definition.to_json` wrote, by whoever could write to the storage. SweepError where it isn't one."""
    try:
        found = parse_json(text)
        plans = tuple(parse_plan(plan, "a plan") for plan in found["plans"])
        spaces = tuple(tuple(map(parse_dimension, space)) for space in found["spaces"])
        code, objectives, where = (tuple(map(str, found[name])) for name in ("code", "objectives", "where"))
        _check_objectives(objectives, where)
        if not len(plans) == len(spaces) == len(code) > 0:
            raise ValueError("it has another number of plans than of spaces")
        return Definition(
            plans=plans,
            spaces=spaces,
            data_name=str(found["data_name"]),
            data_digest=str(found["data_digest"]),
            code=code,
            versions={str(name): version for name, version in found["versions"].items()},
            sampler=_one_of(SAMPLERS, found["sampler"]),
            pruner=_one_of(PRUNERS, found["pruner"]),
            objectives=objectives,
            where=where,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ZooError) as error:
        raise SweepError(f"the storage holds no sweep that can be read here ({error}): begin another one") from None


def _one_of(known: Sequence[str], name: Any) -> str:
    if name not in known:
        raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return str(name)


def as_here(kept: Definition, data: str | None) -> Definition:
    """The sweep as this machine would define it: its images where they lie here, today's code and libraries.

    data: where they lie; None for the same place. Raises any ZooError of reading them.
    """
    plans = kept.plans
    if data is not None:
        name = None if data in data_sets() else kept.data_name  # under which its runs are filed, as all of the sweep's
        plans = tuple(replace(plan, data=absolute(data), name=name) for plan in kept.plans)
    return replace(
        kept,
        plans=plans,
        data_digest=load_data(plans[0]).digest,
        code=tuple(code_of(plan) for plan in plans),
        versions=dict(library_versions()),
    )


def check_same(name: str, kept: Definition, here: Definition) -> None:
    """Raise SweepError where a worker would train something else than the sweep does, which says what differs."""
    other = f"choose another --sweep-name, or continue {name!r} as it was started"
    if kept.models != here.models:
        raise SweepError(f"sweep {name!r} is one of {', '.join(kept.models)}, not {', '.join(here.models)}: {other}")
    if kept.spaces != here.spaces:
        spaces = [
            ", ".join(map(str, {each: None for space in found for each in space}))
            for found in (kept.spaces, here.spaces)
        ]
        raise SweepError(f"sweep {name!r} searches {spaces[0]}, not {spaces[1]}: {other}")
    if kept.data_digest != here.data_digest:
        raise SweepError(
            f"sweep {name!r} was started with other images or rows (digest {kept.data_digest[:12]}, here "
            f"{here.data_digest[:12]}): give the same ones with --data, or start another sweep"
        )
    if _recipes(kept) != _recipes(here):
        raise SweepError(f"sweep {name!r} was started with other recipes, pretrained weights, or sizes: {other}")
    if kept.code != here.code:
        raise SweepError(f"the code that trains has changed since sweep {name!r} was started: start another sweep")
    if kept.versions != here.versions:
        changed = [
            each for each in {**kept.versions, **here.versions} if kept.versions.get(each) != here.versions.get(each)
        ]
        then, now = (", ".join(f"{each} {sweep.versions.get(each)}" for each in changed) for sweep in (kept, here))
        raise SweepError(
            f"sweep {name!r} was started with {then}, here is {now}: install the same, or start another sweep"
        )
    if (how := _how(kept)) != _how(here):
        raise SweepError(f"sweep {name!r} uses {how}, not {_how(here)}: {other}")


def _how(sweep: Definition) -> str:
    where = f" where {' and '.join(sweep.where)}" if sweep.where else ""
    return f"{', '.join(sweep.objectives)}{where}, sampler {sweep.sampler}, pruner {sweep.pruner}"


def _recipes(sweep: Definition) -> list[Plan]:
    """The plans without where their data lie."""
    return [replace(plan, data="", data_folder=None, images=None, name=None) for plan in sweep.plans]
