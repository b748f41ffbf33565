"""The command that makes an export again, from its manifest alone."""

from __future__ import annotations

import shlex

from pipelines.publishing.catalog import Shipped
from pipelines.training.loop.stages import OF_A_SOURCE
from pipelines.training.planning.choosing import SCRATCH
from zoo.data import data_sets
from zoo.models import definitions, pretrained_definitions
from zoo.recipe import OF_ROWS, Recipe

_READING = ("data", "label", "images", "size", "resize", "groups", "name", "follow-links")


def run_command(export: Shipped) -> str:
    """The command that makes it again: the model's own recipe, and whatever the export's recipe has otherwise."""
    own = next(
        (model.recipe for model in (*definitions(), *pretrained_definitions()) if model.name == export.model), Recipe()
    )
    default = own.to_json()
    made = Recipe().to_json() | dict(export.recipe)  # a field that is younger than the export had its default then
    settings = {name: made[name] for name in default if made[name] != default[name]}
    if "epochs" in settings and made.get("least_updates"):
        settings["least_updates"] = made["least_updates"]  # or naming the epochs would mean exactly that many
    elif "epochs" in settings:
        settings.pop("least_updates", None)
    known = export.data_set in data_sets()
    reading = {"data": export.data_set if known else f"path/to/{export.data_set}"}
    if export.label_column:  # of an export that says no more of how it was read
        reading = {"data": reading["data"] + ".csv", "label": export.label_column}
    reading |= {option: value for option, value in export.reading.items() if option in _READING}
    words = ["zoo", "run", export.model]
    for option, value in reading.items():
        words += [f"--{option}", *filter(None, [value])]
    if export.label_column:
        settings = {name: value for name, value in settings.items() if name not in OF_ROWS}
    if export.source:
        words += ["--from", export.source]
    else:
        words += ["--from", SCRATCH] if export.model in {model.name for model in pretrained_definitions()} else []
        settings = {name: value for name, value in settings.items() if name not in OF_A_SOURCE}
    for name, value in settings.items():
        words += ["--set", f"{name}={value}"]
    return shlex.join(words)
