"""The samples of an export: images or rows with the probabilities that are expected, for an app's first test of itself.

Standard library only, as `zoo.contract`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.checked import is_number, read_json
from zoo.contract import PARITY_TOLERANCE, SAMPLES_FILE, SAMPLES_FOLDER, Manifest, Metadata, check_file
from zoo.errors import ExportError


@dataclass(frozen=True)
class Sample:
    """An image, or the row of a table, that an export was tried on.

    file: of an image, its path in the export's folder, one that the manifest names; "" for a row. row: column -> value,
    None where it is missing; empty for an image. label: the right class. probabilities: expected, one a class, in the
    order of the labels.
    """

    file: str
    row: Mapping[str, Any]
    label: str
    probabilities: tuple[float, ...]


def read_samples(folder: Path, manifest: Manifest) -> tuple[Sample, ...]:
    """Read samples/samples.json of an export: the one reader of it, which checks every field.

    Raises ExportError where it is missing, too large or another file than the manifest names; where it holds no sample,
    or one of another type; and for an image that the manifest doesn't name, which may lie anywhere.
    """
    path = check_file(folder, manifest, SAMPLES_FILE)
    found = read_json(path)
    samples = [_sample(entry, manifest.metadata) for entry in found] if isinstance(found, list) else []
    if not samples or None in samples:
        metadata = manifest.metadata
        what, classes = "row" if metadata.columns else "file", len(metadata.labels)
        raise ExportError(
            f"{path} holds no samples, expected a list of them, each with a {what}, a label and {classes} "
            "probabilities: export the model again"
        )
    for sample in (known := [each for each in samples if each]):
        if sample.file and manifest.file(sample.file) is None:
            raise ExportError(f"{path} names {sample.file}, which the manifest doesn't name: export the model again")
    return tuple(known)


def _sample(entry: Any, metadata: Metadata) -> Sample | None:
    """What an entry of the list means; None where it isn't one."""
    if not isinstance(entry, dict):
        return None
    label, probabilities = entry.get("label"), entry.get("probabilities")
    what, kind = ("row", dict) if metadata.columns else ("file", str)
    if not isinstance(entry.get(what), kind) or label not in [*metadata.labels]:  # a list: it may be anything
        return None
    if not isinstance(probabilities, list) or len(probabilities) != len(metadata.labels):
        return None
    if not all(is_number(value, 0, 1 + PARITY_TOLERANCE) for value in probabilities):
        return None
    file, row = (f"{SAMPLES_FOLDER}/{entry['file']}", {}) if what == "file" else ("", entry["row"])
    return Sample(file, row, str(label), tuple(map(float, probabilities)))
