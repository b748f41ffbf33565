"""What `zoo verify` checks, one function a promise: each returns how it was kept, or raises VerificationError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pipelines.core.metrics.paired import paired_test
from pipelines.core.metrics.seed_spread import METRIC as SEED_METRIC
from pipelines.evaluation.predictions import (
    Answers,
    answers_of,
    clean_metrics,
    made_up,
)
from pipelines.evaluation.reliability import loss_and_error, reliability_metrics
from pipelines.evaluation.robustness import CorruptedMetrics, robust_metrics
from pipelines.exporting.graph.edit import constant_of, producer_of
from pipelines.exporting.graph.resizing import RESIZED
from zoo.contract import (
    ACTIVATION_MAP,
    FAMILIARITY,
    FLOAT16,
    FLOAT32,
    INPUT,
    INT8,
    IR_VERSION,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    OPSET,
    PARITY_TOLERANCE,
    PROBABILITIES,
    Metadata,
    check_file,
    read_manifest,
)
from zoo.data import Split
from zoo.errors import VerificationError
from zoo.images import read_image, resize
from zoo.runtime import Classifier
from zoo.runtime import load as load_classifier
from zoo.samples import read_samples
from zoo.tables import encode_all

Probabilities = NDArray[np.float32]  # [N, K]


# Height and width in pixels: one pixel, narrow, odd, a photograph; each is resized both up and down by some model.
ODD_SIZES = ((1, 1), (3, 90), (57, 31), (480, 640))


BATCH_SIZES = (1, 2, 7)


# Another processor rounds otherwise where two classes are as good as equally probable, or an image lies on the edge
# of a bin of calibration: some images of ten thousand.
METRIC_TOLERANCE = 1e-3


# Of the largest value in an activation map: sums of some hundred products in another order, float32.
MAP_TOLERANCE = 1e-5


# How far a probability may differ between two processors, or in another batch. Where values are rounded to bytes, the
# last bit of a float decides between two of them.
ROUNDING: Mapping[str, float] = {FLOAT32: PARITY_TOLERANCE, FLOAT16: 1e-3, INT8: 1e-2}


def check_graph(model: Any, file: Path) -> str:
    """The ONNX checker takes the file, with types and shapes inferred strictly along every edge."""
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # the checker and the inference have errors of their own, and share none
        raise VerificationError(f"{file} is not valid ONNX ({_first_line(error)}): export the model again") from None
    return f"valid ONNX, {len(model.graph.node)} nodes"


def check_contract(model: Any, file: Path) -> str:
    """Inputs, outputs, IR and opset are the contract's, operators are standard ones, all weights are inside."""
    metadata = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, str(file))
    wanted = metadata.input
    float32 = onnx.TensorProto.FLOAT
    classes = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim[-1:]]
    outputs = [(PROBABILITIES, float32, ["N", *classes]), (LOGITS, float32, ["N", *classes])]
    last = [(FAMILIARITY, float32, ["N"])] if metadata.familiarity else []
    if len(model.graph.output) > len(outputs) + len(last) and wanted.name == INPUT:  # it has an activation map
        sides = [dim.dim_value for dim in model.graph.output[2].type.tensor_type.shape.dim[2:4]]
        outputs.append((ACTIVATION_MAP, float32, ["N", *classes, *(side or "a fixed number" for side in sides)]))
    _expect(
        [_described(value) for value in (*model.graph.input, *model.graph.output)],
        [
            (wanted.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted.dtype)), list(wanted.shape)),
            *outputs,
            *last,
        ],
        f"{file}: inputs and outputs",
    )
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    domains = {node.domain for node in model.graph.node}
    if model.ir_version > IR_VERSION or opsets.get("", OPSET + 1) > OPSET or domains - {""}:
        raise VerificationError(
            f"{file} has IR {model.ir_version}, opsets {opsets} and operators of {sorted(domains)}, expected at most "
            f"IR {IR_VERSION}, opset {OPSET} and only standard operators: export the model again"
        )
    if any(weights.data_location == onnx.TensorProto.EXTERNAL for weights in model.graph.initializer):
        raise VerificationError(f"{file} keeps weights in other files, expected all of them inside: export it again")
    return f"IR {model.ir_version}, opset {opsets['']}, standard operators, weights inside"


