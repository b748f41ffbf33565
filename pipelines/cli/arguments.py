"""Arguments that several commands share, so that one thing has one name, and one name means one thing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines.cli.registry import argument
from pipelines.core.support.duration import parse_duration
from zoo.contract import FLOAT16, FLOAT32, INT8, MANIFEST_FILE, RESIZINGS
from zoo.errors import RecipeError
from zoo.recipe import Recipe, parse_settings

# --- values --------------------------------------------------------------------------------------------------------


def count(text: str) -> int:
    """A whole number above 0."""
    (number,) = numbers(text, 1, "3")
    return number


def counts(text: str) -> list[int]:
    """Several, with commas between them."""
    return [count(part) for part in text.split(",")]


def names(text: str) -> list[str]:
    """Names with commas between them."""
    return [part.strip() for part in text.split(",") if part.strip()]


def positive(text: str) -> float:
    """A number above 0."""
    return _above_zero(text, 1e9, "a number above 0")


def percent(text: str) -> float:
    """Above 0 and below 100."""
    return _above_zero(text, 100, "percent above 0 and below 100, such as 2.5")


def size_in_bytes(text: str) -> int:
    """Such as 500kB or 2MB."""
    number, unit = text.strip().lower().removesuffix("b"), 1
    for letter, factor in (("k", 1000), ("m", 1000_000)):
        if number.endswith(letter):
            number, unit = number.removesuffix(letter), factor
    try:
        return int(positive(number) * unit)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"expected a size such as 500kB or 2MB, received {text!r}") from None


def seconds(text: str) -> float:
    """Above 0 and below an hour."""
    return _above_zero(text, 3600, "a time in seconds such as 0.5")


def duration(text: str) -> float:
    """Such as 20m, in seconds."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def folder_of_exports(text: str) -> Path:
    """Where exports are written to and listed: by default where `zoo.load` looks for them."""
    return Path(text or os.environ.get("ZOO_EXPORTS") or "exports")


def _above_zero(text: str, below: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < below:
        raise argparse.ArgumentTypeError(f"expected {expected}, received {text!r}")
    return number


def size(text: str) -> tuple[int, int]:
    """Height and width in pixels, such as 64x48; 64 is a square."""
    height, width = numbers(text, 1, "64x64") * 2 if text.isdecimal() else numbers(text, 2, "64x64")
    return height, width


def numbers(text: str, how_many: int, example: str) -> list[int]:
    """Whole numbers above 0, with an x between them."""
    parts = text.lower().replace("×", "x").split("x")
    if len(parts) != how_many or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"expected something like {example}, received {text!r}")
    return [int(part) for part in parts]


def setting(text: str) -> str:
    """A field of the recipe with a value that it can have."""
    try:
        Recipe().with_values(parse_settings([text]))
    except RecipeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


# --- what a shell offers -------------------------------------------------------------------------------------------


def _files(prefix: str) -> Iterable[str]:
    from argcomplete.completers import FilesCompleter

    found: Iterable[str] = FilesCompleter()(prefix)
    return found


def _models(prefix: str) -> Iterable[str]:  # noqa: ARG001 (argcomplete chooses those that begin with it)
    from zoo.models import definitions

    return [model.name for model in definitions()]


def _data(prefix: str) -> Iterable[str]:
    from zoo.data import data_sets

    return [*data_sets(), *_files(prefix)]


def _exports(prefix: str) -> Iterator[str]:
    folder = folder_of_exports("")
    for manifest in sorted(folder.glob(f"*/*/{MANIFEST_FILE}")):
        yield manifest.parent.relative_to(folder).as_posix()
    yield from _files(prefix)


def fields(prefix: str) -> Iterable[str]:  # noqa: ARG001
    """Of a recipe, each with the sign behind it."""
    return [f"{name}=" for name in Recipe().to_json()]


# --- arguments -----------------------------------------------------------------------------------------------------

