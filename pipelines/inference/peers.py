"""The same model in other libraries, and without familiarity: what `zoo benchmark --peers` runs beside an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from pipelines.exporting.familiarity.graph import without_familiarity
from pipelines.exporting.from_onnx import rebuild
from pipelines.exporting.graph.arithmetic import erfc_as_erf
from pipelines.inference.harness import Entry
from zoo.contract import FLOAT16, FLOAT32, INPUT, LOGITS, PROBABILITIES
from zoo.errors import ExportError, ModelError
from zoo.models.backend import start_keras


@dataclass(frozen=True)
class Peer:
    """name: as tables call it. library: of `inference.worker`. modules: what it needs, each with its package."""

    name: str
    library: str
    modules: Mapping[str, str]


_TRAINING = {"tensorflow": "tensorflow", "keras": "keras"}

PEERS = {
    # The others don't compute familiarity, so this is what they are to be compared with.
    "bare": Peer("without familiarity", "onnxruntime", {"onnx": "onnx"}),
    "tf2onnx": Peer("tf2onnx", "onnxruntime", {**_TRAINING, "tf2onnx": "tf2onnx"}),
    "tensorflow": Peer("TensorFlow", "tensorflow", _TRAINING),
    "keras": Peer("Keras predict", "keras", _TRAINING),
    "litert": Peer("LiteRT", "litert", {**_TRAINING, "ai_edge_litert": "ai-edge-litert"}),
    "openvino": Peer("OpenVINO", "openvino", {"openvino": "openvino"}),
}
PACKAGES = ("openvino", "ai-edge-litert")  # whose versions a table should say, beside those of every run


def prepare(export: Path, files: Mapping[str, Path], peers: Sequence[str], into: Path) -> tuple[list[Entry], list[str]]:
    """The entries of these peers, their files written to a folder, and a sentence for each that is left out.

    export: a folder. files: its ONNX files by precision, each of which OpenVINO runs, too. "bare" is its float32 file
    without familiarity, and not there if it never had any. The others get the Keras model that `rebuild` reads back
    from the export: the same layers and weights, batch normalizations as offsets.
    """
    missing = {
        key: [package for module, package in PEERS[key].modules.items() if find_spec(module) is None] for key in peers
    }
    left_out = [
        f"{PEERS[key].name} is left out, it needs {' and '.join(packages)}: pip install {' '.join(packages)}"
        for key, packages in missing.items()
        if packages
    ]
    there = [key for key in peers if not missing[key]]
    entries = []
    if "bare" in there and FLOAT32 in files and (bare := _write_bare(files[FLOAT32], into)):
        entries.append(Entry(PEERS["bare"].name, PEERS["bare"].library, bare))
    from_keras = [key for key in there if key in _WRITERS]
    if from_keras:
        try:
            model, _ = rebuild(export)
        except (ExportError, ModelError) as error:
            names = ", ".join(PEERS[key].name for key in from_keras)
            left_out.append(f"left out: {names}, which need the Keras model: {error}")
        else:
            made: dict[str, Path] = {}
            for key in from_keras:
                write = _WRITERS[key]
                try:
                    if write.__name__ not in made:
                        made[write.__name__] = write(model, into)
                except Exception as error:
                    why = (str(error).splitlines() or [type(error).__name__])[0][:200]
                    left_out.append(f"{PEERS[key].name} is left out, the model can't be converted: {why}")
                else:
                    entries.append(Entry(PEERS[key].name, PEERS[key].library, made[write.__name__]))
    if "openvino" in there:
        for precision in [precision for precision in files if precision != FLOAT16]:
            entries.append(Entry(PEERS["openvino"].name, "openvino", files[precision], precision))
        if FLOAT16 in files:
            left_out.append(f"{PEERS['openvino'].name} (float16) is left out: it would calculate in float32")
    return entries, left_out


def plain_onnx(model: Any) -> bytes:
    """What one gets by following tf2onnx's manual, with the contract's input and outputs.

    But for Erfc, which is no operator of ONNX: with it, onnxruntime does not open a model with gelu.
    """
    import tensorflow as tf
    import tf2onnx

    def answers(images: Any) -> dict[str, Any]:
        outputs = model(images, training=False)
        return {name: outputs[name] for name in (PROBABILITIES, LOGITS)}

    signature = [tf.TensorSpec(model.inputs[0].shape, tf.uint8, name=INPUT)]
    converted, _ = tf2onnx.convert.from_function(tf.function(answers), input_signature=signature, opset=17)
    erfc_as_erf(converted.graph)
    return bytes(converted.SerializeToString())


def _write_bare(file: Path, into: Path) -> Path | None:
    """The file as `zoo export --no-familiarity` would have written it; None where it is one already."""
    import onnx

    model = onnx.load(file)
    if not without_familiarity(model.graph):
        return None
    bare = into / "bare.onnx"
    bare.write_bytes(model.SerializeToString())
    return bare


def _write_onnx(model: Any, into: Path) -> Path:
    file = into / "plain.onnx"
    file.write_bytes(plain_onnx(model))
    return file


def _write_keras(model: Any, into: Path) -> Path:
    file = into / "model.keras"
    model.save(file)
    return file


def _write_litert(model: Any, into: Path) -> Path:
    """float32, which takes uint8 images as the others do: it was as fast with them as with float32 ones."""
    keras = start_keras()
    import tensorflow as tf

    images = keras.Input(model.inputs[0].shape[1:], dtype="uint8", name=INPUT)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(images, model(images)[PROBABILITIES]))
    file = into / "model.tflite"
    with redirect_stdout(StringIO()):  # Keras prints what it saves, where results are to go
        file.write_bytes(converter.convert())
    return file


_WRITERS = {"tf2onnx": _write_onnx, "tensorflow": _write_keras, "keras": _write_keras, "litert": _write_litert}