def check_batch_sizes(classifier: Classifier, file: Path) -> str:
    """An image or a row has the same answer in company of any size."""
    inputs = made_up(classifier.metadata, max(BATCH_SIZES))
    alone = np.concatenate([classifier.probabilities(inputs[i : i + 1]) for i in range(len(inputs))])
    for size in BATCH_SIZES:
        together = classifier.probabilities(inputs[:size])
        what = f"{file}: {size} {_kind(classifier.metadata)} at once and one by one"
        _expect_close(together, alone[:size], what, ROUNDING[classifier.precision])
    return f"same answers in batches of {', '.join(map(str, BATCH_SIZES))}"


def check_gaps(classifier: Classifier, file: Path) -> str:
    """A row has an answer whichever of its values is missing, or is a category that nobody knew."""
    rows = np.repeat(made_up(classifier.metadata, 1), len(classifier.columns) + 1, axis=0)
    for place, column in enumerate(classifier.columns):
        rows[[place, -1], place] = np.nan if column.categories is None else -1  # in a row of its own, and in the last
    sums = classifier.probabilities(rows).sum(axis=1)
    if not np.all(np.abs(sums - 1) <= len(classifier.labels) * PARITY_TOLERANCE):  # `not <=`: NaN fails too
        raise VerificationError(
            f"{file} has probabilities that sum to {sums.tolist()} where values are missing, expected 1: "
            "export the model again"
        )
    return f"an answer with any of {len(classifier.columns)} columns missing, and with all"


