"""`zoo demo EXPORT…`: a page that shows exports side by side, as one file that needs no server and no network.

What fills it is collected here; its HTML, CSS and TypeScript are in examples/web/src, built into `page` beside this.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pipelines.core.support.atomic import atomic_file
from pipelines.exporting.graph.resizing import resizing_model
from pipelines.plotting.palette import FAMILY_COLORS, NEGATIVE, POSITIVE
from pipelines.publishing.first_layer import first_layer
from zoo.contract import MODEL_FILE, SAMPLES_FILE, Manifest, Metadata, check_file, read_manifest, sha256
from zoo.errors import ExportError
from zoo.images import LARGEST_IMAGE, read_image
from zoo.runtime import load
from zoo.runtime.loading import find_export
from zoo.samples import read_samples

# The `augmentation` of an export's recipe, in words for the page.
AUGMENTATIONS = {
    "none": "trained without augmentation",
    "mirror": "trained on mirrored images, where mirroring keeps the label",
    "light": "trained on images shifted by up to 1/14 of the side",
    "strong": "trained on images shifted by up to 1/14 of the side and partly erased",
    "photo": "trained on random parts of the images, in changed colors",
    "randaugment": "trained on random parts of the images, with RandAugment",
}


@dataclass(frozen=True)
class Demo:
    """The page, its size in bytes, and the names of the exports in it, DATA SET/MODEL."""

    page: Path
    size: int
    exports: tuple[str, ...]


@dataclass(frozen=True)
class _Export:
    folder: Path
    manifest: Manifest
    name: str


def demo(
    exports: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] = "demo.html", *, webgpu: bool = False
) -> Demo:
    """Write a web page on which the exports classify the same images: samples, files, photographs, and drawings.

    exports: folders, or names such as digits/lenet5; all of them for images, with the same labels, channels, aspect
    ratio, and resizing. If their sizes differ, the page transforms images at the largest, and each model resizes them
    itself. The page contains everything, including the models and onnxruntime, and opens from a folder or any web host.
    out: the file to write. webgpu: include the runtime that can use the GPU, which takes 4 MB more.
    Raises ExportError for an export that doesn't exist, is damaged, or doesn't match the first one, and if the page
    can't be written.
    """
    out = Path(out)
    found = [_read(export) for export in exports]
    for other in found:
        _check_alike(found[0], other)
    page = _filled("webgpu" if webgpu else "wasm", _data(found), _title(found))
    try:
        with atomic_file(out) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ExportError(f"{out} can't be written ({error.strerror}): choose another file with --html") from None
    return Demo(out, out.stat().st_size, tuple(export.name for export in found))


def _read(export: str | os.PathLike[str]) -> _Export:
    folder = find_export(export)
    if folder.is_file():
        raise ExportError(f"{folder} is a file, expected an export's folder: its samples and metrics are shown, too")
    manifest = read_manifest(folder)
    load(folder, provider="cpu")  # the page states what the manifest says: it is found to say the same as the file
    metadata = manifest.metadata
    if metadata.columns:
        raise ExportError(f"{folder} classifies rows of a table: the page shows exports that classify images")
    return _Export(folder, manifest, f"{metadata.data_set}/{metadata.model}")


def _check_alike(first: _Export, other: _Export) -> None:
    a, b = first.manifest.metadata, other.manifest.metadata
    for what, of_first, of_other in (
        ("labels", ", ".join(a.labels), ", ".join(b.labels)),
        ("proportions", _proportions(a), _proportions(b)),
        ("channels", str(a.channels), str(b.channels)),
        ("resizing", a.resizing, b.resizing),
        ("white", str(a.white), str(b.white)),
    ):
        if of_first != of_other:
            raise ExportError(
                f"{other.folder} doesn't match {first.folder}, and all models on a page must have the same task: "
                f"expected {what} {of_first}, received {of_other}; make a separate page for each"
            )


def _proportions(metadata: Metadata) -> str:
    common = math.gcd(metadata.height, metadata.width)
    return f"{metadata.height // common}:{metadata.width // common}"


def _title(exports: Sequence[_Export]) -> str:
    names = dict.fromkeys(export.manifest.metadata.data_set for export in exports)
    families = dict.fromkeys(export.manifest.metadata.family for export in exports)
    return f"{', '.join(names)}: {' · '.join(families)}"


def _data(exports: Sequence[_Export]) -> dict[str, Any]:
    """What the page's script reads: `Data` in examples/web/src/data.ts."""
    metadata = max((export.manifest.metadata for export in exports), key=lambda each: each.height)
    # Exports of one data set share their samples: images are identified by their hash.
    images: dict[str, dict[str, str]] = {}
    probabilities = [_samples(export, images) for export in exports]
    shared = len({export.manifest.metadata.data_set for export in exports}) == 1
    return {
        "labels": metadata.labels,
        "height": metadata.height,
        "width": metadata.width,
        "channels": metadata.channels,
        "white": metadata.white,
        "background": _background([base64.b64decode(sample["png"]) for sample in images.values()]),
        "largest_image": LARGEST_IMAGE,
        "resizing": _base64(
            resizing_model(metadata.height, metadata.width, metadata.channels, metadata.resizing).SerializeToString(
                deterministic=True
            )
        ),
        "samples": list(images.values()),
        "models": [
            {
                **_model(export),
                "name": export.manifest.metadata.model if shared else export.name,
                "expected": [expected.get(image) for image in images],
            }
            for export, expected in zip(exports, probabilities, strict=True)
        ],
        "colors": {"families": FAMILY_COLORS, "positive": POSITIVE, "negative": NEGATIVE},
    }


