"""zoo.load: by folder, file or name; and one sentence for everything that is no export, or no longer one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.contract import MANIFEST_FILE, MODEL_FILE


def one_sentence(error: pytest.ExceptionInfo[BaseException], *parts: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 600
    for part in parts:
        assert part in text, text


def test_a_folder_a_file_and_a_name_load_the_same_classifier(exports: Path, samples) -> None:
    folder = exports / "digits" / "softmax"
    ways = [str(folder), folder, folder / MODEL_FILE, "digits/softmax"]
    loaded = [zoo.load(way) for way in ways]
    assert {c.metadata.weights_sha256 for c in loaded} == {loaded[0].metadata.weights_sha256}
    assert {c.predict(samples[3][0]) for c in loaded} == {loaded[0].predict(samples[3][0])}


def test_the_file_alone_carries_labels_and_origin(exports: Path, tmp_path: Path) -> None:
    stray = (exports / "tinted-digits" / "softmax" / MODEL_FILE).rename(tmp_path / "received by mail.onnx")
    classifier = zoo.load(stray)
    assert classifier.labels == tuple("0123456789")
    assert (classifier.height, classifier.width, classifier.channels) == (8, 8, 3)
    assert classifier.metadata.data_set == "tinted-digits"
    assert "tinted-digits/softmax" in repr(classifier)


def test_names_are_looked_up_beside_the_working_folder_by_default(
    exports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_EXPORTS")
    monkeypatch.chdir(exports.parent)
    assert zoo.load("digits/softmax").metadata.data_set == "digits"


def test_a_folder_of_images_does_not_hide_the_export_of_its_name(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere" / "digits" / "softmax").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert zoo.load("digits/softmax").metadata.data_set == "digits"


def test_a_mistyped_name_is_answered_with_the_nearest(exports: Path) -> None:
    with pytest.raises(zoo.ExportError) as error:
        zoo.load("digits/sofmax")
    one_sentence(error, "'digits/sofmax'", "did you mean digits/softmax", str(exports))


def test_where_nothing_was_exported_yet_the_way_to_an_export_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOO_EXPORTS", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(zoo.ExportError) as error:
        zoo.load("digits/softmax")
    one_sentence(error, "digits/softmax", "zoo export", "ZOO_EXPORTS")


def test_a_folder_without_manifest_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(tmp_path)
    one_sentence(error, str(tmp_path), MANIFEST_FILE)


@pytest.mark.parametrize("share", [0, 0.3, 0.99])
def test_a_truncated_file_is_named(exports: Path, tmp_path: Path, share: float) -> None:
    whole = (exports / "digits" / "softmax" / MODEL_FILE).read_bytes()
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(cut)
    one_sentence(error, str(cut), "truncated")


def test_a_text_file_is_no_model(tmp_path: Path) -> None:
    text = tmp_path / "model.onnx"
    text.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(text)
    one_sentence(error, str(text))


def test_a_valid_onnx_file_of_someone_else_is_refused(foreign: Path) -> None:
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(foreign)
    one_sentence(error, str(foreign), "not one that `zoo export` made")


def test_a_file_that_does_not_fit_its_manifest_is_refused(exports: Path) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1  # one bit of a weight: the file still loads, and answers differently
    model.write_bytes(content)
    zoo.load(model)
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(model.parent)
    one_sentence(error, str(model), "SHA-256")


def test_a_missing_file_is_named(exports: Path) -> None:
    model = exports / "digits" / "softmax" / MODEL_FILE
    model.unlink()
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(model.parent)
    one_sentence(error, str(model), "missing")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": 3}'])
def test_a_damaged_manifest_is_refused(exports: Path, text: str) -> None:
    manifest = exports / "digits" / "softmax" / MANIFEST_FILE
    manifest.write_text(text)
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(manifest.parent)
    one_sentence(error, str(manifest))


def test_a_manifest_that_names_files_outside_of_its_folder_is_refused(exports: Path) -> None:
    manifest = exports / "digits" / "softmax" / MANIFEST_FILE
    found = json.loads(manifest.read_text())
    found["files"][0]["path"] = "../../secret"
    manifest.write_text(json.dumps(found))
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(manifest.parent)
    one_sentence(error, "../../secret", "outside")


def rewritten(model: Path, old: bytes, new: bytes) -> Path:
    """The file with bytes replaced by as many others, which keeps it valid."""
    content = model.read_bytes()
    assert len(old) == len(new)
    assert old in content
    changed = model.with_name("changed.onnx")
    changed.write_bytes(content.replace(old, new))
    return changed


def test_a_file_of_another_contract_is_refused(exports: Path) -> None:
    changed = rewritten(
        exports / "digits" / "softmax" / MODEL_FILE, b'zoo.contract\x12\x03"1"', b'zoo.contract\x12\x03"9"'
    )
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(changed)
    one_sentence(error, str(changed), "contract '9'")


@pytest.mark.parametrize(
    ("old", "new"), [(b"images", b"pixels"), (b'"9"]', b'9" ]'), (b"zoo.channels\x12\x011", b"zoo.channels\x12\x013")]
)
def test_a_file_whose_graph_and_metadata_disagree_is_refused(exports: Path, old: bytes, new: bytes) -> None:
    changed = rewritten(exports / "digits" / "softmax" / MODEL_FILE, old, new)
    with pytest.raises(zoo.ExportError) as error:
        zoo.load(changed)
    one_sentence(error, str(changed))


def test_the_surface_of_zoo_is_what_is_written_down() -> None:
    public = {name for name in dir(zoo) if re.match(r"[A-Za-z]", name) and not isinstance(getattr(zoo, name), type(re))}
    assert public - {"annotations", "TYPE_CHECKING", "Any"} == set(zoo.__all__) - {"__version__"}
    assert zoo.load.__doc__
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        zoo.lod  # noqa: B018


def test_bare_onnxruntime_gives_the_same_answers(exports: Path, samples) -> None:
    import onnxruntime

    from zoo.images import read_image

    folder = exports / "digits" / "softmax"
    session = onnxruntime.InferenceSession(folder / MODEL_FILE)
    classifier = zoo.load(folder)
    for file, _, _ in samples:
        images = read_image(file, 1)[np.newaxis]
        np.testing.assert_array_equal(session.run(None, {"images": images})[0], classifier.probabilities(images))


def test_a_name_that_no_file_system_takes_is_told_in_a_sentence() -> None:
    with pytest.raises(zoo.ExportError, match="can't be loaded"):
        zoo.load("a" * 5000)


def test_an_app_that_catches_picture_errors_goes_on_and_is_told_the_new_name() -> None:
    from zoo import errors

    for module in (zoo, errors):
        with pytest.warns(DeprecationWarning, match="PictureError is called ImageError now") as warned:
            assert module.PictureError is zoo.ImageError
        assert warned[0].filename == __file__, "it is the app's own line"
    with pytest.raises(AttributeError, match="no attribute 'NoError'"):
        _ = errors.NoError
