"""`zoo verify`: what an export promises, checked one promise after the other, down to each image of the test set."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from pipelines.core.metrics.seed_spread import FIGURE as SEED_FIGURE
from pipelines.core.provenance.reading import find_test_set
from pipelines.evaluation.predictions import (
    BATCH,
    Answers,
    answers_of,
    clean_metrics,
    corrupted_accuracies,
    made_up,
    robust_metric,
)
from pipelines.exporting.graph.edit import constant_of, producer_of
from pipelines.exporting.graph.resizing import RESIZED
from zoo.contract import (
    ACTIVATION_MAP,
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
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Metadata,
    check_file,
    read_manifest,
)
from zoo.data import DataSet, Split
from zoo.data.pixels import in_chunks
from zoo.errors import VerificationError
from zoo.images import read_image, resize
from zoo.runtime import Classifier
from zoo.runtime import load as load_classifier
from zoo.runtime.loading import find_export
from zoo.tables import encode_all

Probabilities = NDArray[np.float32]  # [N, K]

# Height and width in pixels: one pixel, narrow, odd, a photograph; each is resized both up and down by some model.
ODD_SIZES = ((1, 1), (3, 90), (57, 31), (480, 640))
BATCH_SIZES = (1, 2, 7)
# Another processor rounds otherwise where two classes are as good as equally probable, or an image lies on the edge
# of a bin of calibration: some images of ten thousand.
FIGURE_TOLERANCE = 1e-3
# Of the largest value in an activation map: sums of some hundred products in another order, float32.
MAP_TOLERANCE = 1e-5
# How far a probability may differ between two processors, or in another batch. Where values are rounded to bytes, the
# last bit of a float decides between two of them.
ROUNDING: Mapping[str, float] = {FLOAT32: PARITY_TOLERANCE, FLOAT16: 1e-3, INT8: 1e-2}


@dataclass(frozen=True)
class Check:
    """One promise, and how it was found kept."""

    name: str
    result: str


@dataclass(frozen=True)
class Verification:
    """All promises of an export, found kept.

    path: the folder or the file that was verified. accuracy: what the file reached on the whole test set just now,
    0..1; None where its images aren't known.
    """

    path: Path
    metadata: Metadata
    checks: tuple[Check, ...]
    accuracy: float | None = None


@dataclass(frozen=True)
class Parity:
    """How an exported file and its Keras model answer on the same images.

    largest_difference: of a probability, over all images and classes. same_top_class: share of the images, 0..1; a
    image counts if the file's answer is among Keras' equally probable ones. worst_image: index of the first image
    with another answer, else of the one with the largest difference.
    """

    largest_difference: float
    same_top_class: float
    worst_image: int

    def metrics(self) -> dict[str, float]:
        """The two numbers that an export keeps."""
        return {"largest_difference": self.largest_difference, "same_top_class": self.same_top_class}


def verify(path: str | os.PathLike[str], *, data: str | DataSet | None = None, corrupted: bool = True) -> Verification:
    """Check an export's folder, with its files of all precisions, or an .onnx file from anywhere that we made.

    data: the data set with the test images, by its name or as a folder; by default the one that the file names, if
    it is one of the known ones.
    corrupted: whether the accuracy on corrupted images is found again, too, for which the file is run over the whole
    test set eight times more.
    Raises VerificationError for the first promise that isn't kept, and says by how much; ExportError for what isn't an
    export or is damaged; DataError where the data set can't be loaded.
    """
    found = find_export(path)
    classifier = load_classifier(found, provider="cpu")
    file = found / MODEL_FILE if found.is_dir() else found
    model = onnx.load(file, load_external_data=False)
    checks = [
        Check("contract", check_contract(model, file)),
        Check("file", check_graph(model, file)),
        Check("batch sizes", check_batch_sizes(classifier, file)),
    ]
    if classifier.columns:
        checks.append(Check("gaps", check_gaps(classifier, file)))
    else:
        checks.append(Check("image sizes", check_image_sizes(model, classifier, file)))
    if classifier.map_size:
        checks.append(Check("activation map", check_activation_map(model, classifier, file)))
    if found.is_dir():
        checks.append(Check("manifest", check_manifest(found)))
        checks.append(Check("samples", check_samples(classifier, found)))
    accuracy, answers = None, None
    test = find_test_set(classifier.metadata, data)
    if test is None:
        place = "table" if classifier.columns else "folder"
        told = f"not checked, {classifier.metadata.data_set!r} is no known data set: name its {place} by --data"
        checks.append(Check("test set", told))
    else:
        answers = answers_of(classifier, test.inputs)
        told, accuracy = check_test_set(classifier.metadata, file, test, answers)
        checks.append(Check("test set", told))
        if found.is_dir() and _tested(read_manifest(found).metrics):
            checks.append(Check("metrics", check_metrics(classifier, found, test, answers, corrupted)))
    if found.is_dir():
        for precision in read_manifest(found).precisions[1:]:
            checks.append(Check(precision, check_precision(found, precision, test, answers)))
    return Verification(found, classifier.metadata, tuple(checks), accuracy)


# One function a promise: it returns how it was kept, or raises VerificationError ------------------------------------


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
    wanted = Metadata.from_properties({p.key: p.value for p in model.metadata_props}, str(file)).input
    float32 = onnx.TensorProto.FLOAT
    classes = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim[-1:]]
    outputs = [(PROBABILITIES, float32, ["N", *classes]), (LOGITS, float32, ["N", *classes])]
    if len(model.graph.output) > len(outputs) and wanted.name == INPUT:  # the one that is optional
        sides = [dim.dim_value for dim in model.graph.output[2].type.tensor_type.shape.dim[2:4]]
        outputs.append((ACTIVATION_MAP, float32, ["N", *classes, *(side or "a fixed number" for side in sides)]))
    _expect(
        [_described(value) for value in (*model.graph.input, *model.graph.output)],
        [
            (wanted.name, onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted.dtype)), list(wanted.shape)),
            *outputs,
        ],
        f"{file}: inputs and outputs",
    )
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    domains = {node.domain for node in model.graph.node}
    if model.ir_version > IR_VERSION or opsets.get("", OPSET + 1) > OPSET or domains - {""}:
        raise VerificationError(
            f"{file} has IR {model.ir_version}, opsets {opsets} and operators of {sorted(domains)}, expected at most "
            f"IR {IR_VERSION}, opset {OPSET} and standard operators alone: export the model again"
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
            f"{file} has probabilities that sum up to {sums.tolist()} where values are missing, expected 1: "
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
        if (folder / path).exists():  # what lies there is taken for a part of it
            check_file(folder, manifest, path)
    classifier = load_classifier(folder, provider="cpu")
    inside = classifier.metadata
    _expect(manifest.map_size, classifier.map_size, f"{folder}: rows and columns of the activation map in the manifest")
    if inside != manifest.metadata:
        names = [name for name, value in vars(inside).items() if value != getattr(manifest.metadata, name)]
        raise VerificationError(
            f"{folder}: model and manifest differ in {', '.join(names)}, expected the same: export the model again"
        )
    return f"{len(manifest.files)} files, sizes and SHA-256 as named"


def check_samples(classifier: Classifier, folder: Path) -> str:
    """The images beside the file, or the rows, have the probabilities that are written beside them.

    Those are of the float32 file; one of another precision comes as close as it says of itself.
    """
    manifest = read_manifest(folder)
    tolerance = ROUNDING[classifier.precision]
    if classifier.precision != FLOAT32:
        tolerance += _parity(classifier.metadata, "largest_difference", folder)
    listed = check_file(folder, manifest, SAMPLES_FILE)
    try:
        samples = [
            (sample["row" if classifier.columns else "file"], np.array(sample["probabilities"], np.float32))
            for sample in json.loads(listed.read_text(encoding="utf-8"))
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise VerificationError(f"{listed} holds no samples ({error!r}): export the model again") from None
    if not samples:
        raise VerificationError(f"{listed} holds no samples, expected one at least: export the model again")
    for place, (sample, expected) in enumerate(samples):
        if classifier.columns:
            found = classifier.probabilities(encode_all([sample], classifier.columns))[0]
        else:
            # Only what the manifest names is opened: a path may lead anywhere.
            image = read_image(check_file(folder, manifest, f"{SAMPLES_FOLDER}/{sample}"), classifier.channels)
            found = classifier.probabilities(image[np.newaxis])[0]
        name = f"row {place}" if classifier.columns else sample
        _expect_close(found, expected, f"{folder}: probabilities of {name}", tolerance)
    return f"{len(samples)} {_kind(classifier.metadata)} with their probabilities"


def check_test_set(metadata: Metadata, file: Path, test: Split, answers: Answers) -> tuple[str, float]:
    """The accuracy on the whole test set is the one that the file names; returned as well."""
    _, probabilities = answers
    right = int((probabilities.argmax(axis=1) == test.labels).sum())
    expected = round(metadata.test_accuracy * len(test))
    # Another processor may round the other way where two classes are as good as equally probable.
    best = np.sort(probabilities, axis=1)
    undecided = int((best[:, -1] - best[:, -2] <= 2 * ROUNDING[metadata.precision]).sum())
    if abs(right - expected) > undecided:
        raise VerificationError(
            f"{file} is right on {right:,} of {len(test):,} test {test.kind}, expected {expected:,}: "
            "export the model again"
        )
    accuracy = right / len(test)
    return f"{right:,} of {len(test):,} {test.kind} right ({accuracy:.2%}), as the file says", accuracy


def check_precision(folder: Path, precision: str, test: Split | None, answers: Answers | None) -> str:
    """A file of another precision keeps the contract, is the same model, and answers as the manifest says.

    answers: the float32 file's to the test images; None where these aren't known.
    """
    manifest = read_manifest(folder)
    classifier = load_classifier(folder, provider="cpu", precision=precision)
    file, metadata = folder / MODEL_FILES[precision], classifier.metadata
    model = onnx.load(file, load_external_data=False)
    check_contract(model, file)
    told = [check_graph(model, file)]
    check_batch_sizes(classifier, file)
    check_image_sizes(model, classifier, file)
    own = {name: getattr(metadata, name) for name in ("precision", "quantization", "test_accuracy", "parity")}
    if metadata != replace(manifest.metadata, **own):
        raise VerificationError(f"{file} is of another model than {folder / MODEL_FILE}: `zoo quantize {folder}`")
    compared = {"accuracy": metadata.test_accuracy, "size": float(file.stat().st_size)}
    compared |= {name: _parity(metadata, name, file) for name in ("same_top_class", "largest_difference")}
    for name, value in compared.items():
        _expect(manifest.metrics.get(f"{precision}_{name}"), value, f"{folder / MANIFEST_FILE}: {precision}_{name}")
    told.append(check_samples(classifier, folder))
    if test is None or answers is None:
        return "; ".join([*told, "test set not checked"])
    found = answers_of(classifier, test.inputs)
    told.append(check_test_set(metadata, file, test, found)[0])
    same = float((found[1].argmax(axis=1) == answers[1].argmax(axis=1)).mean())
    if not abs(same - compared["same_top_class"]) <= FIGURE_TOLERANCE + 0.5 / len(test):
        raise VerificationError(
            f"{file} has the same answer as {MODEL_FILE} for {same:.2%} of the test images, expected "
            f"{compared['same_top_class']:.2%}: `zoo quantize {folder}` makes it again"
        )
    return "; ".join(told)


def _parity(metadata: Metadata, name: str, where: Path) -> float:
    value = metadata.parity.get(name)
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise VerificationError(f"{where} says {value!r} of its {name}, expected 0 to 1: export the model again")
    return float(value)


def check_metrics(classifier: Classifier, folder: Path, test: Split, answers: Answers, corrupted: bool) -> str:
    """Each figure that the manifest has of the test is what the file itself comes to."""
    stated = read_manifest(folder).metrics
    found = clean_metrics(test, answers)
    if corrupted and "test_robust_accuracy" in stated:
        found |= robust_metric(corrupted_accuracies(test, partial(answers_of, classifier)))
    compared = [name for name in _tested(stated) if name in found]
    for name in compared:
        if not abs(found[name] - stated[name]) <= FIGURE_TOLERANCE + 0.5 / len(test):
            raise VerificationError(
                f"{folder}: the manifest has a {name} of {stated[name]:.5f}, the file comes to {found[name]:.5f}: "
                "export the model again"
            )
    return f"{len(compared)} found again: {', '.join(name.removeprefix('test_') for name in compared)}"


def _tested(metrics: Mapping[str, float]) -> list[str]:
    """The names of those that come from the test, but for those of other seeds, whose files aren't here."""
    return [name for name in metrics if name.startswith("test_") and not name.startswith(SEED_FIGURE)]


