"""`zoo quantize EXPORT…`: beside model.onnx the same model in 8 bits and in float16, as accurate as is stated."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.metrics.paired import PairedTest, paired_test
from pipelines.core.provenance.reading import find_data_set
from pipelines.core.support.atomic import atomic_folder
from pipelines.evaluation.predictions import BATCH, Answers, answers_of, ask_all, made_up
from pipelines.exporting.card import with_precisions
from pipelines.exporting.graph.half import in_halves
from pipelines.exporting.graph.quantized import (
    QUANTIZED,
    Range,
    on_bytes,
    only_answers,
    values_to_observe,
    weighted_layers,
)
from pipelines.exporting.quantization.calibration import METHODS, observe
from pipelines.exporting.verify import Verification, verify
from zoo.contract import (
    CARD_FILE,
    FLOAT16,
    FLOAT32,
    INT8,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    PROBABILITIES,
    Manifest,
    Metadata,
    check_file,
    describe_file,
    read_manifest,
)
from zoo.data import DataSet, Split
from zoo.data.pixels import in_chunks, take
from zoo.errors import DataError, ExportError, TrackingError, VerificationError, unknown
from zoo.runtime import load as load_classifier
from zoo.runtime.loading import find_export

MARGIN = 0.3  # points of accuracy
CALIBRATION = 1000  # training images
BATCHES = (1, 64)  # images at once, at which the speed is told
WARM_UP, ROUNDS, PATIENCE = 3, 100, 5.0  # turns, turns, seconds

Tell = Callable[[str], None]


@dataclass(frozen=True)
class QuantizedFile:
    """One file that was made, beside the float32 one.

    size: bytes; share: of the float32 file's. accuracy: on the whole test set, 0..1. difference: its accuracy less that
    of the float32 file, image by image. same_top_class: share of the test images with the same answer.
    largest_difference: of a probability. speedups: how many times as fast as float32 on this machine's processor, one
    thread, by the number of images at once; none of float16, which is for graphics processors. made: what decided how
    it was made, as the file keeps it. tried: of each method of calibration, how far its answers to the validation
    images were from the float32 file's (Kullback and Leibler's divergence, nats).
    """

    precision: str
    file: Path
    size: int
    share: float
    accuracy: float
    difference: PairedTest
    same_top_class: float
    largest_difference: float
    speedups: Mapping[int, float]
    made: Mapping[str, Any]
    tried: Mapping[str, float]


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


@dataclass(frozen=True)
class _Made:
    """A model of another precision that isn't measured yet."""

    model: Any  # onnx.ModelProto
    made: Mapping[str, Any]
    tried: Mapping[str, float]


def quantize(
    export: str | os.PathLike[str],
    *,
    precisions: Sequence[str] = (INT8, FLOAT16),
    margin: float = MARGIN,
    calibration: int = CALIBRATION,
    data: str | DataSet | None = None,
    tell: Tell = lambda _: None,
) -> Quantized:
    """Put model.int8.onnx and model.fp16.onnx into an export's folder; card and manifest name them. All, or nothing.

    int8: static, on bytes all the way, weights with a scale for each channel. Where values are cut off is found on
    `calibration` training images, by the method whose answers to the validation images are closest to the float32
    file's. Where accuracy on these falls by more than the margin, the layers that matter most are kept in float32, one
    after the other. The test set chooses nothing: it is asked once, at the end.

    export: its folder, or a name. precisions: of those, int8 and float16. margin: points by which accuracy may fall (or
    one image, where that is more). data: the data set with the images, as `verify` takes it. tell: is told what is
    done next.
    Raises ExportError for what isn't an export, is quantized already or of a table, and where a file would be no
    smaller; VerificationError where accuracy on the test set falls by more than the margin; DataError where the
    images aren't there, or are too few to calibrate by.
    """
    for precision in precisions:
        if precision not in (INT8, FLOAT16):
            raise ExportError(unknown("precision to quantize to", precision, (INT8, FLOAT16)))
    if not 0 <= margin <= 100:
        raise ExportError(f"the margin is in points of accuracy, 0 to 100, not {margin:g}")
    folder = _folder(export)
    manifest = read_manifest(folder)
    file = check_file(folder, manifest, MODEL_FILE)
    model = only_answers(onnx.load(file, load_external_data=False))
    _check_can_be_quantized(model, manifest.metadata, file)
    data_set = find_data_set(manifest.metadata, data)
    if data_set is None:
        raise DataError(
            f"{manifest.metadata.data_set!r} is no known data set, and {folder} is calibrated on its images: "
            "name its folder by --data"
        )
    makers = {
        INT8: lambda: _on_bytes(model, data_set, manifest.metadata, margin, calibration, tell),
        FLOAT16: lambda: _Made(in_halves(model), {}, {}),
    }
    with atomic_folder(folder) as new:
        shutil.copytree(folder, new, dirs_exist_ok=True)
        expected = answers_of(load_classifier(file, provider="cpu"), data_set.test.inputs)
        files = []
        for precision in MODEL_FILES:
            if precision in precisions:
                tell(f"{manifest.metadata.data_set}/{manifest.metadata.model}: making {MODEL_FILES[precision]}")
                made = makers[precision]()
                files.append(_write(new, precision, made, manifest.metadata, data_set.test, expected, margin))
        _update(new, manifest, files)
        verification = verify(new, data=data_set, corrupted=False)
    files = [replace(found, file=folder / found.file.name) for found in files]
    result = Quantized(folder, manifest.metadata, tuple(files), replace(verification, path=folder))
    return replace(result, note=_log(result))


