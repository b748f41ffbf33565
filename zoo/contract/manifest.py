"""manifest.json: what an export holds, written, read, and compared with the files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.checked import checked_metrics, is_name, is_number, read_json
from zoo.contract.metadata import Metadata
from zoo.contract.names import (
    ACTIVATION_MAP,
    FAMILIARITY,
    LARGEST_SIDE,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILES,
    PROBABILITIES,
    renamed,
)
from zoo.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

_HEX = frozenset("0123456789abcdef")


class ExportedFile(NamedTuple):
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
        found = {**asdict(self), "metadata": self.metadata.to_json(), "files": [file._asdict() for file in self.files]}
        del found["map_size"]  # the outputs say it
        found = {name: value for name, value in found.items() if value or name not in ("licenses", "reading")}
        return json.dumps({**found, **self.ends()}, indent=2, ensure_ascii=False) + "\n"

    def ends(self) -> dict[str, Any]:
        """The inputs and outputs of the contract, as manifest.json has them."""
        classes = len(self.metadata.labels)
        shapes: dict[str, tuple[int, ...]] = {PROBABILITIES: (classes,), LOGITS: (classes,)}
        shapes |= {} if self.map_size is None else {ACTIVATION_MAP: (classes, *self.map_size)}
        shapes |= {FAMILIARITY: ()} if self.metadata.familiarity else {}
        outputs = [{"name": name, "dtype": "float32", "shape": ["N", *shape]} for name, shape in shapes.items()]
        taken = self.metadata.input
        return {"inputs": [{**asdict(taken), "shape": [*taken.shape]}], "outputs": outputs}

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


def read_manifest(folder: str | Path) -> Manifest:
    """Read manifest.json of an export: the one reader of it, which checks every field.

    Raises ExportError where it is missing, too large or no regular file, damaged, has a field of another type or out of
    its range, says one thing twice and not the same, or names files outside the folder.
    """
    path = os.path.join(folder, MANIFEST_FILE)
    try:
        found = read_json(path)
    except FileNotFoundError:
        raise ExportError(f"{folder} holds no {MANIFEST_FILE}: it is not an export; `zoo export` makes one") from None
    try:
        metadata = Metadata.from_json(found["metadata"], path)
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


def _exported_file(entry: Any, path: str) -> ExportedFile:
    name, size, digest = entry["path"], entry["size"], entry["sha256"]
    if (
        not is_name(name)
        or type(size) is not int
        or not is_number(size, 0)
        or not (isinstance(digest, str) and len(digest) == 64 and _HEX.issuperset(digest))
    ):
        raise ValueError("it names a file without a path, a size in bytes and a SHA-256")
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or ":" in name:
        raise ExportError(f"{path} names {name!r}, which is outside its folder: don't use this export")
    return ExportedFile(name, size, digest)


def _contradictions(manifest: Manifest, found: Mapping[str, Any]) -> list[str]:
    """What a manifest says twice, and not the same."""
    metadata = manifest.metadata
    wrong = [name for name, ends in manifest.ends().items() if name in found and found[name] != ends]
    twice = {"test_accuracy": metadata.test_accuracy, **metadata.parity}
    wrong += [name for name, value in twice.items() if manifest.metrics.get(name, value) != value]
    paths = [file.path for file in manifest.files]
    return wrong + ["files"] * (len(set(paths)) < len(paths))


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


def check_content(content: bytes, file: str | Path, manifest: Manifest) -> None:
    """Raise ExportError where a file that was read isn't the one of its name that the manifest names."""
    folder, name = os.path.split(file)
    entry = manifest.file(name)
    if entry is None:
        raise ExportError(f"{os.path.join(folder, MANIFEST_FILE)} doesn't name {name}: export the model again")
    if len(content) != entry.size or hashlib.sha256(content).hexdigest() != entry.sha256:
        raise _another(file)


def _another(file: str | Path) -> ExportError:
    return ExportError(f"{file} isn't the file that {MANIFEST_FILE} names (its SHA-256 differs): export it again")


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