MODEL = argument("model", metavar="MODEL", completer=_models, help="such as conv-small; `zoo list` names them all")
RUN = argument("run", metavar="RUN", help="a run's id, or the first digits of it")
EXPORT = argument(
    "export",
    metavar="EXPORT",
    completer=_exports,
    help="a folder, an .onnx file, or a name such as digits/lenet5",
)
SEVERAL_EXPORTS = argument(
    "exports", nargs="+", metavar="EXPORT", completer=_exports, help="a folder, or a name such as digits/lenet5"
)
EXPORTS = argument(
    "--exports",
    type=folder_of_exports,
    default="",  # of which argparse makes the folder when a command is read: the environment may have changed
    metavar="DIR",
    help="the folder of exports (default: $ZOO_EXPORTS, or exports)",
)

LICENSES = (
    argument("--license", default="", metavar="TEXT", help="license of the weights, such as MIT, for the model card"),
    argument("--data-license", default="", metavar="TEXT", help="license of your own data, such as CC-BY-4.0"),
)

DATA = argument(
    "--data",
    metavar="DATA",
    completer=_data,
    help="the data set: a name such as digits or fashion-mnist, a folder with one sub-folder for each class, a .csv or "
    ".jsonl table of images with columns such as path and label, an .npz file of arrays, tar shards as 'part-*.tar', "
    "tfds:NAME, hf:USER/NAME, or a .csv table of values",
)
LABEL = argument(
    "--label",
    metavar="COLUMN",
    help="the column with the class, in a table or a data set of tfds: or hf:; in shards, the key in their .json",
)
IMAGES = argument("--images", type=Path, metavar="DIR", help="the folder of the images that a table names")
FOLLOW_LINKS = argument("--follow-links", action="store_true", help="follow links that lead out of the folder")
PROCESSES = argument("--processes", type=count, metavar="N", help="number of processes that read images")
NAME = argument("--name", metavar="NAME", help="a name for your own data (default: the name of the folder)")
SIZE = argument("--size", type=size, metavar="HxW", help="size of the images in pixels: 64x48, or 64 for a square")
GROUPS = argument(
    "--groups",
    metavar="COLUMN",
    help="keep the images of a group in the same split: a table's column, 'folder' for the sub-folders of a "
    "class, or 'none' (default: a column named group)",
)

ON_BAD = argument("--on-bad", choices=("skip", "fail"), help="skip images that can't be read, or stop with an error")

# What a command takes beside DATA, to find the images that an export was made with.
WHERE_IT_LIES = (LABEL, IMAGES, FOLLOW_LINKS)

# How a command that trains takes its data and its recipe.
DATA_FOLDER = argument(
    "--data-folder",
    type=Path,
    metavar="DIR",
    help="the folder with the files of a known data set, or of prepared TensorFlow Datasets",
)
TIME = argument("--time", type=duration, metavar="TIME", help="a time limit, such as 20m, 90s, or 1h30m")
TRAINING = (
    DATA,
    LABEL,
    DATA_FOLDER,
    SIZE,
    argument(
        "--resize",
        dest="resizing",
        choices=RESIZINGS,
        help="how images of other sizes are resized: stretched, cropped to the proportions, or padded with black "
        "(default: stretch)",
    ),
    GROUPS,
    IMAGES,
    FOLLOW_LINKS,
    NAME,
    ON_BAD.noted("at most 5%% are skipped; default: skip"),
    argument(
        "--set",
        action="append",
        default=[],
        type=setting,
        metavar="FIELD=VALUE",
        completer=fields,
        help=f"change a field of the recipe: {', '.join(Recipe().to_json())}; `zoo describe MODEL --recipe` explains "
        "each",
    ),
    argument(
        "--patience",
        type=int,
        metavar="N",
        help="early stopping: end training after N validations without improvement, as --set patience=N",
    ),
    argument(
        "--recipe-file",
        type=Path,
        metavar="FILE",
        help="take the recipe from a JSON file, such as the best.json of `zoo sweep`; --set changes fields of it",
    ),
    TIME.noted(
        "the speed is measured first, and as many epochs are planned as fit; several trainings share the time equally"
    ),
    argument(
        "--from",
        dest="source",
        metavar="EXPORT|RUN|imagenet|scratch",
        completer=_exports,
        help="transfer learning: start from the features of a trained model, frozen at first; imagenet: published "
        "weights, the default of models such as efficientnet-lite0 (extra imagenet) or mobilenet-v2; scratch: new "
        "weights",
    ),
)
SEEDS = argument("--seeds", type=count, metavar="N", help="train each model N times, to measure how accuracy varies")