def _log(quantized: Quantized) -> str:
    """Add the files and their metrics to the run that made the export, where the store has it; else say why not."""
    metrics = {name: value for found in quantized.files for name, value in figures_of(found).items()}
    try:
        run = tracking.find_maker(quantized.metadata.run_id)
        tracking.log_folder(run, quantized.folder, "export")
        tracking.log_metrics(run, metrics, model=tracking.ONNX_MODEL, split="test")
    except TrackingError as error:
        return f"not logged to a run: {error}"
    return f"logged to run {run}"


def _folder(export: str | os.PathLike[str]) -> Path:
    found = find_export(export)
    if found.is_dir():
        return found
    precision = load_classifier(found, provider="cpu").precision  # says so where it isn't ours
    if precision != FLOAT32:
        raise ExportError(f"{found} is quantized already, to {precision}: name the export's folder")
    raise ExportError(f"{found} is a file, expected an export's folder: the other precisions lie beside it there")


def _check_can_be_quantized(model: Any, metadata: Metadata, file: Path) -> None:
    if metadata.columns:
        raise ExportError(
            f"{file} answers to the rows of a table, whose numbers don't fit into 8 or 16 bits: it stays in float32"
        )
    already = {node.op_type for node in model.graph.node} & set(QUANTIZED)
    if already or metadata.precision != FLOAT32:
        what = ", ".join(sorted(already)) or metadata.precision
        raise ExportError(f"{file} is quantized already ({what}): export the model again, in float32")


# --- 8 bits ----------------------------------------------------------------------------------------------------------


def _on_bytes(model: Any, data_set: DataSet, metadata: Metadata, margin: float, calibration: int, tell: Tell) -> _Made:
    """The model on bytes, with what decided how."""
    layers = weighted_layers(model.graph)
    images = calibration_images(data_set.train, calibration)
    seen = observe(model, values_to_observe(model.graph), lambda: in_chunks(images, 64))
    ranges = {method: {value: cut(seen[value]) for value in seen} for method, cut in METHODS.items()}

    validation = data_set.validation
    expected = _ask(model, validation)
    answers: dict[str, Answers] = {}
    for method in METHODS:
        tell(f"calibrating by {method}")
        answers[method] = _ask(on_bytes(model, ranges[method]), validation)
    tried = {method: _divergence(expected, found) for method, found in answers.items()}
    method = min(tried, key=tried.__getitem__)

    in_float: list[str] = []
    allowed = _allowed(margin, len(validation))
    lost = _lost(expected, answers[method], validation)
    if lost > allowed:
        tell(f"{lost} of {len(validation):,} validation images are lost: measuring which layers to keep in float32")
        order = _most_sensitive_first(model, ranges[method], layers, expected, validation)
        while lost > allowed and len(in_float) < len(layers) - 1:
            in_float.append(order[len(in_float)])
            lost = _lost(expected, _ask(on_bytes(model, ranges[method], in_float), validation), validation)
    if lost > allowed:
        raise VerificationError(
            f"{metadata.data_set}/{metadata.model} loses {lost:,} of {len(validation):,} validation images in int8 "
            f"({100 * lost / len(validation):.2f} points, the margin is {margin:g}) with all layers but one in "
            "float32: it stays in float32, or allow more by --margin"
        )
    made = {
        "calibration": method,
        "calibration_images": len(images),
        "float32_layers": in_float,
        "margin": margin,
        # Choosing among methods by images that the model learned from is choosing without the test set all the same.
        "validation_learned": metadata.recipe.get("images") == "all",
        "onnxruntime": _onnxruntime_version(),
    }
    return _Made(on_bytes(model, ranges[method], in_float), made, tried)


