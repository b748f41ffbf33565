"""Exports that somebody damaged, or made to do harm: whatever is wrong with one, it is a ZooError in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import zoo
from zoo.checked import LARGEST_JSON
from zoo.contract import MANIFEST_FILE, MODEL_FILE, read_manifest
from zoo.errors import LONGEST
from zoo.runtime.providers import open_session
from zoo.runtime.self_contained import _fields, check_self_contained

sys.path.append(str(Path(__file__).parent))  # in an app's environment, too, where this folder lies alone
import mutated_exports

SAMPLE = 150  # of the 10,000 mutants that mutated_exports.py makes


def test_mutants_are_answered_or_refused_in_a_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    counted: dict[str, int] = {}
    for number, what, words in mutated_exports.outcomes(0, SAMPLE):
        assert what not in mutated_exports.FAILURES, f"mutant {number}: {what}: {words}"
        counted[what] = counted.get(what, 0) + 1
    assert sum(counted.values()) == SAMPLE
    assert counted["answered"] >= SAMPLE // 20
    assert counted["refused at load"] >= SAMPLE // 2


# --- files that lead out of themselves -------------------------------------------------------------------------------


def field(number: int, content: bytes | int) -> bytes:
    """One field of a protobuf message; its number below 16, its content shorter than 16 kB."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    size = len(content)
    return bytes([number << 3 | 2, *([size] if size < 128 else [size & 127 | 128, size >> 7])]) + content


def external(location: str) -> bytes:
    """What makes a model have one more tensor, whose 16 bytes lie elsewhere, when it is written behind its file."""
    entries = {"location": location, "offset": "0", "length": "16"}
    data = b"".join(field(13, field(1, key.encode()) + field(2, value.encode())) for key, value in entries.items())
    tensor = field(1, 4) + field(2, 1) + field(8, b"elsewhere") + data + field(14, 1)
    return field(7, field(5, tensor))


ELSEWHERE = {
    "beside": "weights.bin",
    "above": "../secret",
    "absolute": "/etc/hostname",
    "a link": "link",
    "memory": "*/_ORT_MEM_ADDR_/*",
    "nothing": "",
}


@pytest.mark.parametrize("location", ELSEWHERE.values(), ids=ELSEWHERE.keys())
@pytest.mark.parametrize("nested", [False, True], ids=["weights", "inside of an attribute"])
def test_weights_that_lie_elsewhere_are_refused(exports: Path, location: str, nested: bool) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    (model.parent / "weights.bin").write_bytes(bytes(16))
    (exports / "digits" / "secret").write_bytes(bytes(16))
    (model.parent / "link").symlink_to("../secret")
    more = external(location)
    if nested:  # a tensor of a graph of an attribute of a node
        ((_, graph),) = _fields(memoryview(more))
        assert isinstance(graph, memoryview)
        attribute = field(1, b"value") + field(6, bytes(graph))
        more = field(7, field(1, field(4, b"Constant") + field(5, attribute)))
    stray = model.with_name("stray.onnx")
    stray.write_bytes(model.read_bytes() + more)
    with pytest.raises(zoo.ExportError, match="keeps weights in other files, expected all of them inside"):
        zoo.load(stray)


def test_a_field_whose_number_only_others_would_cut_to_32_bits_is_refused(exports: Path) -> None:
    """Bytes that onnxruntime would take for another graph, and we for an unknown field."""
    folder = exports / "digits" / "softmax"
    content = (folder / MODEL_FILE).read_bytes()
    graph = field(1, field(7, b"com.example"))
    with pytest.raises(zoo.ExportError, match="a field with an invalid number"):
        check_self_contained(content + b"\xba\x80\x80\x80\x10" + bytes([len(graph)]) + graph, folder / MODEL_FILE)


