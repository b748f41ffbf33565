"""The promise of an export: the names, types and metadata that `export` writes and `runtime` reads.

Standard library only: whatever runs an exported file can import this and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from zoo.checked import checked_metrics, is_name, is_number, is_plain, parse_json, read_json
from zoo.errors import ExportError

CONTRACT = "1"
INPUT = "images"  # [N, H, W, C] uint8, raw pixels; N, H and W free
FEATURES = "features"  # of a table, in place of images: [N, F] float32, raw values, a column each; N free
PROBABILITIES = "probabilities"  # [N, K] float32
LOGITS = "logits"  # [N, K] float32
# [N, K, h, w] float32, an output of some models of images: what each of h x w positions adds to a class. Its mean
# over them, plus the last layer's bias, is the logits. The positions lie evenly over the image of the model's size.
# Where there are hidden layers, it is of the units that all positions together have made active.
ACTIVATION_MAP = "activation_map"
OPSET = 18  # the first with an antialiased Resize; onnxruntime 1.14 (February 2023) and later run it
IR_VERSION = 8  # what tf2onnx writes; web and older runtimes refuse newer ones (onnxruntime#20559)
PARITY_TOLERANCE = 1e-5  # largest difference of a probability between Keras and the file, float32
# How an image of another size comes to the model's: stretched to it; cut to its proportions from the middle; or whole,
# between black margins.
RESIZINGS = ("stretch", "crop", "pad")
WHITE = 65535  # of images of 16 bits, where nothing else is known of them
LARGEST_SIDE = 4096  # pixels of the height or the width that a model is made for: more is a slip or an attack

MODEL_FILE = "model.onnx"
# An export's files by precision, of the weights: `zoo export` writes the first, `zoo quantize` the others beside it. A
# file that names none is of the first.
FLOAT32, INT8, FLOAT16 = "float32", "int8", "float16"
MODEL_FILES: Mapping[str, str] = {FLOAT32: MODEL_FILE, INT8: "model.int8.onnx", FLOAT16: "model.fp16.onnx"}
MANIFEST_FILE = "manifest.json"
CARD_FILE = "README.md"
SAMPLES_FOLDER = "samples"
SAMPLES_FILE = "samples/samples.json"
PLOTS_FOLDER = "plots"

PREFIX = "zoo."  # of our keys among a file's metadata_props

# Names that files, runs and recipes were written under before, and today's. Whatever reads them takes both.
OLD_NAMES: Mapping[str, str] = {
    "pictures": "images",
    "test_pictures": "test_images",
    "calibration_pictures": "calibration_images",
}


def renamed(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What was stored by name, under today's names."""
    return {OLD_NAMES.get(name, name): value for name, value in stored.items()}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    categories: of a categorical one, whose value in `features` is its place among them, or -1 for any other; "" stands
    for a missing value. None: the column holds numbers, NaN where one is missing.
    """

    name: str
    categories: tuple[str, ...] | None = None

    @cached_property
    def codes(self) -> Mapping[str, int]:
        """Category -> its value in `features`."""
        return {category: code for code, category in enumerate(self.categories or ())}


@dataclass(frozen=True)
class Input:
    """What a file takes: the name, the type and the shape; a text in the shape is a dimension that is free."""

    name: str
    dtype: str
    shape: tuple[str | int, ...]


@dataclass(frozen=True)
class Metadata:
    """What an exported file says of itself: enough to use it, and to find the run that made it.

    height, width: the image size in pixels that the model was trained at; others are resized to it, in
    the way that `resizing` names, one of RESIZINGS.
    channels: 1 (gray) or 3 (RGB). All three are 0 where the model was trained on a table.
    columns: of the table, in the order of `features`; none for images. label_column: the one that held the class.
    labels: the class names, in the order of the outputs.
    groups: by which column, or folder, images were kept together when splits were drawn; empty for none.
    source: the trained model whose features this one started from, as its "name" (DATA SET/MODEL) and "weights_sha256";
    empty for a model that was trained from new weights alone.
    parity: "largest_difference" of a probability and "same_top_class" as a share, over the whole test set: between the
    float32 file and Keras, and between a file of another precision and the float32 file.
    precision: of the weights, one of MODEL_FILES. quantization: of a file of another precision, how it was made.
    white: the value in images of 16 bits that is 255 to the model; such images of sensors of 12 bits have 4095.
    """

    model: str
    family: str
    data_set: str
    data_digest: str
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int
    recipe: Mapping[str, Any]
    run_id: str
    commit: str
    weights_sha256: str
    test_accuracy: float
    parity: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    resizing: str = RESIZINGS[0]
    source: Mapping[str, str] = field(default_factory=dict)
    contract: str = CONTRACT
    columns: tuple[Column, ...] = ()
    label_column: str = ""
    groups: str = ""
    precision: str = FLOAT32
    quantization: Mapping[str, Any] = field(default_factory=dict)
    white: int = WHITE

    @property
    def input(self) -> Input:
        """What the file takes: images, or the rows of a table."""
        if self.columns:
            return Input(FEATURES, "float32", ("N", len(self.columns)))
        return Input(INPUT, "uint8", ("N", "H", "W", self.channels))

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; those of images, tables or precisions left out where they say nothing."""
        silent = {*(_OF_IMAGES if self.columns else _OF_TABLES)}
        silent |= {*_OF_PRECISIONS} if self.precision == FLOAT32 else set()
        silent |= {"white"} if self.white == WHITE else set()
        return {name: value for name, value in asdict(self).items() if name not in silent}

    def to_properties(self) -> dict[str, str]:
        """The metadata_props of the file: one JSON value a key, in a fixed order."""
        return {PREFIX + name: json.dumps(value, sort_keys=True) for name, value in self.to_json().items()}

    @classmethod
    def from_properties(cls, properties: Mapping[str, str], where: str) -> Metadata:
        """Read what `to_properties` wrote; ExportError where the file isn't one of ours."""
        if PREFIX + "contract" not in properties:
            raise ExportError(f"{where} holds no zoo metadata: it is an ONNX file, but not one that `zoo export` made")
        try:
            found = {
                key[len(PREFIX) :]: parse_json(value) for key, value in properties.items() if key.startswith(PREFIX)
            }
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{where} holds damaged metadata ({error}): export the model again") from None
        return cls.from_json(found, where)

    @classmethod
    def from_json(cls, found: Any, where: str) -> Metadata:
        """Check a decoded JSON object and turn it into Metadata; ExportError where it doesn't fit."""
        if not isinstance(found, dict) or found.get("contract") != CONTRACT:
            version = found.get("contract") if isinstance(found, dict) else None
            raise ExportError(f"{where} follows contract {version!r}, this version reads {CONTRACT!r}: export it again")
        # Files that don't say how they resize, or what they started from, are older than the choice.
        silent = _OF_IMAGES if "columns" in found else _OF_TABLES
        older: dict[str, Any] = {"groups": "", "resizing": RESIZINGS[0], "source": {}, "white": WHITE}
        found = {**silent, **_OF_PRECISIONS, **older, **found}
        missing = [f.name for f in fields(cls) if f.name not in found]
        if missing:
            raise ExportError(f"{where} lacks {', '.join(missing)} in its metadata: export the model again")
        known = {f.name: found[f.name] for f in fields(cls)}
        labels = known["labels"]
        # Names are printed: what can't be could turn a terminal upside down.
        if not isinstance(labels, list) or not labels or not all(map(is_name, labels)):
            raise ExportError(f"{where} holds no list of class names: export the model again")
        if len(set(labels)) < len(labels):
            raise ExportError(f"{where} has a class name twice, expected each once: export the model again")
        columns = _columns(known["columns"], where)
        size = (known["height"], known["width"], known["channels"])
        fits = all(type(side) is int and 0 < side <= LARGEST_SIDE for side in size) and size[2] in (1, 3)
        if size != (0, 0, 0) if columns else not fits:
            raise ExportError(
                f"{where} holds no image size (sides of 1..{LARGEST_SIDE} pixels, 1 or 3 channels): "
                "export the model again"
            )
        if known["resizing"] not in RESIZINGS:
            raise ExportError(
                f"{where} resizes images by {known['resizing']!r}, expected one of {', '.join(RESIZINGS)}: "
                "export the model again"
            )
        if known["precision"] not in [*MODEL_FILES]:  # a list: what can't be hashed is none of them either
            raise ExportError(
                f"{where} is of the precision {known['precision']!r}, expected one of {', '.join(MODEL_FILES)}: "
                "export the model again"
            )
        wrong = [name for name in _NAMES if not is_name(known[name])]
        wrong += [name for name in _MAPPINGS if not isinstance(known[name], dict) or not is_plain(known[name])]
        wrong += [
            name for name in ("versions", "source") if name not in wrong and not all(map(is_name, known[name].values()))
        ]
        if "parity" not in wrong and not all(is_number(share, 0, 1) for share in known["parity"].values()):
            wrong.append("parity")
        if type(known["white"]) is not int or not 0 < known["white"] <= WHITE:
            wrong.append("white")
        if not is_number(known["test_accuracy"], 0, 1):
            wrong.append("test_accuracy")
        if wrong:
            raise ExportError(f"{where} holds no sensible {', '.join(wrong)} in its metadata: export the model again")
        known |= {name: renamed(known[name]) for name in ("recipe", "quantization")}
        return cls(**{**known, "labels": tuple(labels), "columns": columns})


