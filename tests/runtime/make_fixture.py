"""Makes tests/runtime/fixture/: small exports under our contract, so that the runtime is tested where no onnx is.

    PYTHONPATH=. python tests/runtime/make_fixture.py

One dense layer on scikit-learn's digits, as gray images and in color, one on the averages of what a few filters find
in them, one on its table of wines, and an ONNX file that isn't ours.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression

from zoo.contract import (
    ACTIVATION_MAP,
    FEATURES,
    INPUT,
    IR_VERSION,
    LOGITS,
    MANIFEST_FILE,
    MODEL_FILE,
    OPSET,
    PROBABILITIES,
    SAMPLES_FILE,
    Column,
    Manifest,
    Metadata,
    describe_file,
)
from zoo.tables import decode

FIXTURE = Path(__file__).parent / "fixture"
SIDE = 8
TINT = np.array([1.0, 0.6, 0.3])


def main() -> None:
    digits = load_digits()
    gray = np.round(digits.images * 255 / 16).astype(np.uint8)[..., None]  # [N, 8, 8, 1]
    tinted = np.round(gray * TINT).astype(np.uint8)  # [N, 8, 8, 3]
    train, test = slice(0, 1400), slice(1400, None)
    for data_set, images in (("digits", gray), ("tinted-digits", tinted)):
        flat = images.reshape(len(images), -1) / 255
        fitted = LogisticRegression(C=1.0, max_iter=2000).fit(flat[train], digits.target[train])
        weights, bias = fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
        accuracy = float(fitted.score(flat[test], digits.target[test]))
        write_export(data_set, images[test], digits.target[test], weights, bias, accuracy)
    write_pooled(gray[train], digits.target[train], gray[test], digits.target[test])
    write_table()
    write_foreign()


def write_export(
    data_set: str, images: np.ndarray, targets: np.ndarray, weights: np.ndarray, bias: np.ndarray, accuracy: float
) -> None:
    logits = (images.reshape(len(images), -1) / 255) @ weights.astype(np.float64) + bias
    metadata = metadata_of("softmax", "dense", data_set, images, weights, bias, accuracy)
    model = softmax(weights, bias, images.shape[-1], metadata)
    write_folder(model, metadata, images, targets, logits, weights.size + bias.size)


def metadata_of(
    model: str,
    family: str,
    data_set: str,
    images: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    accuracy: float,
) -> Metadata:
    return Metadata(
        model=model,
        family=family,
        data_set=data_set,
        data_digest=hashlib.sha256(images.tobytes()).hexdigest(),
        labels=tuple("0123456789"),
        height=SIDE,
        width=SIDE,
        channels=images.shape[-1],
        recipe={"C": 1.0},
        run_id="0" * 32,
        commit="0" * 40,
        weights_sha256=hashlib.sha256(weights.tobytes() + bias.tobytes()).hexdigest(),
        test_accuracy=accuracy,
        parity={"largest_difference": 0.0, "same_top_class": 1.0},
        versions={"onnx": onnx.__version__},
    )


def write_folder(
    model: onnx.ModelProto,
    metadata: Metadata,
    images: np.ndarray,
    targets: np.ndarray,
    logits: np.ndarray,
    parameters: int,
) -> None:
    """The export of a model that gives these logits [N, K] for these images [N, H, W, C]."""
    folder = FIXTURE / metadata.data_set / metadata.model
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(model.SerializeToString(deterministic=True))

    samples = []
    for digit in range(10):
        place = int(np.flatnonzero(targets == digit)[0])
        image = images[place]
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"samples/{digit}.png")
        powers = np.exp(logits[place] - logits[place].max())
        probabilities = powers / powers.sum()
        samples.append({"file": f"{digit}.png", "label": str(digit), "probabilities": probabilities.round(8).tolist()})
    (folder / SAMPLES_FILE).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")

    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    metrics = {
        "parameters": parameters,
        "multiply_accumulates": parameters - len(metadata.labels),
        "test_accuracy": metadata.test_accuracy,
        "test_images": len(images),
    }
    files = tuple(describe_file(folder, path) for path in paths)
    has_map = any(output.name == ACTIVATION_MAP for output in model.graph.output)
    manifest = Manifest(metadata, metrics, files, (SIDE, SIDE) if has_map else None)
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def write_pooled(images: np.ndarray, targets: np.ndarray, test: np.ndarray, test_targets: np.ndarray) -> None:
    """An export with an activation map: random filters, an average over positions, one dense layer."""
    filters = np.random.default_rng(0).normal(size=(24, 1, 3, 3)).astype(np.float32)

    def averages(inputs: np.ndarray) -> np.ndarray:
        padded = np.pad(inputs[..., 0] / 255, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [N, 8, 8, 3, 3]
        found = np.maximum(np.einsum("nyxij,fij->nyxf", windows, filters[:, 0].astype(np.float64)), 0)
        return found.mean(axis=(1, 2))  # [N, 24]

    fitted = LogisticRegression(C=1000.0, max_iter=5000).fit(averages(images), targets)
    weights, bias = fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
    accuracy = float(fitted.score(averages(test), test_targets))
    found = metadata_of("pooled", "conv", "digits", test, weights, bias, accuracy)
    metadata = replace(found, recipe={"C": 1000.0})
    logits = averages(test) @ weights.astype(np.float64) + bias
    write_folder(pooled(filters, weights, bias, metadata), metadata, test, test_targets, logits, weights.size + 10)


def pooled(filters: np.ndarray, weights: np.ndarray, bias: np.ndarray, metadata: Metadata) -> onnx.ModelProto:
    """filters [F, 1, 3, 3], weights [F, K], bias [K], for pixels in 0..1."""
    classes = len(bias)
    nodes = [
        resize(),
        helper.make_node("Transpose", ["resized"], ["channels_first"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["channels_first"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "filters"], ["found"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["found"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], [LOGITS]),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=-1),
        helper.make_node("Conv", ["features", "at_positions"], [ACTIVATION_MAP], kernel_shape=[1, 1]),
    ]
    constants = {
        "size": np.array([SIDE, SIDE], np.int64),
        "filters": filters / np.float32(255),
        "weights": weights,
        "bias": bias,
        "at_positions": np.ascontiguousarray(weights.T[:, :, None, None]),
    }
    shapes = {PROBABILITIES: [], LOGITS: [], ACTIVATION_MAP: [SIDE, SIDE]}
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 1])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes, *sides])
            for name, sides in shapes.items()
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return finished(graph, metadata.to_properties())


def resize() -> onnx.NodeProto:
    """[N, H, W, C] uint8 -> [N, 8, 8, C] uint8"""
    return helper.make_node(
        "Resize",
        [INPUT, "", "", "size"],
        ["resized"],
        axes=[1, 2],
        mode="linear",
        antialias=1,
        exclude_outside=1,
        coordinate_transformation_mode="half_pixel",
    )


def softmax(weights: np.ndarray, bias: np.ndarray, channels: int, metadata: Metadata) -> onnx.ModelProto:
    """The graph of one dense layer. weights [8 * 8 * C, K], bias [K], for pixels in 0..1."""
    classes = len(bias)
    nodes = [
        resize(),
        helper.make_node("Reshape", ["resized", "flat_shape"], ["flat"]),
        helper.make_node("Cast", ["flat"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Gemm", ["pixels", "weights", "bias"], [LOGITS]),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=-1),
    ]
    constants = {
        "size": np.array([SIDE, SIDE], np.int64),
        "flat_shape": np.array([-1, SIDE * SIDE * channels], np.int64),
        "weights": weights / np.float32(255),
        "bias": bias,
    }
    graph = helper.make_graph(
        nodes,
        "softmax",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", channels])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", classes]) for name in (PROBABILITIES, LOGITS)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return finished(graph, metadata.to_properties())


def write_table() -> None:
    """Wines by two numbers and a category: the color in words, where it is known."""
    wine = load_wine()
    names = list(wine.feature_names)
    numbers = wine.data[:, [names.index("alcohol"), names.index("proline")]].astype(np.float32)  # [N, 2]
    color = np.searchsorted([4, 6], wine.data[:, names.index("color_intensity")]) + 1  # [N] 1..3
    color[::10] = 0  # isn't known
    columns = (Column("alcohol"), Column("colour", ("", "pale", "medium", "deep")), Column("proline"))
    features = np.stack([numbers[:, 0], color, numbers[:, 1]], axis=1).astype(np.float32)  # [N, 3]
    mean, deviation, median = numbers.mean(axis=0), numbers.std(axis=0), np.median(numbers, axis=0)
    scaled = np.concatenate([(numbers - mean) / deviation, np.eye(4)[color]], axis=1)
    fitted = LogisticRegression(max_iter=2000).fit(scaled, wine.target)
    weights, bias = fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
    metadata = Metadata(
        model="softmax",
        family="dense",
        data_set="wine",
        data_digest=hashlib.sha256(features.tobytes()).hexdigest(),
        labels=tuple(map(str, wine.target_names)),
        height=0,
        width=0,
        channels=0,
        recipe={},
        run_id="0" * 32,
        commit="0" * 40,
        weights_sha256=hashlib.sha256(weights.tobytes() + bias.tobytes()).hexdigest(),
        test_accuracy=float(fitted.score(scaled, wine.target)),
        parity={"largest_difference": 0.0, "same_top_class": 1.0},
        versions={"onnx": onnx.__version__},
        columns=columns,
        label_column="cultivar",
    )
    nodes = [
        helper.make_node("Gather", [FEATURES, "numeric"], ["numbers"], axis=1),
        helper.make_node("IsNaN", ["numbers"], ["gaps"]),
        helper.make_node("Where", ["gaps", "median", "numbers"], ["filled"]),
        helper.make_node("Sub", ["filled", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "deviation"], ["scaled"]),
        helper.make_node("Gather", [FEATURES, "categorical"], ["categories"], axis=1),
        helper.make_node("Equal", ["categories", "codes"], ["own"]),
        helper.make_node("Cast", ["own"], ["switches"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["scaled", "switches"], ["all"], axis=1),
        helper.make_node("Gemm", ["all", "weights", "bias"], [LOGITS]),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=-1),
    ]
    constants = {
        "numeric": np.array([0, 2], np.int64),
        "median": median.astype(np.float32),
        "mean": mean.astype(np.float32),
        "deviation": deviation.astype(np.float32),
        "categorical": np.array([1], np.int64),
        "codes": np.arange(4, dtype=np.float32),
        "weights": weights,
        "bias": bias,
    }
    graph = helper.make_graph(
        nodes,
        "softmax",
        [helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in (PROBABILITIES, LOGITS)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    folder = FIXTURE / "wine" / "softmax"
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / MODEL_FILE).write_bytes(finished(graph, metadata.to_properties()).SerializeToString(deterministic=True))
    probabilities = fitted.predict_proba(scaled)
    samples = [
        {
            "row": decode(features[place], columns),
            "label": str(wine.target_names[wine.target[place]]),
            "probabilities": probabilities[place].round(8).tolist(),
        }
        for place in (0, 1, 60, 61, 130, 131)
    ]
    (folder / SAMPLES_FILE).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    manifest = Manifest(metadata, {"parameters": 21}, tuple(describe_file(folder, path) for path in paths))
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def write_foreign() -> None:
    """A valid ONNX file without metadata of ours."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
    )
    (FIXTURE / "foreign.onnx").write_bytes(finished(graph, {}).SerializeToString(deterministic=True))


def finished(graph: onnx.GraphProto, properties: dict[str, str]) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="classifier-zoo")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    return model


if __name__ == "__main__":
    main()
