"""Makes tests/runtime/fixture/: small exports under our contract, so that the runtime is tested where no onnx is.

    PYTHONPATH=. python tests/runtime/make_fixture.py

One dense layer on scikit-learn's digits, as grey pictures and in colour, one on its table of wines, and an ONNX file
that isn't ours.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.datasets import load_digits, load_wine
from sklearn.linear_model import LogisticRegression

from zoo.contract import (
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
    grey = np.round(digits.images * 255 / 16).astype(np.uint8)[..., None]  # [N, 8, 8, 1]
    tinted = np.round(grey * TINT).astype(np.uint8)  # [N, 8, 8, 3]
    train, test = slice(0, 1400), slice(1400, None)
    for data_set, images in (("digits", grey), ("tinted-digits", tinted)):
        flat = images.reshape(len(images), -1) / 255
        fitted = LogisticRegression(C=1.0, max_iter=2000).fit(flat[train], digits.target[train])
        weights, bias = fitted.coef_.T.astype(np.float32), fitted.intercept_.astype(np.float32)
        accuracy = float(fitted.score(flat[test], digits.target[test]))
        write_export(data_set, images[test], digits.target[test], weights, bias, accuracy)
    write_table()
    write_foreign()


def write_export(
    data_set: str, images: np.ndarray, targets: np.ndarray, weights: np.ndarray, bias: np.ndarray, accuracy: float
) -> None:
    folder = FIXTURE / data_set / "softmax"
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    channels = images.shape[-1]
    metadata = Metadata(
        model="softmax",
        family="dense",
        data_set=data_set,
        data_digest=hashlib.sha256(images.tobytes()).hexdigest(),
        labels=tuple("0123456789"),
        height=SIDE,
        width=SIDE,
        channels=channels,
        recipe={"C": 1.0},
        run_id="0" * 32,
        commit="0" * 40,
        weights_sha256=hashlib.sha256(weights.tobytes() + bias.tobytes()).hexdigest(),
        test_accuracy=accuracy,
        parity={"largest_difference": 0.0, "same_top_class": 1.0},
        versions={"onnx": onnx.__version__},
    )
    (folder / MODEL_FILE).write_bytes(softmax(weights, bias, channels, metadata).SerializeToString(deterministic=True))

    samples = []
    for digit in range(10):
        picture = images[int(np.flatnonzero(targets == digit)[0])]
        Image.fromarray(picture[..., 0] if channels == 1 else picture).save(folder / "samples" / f"{digit}.png")
        logits = (picture.reshape(-1) / 255) @ weights.astype(np.float64) + bias
        probabilities = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        samples.append({"file": f"{digit}.png", "label": str(digit), "probabilities": probabilities.round(8).tolist()})
    (folder / SAMPLES_FILE).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")

    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    figures = {
        "parameters": weights.size + bias.size,
        "multiply_accumulates": weights.size,
        "test_accuracy": accuracy,
        "test_pictures": len(images),
    }
    manifest = Manifest(metadata, figures, tuple(describe_file(folder, path) for path in paths))
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def softmax(weights: np.ndarray, bias: np.ndarray, channels: int, metadata: Metadata) -> onnx.ModelProto:
    """The graph of one dense layer. weights [8 * 8 * C, K], bias [K], for pixels in 0..1."""
    classes = len(bias)
    nodes = [
        # [N, H, W, C] uint8 -> [N, 8, 8, C] uint8
        helper.make_node(
            "Resize",
            [INPUT, "", "", "size"],
            ["resized"],
            axes=[1, 2],
            mode="linear",
            antialias=1,
            exclude_outside=1,
            coordinate_transformation_mode="half_pixel",
        ),
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
    """Wines by two numbers and a category: the colour in words, where it is known."""
    wine = load_wine()
    names = list(wine.feature_names)
    numbers = wine.data[:, [names.index("alcohol"), names.index("proline")]].astype(np.float32)  # [N, 2]
    colour = np.searchsorted([4, 6], wine.data[:, names.index("color_intensity")]) + 1  # [N] 1..3
    colour[::10] = 0  # isn't known
    columns = (Column("alcohol"), Column("colour", ("", "pale", "medium", "deep")), Column("proline"))
    features = np.stack([numbers[:, 0], colour, numbers[:, 1]], axis=1).astype(np.float32)  # [N, 3]
    mean, deviation, median = numbers.mean(axis=0), numbers.std(axis=0), np.median(numbers, axis=0)
    scaled = np.concatenate([(numbers - mean) / deviation, np.eye(4)[colour]], axis=1)
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