_NAMES = ("groups", "model", "family", "data_set", "data_digest", "run_id", "commit", "weights_sha256", "label_column")
_MAPPINGS = ("recipe", "parity", "versions", "source", "quantization")
# What metadata has of the other kind of data set.
_OF_IMAGES: Mapping[str, Any] = {"height": 0, "width": 0, "channels": 0, "resizing": RESIZINGS[0]}
_OF_TABLES: Mapping[str, Any] = {"columns": [], "label_column": ""}
_OF_PRECISIONS: Mapping[str, Any] = {"precision": FLOAT32, "quantization": {}}


def _columns(found: Any, where: str) -> tuple[Column, ...]:
    """The columns of a decoded JSON list; ExportError where they are none, or have names that no table can have."""
    try:
        columns = [Column(c["name"], None if c["categories"] is None else (*c["categories"],)) for c in found]
        listed = all(isinstance(c["categories"], (list, type(None))) for c in found)
        lists = [[column.name for column in columns], *(column.categories or () for column in columns)]
        fits = all(all(map(is_name, names)) and len(set(names)) == len(names) for names in lists)
        fits = fits and all(column.name and column.categories != () for column in columns)
    except (TypeError, KeyError):
        fits = listed = False
    if not fits or not listed or not isinstance(found, list):
        raise ExportError(f"{where} holds no list of columns with names of their own: export the model again")
    return tuple(columns)


