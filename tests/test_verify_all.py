"""`zoo verify --all`: what a card or the page of all exports says is what the files do, or an error names the line."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.core.provenance import reading as images
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.exporting.export import write_export
from pipelines.exporting.verify import verify, verify_and_keep
from pipelines.publishing.catalog import read_shipped
from pipelines.publishing.gallery import PAGE_FILE, gallery, page_text
from pipelines.publishing.recomputed import NUMBER, build_again, card_lines, check_card, check_model
from pipelines.publishing.verify_all import check_whole, verify_all
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
    assert caplog.messages == ["digits/lenet5: verifying (1 of 2)", "digits/softmax: verifying (2 of 2)"]
    for verification in found:
        assert [check.name for check in verification.checks][-5:] == ["test set", "metrics", "model", "card", "page"]
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
    "line", ["| test accuracy | 99.99% | |", "| parameters | 87 |  |", "It has 3,333,333 parameters."]
)
def test_a_card_with_another_number_is_told(exports, line):
    folder = exports / "digits" / "softmax"
    (folder / CARD_FILE).write_text(f"# A card\n\n{line}\n", encoding="utf-8")
    rewrite(folder)
    with pytest.raises(VerificationError, match=rf"softmax/README\.md has the line .*{re.escape(line)}"):
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
        (["digits/softmax", "--all"], "name exports to verify or use --all, not both"),
        ([], "name an EXPORT, or --all"),
        (["digits/softmax", "--exports", "elsewhere"], "--exports requires --all"),
    ],
)
def test_names_and_all_exclude_each_other(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        main(["verify", *arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


# --- every number that is shipped ------------------------------------------------------------------------------------

SHIPPED = Path(__file__).parents[1] / "exports"


def altered(line):
    """The line with each of its numbers changed by more than anything rounds, one at a time."""
    for found in NUMBER.finditer(line):
        digit = found[0][0]
        yield line[: found.start()] + ("7" if digit != "7" else "2") + found[0][1:] + line[found.end() :]


@pytest.fixture(scope="module", params=["lenet5", "conv-small"])
def shipped(request):
    """A shipped export, the lines that its card may have, and its model."""
    folder = SHIPPED / "digits" / request.param
    manifest = read_manifest(folder)
    _, tested = verify_and_keep(folder)
    model = build_again(manifest.metadata)
    return folder, manifest, card_lines(folder, manifest, model, tested), model


def test_each_number_of_a_shipped_card_is_found_again_and_no_other_is(shipped):
    folder, manifest, lines, _ = shipped
    assert re.fullmatch(r"\d+ numbers found again", check_card(folder, manifest, lines))
    text = (folder / CARD_FILE).read_text(encoding="utf-8").splitlines()
    passed = [(line, false) for line in text for false in altered(line) if lines.has(false)]
    assert passed == []
    assert sum(len(list(altered(line))) for line in text) > 250


def test_each_number_of_the_page_is_checked():
    page = SHIPPED / PAGE_FILE  # tests of the gallery see that it is what the gallery writes
    expected = lines = page.read_text(encoding="utf-8").splitlines()
    check_whole(expected, page, lines)
    tried = 0
    for place, line in enumerate(lines):
        for false in altered(line):
            tried += 1
            with pytest.raises(VerificationError, match=r"has the line"):
                check_whole(expected, page, [*lines[:place], false, *lines[place + 1 :]])
    assert tried > 500


def test_the_size_of_a_model_is_that_of_the_registered_one(shipped):
    folder, manifest, _, model = shipped
    assert "parameters" in check_model(folder, manifest, model)
    for name, value in {"parameters": 87, "multiply_accumulates": 1, "receptive_field": 1}.items():
        with pytest.raises(VerificationError, match=f"{name} is {value:,}, .* has [1-9]"):
            check_model(folder, replace(manifest, metrics={**manifest.metrics, name: value}), model)


@pytest.mark.parametrize(
    "metrics",
    [
        {"int8_accuracy_difference": 0.5},
        {"int8_accuracy_difference_low": -0.5},
        {"int8_accuracy_difference_high": 0.5},
        {"int8_accuracy": 1.0},
        {"int8_same_top_class": 0.5},
        {"int8_size": 7.0},
        {"size": 7.0},
        {"test_accuracy_high": 0.9},
        {"test_loss": 0.5},
    ],
)
def test_a_metric_of_a_manifest_that_the_files_do_not_come_to_is_told(tmp_path, metrics):
    folder = shutil.copytree(SHIPPED / "digits" / "conv-small", tmp_path / "conv-small")
    rewrite(folder, metrics={**read_manifest(folder).metrics, **metrics})
    with pytest.raises(VerificationError, match=next(iter(metrics))):
        verify(folder, corrupted=False)


def test_what_cannot_be_found_again_is_not_printed_or_marked(tmp_path):
    """The accuracy of seeds whose files aren't here, and the speed on another machine."""
    exports = tmp_path / "exports"
    folder = shutil.copytree(SHIPPED / "digits" / "conv-small", exports / "digits" / "conv-small")
    before = page_text(read_shipped(exports), exports)
    rewrite(
        folder, metrics={**read_manifest(folder).metrics, "test_accuracy_seed_2": 1.0, "test_accuracy_seed_99": 0.1}
    )
    assert page_text(read_shipped(exports), exports) == before
    assert "speedup, one image" in before
    assert "isn't measured again" in " ".join(before.split())
