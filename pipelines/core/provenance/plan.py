"""A plan: all that decides what a training makes. Written beside every run, so that the same run can be made again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict, Unpack

from pipelines.core.provenance.reading import read_data
from zoo.contract import RESIZINGS
from zoo.data import DataSet, data_sets
from zoo.data.folders.files_table import NO_GROUPS
from zoo.data.folders.reading import ON_BAD
from zoo.data.registry import absolute, holds_values
from zoo.errors import DataError, RecipeError
from zoo.models import check_takes_tables, definition
from zoo.recipe import OF_ROWS, Recipe

PLAN_FILE = "plan.json"
LONGEST_NAME = 100  # letters of a data set's name


@dataclass(frozen=True)
class Origin:
    """A trained model that another one starts from.

    name: of an export as `zoo.load` takes it, or runs:/ID. title: its data set and model. digest: SHA-256, in hex, of
    its weights, as `weights_sha256` takes it: they decide the new ones as the images do.
    """

    name: str
    title: str
    digest: str


@dataclass(frozen=True)
class Plan:
    """Which model learns which images, or which table, and how.

    data: a known data set or the absolute path of a folder or a table. data_folder: where the files of a known one lie,
    if not in a usual place. size: (height, width) in pixels, None for the data set's own. resizing: how images of
    another size come to it. groups, on_bad: of images, see `zoo.data.folders.reading`. label: of a table, the
    column that holds the class. source: the trained model that it starts from; None for new weights alone. images: the
    absolute path of the folder that a table's files lie in, if not its own. follow_links: whether links may lead out of
    the folder. name: what the data set is called, if not as its folder: runs and exports are filed under it.
    """

    model: str
    data: str
    data_folder: str | None
    size: tuple[int, int] | None
    recipe: Recipe
    resizing: str = RESIZINGS[0]
    groups: str | None = None
    on_bad: str = ON_BAD[0]
    label: str | None = None
    source: Origin | None = None
    images: str | None = None
    follow_links: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.recipe.images == "most" and self.groups not in (None, NO_GROUPS):
            raise RecipeError(
                "images=most halves the validation images one by one, which would tear apart the groups of "
                f"{self.groups}: set images=train or images=all"
            )

    def to_json(self) -> str:
        """The text of plan.json."""
        found: dict[str, Any] = {
            "model": self.model,
            "data": self.data,
            "data_folder": self.data_folder,
            "size": self.size,
            "resizing": self.resizing,
            "groups": self.groups,
            "on_bad": self.on_bad,
            "recipe": self.recipe.to_json(),
            **({} if self.label is None else {"label": self.label}),
            **({} if self.images is None else {"images": self.images}),
            **({"follow_links": True} if self.follow_links else {}),
            **({} if self.name is None else {"name": self.name}),
        }
        if self.source is not None:
            found["source"] = asdict(self.source)
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


class DataOptions(TypedDict, total=False):
    """How the images are read, as `train` and `run` take it: the fields of a Plan, where they aren't the usual."""

    data_folder: str | Path | None
    size: tuple[int, int] | None
    resizing: str
    groups: str | None
    on_bad: str
    label: str | None
    images: str | Path | None
    follow_links: bool
    name: str | None


def make_plan(
    model: str,
    data: str,
    *,
    settings: Mapping[str, Any] | None = None,
    source: Origin | None = None,
    **reading: Unpack[DataOptions],
) -> Plan:
    """The plan for a model on a data set, by the model's own recipe; `settings` change fields of it.

    Where they name the epochs and no least_updates, that number of epochs it is. label: of a table, whose rows are
    learned as they are.

    Raises ModelError for an unknown model, or one that looks at images and is to learn a table; RecipeError for an
    unknown field or a value that it can't have, and for groups that `images=most` would tear apart.
    """
    settings = dict(settings or {})
    if "epochs" in settings:
        settings.setdefault("least_updates", 0)  # who names the epochs gets them, however few the images
    images = reading.get("images")
    label = reading.get("label")
    if label is not None and holds_values(data, label, Path(images) if images else None):
        check_takes_tables(model)
        settings = {**OF_ROWS, **settings}
    recipe = definition(model).recipe.with_values(settings)
    data = absolute(data)
    for name in reading.keys() - DataOptions.__annotations__.keys():
        raise TypeError(f"images can't be read with {name!r}, expected {', '.join(DataOptions.__annotations__)}")
    folder = reading.get("data_folder")
    return Plan(
        model=model,
        data=data,
        data_folder=str(Path(folder).resolve()) if folder else None,
        size=reading.get("size"),
        recipe=recipe,
        resizing=reading.get("resizing", RESIZINGS[0]),
        groups=reading.get("groups"),
        on_bad=reading.get("on_bad", ON_BAD[0]),
        label=label,
        source=source,
        images=str(Path(images).resolve()) if images else None,
        follow_links=reading.get("follow_links", False),
        name=checked_name(reading.get("name"), data),
    )


def checked_name(name: str | None, data: str) -> str | None:
    """The same name. RecipeError where nothing of somebody's own can be called so."""
    if name is None:
        return None
    if data in data_sets():
        raise RecipeError(f"{data} is a known data set, which has its name: --name is for your own data")
    fits = re.fullmatch(r"[^\W_][^/\\:]*", name) and name.isprintable() and name == name.strip()
    if not fits or len(name) > LONGEST_NAME or name in data_sets():
        raise RecipeError(
            f"a data set can't be called {name!r}: expected at most {LONGEST_NAME} letters without / \\ or :, of which "
            "the first is a letter or a digit, and not the name of a known data set"
        )
    return name


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
        source = found.get("source")  # plans that say nothing are older than the choice, or start anew
        return Plan(
            model=str(found["model"]),
            data=str(found["data"]),
            data_folder=None if found["data_folder"] is None else str(found["data_folder"]),
            size=(int(height), int(width)) if found["size"] else None,
            recipe=Recipe.from_json(found["recipe"]),
            source=Origin(*(str(source[f.name]) for f in fields(Origin))) if source else None,
            # Plans that say nothing of these are older than the choice.
            resizing=str(found.get("resizing", RESIZINGS[0])),
            groups=None if found.get("groups") is None else str(found["groups"]),
            on_bad=str(found.get("on_bad", ON_BAD[0])),
            label=None if found.get("label") is None else str(found["label"]),
            images=None if found.get("images") is None else str(found["images"]),
            follow_links=found.get("follow_links") is True,
            name=checked_name(found.get("name"), str(found["data"])),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RecipeError(f"{where} is not a plan ({error!r}): expected the {PLAN_FILE} of a run") from None


def load_data(plan: Plan, *, digest: str | None = None) -> DataSet:
    """The plan's images, decoded once in a process, or its table.

    digest: what they had when a run was trained on them. Raises DataError where they differ now, and what
    `zoo.data.load` raises.
    """
    data_set = read_data(
        plan.data,
        plan.data_folder,
        plan.size,
        plan.resizing,
        plan.groups,
        plan.on_bad,
        plan.label,
        plan.images,
        plan.follow_links,
        plan.name,
    )
    if digest is not None and data_set.digest != digest:
        raise DataError(
            f"the {data_set.kind} of {plan.data} have changed since the run was trained on them "
            f"(digest {data_set.digest[:12]}, expected {digest[:12]}): restore them, or train again"
        )
    return data_set