@dataclass(frozen=True)
class ExportedFile:
    """One file of an export: its path inside the folder (with forward slashes), size in bytes, and SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """manifest.json: what an export holds.

    metadata: of model.onnx, the float32 file. metrics: numbers by name, among them parameters, multiply_accumulates,
    test_accuracy, test_accuracy_low and test_accuracy_high (95 % interval), test_images; those of other precisions
    begin with their name, such as int8_accuracy.
    map_size: h and w of the model's ACTIVATION_MAP; None where it has none.
    licenses: of the "weights" and of the "data", and the "data_source", in words; none in manifests that are older.
    reading: options of `zoo run` by which the data were read, -> value, "" for none; without those that say nothing.
    """

    metadata: Metadata
    metrics: Mapping[str, float]
    files: tuple[ExportedFile, ...]
    map_size: tuple[int, int] | None = None
    licenses: Mapping[str, str] = field(default_factory=dict)
    reading: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of manifest.json, with the inputs and outputs of the contract written out."""
        shapes = {PROBABILITIES: (), LOGITS: ()} | ({} if self.map_size is None else {ACTIVATION_MAP: self.map_size})
        outputs = [
            {"name": name, "dtype": "float32", "shape": ["N", len(self.metadata.labels), *positions]}
            for name, positions in shapes.items()
        ]
        found = {**asdict(self), "metadata": self.metadata.to_json()}
        del found["map_size"]  # the outputs say it
        found = {name: value for name, value in found.items() if value or name not in ("licenses", "reading")}
        found |= {"inputs": [asdict(self.metadata.input)], "outputs": outputs}
        return json.dumps(found, indent=2, ensure_ascii=False) + "\n"

    @property
    def precisions(self) -> tuple[str, ...]:
        """Those that the export holds a file of, float32 first."""
        return tuple(precision for precision, path in MODEL_FILES.items() if self.file(path))

    def file(self, path: str) -> ExportedFile | None:
        """The entry of that path, if the manifest names it."""
        return next((file for file in self.files if file.path == path), None)