def calibration_images(train: Split, count: int) -> Any:
    """`count` training images [count, H, W, C] uint8, drawn from all; the same ones each time.

    Raises DataError where they are of one class: what the others do inside of the model, nobody would see.
    """
    if count < 1:
        raise DataError(f"the calibration takes 1 training image or more, not {count}")
    drawn = np.random.default_rng(0).permutation(len(train))[:count]
    drawn.sort()
    classes = len(np.unique(train.labels[drawn]))
    if classes < 2:
        raise DataError(
            f"the {len(drawn)} training images to calibrate by are all of one class, expected two classes or more: "
            "take more by --calibration, or other images"
        )
    return take(train.inputs, drawn)


def _most_sensitive_first(
    model: Any, ranges: Mapping[str, Range], layers: Sequence[str], expected: Answers, validation: Split
) -> list[str]:
    """The layers, in the order of how far answers are from float32's when each alone is on bytes.

    Alone on bytes, not alone in float32: a value that bytes can't tell is as bad whichever of the layers that make and
    read it is on them, and only with both in float32 all is well.
    """
    alone = {
        layer: _divergence(
            expected, _ask(on_bytes(model, ranges, [other for other in layers if other != layer]), validation)
        )
        for layer in layers
    }
    return sorted(layers, key=alone.__getitem__, reverse=True)


def _ask(model: Any, split: Split) -> Answers:
    """Logits and probabilities of a model in memory."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return ask_all(lambda some: session.run([LOGITS, PROBABILITIES], {name: some}), in_chunks(split.inputs, BATCH))


def _divergence(expected: Answers, found: Answers) -> float:
    """Kullback and Leibler's, of the probabilities found from those expected: the mean over all images, nats."""
    true, other = (_log_probabilities(logits) for logits, _ in (expected, found))
    return float((np.exp(true) * (true - other)).sum(axis=1).mean())


def _log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normalized: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalized


def _right(answers: Answers, split: Split) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = answers[1].argmax(axis=1) == split.labels
    return found


def _lost(expected: Answers, found: Answers, split: Split) -> int:
    """How many fewer images are right than before."""
    return int(_right(expected, split).sum()) - int(_right(found, split).sum())


def _allowed(margin: float, images: int) -> int:
    """How many images may be lost. One of few is more than the margin, and tells nothing."""
    return max(1, int(margin / 100 * images + 1e-9))


def _onnxruntime_version() -> str:
    import onnxruntime

    return str(onnxruntime.__version__)


# --- what is written -------------------------------------------------------------------------------------------------


