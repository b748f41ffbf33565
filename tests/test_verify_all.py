"""`zoo verify --all`: what a card or the page of all exports says is what the files do, or an error names the line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from pipelines.cli import main
from pipelines.core.provenance import reading as images
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.exporting.export import write_export
from pipelines.publishing.gallery import PAGE_FILE, gallery
from pipelines.publishing.verify_all import verify_all
from zoo.contract import CARD_FILE, MANIFEST_FILE, describe_file, read_manifest
from zoo.errors import ExportError, VerificationError
from zoo.models import build


@pytest.fixture(scope="module")
def made(tmp_path_factory, metadata_of):
    """Two real exports with new weights and short cards, and the page of both."""
    folder = tmp_path_factory.mktemp("exports")
    data_set = load_data(make_plan("softmax", "digits"))
    for name in ("softmax", "lenet5"):
        model = build(name, 8, 8, 1, 10)
        metadata = metadata_of(name, model, data_set)

        def describe(export, manifest):
            card = f"# A card\n\n| test accuracy | {manifest.metadata.test_accuracy:.2%} | of all |\n"
            (export / CARD_FILE).write_text(card, encoding="utf-8")

        metrics = {"test_accuracy": metadata.test_accuracy}
        write_export(folder / "digits" / name, model, data_set, metadata, metrics, describe)
    gallery(folder)
    return folder


@pytest.fixture
def exports(made, tmp_path):
    """A copy of them, to be broken."""
    return shutil.copytree(made, tmp_path / "exports")


def test_each_export_is_run_and_its_accuracy_found_in_card_and_page(made, caplog):
    caplog.set_level("INFO", "zoo")
    found = verify_all(made)
    assert [verification.path.name for verification in found] == ["lenet5", "softmax"]
    assert caplog.messages == ["digits/lenet5: verifying", "digits/softmax: verifying"]
    for verification in found:
        assert [check.name for check in verification.checks][-4:] == ["test set", "metrics", "card", "page"]
        assert verification.accuracy == verification.metadata.test_accuracy


def test_the_images_of_a_known_data_set_are_loaded_once(made):
    images.read_data.cache_clear()
    verify_all(made)
    used = images.read_data.cache_info()
    assert (used.misses, used.hits) == (1, 1)


def test_it_ends_with_one_table(made, capsys):
    assert main(["verify", "--all", "--exports", str(made)]) == 0
    out, err = capsys.readouterr()
    accuracy = f"{read_manifest(made / 'digits' / 'softmax').metadata.test_accuracy:.2%}"
    line = next(line.split() for line in out.splitlines() if "softmax" in line)
    assert line[:6] == ["dense", "digits/softmax", accuracy, accuracy, "same", "same"]
    assert out.count("accuracy found") == 1
    assert "digits/softmax: verifying" in err


def test_json_is_one_document_whatever_the_number(made, capsys):
    folders = [str(made / "digits" / name) for name in ("softmax", "lenet5")]
    assert main(["verify", *folders, "--json"]) == 0
    assert [entry["path"] for entry in json.loads(capsys.readouterr().out)] == folders
    assert main(["verify", "--all", "--exports", str(made), "--json"]) == 0
    assert {entry["path"] for entry in json.loads(capsys.readouterr().out)} == set(folders)
    assert main(["verify", folders[0], "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)["accuracy"]
        == read_manifest(made / "digits" / "softmax").metadata.test_accuracy
    )


def test_a_page_with_another_figure_names_the_line(exports):
    page = exports / PAGE_FILE
    accuracy = read_manifest(exports / "digits" / "lenet5").metadata.test_accuracy
    page.write_text(page.read_text(encoding="utf-8").replace(f"{accuracy:.2%}", "99.99%"), encoding="utf-8")
    with pytest.raises(VerificationError, match=r"README\.md has no line for digits/lenet5 .* again by `zoo gallery`"):
        verify_all(exports)


def test_a_page_that_lists_what_is_not_there_is_told(exports):
    shutil.rmtree(exports / "digits" / "lenet5")
    with pytest.raises(VerificationError, match=r"has a line for digits/lenet5/README\.md that no export has"):
        verify_all(exports)


def test_without_a_page_there_is_none_to_check(exports, capsys):
    (exports / PAGE_FILE).unlink()
    assert main(["verify", "--all", "--exports", str(exports)]) == 0
    assert " none " in capsys.readouterr().out


def rewrite(folder, **changes):
    """Let the manifest agree with files that were changed."""
    manifest = read_manifest(folder)
    files = tuple(describe_file(folder, folder / file.path) for file in manifest.files)
    (folder / MANIFEST_FILE).write_text(replace(manifest, files=files, **changes).to_json(), encoding="utf-8")


@pytest.mark.parametrize(
    ("card", "named"), [("| test accuracy | 99.99% | |\n", "names 99.99%"), ("# A card\n", "names no test accuracy")]
)
def test_a_card_with_another_accuracy_is_told(exports, card, named):
    folder = exports / "digits" / "softmax"
    (folder / CARD_FILE).write_text(card, encoding="utf-8")
    rewrite(folder)
    with pytest.raises(VerificationError, match=rf"softmax/README\.md {named}, expected "):
        verify_all(exports)


def test_a_manifest_with_two_accuracies_is_told(exports):
    folder = exports / "digits" / "softmax"
    rewrite(folder, metrics={**read_manifest(folder).metrics, "test_accuracy": 0.99})
    with pytest.raises(ExportError, match="contradicts itself in test_accuracy"):
        verify_all(exports)


def test_each_broken_promise_is_told_whatever_the_first_one_was(exports):
    for name in ("lenet5", "softmax"):
        folder = exports / "digits" / name
        (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(VerificationError) as told:
        verify_all(exports)
    lines = str(told.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["digits/lenet5", "digits/softmax"]
    assert all("model.onnx isn't the file that manifest.json names" in line for line in lines)


def test_no_export_is_an_error(tmp_path, capsys):
    assert main(["verify", "--all", "--exports", str(tmp_path)]) == 1
    assert "no export is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits/softmax", "--all"], "name exports to verify, or --all of them, not both"),
        ([], "name an EXPORT, or --all"),
        (["digits/softmax", "--exports", "elsewhere"], "--exports goes with --all"),
    ],
)
def test_names_and_all_exclude_each_other(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["verify", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err