def describe_file(folder: Path, path: Path) -> ExportedFile:
    """The manifest's entry for a file that lies in an export's folder."""
    return ExportedFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256(path))


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json of an export: the one reader of it, which checks every field.

    Raises ExportError where it is missing, too large or no regular file, damaged, has a field of another type or out of
    its range, says one thing twice and not the same, or names files outside the folder.
    """
    path = folder / MANIFEST_FILE
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise ExportError(f"{folder} holds no {MANIFEST_FILE}: it is not an export; `zoo export` makes one") from None
    try:
        metadata = Metadata.from_json(found["metadata"], str(path))
        files = tuple(_exported_file(entry, path) for entry in found["files"])
        metrics = checked_metrics(renamed(found["metrics"] if "metrics" in found else found["figures"]), path)
        texts = [found.get(name, {}) for name in ("licenses", "reading")]
        if not all(isinstance(each, dict) and all(map(is_name, (*each, *each.values()))) for each in texts):
            raise ValueError("its licenses or its reading aren't names and texts")
        manifest = Manifest(metadata, metrics, files, _map_size(found.get("outputs", ())), *texts)
        wrong = _contradictions(manifest, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ExportError(f"{path} is not a manifest ({error!r}): export the model again") from None
    if wrong:
        raise ExportError(f"{path} contradicts itself in {', '.join(wrong)}: export the model again")
    return manifest


def _exported_file(entry: Any, path: Path) -> ExportedFile:
    name, size, digest = entry["path"], entry["size"], entry["sha256"]
    if (
        not is_name(name)
        or type(size) is not int
        or not is_number(size, 0)
        or not re.fullmatch("[0-9a-f]{64}", str(digest))
    ):
        raise ValueError("it names a file without a path, a size in bytes and a SHA-256")
    inside = PurePosixPath(name)
    if inside.is_absolute() or ".." in inside.parts or "\\" in name or ":" in name:
        raise ExportError(f"{path} names {name!r}, which is outside its folder: don't use this export")
    return ExportedFile(name, size, digest)


def _contradictions(manifest: Manifest, found: Mapping[str, Any]) -> list[str]:
    """What a manifest says twice, and not the same."""
    metadata, written = manifest.metadata, json.loads(manifest.to_json())
    wrong = [name for name in ("inputs", "outputs") if name in found and found[name] != written[name]]
    twice = {"test_accuracy": metadata.test_accuracy, **metadata.parity}
    wrong += [name for name, value in twice.items() if manifest.metrics.get(name, value) != value]
    paths = [file.path for file in manifest.files]
    return wrong + ["files"] * (len(set(paths)) < len(paths))


def differences(inside: Metadata, stated: Metadata) -> list[str]:
    """The fields in which a file and its manifest differ; but those that a file of another precision has of its own."""
    own = () if inside.precision == FLOAT32 else ("precision", "quantization", "test_accuracy", "parity")
    return [
        f.name for f in fields(Metadata) if f.name not in own and getattr(inside, f.name) != getattr(stated, f.name)
    ]


def _map_size(outputs: Any) -> tuple[int, int] | None:
    for output in outputs:
        if output["name"] == ACTIVATION_MAP:
            _, _, height, width = output["shape"]
            if not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in (height, width)):
                raise ValueError("it has an activation map of no size")
            return height, width
    return None


def check_file(folder: Path, manifest: Manifest, path: str) -> Path:
    """The path of a file that the manifest names, after its size and SHA-256 were found to fit."""
    entry = manifest.file(path)
    if entry is None:
        raise ExportError(f"{folder / MANIFEST_FILE} doesn't name {path}: export the model again")
    found = folder / path
    if not found.is_file():
        raise ExportError(f"{found} is missing, though {MANIFEST_FILE} names it: export the model again")
    try:
        fits = found.stat().st_size == entry.size and sha256(found) == entry.sha256
    except OSError as error:
        raise ExportError(f"{found} can't be read ({error.strerror}): let this user read it") from None
    if not fits:
        raise _another(found)
    return found


def check_content(content: bytes, file: Path, manifest: Manifest) -> None:
    """Raise ExportError where a file that was read isn't the one of its name that the manifest names."""
    entry = manifest.file(file.name)
    if entry is None:
        raise ExportError(f"{file.parent / MANIFEST_FILE} doesn't name {file.name}: export the model again")
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _another(file)


def _another(file: Path) -> ExportError:
    return ExportError(f"{file} isn't the file that {MANIFEST_FILE} names (its SHA-256 differs): export it again")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