PROVIDER = argument(
    "--provider", default="auto", metavar="NAME", help="where to run: auto, or a provider such as cpu or cuda"
)
THREADS = argument("--threads", type=count, metavar="N", help="CPU threads to use")
PRECISION = argument("--precision", metavar="NAME", help=f"precision of the weights: {FLOAT32}, {INT8}, or {FLOAT16}")
MARGIN = argument(
    "--margin", type=positive, metavar="POINTS", help="the largest acceptable loss of accuracy, in points"
)

SORT = argument("--sort", metavar="FIELD", help="the field to sort by")
WHERE = argument(
    "--where",
    action="append",
    default=[],
    metavar="CONDITION",
    help="only rows that meet the condition, such as 'parameters<100k'; repeatable",
)

HTML = argument("--html", type=Path, metavar="FILE", help="write an HTML page")
PLOT = argument("--plot", type=Path, metavar="FILE", help="save a plot as a PNG")
ALIAS = argument("--alias", default="champion", metavar="NAME", help="the alias to move (default: champion)")


def chosen_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of the recipe that the user sets."""
    stated: dict[str, Any] = parse_settings(options.set)
    if options.patience is not None:
        if "patience" in stated:
            options.error("--patience N and --set patience=N are the same option: use only one of them")
        stated["patience"] = options.patience
    if getattr(options, "recipe_file", None) is None:
        return stated
    from pipelines.core.provenance.recipe_file import read_recipe

    of_file = read_recipe(options.recipe_file)
    if "epochs" in stated or getattr(options, "time", None) is not None:  # they decide how long, and not the file
        of_file = {name: value for name, value in of_file.items() if name not in ("epochs", "least_updates")}
    return {**of_file, **stated}


def given_to(command: str, options: argparse.Namespace, without: Iterable[str] = ()) -> list[str]:
    """The words of a command that takes these options, where they were given. without: names of those to leave out."""
    words = command.split()
    for each in options.command.arguments:
        name = each.settings.get("dest") or each.names[0].lstrip("-").replace("-", "_")
        value = getattr(options, name)
        if name in without or value is None or value is False or value == []:
            continue
        option = [each.names[0]] if each.names[0].startswith("-") else []
        for one in value if isinstance(value, list) else [value]:
            text = "x".join(map(str, one)) if isinstance(one, tuple) else str(one)
            words += option if one is True else [*option, text]
    return words


def chosen_reading(options: argparse.Namespace) -> dict[str, Any]:
    """How images are read, as `pipelines.core.provenance.plan.DataOptions`: what the user chose, and nothing else."""
    names = ("data_folder", "size", "resizing", "groups", "on_bad", "label", "images", "follow_links", "name")
    chosen = {name: getattr(options, name) for name in names}
    return {name: value for name, value in chosen.items() if value not in (None, False)}


def chosen_data(options: argparse.Namespace) -> Any:
    """What DATA and WHERE_IT_LIES say: a name or a path, or a `pipelines.core.provenance.reading.Located`."""
    if not (options.label or options.images or options.follow_links):
        return options.data
    if options.data is None:
        options.error("--label, --images, and --follow-links require --data")
    from pipelines.core.provenance.reading import Located

    return Located(options.data, options.label, options.images, options.follow_links)
