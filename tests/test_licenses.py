"""Each export names the licenses of its weights and its data, and where the data come from."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.core.support.markdown import plain
from pipelines.exporting.licenses import licenses_of, pretrained_sentence
from pipelines.run import run
from zoo.contract import CARD_FILE, MANIFEST_FILE, read_manifest
from zoo.data import data_sets
from zoo.data.registry import terms_of
from zoo.errors import DataError, ExportError
from zoo.models import pretrained_definitions

EXPORTS = Path(__file__).parent.parent / "exports"
SHIPPED = sorted(path.parent for path in EXPORTS.glob(f"*/*/{MANIFEST_FILE}"))
ROWS = {"weights": "license of the weights", "data": "license of the data", "data_source": "source of the data"}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_card_and_manifest_of_what_is_shipped_name_all_three(folder):
    manifest = read_manifest(folder)
    terms = terms_of(manifest.metadata.data_set)
    assert manifest.licenses == licenses_of(manifest.metadata, "Apache-2.0")
    assert (manifest.licenses["data"], manifest.licenses["data_source"]) == (terms.license, terms.source)
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    for name, words in ROWS.items():
        assert f"| {words} | {plain(manifest.licenses[name])} |" in card


@pytest.mark.parametrize("name", data_sets())
def test_a_known_data_set_states_license_and_source(name):
    terms = terms_of(name)
    assert terms.license
    assert terms.source.startswith("https://")


def test_published_weights_have_their_license():
    shipped = read_manifest(SHIPPED[0]).metadata
    for model in pretrained_definitions():
        source = f"imagenet/{model.name}"
        started = replace(shipped, source={"name": source, "weights_sha256": "0" * 64})
        known = f"{model.published.license}, trained on ImageNet by {model.published.by}"
        assert licenses_of(started, "MIT")["weights"] == f"MIT; features initialized with the weights {source}: {known}"
        by = f"Its features were pretrained on ImageNet by {model.published.by}."
        assert pretrained_sentence(started) == by


def test_what_started_from_nothing_says_nothing_of_it():
    assert pretrained_sentence(read_manifest(SHIPPED[0]).metadata) == ""


def test_what_nobody_states_is_said_to_be_so():
    mine = replace(read_manifest(SHIPPED[0]).metadata, data_set="my pets", source={"name": "digits/softmax"})
    assert licenses_of(mine) == {
        "weights": "not stated; features initialized with digits/softmax: see its card",
        "data": "not stated (custom data)",
        "data_source": "not stated (custom data)",
    }


@pytest.mark.parametrize(
    ("of_weights", "of_data", "message"),
    [
        ("x" * 501, "", "--license has 501 letters, expected the name of a license"),
        ("", "x" * 501, "--data-license has 501 letters"),
        ("M\x1b[31m", "", "--license has letters that can't be printed"),
    ],
)
def test_a_license_that_no_manifest_takes_is_refused_before_anything_is_trained(of_weights, of_data, message):
    with pytest.raises(DataError, match=message):
        run(["softmax"], "digits", license=of_weights, data_license=of_data)


@pytest.mark.parametrize("licenses", [[], "MIT", {"weights": 1}, {"weights": ["MIT"]}, {"weights": "M\x1b[31m"}, None])
def test_licenses_that_are_no_text_are_refused(licenses, tmp_path):
    folder = shutil.copytree(SHIPPED[0], tmp_path / "export")
    found = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    (folder / MANIFEST_FILE).write_text(json.dumps({**found, "licenses": licenses}), encoding="utf-8")
    with pytest.raises(ExportError, match="licenses"):
        read_manifest(folder)
