"""`zoo list`: every model, the metrics of what is shipped, sorted and chosen as asked, and at once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.publishing.catalog import read_shipped
from pipelines.publishing.list_models import FIELDS, list_models
from zoo.contract import MANIFEST_FILE, read_manifest
from zoo.errors import QueryError
from zoo.models import definitions, pretrained_definitions

ROOT = Path(__file__).parent.parent

FIXTURE = Path(__file__).parent / "runtime" / "fixture"

# What is changed in the manifest of a real export, to have one of each kind: model -> (family, accuracy, metrics).
CHANGES = {
    "softmax": ("dense", 0.84, {"parameters": 7_850.0, "multiply_accumulates": 7_840.0, "receptive_field": 0.0}),
    "conv-small": (
        "conv",
        0.933,
        {
            "parameters": 87_050.0,
            "multiply_accumulates": 18_300_000.0,
            "receptive_field": 28.0,
            "test_accuracy_seed_1": 0.933,
            "test_accuracy_seed_2": 0.931,
            "test_accuracy_seed_10": 0.935,
            "test_robust_accuracy": 0.7,
        },
    ),
    "lenet5": ("hybrid", 0.917, {"parameters": 61_706.0, "multiply_accumulates": 416_520.0, "receptive_field": 14.0}),
    "elsewhere": ("conv", 0.9, {"parameters": 100.0, "test_accuracy_seed_1": 0.9}),
}


@pytest.fixture
def exports(tmp_path):
    for model, (family, accuracy, metrics) in CHANGES.items():
        folder = shutil.copytree(FIXTURE / "digits" / "softmax", tmp_path / "digits" / model)
        manifest = read_manifest(folder)
        metadata = replace(manifest.metadata, model=model, family=family, test_accuracy=accuracy)
        text = replace(manifest, metadata=metadata, metrics=metrics).to_json()
        (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")
    shutil.copytree(FIXTURE / "tinted-digits", tmp_path / "tinted-digits")
    return tmp_path


def names(rows):
    return [row.name for row in rows]


def test_every_model_is_listed_and_blank_where_it_is_not_shipped(exports):
    rows = list_models(exports)
    assert list(dict.fromkeys(names(rows))) == [
        *(model.name for model in (*definitions(), *pretrained_definitions())),
        "elsewhere",
    ]
    assert [row.data_set for row in rows if row.name == "softmax"] == ["digits", "tinted-digits"]
    blank = next(row for row in rows if row.name == "mlp-small")
    assert {getattr(blank, field) for field in FIELDS if field not in ("name", "family")} == {None}
    assert blank.summary


def test_pretrained_models_are_listed_with_what_those_who_trained_them_published():
    rows = {row.name: row for row in list_models() if row.imagenet_accuracy is not None}
    assert list(rows) == [model.name for model in pretrained_definitions()]
    lite0 = rows["efficientnet-lite0"]
    assert (lite0.image_size, lite0.imagenet_accuracy, lite0.data_set) == (224, 0.751, None)
    assert (lite0.parameters, lite0.multiply_accumulates) == (3_413_024, 383_907_552)
    assert names(list_models(where=["imagenet_accuracy>=77%"])) == ["efficientnet-v2-b0", "efficientnet-lite2"]
    assert names(list_models(sort="imagenet_accuracy"))[0] == "efficientnet-v2-b0"


def test_metrics_are_the_manifests(exports):
    (row,) = (row for row in list_models(exports) if row.name == "conv-small")
    assert (row.parameters, row.multiply_accumulates, row.receptive_field) == (87_050, 18_300_000, 28)
    assert (row.accuracy, row.seeds, row.robust_accuracy) == (0.933, 3, 0.7)
    assert row.mean_accuracy == pytest.approx(0.933)
    assert row.spread == pytest.approx(0.002), "of the sample: n - 1"
    (single,) = (row for row in list_models(exports) if row.name == "elsewhere")
    assert (single.seeds, single.mean_accuracy, single.spread) == (1, None, None)


def test_seeds_are_numbers_in_their_order(exports):
    (shipped,) = (export for export in read_shipped(exports) if export.model == "conv-small")
    assert list(shipped.seeds.items()) == [(1, 0.933), (2, 0.931), (10, 0.935)]


@pytest.mark.parametrize(
    ("field", "first"),
    [
        ("accuracy", ["conv-small", "lenet5", "softmax", "elsewhere", "softmax"]),  # the tinted one: 91.2 %
        ("parameters", ["elsewhere", "softmax", "softmax", "lenet5", "conv-small"]),
        ("receptive_field", ["lenet5", "conv-small", "softmax"]),  # 0, the whole image, is the largest
        ("spread", ["conv-small"]),
    ],
)
def test_qualities_are_sorted_down_costs_up_and_blanks_last(exports, field, first):
    rows = list_models(exports, sort=field)
    assert names(rows)[: len(first)] == first
    blank = [row for row in rows if row.imagenet_accuracy is None][len(first) :]
    assert all(getattr(row, field) is None for row in blank)
    assert len(rows) == len(list_models(exports))


@pytest.mark.parametrize("field", FIELDS)
def test_any_field_sorts(exports, field):
    assert len(list_models(exports, sort=field)) == len(list_models(exports))


def test_a_family_of_which_a_data_set_has_no_export_is_an_empty_list(tmp_path):
    shutil.copytree(ROOT / "exports" / "digits" / "conv-tiny", tmp_path / "digits" / "conv-tiny")
    assert list_models(tmp_path, family="dense", data="digits") == ()


def test_a_family_and_a_data_set_can_be_chosen(exports):
    assert {row.family for row in list_models(exports, family="conv")} == {"conv"}
    assert names(list_models(exports, data="tinted-digits")) == ["softmax"]
    assert names(list_models(exports, data="digits", family="hybrid")) == ["lenet5"]


@pytest.mark.parametrize(
    ("conditions", "left"),
    [
        (["parameters<100k", "accuracy>=91.7%"], ["conv-small", "lenet5"]),
        (["parameters < 0.05M"], ["softmax", "softmax", "elsewhere"]),
        (["accuracy=93.3%"], ["conv-small"]),
        (["receptive_field>28"], ["softmax"]),
        (["name=lenet5"], ["lenet5"]),
        (["multiply_accumulates<=416520"], ["softmax", "softmax", "lenet5"]),
        (["robust_accuracy>0"], ["conv-small"]),
        (["parameters>1G"], []),
    ],
)
def test_conditions_choose_and_blanks_fulfil_none(exports, conditions, left):
    assert names(list_models(exports, where=conditions)) == left


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "speed"}, r"no field 'speed': there are name, family, data_set, accuracy, "),
        ({"where": ["speed<3"]}, r"no field 'speed': there are name, "),
        ({"where": ["parameters"]}, r"one of < <= > >= = and a value \(parameters<100k\), not 'parameters'"),
        ({"where": ["parameters<many"]}, r"compares with 'many', expected a number such as 100000, 100k"),
        ({"where": ["parameters<nan"]}, r"compares with 'nan'"),
        ({"where": ["name<lenet5"]}, r"name is text, which can be compared by = alone"),
        ({"where": ["__class__=1"]}, r"no field '__class__'"),
        ({"family": "cnn"}, r"no family is called 'cnn': .*conv"),
        ({"data": "mnist"}, r"of the data set 'mnist', there are those of digits, tinted-digits"),
    ],
)
def test_what_cannot_be_asked_is_told(exports, options, message):
    with pytest.raises(QueryError, match=message):
        list_models(exports, **options)


def test_the_table_shows_accuracy_seeds_and_sight(exports, capsys):
    assert main(["list", "--exports", str(exports), "--sort", "accuracy"]) == 0
    _, first, *rest = (line.split() for line in capsys.readouterr().out.splitlines())
    assert first[:10] == [
        "conv",
        "conv-small",
        "digits",
        "87,050",
        "18,300,000",
        "28×28",
        "93.30%",
        "93.30%",
        "±",
        "0.20",
    ]
    softmax = next(line for line in rest if line[1:3] == ["softmax", "digits"])
    assert softmax[5] == "all"


def test_json_holds_flat_rows(exports, capsys):
    assert main(["list", "--exports", str(exports), "--where", "spread>0", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "conv-small"
    assert not any(isinstance(value, (dict, list)) for value in row.values())


def test_a_list_of_exports_imports_nothing_that_takes_time(exports):
    """What keeps it within its second and a half, on any machine."""
    slow = {"tensorflow", "keras", "mlflow", "matplotlib", "onnx", "onnxruntime", "sklearn", "numpy"}
    code = (
        f"import sys; from pipelines.cli import main; main(['list', '--exports', {str(exports)!r}]); "
        f"sys.exit(', '.join({slow} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=FIXTURE, capture_output=True, text=True, check=False)
    assert "conv-small" in done.stdout
    assert done.stderr.strip() == ""