def test_a_file_in_the_format_of_onnxruntime_itself_is_refused(tmp_path: Path, digits: Path) -> None:
    """No check reads what such a file holds: here, a model that onnxruntime has optimized and saved."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    onnxruntime.InferenceSession(digits / MODEL_FILE, options, providers=["CPUExecutionProvider"])
    content = (tmp_path / "model.ort").read_bytes()
    assert onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]), "it would be taken"
    with pytest.raises(zoo.ExportError, match="can't be opened by onnxruntime"):
        open_session(content, "model.ort", "cpu")


def test_operators_of_others_are_refused(exports: Path) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    node = field(4, b"EPContext") + field(7, b"com.microsoft")
    model.with_name("stray.onnx").write_bytes(model.read_bytes() + field(7, field(1, node)))
    with pytest.raises(zoo.ExportError, match="operators that aren't ONNX's own"):
        zoo.load(model.with_name("stray.onnx"))


# --- files that don't do what they promise ---------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["N", "H", "W"])
def test_a_dimension_that_is_not_free_is_refused_at_load(exports: Path, side: str) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    free, fixed = b"\x0a\x03\x12\x01" + side.encode(), b"\x0a\x03\x08\x80\x01"  # its name; 128
    content = model.read_bytes()
    assert free in content
    model.with_name("stray.onnx").write_bytes(content.replace(free, fixed))
    with pytest.raises(zoo.ExportError, match="doesn't keep the contract"):
        zoo.load(model.with_name("stray.onnx"))


def test_text_that_is_none_is_an_export_error(exports: Path) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    content = model.read_bytes()
    assert b'"dense"' in content
    model.with_name("stray.onnx").write_bytes(content.replace(b'"dense"', b'"dens\xff"'))
    with pytest.raises(zoo.ExportError, match="damaged text"):
        zoo.load(model.with_name("stray.onnx"))


def tensors(message: memoryview) -> list[bytes]:
    """The weights of a model."""
    graph = next(value for number, value in _fields(message) if number == 7 and not isinstance(value, int))
    found = [value for number, value in _fields(graph) if number == 5 and not isinstance(value, int)]
    return [bytes(v) for each in found for number, v in _fields(each) if number == 9 and not isinstance(v, int)]


def test_an_answer_that_is_no_probability_is_an_error(exports: Path) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    content = model.read_bytes()
    largest = max(tensors(memoryview(content)), key=len)
    model.with_name("stray.onnx").write_bytes(content.replace(largest, b"\xff" * len(largest)))  # NaN
    classifier = zoo.load(model.with_name("stray.onnx"))
    for ask in (classifier.predict, lambda image: classifier.predict_batch([image])):
        with pytest.raises(zoo.ExportError, match="probabilities that sum to nan, expected 1"):
            ask(np.zeros((8, 8), np.uint8))


# --- manifests -------------------------------------------------------------------------------------------------------


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def text(content: str) -> Callable[[Path], None]:
    return lambda path: path.write_text(content, encoding="utf-8") and None


FILES: dict[str, Callable[[Path], Any]] = {
    "a device": device,
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "brackets": text("[" * 90_000_000),
    "brackets within the limit": text("[" * (LARGEST_JSON - 10)),
    "a long number": text('{"metrics": {"parameters": ' + "9" * 5000 + "}}"),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "NaN": text("NaN"),
}


@pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())
def test_a_manifest_that_is_no_manifest_is_refused_at_once(exports: Path, make: Callable[[Path], Any]) -> None:
    manifest = exports / "digits" / "softmax" / MANIFEST_FILE
    manifest.unlink()
    make(manifest)
    with pytest.raises(zoo.ExportError) as error:
        read_manifest(manifest.parent)
    assert str(manifest) in str(error.value)
    assert len(str(error.value)) < 600


WRONG_METRICS = [
    (name, value)
    for name in ("parameters", "test_accuracy_low", "int8_accuracy_difference", "test_loss", "int8_speedup_1")
    for value in ("7", None, True, 1e308, -1e308, 10**400, [1])
] + [("parameters", -1), ("receptive_field", -1), ("test_accuracy_seed_2", 1.5), ("int8_accuracy_difference", 50)]
WRONG_METADATA = [
    ("labels", ["a", "a"]),
    ("labels", ["a", "x" * 5000]),
    ("precision", ["float32"]),
    ("precision", {}),
    ("resizing", []),
    ("parity", {"largest_difference": 1e308}),
    ("parity", {"largest_difference": "small"}),
    ("recipe", {"seed": 10**400}),
    ("recipe", {"\x1b[31m": 1}),
    ("versions", {"keras": 3}),
    ("source", {"name": ["x"]}),
    ("columns", [{"name": "a", "categories": "abc"}]),
    ("test_accuracy", 10**400),
    ("contract", "x" * 3_000_000),
]
WRONG_FILES = [
    ("path", 7), ("path", "a\x1b[0m"), ("path", "../x"), ("size", "7"), ("size", -1), ("size", 1.5), ("size", True),
    ("sha256", "x" * 64), ("sha256", None), ("sha256", "A" * 64),
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [("metrics", *pair) for pair in WRONG_METRICS]
    + [("metadata", *pair) for pair in WRONG_METADATA]
    + [("files", *pair) for pair in WRONG_FILES],
)
def test_a_field_of_another_type_or_out_of_its_range_is_named(
    exports: Path, where: str, name: str, value: object
) -> None:
    manifest = exports / "digits" / "softmax" / MANIFEST_FILE
    found = json.loads(manifest.read_text(encoding="utf-8"))
    if "figures" in found:
        found["metrics"] = found.pop("figures")
    (found[where][0] if where == "files" else found[where])[name] = value
    manifest.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(zoo.ExportError) as error:
        read_manifest(manifest.parent)
    assert str(manifest) in str(error.value)
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= LONGEST


# --- one fact, written twice -----------------------------------------------------------------------------------------


def reversed_labels(found: dict[str, Any]) -> None:
    found["metadata"]["labels"].reverse()


def other_run(found: dict[str, Any]) -> None:
    found["metadata"]["run_id"] = "f" * 32


def other_accuracy(found: dict[str, Any]) -> None:
    found["metadata"]["test_accuracy"] = 0.999


def other_outputs(found: dict[str, Any]) -> None:
    found["outputs"][0]["shape"][1] += 1


def other_inputs(found: dict[str, Any]) -> None:
    found["inputs"][0]["name"] = "pixels"


def other_parity(found: dict[str, Any]) -> None:
    found.get("metrics", found.get("figures"))["same_top_class"] = 0.5


def a_file_twice(found: dict[str, Any]) -> None:
    found["files"].append(found["files"][0])


@pytest.mark.parametrize("export", ["digits/softmax", "digits/pooled", "tinted-digits/softmax", "wine/softmax"])
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (reversed_labels, "differ in labels"),
        (other_run, "differ in run_id"),
        (other_accuracy, "test_accuracy"),
        (other_outputs, "contradicts itself in outputs"),
        (other_inputs, "contradicts itself in inputs"),
        (other_parity, "contradicts itself in same_top_class"),
        (a_file_twice, "contradicts itself in files"),
    ],
)
def test_a_manifest_that_says_otherwise_than_the_file_is_refused_at_load(
    exports: Path, export: str, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    manifest = exports / export / MANIFEST_FILE
    found = json.loads(manifest.read_text(encoding="utf-8"))
    change(found)
    manifest.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(zoo.ExportError, match=named):
        zoo.load(manifest.parent)


def test_what_onnxruntime_logs_stays_out_of_an_apps_standard_error(
    exports: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    content = model.read_bytes()
    stray = model.with_name("stray.onnx")
    for damaged in (content[:500], content.replace(b"Resize", b"Resise"), content.replace(b"Softmax", b"Softplu")):
        stray.write_bytes(damaged)
        with pytest.raises(zoo.ExportError):
            zoo.load(stray)
    classifier = zoo.load(model)
    with pytest.raises(zoo.ExportError, match="can't be run"):  # in onnxruntime, as a damaged file would
        zoo.runtime.running.run_session(
            classifier.session, classifier.metadata, "cpu", ["probabilities"], np.zeros((1, 0, 8, 1), np.uint8)
        )
    assert capfd.readouterr() == ("", "")


def test_a_file_name_of_control_characters_is_shown_as_escapes(tmp_path: Path, digits: Path) -> None:
    folder = shutil.copytree(digits, tmp_path / "red\x1b[31m\nzoo: all is well")
    (folder / MANIFEST_FILE).write_text("{")
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(folder)
    assert str(error.value).isprintable()
    assert "red\\x1b[31m\\nzoo: all is well" in str(error.value)
