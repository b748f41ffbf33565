"""What a sweep is: plans, spaces and how they are searched, with all that must not change while it goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.core.provenance.plan import DataOptions, Plan, load_data, parse_plan
from pipelines.core.provenance.weights import teacher_digest
from pipelines.core.support.conditions import parse_condition
from pipelines.search.idle import idle_fields
from pipelines.search.objective import OBJECTIVES
from pipelines.search.space import DEFAULT, Choices, Dimension, parse_dimension, parse_search
from pipelines.training.fingerprint import code_of, library_versions
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
    conditions that a winner fulfills, such as parameters<100k. teachers: SHA-256, in hex, of the file of each teacher,
    by its name; None of a sweep that is older than this field, of which nobody knows.
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
    teachers: Mapping[str, str] | None = None

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

    Raises RecipeError for a field or a value that can't be searched, SweepError for a field that has no part in a plan,
    models that are named twice, an unknown sampler or pruner, and any ZooError of a plan, its data and its teachers.
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
    idle = idle_fields(plan, found)
    for name in (parse_dimension(text).field for text in search if text != DEFAULT):
        if name in idle:
            raise SweepError(f"{name} has no effect on {plan.model}, {idle[name]}")
    # Of a default space, what isn't stated and has a part.
    found = tuple(each for each in found if each.field not in {*settings, *idle})
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
        teachers=_teachers(plans, spaces),
    )


def _teachers(plans: Sequence[Plan], spaces: Sequence[tuple[Dimension, ...]]) -> dict[str, str]:
    """The digest of each teacher that a trial may have, by its name. Raises ExportError for one that isn't there."""
    recipes = [plan.recipe for plan in plans]
    for plan, space in zip(plans, spaces, strict=True):
        searched = (each for each in space if isinstance(each, Choices) and each.field == "teacher")
        recipes += [plan.recipe.with_values({"teacher": name}) for each in searched for name in each.values]
    return {recipe.teacher: teacher_digest(recipe) for recipe in recipes if recipe.teacher}


def parse_definition(text: str) -> Definition:
    """What `Definition.to_json` wrote, by whoever could write to the storage. SweepError where it isn't one."""
    try:
        found = parse_json(text)
        plans = tuple(parse_plan(plan, "a plan") for plan in found["plans"])
        spaces = tuple(tuple(map(parse_dimension, space)) for space in found["spaces"])
        code, objectives, where = (tuple(map(str, found[name])) for name in ("code", "objectives", "where"))
        teachers = found.get("teachers")
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
            teachers=None if teachers is None else {str(name): str(digest) for name, digest in teachers.items()},
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ZooError) as error:
        raise SweepError(f"the storage holds no sweep that can be read here ({error}): begin another one") from None


def _one_of(known: Sequence[str], name: Any) -> str:
    if name not in known:
        raise ValueError(f"{name!r} is none of {', '.join(known)}")
    return str(name)


def as_here(kept: Definition, data: str | None) -> Definition:
    """The sweep as this machine would define it: its images where they lie here, today's teachers, code and libraries.

    data: where they lie; None for the same place. Raises any ZooError of reading them, and of teachers.
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
        teachers=_teachers(plans, kept.spaces),
    )


def as_begun(kept: Definition, here: Definition) -> Definition:
    """The sweep that is asked for here, in the spaces in which it was begun where these have idle fields besides.

    Such fields weren't left out of the default space in earlier versions: a sweep of these goes on as it was.
    """
    if kept.models != here.models or kept.spaces == here.spaces:
        return here
    spaces = zip(here.plans, kept.spaces, strict=True)
    same = here.spaces == tuple(_with_a_part(plan, space) for plan, space in spaces)
    return replace(here, spaces=kept.spaces) if same else here


def _with_a_part(plan: Plan, space: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    idle = idle_fields(plan, space)
    return tuple(each for each in space if each.field not in idle)


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
    if kept.teachers is not None and kept.teachers != here.teachers:
        old, new = kept.teachers, here.teachers or {}
        teacher = next(each for each in {**old, **new} if old.get(each) != new.get(each))
        raise SweepError(
            f"sweep {name!r} was started with another file of its teacher {teacher} (SHA-256 "
            f"{old.get(teacher, '')[:12]}, here {new.get(teacher, '')[:12]}): restore it, or start another sweep"
        )
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
