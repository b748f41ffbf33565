"""`zoo data check TABLE --label COLUMN`, and what `zoo describe` says of a model for a table."""

from __future__ import annotations

import json

import pytest

from pipelines.cli import main
from pipelines.datasets.check import data_check
from pipelines.publishing.describe import describe
from zoo.errors import DataError, ModelError

HEADER = "id,age,city,kind,label,split"
ROWS = [
    *(f"{k},{20 + k % 7},{('Rome', 'Oslo', '')[k % 3]},same,yes,train" for k in range(1, 13)),
    "13,,Rome,same,no,train",
    "14,31,Oslo,same,no,train",
    *("15,25,Rome,same,yes,validation", "16,26,Oslo,same,no,validation"),
    *("17,27,Rome,same,yes,test", "18,28,Oslo,same,no,test"),
]


@pytest.fixture
def table(tmp_path):
    def written(rows=ROWS, header=HEADER):
        path = tmp_path / "people.csv"
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return written


def sentences(report) -> str:
    return "\n".join(finding.sentence for finding in report.findings)


def test_columns_classes_and_splits_are_counted(table):
    report = data_check(table(), label="label")
    assert report.rows == 18
    assert {found.name: (found.kind, found.missing, found.different) for found in report.columns} == {
        "id": ("numeric", 0, 18),
        "age": ("numeric", 1, 10),
        "city": ("categorical", 4, 2),
        "kind": ("categorical", 0, 1),
    }
    assert report.columns[1].values == ("20", "24", "31")
    assert report.columns[2].values == ("Oslo", "Rome")
    assert [(found.label, found.rows, dict(found.splits)) for found in report.classes] == [
        ("no", 4, {"train": 2, "validation": 1, "test": 1}),
        ("yes", 14, {"train": 12, "validation": 1, "test": 1}),
    ]
    assert report.verdict == "usable, but see the findings"


def test_what_is_to_be_looked_at_is_told_with_what_to_do(table):
    found = sentences(data_check(table(), label="label"))
    assert "column 'id' numbers the rows: remove it" in found
    assert "column 'age' has no value in 1 row of 18: the median is used" in found
    assert "column 'city' has no value in 4 rows of 18: it is treated as a category" in found
    assert "column 'kind' is 'same' in every row: it carries no information, remove it" in found
    assert "times the rows" not in found
    more = [f"{k},30,Rome,same,yes,train" for k in range(19, 30)]
    assert "class 'yes' has 6.2 times the rows of 'no'" in sentences(data_check(table([*ROWS, *more]), label="label"))


def test_rows_that_are_there_twice_are_told_where_it_matters(table):
    header = "age,height,label,split"
    rows = [
        f"{k},{2 * k},{('yes', 'no')[k % 2]},{split}" for k in range(9) for split in ("train", "validation", "test")
    ]
    rows = [row for k, row in enumerate(rows) if row.endswith("train") or k > 20]
    report = data_check(table([*rows, "0,0,yes,train", "1,2,yes,train"], header), label="label")
    assert report.copies == 5
    found = sentences(report)
    assert "6 rows can be found in more than one of train, validation, test: the test is on training rows" in found
    assert "2 rows have the same values as rows of another class: no model can distinguish them" in found


def test_a_clean_table_is_good_to_learn_from(table):
    rows = [f"{k % 5 + k / 10},{k % 3},{('yes', 'no')[k % 2]}" for k in range(20)]
    report = data_check(table(rows, "age,height,label"), label="label")
    assert (report.verdict, report.findings, report.splits) == ("ready for training", (), ("train",))


def test_each_column_that_cannot_be_learned_from_is_an_error(table, capsys):
    rows = [f'"{k},5",{k}{"x" * (k == 9)},{("yes", "no")[k % 2]}' for k in range(40)]
    path = table(rows, "comma,slip,label")
    report = data_check(path, label="label")
    assert [found.kind for found in report.columns] == ["unusable", "unusable"]
    assert report.verdict == "not usable yet"
    assert main(["data", "check", str(path), "--label", "label"]) == 1
    told = capsys.readouterr()
    assert "'0,5' in line 2, column 'comma': expected a point for the comma" in told.err
    assert "'9x' in line 11, column 'slip': expected a finite number" in told.out


def test_a_table_that_nothing_can_be_learned_from_is_an_error(table, capsys):
    assert main(["data", "check", str(table(ROWS[:13])), "--label", "label"]) == 1
    assert "class 'no' in" in capsys.readouterr().err


def test_it_is_shown_as_text_and_as_json(table, capsys):
    path = table()
    assert main(["data", "check", str(path), "--label", "label"]) == 0
    told = capsys.readouterr().out
    assert "18 rows, 2 classes in column 'label':" in told
    assert "no: 4 (train 2, validation 1, test 1)" in told
    assert "usable, but see the findings" in told
    assert main(["data", "check", str(path), "--label", "label", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["columns"][0]["name"] == "id"


def test_what_goes_with_images_and_a_label_that_is_missing_are_told(table, tmp_path):
    with pytest.raises(DataError, match="--groups and --html require images"):
        data_check(table(), label="label", page=tmp_path / "report.html")
    with pytest.raises(DataError, match="name the column that holds the class with --label, one of id, age"):
        data_check(table())
    with pytest.raises(DataError, match="no column is called 'lable': did you mean label"):
        data_check(table(), label="lable")


def test_a_model_is_described_for_a_table(table, capsys):
    path = str(table())
    ledger = describe("softmax", data=path, label="label")
    assert (ledger.input, ledger.classes) == ((4,), 2)
    assert ledger.parameters == (2 + 3 + 1) * 2 + 2  # two numbers, three cities (one of them a gap), one kind
    assert main(["describe", "softmax", "--data", path, "--label", "label"]) == 0
    assert "softmax, rows of 4 columns, 2 classes" in capsys.readouterr().out
    assert describe("softmax", data="digits").input == (8, 8, 1)
    with pytest.raises(ModelError, match="conv-small is of the conv family"):
        describe("conv-small", data=path, label="label")
    with pytest.raises(SystemExit):
        main(["describe", "softmax", "--data", path, "--classes", "3"])
