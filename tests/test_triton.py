"""A model of Triton's: what the folder holds, what its text says, and what is refused. The server reads it in
tests/apps."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import onnx
import pytest

from pipelines.cli import main
from pipelines.publishing.triton import model_name, triton
from zoo.contract import Metadata, read_manifest
from zoo.errors import ExportError

FIXTURE = Path(__file__).parent / "runtime" / "fixture"


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_that_of_a_model_repository(tmp_path: Path) -> None:
    export = FIXTURE / "digits" / "softmax"
    model = triton(export, repository=tmp_path / "models")
    assert model.folder == tmp_path / "models" / "digits-softmax"
    assert set(files(model.folder)) == {"config.pbtxt", "labels.txt", "README.md", "1/model.onnx"}
    assert (model.folder / "1" / "model.onnx").read_bytes() == (export / "model.onnx").read_bytes()
    assert tuple((model.folder / "labels.txt").read_text().splitlines()) == read_manifest(export).metadata.labels
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["digits-softmax"]


@pytest.mark.parametrize(
    ("export", "line"),
    [
        ("digits/softmax", r'{ name: "images" data_type: TYPE_UINT8 dims: [-1, -1, 1] }'),
        ("tinted-digits/softmax", r'{ name: "images" data_type: TYPE_UINT8 dims: [-1, -1, 3] }'),
        ("wine/softmax", r'{ name: "features" data_type: TYPE_FP32 dims: [3] }'),
    ],
)
def test_the_config_states_what_the_file_takes(export: str, line: str, tmp_path: Path) -> None:
    text = (triton(FIXTURE / export, repository=tmp_path).folder / "config.pbtxt").read_text()
    assert line in text
    assert re.search(r'name: "probabilities" data_type: TYPE_FP32 dims: \[\d+\] label_filename: "labels.txt"', text)


def test_the_command_names_the_folder_and_takes_its_place_again(tmp_path: Path, capsys) -> None:
    words = ["export", str(FIXTURE / "digits" / "softmax"), "--layout", "triton", "--repository", str(tmp_path)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], Path(found["folder"])) == ("digits-softmax", tmp_path / "digits-softmax")
    before = files(tmp_path)
    assert main(words) == 0
    assert "--model-repository=" in capsys.readouterr().out
    assert files(tmp_path) == before


def test_an_export_is_found_by_its_name_among_the_exports(tmp_path: Path) -> None:
    assert triton("digits/softmax", exports=FIXTURE, repository=tmp_path).name == "digits-softmax"


def test_what_only_a_run_can_be_given_is_refused_for_an_export(tmp_path: Path, capsys) -> None:
    for words in (["--license", "MIT"], ["--data-license", "MIT"], ["--no-familiarity"]):
        asked = ["export", "digits/softmax", "--exports", str(FIXTURE), "--layout", "triton", *words]
        assert main([*asked, "--repository", str(tmp_path)]) == 1
        assert "digits/softmax is an export: --license, --data-license, and" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_no_model_of_triton_s_is_not_replaced(tmp_path: Path, capsys) -> None:
    (tmp_path / "digits-softmax").mkdir()
    (tmp_path / "digits-softmax" / "thesis.txt").write_text("years")
    words = ["export", str(FIXTURE / "digits" / "softmax"), "--layout", "triton", "--repository", str(tmp_path)]
    assert main(words) == 1
    assert "exists and is not a Triton model, so it will not be replaced" in capsys.readouterr().err
    assert list(files(tmp_path)) == ["digits-softmax/thesis.txt"]


def test_a_label_of_two_lines_is_refused(tmp_path: Path) -> None:
    model = onnx.load(FIXTURE / "digits" / "softmax" / "model.onnx")
    (labels,) = (entry for entry in model.metadata_props if entry.key == "zoo.labels")
    labels.value = json.dumps(["a\nb", *json.loads(labels.value)[1:]])
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(ExportError, match=r"has the label 'a\\nb', expected one line each"):
        triton(tmp_path / "model.onnx", repository=tmp_path / "models")
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.parametrize(
    ("data_set", "name"),
    [
        ("fashion-mnist", "fashion-mnist-softmax"),
        ("../My Images", "my-images-softmax-MARK"),
        ("2024", "model-2024-softmax-MARK"),
        ("x" * 55, f"{'x' * 55}-softmax"),
    ],
)
def test_names_are_ones_that_servers_take(data_set: str, name: str) -> None:
    found = read_manifest(FIXTURE / "digits" / "softmax").metadata
    mark = hashlib.sha256(f"{data_set}-softmax".encode()).hexdigest()[:8]  # of names that lose something
    assert model_name(Metadata(**{**vars(found), "data_set": data_set})) == name.replace("MARK", mark)


@pytest.mark.parametrize("names", [("猫", "犬"), ("x" * 80, "x" * 81), ("é", "e\u0301"), ("my images", "my_images")])
def test_names_that_lose_letters_stay_apart(names: tuple[str, str]) -> None:
    found = read_manifest(FIXTURE / "digits" / "softmax").metadata
    one, other = (model_name(Metadata(**{**vars(found), "data_set": name})) for name in names)
    assert one != other
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{,61}[a-z0-9]", name) for name in (one, other))


def test_a_repository_without_the_layout_is_a_wrong_command_line(tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", "0123", "--repository", str(tmp_path)])
    assert caught.value.code == 2
    assert "--repository requires --layout triton" in capsys.readouterr().err