def check_image_sizes(model: Any, classifier: Classifier, file: Path) -> str:
    """Images of any size are resized in the file as in training: within 1 of 255, and not touched where they fit."""
    import onnxruntime

    resized = RESIZED[classifier.metadata.resizing]
    try:
        inferred = onnx.shape_inference.infer_shapes(model)  # the file may leave out what can be inferred
        front = onnx.utils.Extractor(inferred).extract_model([INPUT], [resized])
    except (KeyError, ValueError):
        raise VerificationError(f"{file} doesn't resize its images: export the model again") from None
    session = onnxruntime.InferenceSession(front.SerializeToString(), providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    height, width = classifier.height, classifier.width
    for size in ((height, width), *ODD_SIZES):
        image = random.integers(0, 256, (*size, classifier.channels), dtype=np.uint8)
        found = session.run(None, {INPUT: image[np.newaxis]})[0][0]
        expected = resize(image, height, width, classifier.metadata.resizing)
        steps = int(np.abs(found.astype(np.int64) - expected).max()) if found.shape == expected.shape else 255
        if steps > (size != (height, width)):
            raise VerificationError(
                f"{file} resizes an image of {size[0]}x{size[1]} to values that differ by {steps} of 255 "
                "from those of training, expected at most 1: export the model again"
            )
        classifier.probabilities(image[np.newaxis])
    sides = ", ".join(f"{size[0]}x{size[1]}" for size in ODD_SIZES)
    return f"{sides} resized as in training ({classifier.metadata.resizing}); {height}x{width} unchanged"


def check_activation_map(model: Any, classifier: Classifier, file: Path) -> str:
    """The mean of the map over its positions, plus the last layer's bias, is the logits: all of a class and no more."""
    head = producer_of(model.graph, LOGITS)
    named = head.input[2] if head is not None and len(head.input) > 2 else ""
    bias = constant_of(model.graph, named) if named else np.float32(0)
    images = made_up(classifier.metadata, max(BATCH_SIZES))
    logits, maps = classifier.session.run([LOGITS, ACTIVATION_MAP], {INPUT: images})
    rows, columns = classifier.map_size or (0, 0)
    _expect(maps.shape[1:], (len(classifier.labels), rows, columns), f"{file}: classes, rows and columns of the map")
    difference = np.inf if bias is None else float(np.abs(maps.mean(axis=(2, 3)) + bias - logits).max())
    largest = max(1.0, float(np.abs(maps).max()))
    if not difference <= MAP_TOLERANCE * largest:
        raise VerificationError(
            f"{file} has an activation map whose mean plus bias differs from the logits by {difference:.1e}, expected "
            f"at most {MAP_TOLERANCE * largest:.0e}: export the model again"
        )
    return f"{rows}x{columns} positions, their mean plus bias within {difference:.0e} of the logits"


def check_manifest(folder: Path) -> str:
    """Every file that the manifest names is there, whole, and the model says of itself what the manifest says."""
    manifest = read_manifest(folder)
    for entry in manifest.files:
        check_file(folder, manifest, entry.path)
    for path in MODEL_FILES.values():
        if (folder / path).exists():  # what lies there passes for a part of it
            check_file(folder, manifest, path)
    load_classifier(folder, provider="cpu")  # which compares the two
    return f"{len(manifest.files)} files, sizes and SHA-256 as named"


def check_samples(classifier: Classifier, folder: Path) -> str:
    """The images beside the file, or the rows, have the probabilities that are written beside them.

    Those are of the float32 file; one of another precision comes as close as it says of itself.
    """
    manifest = read_manifest(folder)
    tolerance = ROUNDING[classifier.precision]
    if classifier.precision != FLOAT32:
        tolerance += _parity(classifier.metadata, "largest_difference", folder)
    samples = read_samples(folder, manifest)
    for place, sample in enumerate(samples):
        if classifier.columns:
            found = classifier.probabilities(encode_all([sample.row], classifier.columns))[0]
        else:
            image = read_image(check_file(folder, manifest, sample.file), classifier.channels)
            found = classifier.probabilities(image[np.newaxis])[0]
        name = Path(sample.file).name or f"row {place}"
        _expect_close(
            found, np.array(sample.probabilities, np.float32), f"{folder}: probabilities of {name}", tolerance
        )
    return f"{len(samples)} {_kind(classifier.metadata)} with their probabilities"


def check_test_set(metadata: Metadata, file: Path, test: Split, answers: Answers) -> tuple[str, float]:
    """The accuracy on the whole test set is the one that the file names; returned as well."""
    _, probabilities = answers
    correct = int((probabilities.argmax(axis=1) == test.labels).sum())
    expected = round(metadata.test_accuracy * len(test))
    # Another processor may round the other way where two classes are as good as equally probable.
    best = np.sort(probabilities, axis=1)
    undecided = int((best[:, -1] - best[:, -2] <= 2 * ROUNDING[metadata.precision]).sum())
    if abs(correct - expected) > undecided:
        raise VerificationError(
            f"{file} is correct on {correct:,} of {len(test):,} test {test.kind}, expected {expected:,}: "
            "export the model again"
        )
    accuracy = correct / len(test)
    return f"{correct:,} of {len(test):,} {test.kind} correct ({accuracy:.2%}), as the file says", accuracy


def check_precision(folder: Path, precision: str, test: Split | None, answers: Answers | None) -> str:
    """A file of another precision keeps the contract, is the same model, and answers as the manifest says.

    answers: the float32 file's to the test images; None where these aren't known.
    """
    manifest = read_manifest(folder)
    classifier = load_classifier(folder, provider="cpu", precision=precision)
    file, metadata = folder / MODEL_FILES[precision], classifier.metadata
    model = onnx.load(file, load_external_data=False)
    check_contract(model, file)
    kept = [check_graph(model, file)]
    check_batch_sizes(classifier, file)
    check_image_sizes(model, classifier, file)
    compared = {"accuracy": metadata.test_accuracy, "size": float(file.stat().st_size)}
    compared |= {name: _parity(metadata, name, file) for name in ("same_top_class", "largest_difference")}
    for name, value in compared.items():
        _expect(manifest.metrics.get(f"{precision}_{name}"), value, f"{folder / MANIFEST_FILE}: {precision}_{name}")
    kept.append(check_samples(classifier, folder))
    if test is None or answers is None:
        return "; ".join([*kept, "test set not checked"])
    found = answers_of(classifier, test.inputs)
    kept.append(check_test_set(metadata, file, test, found)[0])
    difference = paired_test(*(each[1].argmax(axis=1) == test.labels for each in (found, answers)))
    paired = {"": difference.difference, "_low": difference.low, "_high": difference.high}
    for end, value in paired.items():
        name = f"{precision}_accuracy_difference{end}"
        if not abs(value - manifest.metrics.get(name, value)) <= METRIC_TOLERANCE + 0.5 / len(test):
            raise VerificationError(
                f"{folder / MANIFEST_FILE}: {name} is {manifest.metrics[name]:.5f}, the files give {value:.5f}: "
                f"`zoo quantize {folder}` makes it again"
            )
    for name, value in (loss_and_error(found, test) if metadata.calibration else {}).items():
        stated = manifest.metrics.get(f"{precision}_{name}", value)
        if not abs(value - stated) <= METRIC_TOLERANCE + 0.5 / len(test):
            raise VerificationError(
                f"{folder / MANIFEST_FILE}: {precision}_{name} is {stated:.5f}, the file gives {value:.5f}: "
                f"`zoo quantize {folder}` makes it again"
            )
    same = float((found[1].argmax(axis=1) == answers[1].argmax(axis=1)).mean())
    if not abs(same - compared["same_top_class"]) <= METRIC_TOLERANCE + 0.5 / len(test):
        raise VerificationError(
            f"{file} has the same prediction as {MODEL_FILE} for {same:.2%} of the test images, expected "
            f"{compared['same_top_class']:.2%}: `zoo quantize {folder}` makes it again"
        )
    return "; ".join(kept)


def _parity(metadata: Metadata, name: str, where: Path) -> float:
    value = metadata.parity.get(name)
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise VerificationError(f"{where} says {value!r} of its {name}, expected 0 to 1: export the model again")
    return float(value)


def check_metrics(folder: Path, test: Split, answers: Answers, corrupted: Sequence[CorruptedMetrics]) -> str:
    """Each metric that the manifest has of the test, and the size, is what the file itself comes to.

    corrupted: the accuracies on corrupted images; none where they weren't measured.
    """
    manifest = read_manifest(folder)
    stated, metadata = manifest.metrics, manifest.metadata
    found = clean_metrics(test, answers) | robust_metrics(corrupted)
    if metadata.contract != "1":
        found |= reliability_metrics(test, answers, metadata.calibration, metadata.sets)
    _expect(stated.get("size", size := (folder / MODEL_FILE).stat().st_size), size, f"{folder / MANIFEST_FILE}: size")
    compared = [name for name in tested_metrics(stated) if name in found]
    for name in compared:
        if not abs(found[name] - stated[name]) <= METRIC_TOLERANCE + 0.5 / len(test):
            raise VerificationError(
                f"{folder}: the manifest has a {name} of {stated[name]:.5f}, the file gives {found[name]:.5f}: "
                "export the model again"
            )
    return f"{len(compared)} found again: {', '.join(name.removeprefix('test_') for name in compared)}"


def tested_metrics(metrics: Mapping[str, float]) -> list[str]:
    """The names of those that come from the test, but for those of other seeds, whose files aren't here."""
    return [name for name in metrics if name.startswith("test_") and not name.startswith(SEED_METRIC)]


def _kind(metadata: Metadata) -> str:
    return "rows" if metadata.columns else "images"


def _described(value: Any) -> tuple[str, int, list[str | int]]:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, [dim.dim_param or dim.dim_value for dim in kind.shape.dim]


def _expect(received: Any, expected: Any, what: str) -> None:
    if received != expected:
        raise VerificationError(f"{what} are {received}, expected {expected}: export the model again")


def _expect_close(received: Probabilities, expected: Probabilities, what: str, tolerance: float) -> None:
    difference = float(np.abs(received - expected).max()) if received.shape == expected.shape else np.inf
    if not difference <= tolerance:
        raise VerificationError(
            f"{what} differ by {difference:.1e} in probability, expected at most {tolerance:.0e}: "
            "export the model again"
        )


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
