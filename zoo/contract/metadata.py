"""What an exported file says of itself, written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from zoo.checked import is_name, is_number, is_plain, parse_json
from zoo.contract.names import (
    CONTRACT,
    CONTRACTS,
    FEATURES,
    FLOAT32,
    INPUT,
    LARGEST_SIDE,
    MODEL_FILES,
    PREFIX,
    RESIZINGS,
    WHITE,
    renamed,
)
from zoo.contract.reliability import RELIABILITY, unreliable
from zoo.errors import ExportError

if TYPE_CHECKING:  # images have none
    from zoo.contract.columns import Column


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
    calibration, sets, familiarity: how far the answers can be relied on, as `zoo.contract.reliability` describes them;
    empty where the file doesn't say.
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
    calibration: Mapping[str, Any] = field(default_factory=dict)
    sets: Mapping[str, Any] = field(default_factory=dict)
    familiarity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def input(self) -> Input:
        """What the file takes: images, or the rows of a table."""
        if self.columns:
            return Input(FEATURES, "float32", ("N", len(self.columns)))
        return Input(INPUT, "uint8", ("N", "H", "W", self.channels))

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object; those left out that say nothing of this kind of data, precision or file."""
        silent = {*(_OF_IMAGES if self.columns else _OF_TABLES)}
        silent |= {*_OF_PRECISIONS} if self.precision == FLOAT32 else set()
        silent |= {"white"} if self.white == WHITE else set()
        silent |= {name for name in RELIABILITY if not getattr(self, name)}
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
        version = found.get("contract") if isinstance(found, dict) else None
        if not isinstance(version, str) or version not in CONTRACTS:
            read = " and ".join(map(repr, CONTRACTS))
            raise ExportError(f"{where} follows contract {version!r}, this version reads {read}: export it again")
        # Files that don't say how they resize, or what they started from, are older than the choice.
        silent = _OF_IMAGES if "columns" in found else _OF_TABLES
        older: dict[str, Any] = {"groups": "", "resizing": RESIZINGS[0], "source": {}, "white": WHITE}
        early = [name for name in RELIABILITY if version != CONTRACT and found.get(name)]
        found = {**silent, **_OF_PRECISIONS, **older, **{name: {} for name in RELIABILITY}, **found}
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
        wrong += early or unreliable(known, len(labels))
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
    """The columns of a decoded JSON list, as `read_columns` checks them."""
    if found == []:  # of images
        return ()
    from zoo.contract.columns import read_columns

    return read_columns(found, where)


def differences(inside: Metadata, stated: Metadata) -> list[str]:
    """The fields in which a file and its manifest differ; but those that a file of another precision has of its own."""
    own = () if inside.precision == FLOAT32 else ("precision", "quantization", "test_accuracy", "parity", *RELIABILITY)
    return [
        f.name for f in fields(Metadata) if f.name not in own and getattr(inside, f.name) != getattr(stated, f.name)
    ]
