"""`zoo quantize EXPORT…`: the same model in int8 and in float16 beside model.onnx, as accurate as is stated."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from pipelines import tracking
from pipelines.core.provenance.reading import Located, find_data_set
from pipelines.core.support.atomic import atomic_folder, restore
from pipelines.core.support.copies import copy_export
from pipelines.evaluation.predictions import answers_of
from pipelines.exporting.quantization.card_section import with_precisions
from pipelines.exporting.quantization.files import QuantizedFile, metrics_of, write_and_measure
from pipelines.exporting.quantization.float16 import add_features_of_half, to_float16
from pipelines.exporting.quantization.int8 import QuantizedModel, quantize_to_int8
from pipelines.exporting.quantization.qdq import QUANTIZED, only_answers
from pipelines.exporting.verify import Verification, verify
from zoo.checked import read_text
from zoo.contract import (
    CARD_FILE,
    FLOAT16,
    FLOAT32,
    INT8,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    Manifest,
    Metadata,
    check_file,
    describe_file,
    read_manifest,
)
from zoo.data import DataSet
from zoo.data.held_out import held_out
from zoo.errors import DataError, ExportError, TrackingError, unknown
from zoo.runtime import load as load_classifier
from zoo.runtime.loading import find_export

logger = logging.getLogger("zoo.exporting")

MARGIN = 0.3  # points of accuracy
CALIBRATION = 1000  # training images


@dataclass(frozen=True)
class Quantized:
    """An export, and its files of other precisions.

    verification: of the whole folder as it is now. note: a sentence on the run that made the export, which knows of the
    files by now, or isn't in the tracking store.
    """

    folder: Path
    metadata: Metadata
    files: tuple[QuantizedFile, ...]
    verification: Verification
    note: str = ""


def quantize(
    export: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = (INT8, FLOAT16),
    margin: float = MARGIN,
    calibration: int = CALIBRATION,
    data: str | Located | DataSet | None = None,
) -> Quantized:
    """Add model.int8.onnx and model.fp16.onnx to an export's folder, its card, and its manifest: all of them, or none.

    int8: static quantization of weights and activations, with a scale for each channel of the weights and biases that
    correct their mean error. The clipping range is found on `calibration` training images, by the method whose
    predictions on the validation images are closest to the float32 file's. If accuracy on these falls by more than the
    margin, the layers that matter most are kept in float32, one after the other; so are some layers if the predictions
    are far from float32's. The test set isn't used for any choice: it is evaluated once, at the end.

    export: its folder, or a name. precisions: int8, float16, or both. margin: points by which accuracy may fall (or one
    image, if that is more). data: the data set with the images, as in `verify`.
    Each step is logged to `zoo.exporting`.
    Raises ExportError for what isn't an export, is already quantized, or is of a table, and if a file would be no
    smaller; VerificationError if accuracy on the test set falls by more than the margin; DataError if the images can't
    be found or are too few for calibration.
    """
    for precision in precisions:
        if precision not in (INT8, FLOAT16):
            raise ExportError(unknown("precision to quantize to", precision, (INT8, FLOAT16)))
    if not 0 <= margin <= 100:
        raise ExportError(f"the margin is in points of accuracy, 0 to 100, not {margin:g}")
    folder = _folder(export)
    with atomic_folder(folder) as new:  # from here on nobody else changes what is copied
        manifest = read_manifest(folder)
        file = check_file(folder, manifest, MODEL_FILE)
        classifier = load_classifier(file, provider="cpu")  # it is a model, whole, and all in one
        model = only_answers(onnx.load(file, load_external_data=False))
        _check_can_be_quantized(model, manifest.metadata, file)
        data_set = _images_of(manifest.metadata, data, folder)
        makers = {
            INT8: lambda: quantize_to_int8(model, data_set, manifest.metadata, margin, calibration),
            FLOAT16: lambda: _to_float16(model, manifest.metadata),
        }
        copy_export(folder, manifest, new)
        expected = answers_of(classifier, data_set.test.inputs)
        # Each file as itself; but where the float32 one isn't calibrated, the others go with it.
        fitted = manifest.metadata.calibration or manifest.metadata.sets
        kept = held_out(data_set, str(manifest.metadata.recipe.get("images"))) if fitted else None
        files = []
        for precision in MODEL_FILES:
            if precision in precisions:
                name = f"{manifest.metadata.data_set}/{manifest.metadata.model}"
                logger.info("%s: making %s", name, MODEL_FILES[precision])
                made = makers[precision]()
                files.append(
                    write_and_measure(new, precision, made, manifest.metadata, data_set, expected, margin, kept)
                )
        _update(new, manifest, files)
        verification = verify(new, data=data_set, corrupted=False)
    files = [replace(found, file=folder / found.file.name) for found in files]
    result = Quantized(folder, manifest.metadata, tuple(files), replace(verification, path=folder))
    return replace(result, note=_log(result))


def _to_float16(model: Any, metadata: Metadata) -> QuantizedModel:
    half = to_float16(model)
    features = add_features_of_half(half, metadata) if metadata.familiarity else None
    return QuantizedModel(half, {}, {}, features)


def _log(quantized: Quantized) -> str:
    """Add the files and their metrics to the run that made the export, where the store has it; else say why not."""
    metrics = {name: value for found in quantized.files for name, value in metrics_of(found).items()}
    try:
        run = tracking.find_maker(quantized.metadata.run_id)
        tracking.log_folder(run, quantized.folder, "export")
        tracking.log_metrics(run, metrics, model=tracking.ONNX_MODEL, split="test")
    except TrackingError as error:
        return f"not logged to a run: {error}"
    return f"logged to run {run}"


def _images_of(metadata: Metadata, data: str | Located | DataSet | None, folder: Path) -> DataSet:
    found = find_data_set(metadata, data)
    if found is None:
        raise DataError(
            f"{metadata.data_set!r} isn't a known data set, and {folder} is calibrated on its images: "
            "name its folder with --data"
        )
    return found


def _folder(export: str | os.PathLike[str]) -> Path:
    restore(Path(export))
    found = find_export(export)
    if found.is_dir():
        return found if found.name not in ("", "..") else found.resolve()  # what is written beside it has its name
    precision = load_classifier(found, provider="cpu").precision  # says so where it isn't ours
    if precision != FLOAT32:
        raise ExportError(f"{found} is quantized already, to {precision}: name the export's folder")
    raise ExportError(f"{found} is a file, expected an export's folder: the other precisions are in it")


def _check_can_be_quantized(model: Any, metadata: Metadata, file: Path) -> None:
    if metadata.columns:
        raise ExportError(
            f"{file} classifies rows of a table, whose numbers don't fit into 8 or 16 bits: it stays in float32"
        )
    already = {node.op_type for node in model.graph.node} & set(QUANTIZED)
    if already or metadata.precision != FLOAT32:
        what = ", ".join(sorted(already)) or metadata.precision
        raise ExportError(f"{file} is quantized already ({what}): export the model again, in float32")


def _update(folder: Path, manifest: Manifest, files: Sequence[QuantizedFile]) -> None:
    """Card and manifest of the folder name the new files, beside what they named before."""
    metrics = dict(manifest.metrics)
    for found in files:
        kept = {name: value for name, value in metrics.items() if not name.startswith(f"{found.precision}_")}
        metrics = kept | metrics_of(found)
    named = {file.path for file in manifest.files} | {found.file.name for found in files}
    card = folder / CARD_FILE
    if CARD_FILE in named:
        made = {p: _made_of(folder / MODEL_FILES[p]) for p in MODEL_FILES if MODEL_FILES[p] in named and p != FLOAT32}
        text = with_precisions(read_text(card), metrics, made)
        card.write_text(text, encoding="utf-8")
    entries = tuple(describe_file(folder, folder / path) for path in sorted(named))
    text = replace(manifest, metrics=metrics, files=entries).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _made_of(file: Path) -> Mapping[str, Any]:
    properties = {p.key: p.value for p in onnx.load(file, load_external_data=False).metadata_props}
    return Metadata.from_properties(properties, str(file)).quantization