def _model(export: _Export) -> dict[str, Any]:
    metadata = export.manifest.metadata
    path = check_file(export.folder, export.manifest, MODEL_FILE)
    file = path.read_bytes()
    try:
        shown = first_layer(onnx.load_model_from_string(file), metadata)
    except Exception as error:  # protobuf's and onnx' errors have no base of their own
        raise ExportError(f"{path} can't be read as an ONNX file ({type(error).__name__}): export it again") from error
    return {
        "family": metadata.family,
        "height": metadata.height,
        "facts": "; ".join(_facts(export.manifest, len(file))),
        "onnx": _base64(file),
        "sets": metadata.sets.get("thresholds") or None,
        "familiarity": metadata.familiarity.get("threshold"),
        "first_layer": shown and {"png": _base64(shown.png), "text": shown.text},
    }


def _facts(manifest: Manifest, size: int) -> Iterator[str]:
    """What the page states below a model's prediction. size: of the file, bytes."""
    metadata, metrics = manifest.metadata, manifest.metrics
    accuracy = f"Test accuracy {metadata.test_accuracy:.2%}"
    if "test_images" in metrics:
        accuracy += f" on {int(metrics['test_images']):,} images"
    if {"test_accuracy_low", "test_accuracy_high"} <= metrics.keys():
        accuracy += f" (95% interval: {metrics['test_accuracy_low']:.2%} to {metrics['test_accuracy_high']:.2%})"
    yield accuracy
    yield f"{metadata.height} × {metadata.width} pixels"
    if "parameters" in metrics:
        yield f"{int(metrics['parameters']):,} parameters"
    yield f"{size / 1000:,.0f} kB"
    augmentation = metadata.recipe.get("augmentation")
    if augmentation in AUGMENTATIONS:
        yield AUGMENTATIONS[augmentation]


def _samples(export: _Export, images: dict[str, dict[str, str]]) -> dict[str, tuple[float, ...]]:
    """Add the samples of an export to the images, by hash. Returns hash -> its probabilities for them."""
    if export.manifest.file(SAMPLES_FILE) is None:
        return {}
    expected: dict[str, tuple[float, ...]] = {}
    for sample in read_samples(export.folder, export.manifest):
        path = check_file(export.folder, export.manifest, sample.file)
        read_image(path, 1)  # it is one, and of a size that a page can hold
        digest = sha256(path)
        images.setdefault(digest, {"png": _base64(path.read_bytes()), "label": sample.label})
        expected[digest] = sample.probabilities
    return expected


def _background(images: Sequence[bytes]) -> int:
    """The background of a drawing, black (0) or white (255): what most samples have along their edges."""
    edges = []
    for image in images:
        pixels = read_image(image, 1)[..., 0]
        edges.append(np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]).mean())
    return 255 if edges and np.median(edges) > 127 else 0


def _filled(runtime: str, data: Mapping[str, Any], title: str) -> str:
    """The page that examples/web builds, filled in. runtime: wasm or webgpu."""
    folder = files("pipelines.publishing") / "demo_page"
    page = (folder / f"{runtime}.html").read_text(encoding="utf-8")
    contents = {
        "title": escape(title),
        # Nothing in a name can end the element that holds it.
        "data": json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        "runtime": _base64((folder / f"{runtime}.wasm.gz").read_bytes()),
    }
    parts = page.split("<!--zoo:")  # in one pass: a title may look like a placeholder
    filled = [parts[0]]
    for part in parts[1:]:
        name, _, rest = part.partition("-->")
        filled += [contents[name], rest]
    return "".join(filled)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