# Against Keras -------------------------------------------------------------------------------------------------------


def compare_with_keras(onnx_bytes: bytes, model: Any, test: Split) -> Parity:
    """How a converted model and the `keras.Model` that it was made from answer on every test image."""
    import onnxruntime

    session = onnxruntime.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    (name,) = (value.name for value in session.get_inputs())
    batches = partial(in_chunks, test.inputs, BATCH)
    from_file = np.concatenate([session.run([PROBABILITIES], {name: batch})[0] for batch in batches()])
    from_keras = np.concatenate([np.asarray(model.predict_on_batch(batch)[PROBABILITIES]) for batch in batches()])
    differences = np.abs(from_file - from_keras).max(axis=1)  # [N]
    top = from_file.argmax(axis=1)
    same = np.take_along_axis(from_keras, top[:, np.newaxis], axis=1)[:, 0] == from_keras.max(axis=1)
    worst = int(differences.argmax() if same.all() else same.argmin())
    return Parity(float(differences.max()), float(same.mean()), worst)


def check_parity(parity: Parity, test: Split, name: str) -> str:
    """The file answers as Keras does. Raises VerificationError, with the difference and the image."""
    if not parity.largest_difference <= PARITY_TOLERANCE or parity.same_top_class < 1:  # `not <=`: NaN fails too
        raise VerificationError(
            f"{name} doesn't answer as its Keras model does: probabilities differ by up to "
            f"{parity.largest_difference:.1e}, expected at most {PARITY_TOLERANCE:.0e}, and "
            f"{1 - parity.same_top_class:.2%} of the answers are others, expected none; "
            f"the worst test {test.kind[:-1]} is {test.names[parity.worst_image]!r}"
        )
    return f"{len(test):,} test {test.kind}, probabilities within {parity.largest_difference:.0e}, same answers"


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
