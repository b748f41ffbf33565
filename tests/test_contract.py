"""What a manifest and a file's metadata must hold, and what happens otherwise: both are treated as hostile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zoo.contract import (
    MANIFEST_FILE,
    MODEL_FILE,
    ExportedFile,
    Manifest,
    Metadata,
    check_file,
    describe_file,
    read_manifest,
)
from zoo.errors import ExportError

METADATA = Metadata(
    model="lenet5",
    family="hybrid",
    data_set="digits",
    data_digest="0" * 64,
    labels=("naïve", "a<b", 'quo"te'),
    height=8,
    width=9,
    channels=1,
    recipe={"epochs": 3},
    run_id="1" * 32,
    commit="2" * 40,
    weights_sha256="3" * 64,
    test_accuracy=0.5,
    parity={"largest_difference": 1e-6},
)


@pytest.fixture
def export(tmp_path: Path) -> Path:
    (tmp_path / MODEL_FILE).write_bytes(b"a model")
    manifest = Manifest(METADATA, {"parameters": 7.0}, (describe_file(tmp_path, tmp_path / MODEL_FILE),))
    (tmp_path / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    return tmp_path


def change(export: Path, **fields: object) -> None:
    found = json.loads((export / MANIFEST_FILE).read_text(encoding="utf-8"))
    (export / MANIFEST_FILE).write_text(json.dumps({**found, **fields}), encoding="utf-8")


def test_metadata_survives_the_file_and_the_manifest(export: Path) -> None:
    assert Metadata.from_properties(METADATA.to_properties(), "model.onnx") == METADATA
    manifest = read_manifest(export)
    assert manifest.metadata == METADATA
    assert check_file(export, manifest, MODEL_FILE) == export / MODEL_FILE


def test_properties_of_others_are_left_alone() -> None:
    assert Metadata.from_properties({**METADATA.to_properties(), "author": "{"}, "model.onnx") == METADATA
    with pytest.raises(ExportError, match=r"model\.onnx holds no zoo metadata"):
        Metadata.from_properties({"author": "somebody"}, "model.onnx")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels", "abc", "no list of class names"),
        ("labels", [1, 2], "no list of class names"),
        ("labels", [], "no list of class names"),
        ("height", "8", "no image size"),
        ("channels", 0, "no image size"),
        ("contract", "99", "follows contract '99', this version reads '1' and '2'"),
    ],
)
def test_damaged_metadata_is_told(name: str, value: object, message: str) -> None:
    properties = METADATA.to_properties() | {f"zoo.{name}": json.dumps(value)}
    with pytest.raises(ExportError, match=message):
        Metadata.from_properties(properties, "model.onnx")
    del properties[f"zoo.{name}"]
    with pytest.raises(ExportError, match=r"lacks|holds no zoo metadata"):
        Metadata.from_properties(properties, "model.onnx")


# What a file of contract 2 may say of how far its answers can be relied on; METADATA has three classes.
CALIBRATION = {"temperature": 1.31, "images": 60, "split": "validation"}
SETS = {
    "method": "some",
    "images": 60,
    "images_by_class": [20, 20, 20],
    "thresholds": {"0.80": 0.1, "0.95": 0.01},
    "by_class": {"0.80": [0.1, 0.2, 0]},
}
FAMILIARITY = {"method": "some", "images": 60, "threshold": 0.05}
RELIABLE: dict[str, dict[str, object]] = {"calibration": CALIBRATION, "sets": SETS, "familiarity": FAMILIARITY}


@pytest.mark.parametrize(
    "said", [{}, {"calibration": CALIBRATION}, {"sets": SETS}, {"familiarity": FAMILIARITY}, RELIABLE]
)
def test_what_a_file_says_of_its_answers_survives_the_file_and_the_manifest(
    export: Path, said: dict[str, dict[str, object]]
) -> None:
    metadata = replace(METADATA, **said)
    assert Metadata.from_properties(metadata.to_properties(), "model.onnx") == metadata
    assert metadata.to_json().keys() & RELIABLE.keys() == said.keys()
    manifest = replace(read_manifest(export), metadata=metadata)
    (export / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    assert read_manifest(export) == manifest
    outputs = json.loads(manifest.to_json())["outputs"]
    last = {"name": "familiarity", "dtype": "float32", "shape": ["N"]}
    assert outputs[2:] == ([last] if "familiarity" in said else [])


def test_files_of_the_first_contract_are_read_with_what_they_have() -> None:
    properties = METADATA.to_properties() | {"zoo.contract": '"1"'}
    metadata = Metadata.from_properties(properties, "model.onnx")
    assert metadata == replace(METADATA, contract="1")
    assert metadata.to_properties() == properties  # written again, it stays what it is
    assert METADATA.contract == "2"
    for name, said in RELIABLE.items():
        with pytest.raises(ExportError, match=f"no sensible {name} in"):
            Metadata.from_properties(properties | {f"zoo.{name}": json.dumps(said)}, "model.onnx")


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        *[("calibration", {**CALIBRATION, "temperature": value}) for value in (0, -1, True, "1", 1e9, None, [1.0])],
        *[("calibration", {**CALIBRATION, "images": value}) for value in (0, -1, 1.5, True, "60")],
        *[("calibration", {**CALIBRATION, "split": value}) for value in ("test", "", 1)],
        ("calibration", {"temperature": 1.3}),
        ("calibration", {**CALIBRATION, "more": 1}),
        ("calibration", []),
        ("calibration", 1.3),
        *[("sets", {**SETS, "method": value}) for value in ("\x1b[31m", 1, None)],
        *[("sets", {**SETS, "images_by_class": value}) for value in ([], [20, 20], [20, 20, 21], [40, 40, -20], {}, 3)],
        *[("sets", {**SETS, "thresholds": {name: 0.1}}) for name in ("1.00", "0.00", "0.951", "", "a", "0.9\u0665")],
        ("sets", {**SETS, "thresholds": {"0.95": 0.1, "0.80": 0.01}}),  # no set of more coverage is smaller
        ("sets", {**SETS, "by_class": {"0.80": [0.1, 0.2, 0], "0.90": [0.1, 0.3, 0]}}),
        *[("sets", {**SETS, "thresholds": {"0.95": value}}) for value in (-0.1, 1.1, "0.1", None, True)],
        *[("sets", {**SETS, "by_class": {"0.95": value}}) for value in ([0.1], [0.1] * 4, [0.1, 0.1, 2], 0.1, {})],
        ("sets", {**SETS, "by_class": []}),
        ("sets", {"method": "some"}),
        ("sets", "some"),
        *[("familiarity", {**FAMILIARITY, "threshold": value}) for value in (-0.1, 1.1, "0.05", None, True)],
        *[("familiarity", {**FAMILIARITY, "images": value}) for value in (0, 1.5)],
        ("familiarity", {"threshold": 0.05}),
    ],
)
def test_nonsense_of_how_far_answers_can_be_relied_on_is_refused(name: str, changed: object) -> None:
    properties = METADATA.to_properties() | {f"zoo.{name}": json.dumps(changed)}
    with pytest.raises(ExportError, match=f"no sensible {name} in its metadata: export the model again"):
        Metadata.from_properties(properties, "model.onnx")


@pytest.mark.parametrize("name", ["recipe", "quantization", "calibration", "sets", "familiarity"])
@pytest.mark.parametrize("levels", [30, 300, 500, 800, 990])
def test_objects_within_objects_are_refused_before_they_take_the_stack(name: str, levels: int) -> None:
    deep = '{"a": ' * levels + "1" + "}" * levels
    with pytest.raises(ExportError, match="export the model again"):
        Metadata.from_properties(METADATA.to_properties() | {f"zoo.{name}": deep}, "model.onnx")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"files": 3}', "\x00"])
def test_a_manifest_that_is_none_is_told(export: Path, text: str) -> None:
    (export / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match=MANIFEST_FILE):
        read_manifest(export)


def test_a_folder_without_manifest_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"holds no manifest\.json: it is not an export"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "C:\\x", "..\\x"])
def test_a_manifest_that_points_outside_of_its_folder_is_refused(export: Path, path: str) -> None:
    change(export, files=[{"path": path, "size": 1, "sha256": "0" * 64}])
    with pytest.raises(ExportError, match="outside its folder"):
        read_manifest(export)


def test_a_file_that_was_changed_cut_or_removed_is_told(export: Path) -> None:
    manifest = read_manifest(export)
    model = export / MODEL_FILE
    for content in (b"a Model", b"a mod"):
        model.write_bytes(content)
        with pytest.raises(ExportError, match="its SHA-256 differs"):
            check_file(export, manifest, MODEL_FILE)
    model.unlink()
    with pytest.raises(ExportError, match="is missing, though"):
        check_file(export, manifest, MODEL_FILE)
    with pytest.raises(ExportError, match=r"doesn't name other\.onnx"):
        check_file(export, manifest, "other.onnx")


def test_the_manifest_names_its_inputs_and_outputs() -> None:
    text = json.loads(Manifest(METADATA, {}, (ExportedFile("model.onnx", 1, "0" * 64),)).to_json())
    assert text["inputs"] == [{"name": "images", "dtype": "uint8", "shape": ["N", "H", "W", 1]}]
    assert [output["name"] for output in text["outputs"]] == ["probabilities", "logits"]
    assert text["metadata"]["labels"] == list(METADATA.labels)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("labels", ["a", "\x1b[31mred"]),
        ("height", 10**7),
        ("channels", 7),
        ("data_set", ["digits"]),
        ("test_accuracy", "high"),
        ("parity", [1]),
    ],
)
def test_metadata_that_makes_no_sense_is_refused(export: Path, field: str, value: object) -> None:
    change(export, metadata={**json.loads((export / MANIFEST_FILE).read_text("utf-8"))["metadata"], field: value})
    with pytest.raises(ExportError, match="export the model again"):
        read_manifest(export)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"files": [{"path": "a", "size": Infinity, "sha256": ""}]}'])
def test_a_manifest_that_breaks_the_parser_is_refused(export: Path, text: str) -> None:
    (export / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ExportError, match="export the model again"):
        read_manifest(export)