def _write(
    folder: Path, precision: str, made: _Made, metadata: Metadata, test: Split, expected: Answers, margin: float
) -> QuantizedFile:
    """Write the file with what it says of itself, and tell how it does beside the float32 one."""
    found = _ask(made.model, test)
    right = _right(found, test)
    difference = paired_test(right, _right(expected, test))
    lost = -round(difference.difference * len(test))
    name = f"{metadata.data_set}/{metadata.model}"
    if not np.isfinite(found[0]).all():
        raise VerificationError(f"{name} has values that {precision} can't hold: it stays in float32")
    if lost > _allowed(margin, len(test)):
        raise VerificationError(
            f"{name} is right on {right.mean():.2%} of the test set in {precision}, {100 * lost / len(test):.2f} points"
            f" less than in float32 (95% interval {100 * -difference.high:.2f} to {100 * -difference.low:.2f}), "
            f"expected at most {margin:g} less: it stays in float32, or allow more by --margin"
        )
    same = float((found[1].argmax(axis=1) == expected[1].argmax(axis=1)).mean())
    parity = {"largest_difference": float(np.abs(found[1] - expected[1]).max()), "same_top_class": same}
    told = replace(
        metadata, precision=precision, quantization=made.made, test_accuracy=float(right.mean()), parity=parity
    )
    onnx.helper.set_model_props(made.model, told.to_properties())
    file, before = folder / MODEL_FILES[precision], folder / MODEL_FILE
    file.write_bytes(made.model.SerializeToString(deterministic=True))
    size, size_before = file.stat().st_size, before.stat().st_size
    if size >= size_before:
        raise ExportError(
            f"{name} would take {size:,} bytes in {precision}, no less than the {size_before:,} in float32: "
            "there is nothing to gain, it stays in float32"
        )
    return QuantizedFile(
        precision=precision,
        file=file,
        size=size,
        share=size / size_before,
        accuracy=told.test_accuracy,
        difference=difference,
        same_top_class=same,
        largest_difference=parity["largest_difference"],
        speedups={batch: speedup(before, file, batch) for batch in BATCHES} if precision == INT8 else {},
        made=made.made,
        tried=made.tried,
    )


def speedup(before: Path, after: Path, batch: int) -> float:
    """How many times as fast `after` answers to so many images at once, on one thread of the processor.

    The two take turns, so that what else the machine does hits both alike; the median of the turns' ratios.
    """
    classifiers = [load_classifier(file, provider="cpu", threads=1) for file in (before, after)]
    inputs = made_up(classifiers[0].metadata, batch)
    ratios: list[float] = []
    began = time.perf_counter()
    for turn in range(WARM_UP + ROUNDS):
        seconds = []
        for classifier in classifiers:
            start = time.perf_counter()
            classifier.probabilities(inputs)
            seconds.append(time.perf_counter() - start)
        if turn >= WARM_UP:
            ratios.append(seconds[0] / seconds[1])
            if time.perf_counter() - began > PATIENCE:
                break
    return round(median(ratios), 2)


def figures_of(found: QuantizedFile) -> dict[str, float]:
    """What the manifest has of a file of another precision, by name."""
    difference = found.difference
    metrics = {
        "accuracy": found.accuracy,
        "accuracy_difference": difference.difference,
        "accuracy_difference_low": difference.low,
        "accuracy_difference_high": difference.high,
        "same_top_class": found.same_top_class,
        "largest_difference": found.largest_difference,
        "size": float(found.size),
        **{f"speedup_{batch}": value for batch, value in found.speedups.items()},
    }
    return {f"{found.precision}_{name}": value for name, value in metrics.items()}


def _update(folder: Path, manifest: Manifest, files: Sequence[QuantizedFile]) -> None:
    """Card and manifest of the folder name the new files, beside what they named before."""
    metrics = dict(manifest.metrics)
    for found in files:
        kept = {name: value for name, value in metrics.items() if not name.startswith(f"{found.precision}_")}
        metrics = kept | figures_of(found)
    named = {file.path for file in manifest.files} | {found.file.name for found in files}
    card = folder / CARD_FILE
    if CARD_FILE in named:
        made = {p: _made_of(folder / MODEL_FILES[p]) for p in MODEL_FILES if MODEL_FILES[p] in named and p != FLOAT32}
        text = with_precisions(card.read_text(encoding="utf-8"), metrics, made)
        card.write_text(text, encoding="utf-8")
    entries = tuple(describe_file(folder, folder / path) for path in sorted(named))
    text = replace(manifest, metrics=metrics, files=entries).to_json()
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _made_of(file: Path) -> Mapping[str, Any]:
    properties = {p.key: p.value for p in onnx.load(file, load_external_data=False).metadata_props}
    return Metadata.from_properties(properties, str(file)).quantization
