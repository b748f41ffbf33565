"""A classifier of tables: rows in, the same answers as scikit-learn's model had, with the app's part alone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import zoo
from pipelines.cli import main
from pipelines.inference.predict import PredictedRow, predict
from zoo.contract import Column


@pytest.fixture(scope="module")
def rows(wine: Path) -> list[dict]:
    """What samples.json holds: row, label and probabilities of each."""
    return json.loads((wine / "samples" / "samples.json").read_text(encoding="utf-8"))


def test_each_row_has_the_probabilities_that_lie_beside_it(wine: Path, rows: list[dict]) -> None:
    classifier = zoo.load(wine)
    answers = classifier.predict_batch([sample["row"] for sample in rows])
    assert classifier.columns == (
        Column("alcohol"),
        Column("colour", ("", "pale", "medium", "deep")),
        Column("proline"),
    )
    for sample, answer in zip(rows, answers, strict=True):
        expected = dict(zip(classifier.labels, sample["probabilities"], strict=True))
        assert dict(answer.ranking) == pytest.approx(expected, abs=1e-5)
        assert answer == classifier.predict(sample["row"])


def test_the_order_of_a_mapping_and_a_missing_number_do_not_matter(wine: Path, rows: list[dict]) -> None:
    classifier = zoo.load(wine)
    row = rows[1]["row"]
    assert classifier.predict(dict(reversed(row.items()))) == classifier.predict(row)
    gap = np.array([[np.nan, 1, row["proline"]], [13.05, 1, row["proline"]]], np.float32)  # the median of alcohol
    first, second = classifier.probabilities(gap)
    np.testing.assert_array_equal(first, second)


def test_what_pandas_has_where_nothing_is_is_a_missing_value(wine: Path, rows: list[dict]) -> None:
    pandas = pytest.importorskip("pandas", reason="an app may have it")
    classifier = zoo.load(wine)
    name = classifier.columns[0].name
    expected = classifier.predict({**rows[0]["row"], name: None})
    for missing in (float("nan"), pandas.NA):
        assert classifier.predict({**rows[0]["row"], name: missing}) == expected
    with pytest.raises(zoo.InputError, match="takes a finite number"):
        classifier.predict({**rows[0]["row"], name: np.array([1.0, 2.0])})


def test_a_table_without_a_row_is_reported(wine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.csv").write_text(",".join(column.name for column in zoo.load(wine).columns), encoding="utf-8")
    assert main(["predict", str(wine), str(tmp_path / "none.csv")]) == 1
    assert "none.csv has no rows: expected one below the names of the columns" in capsys.readouterr().err


def test_a_table_is_answered_line_by_line(wine: Path, rows: list[dict], tmp_path: Path) -> None:
    path = tmp_path / "wines.csv"
    names = ["split", "cultivar", "proline", "colour", "alcohol"]  # another order, and what isn't asked about
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows([sample["row"] for sample in rows])
    answers = predict(wine, [path])
    expected = [zoo.load(wine).predict(sample["row"]) for sample in rows]
    assert answers == [PredictedRow(path, k + 2, e.label, e.probability, e.ranking) for k, e in enumerate(expected)]


def test_a_bad_row_among_good_ones_has_its_reason_in_its_place(wine: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "wines.csv"
    path.write_text("alcohol,colour,proline\n13,pale,700\n13,plae,700\n12,pale,500\n13,pale,x\n")
    assert main(["predict", str(wine), str(path)]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines] == [f"{path}:{line}" for line in (2, 3, 4, 5)]
    assert ["no answer: " in line for line in lines] == [False, True, False, True]
    assert f"2 of 4 rows have no answer: {path}, line 3: no category of column 'colour'" in printed.err
    assert main(["predict", str(wine), str(path), "--on-bad", "fail"]) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|", " ,  "])
def test_a_table_may_be_written_in_any_way(wine: Path, tmp_path: Path, separator: str, encoding: str) -> None:
    lines = ["Alcohol,COLOUR,proline,Cultivar,Split", "13,pale,700,caf\u00e9,Training"]
    path = tmp_path / "wines.csv"
    path.write_bytes("\r\n".join(line.replace(",", separator) for line in lines).encode(encoding))
    (answer,) = predict(wine, [path])
    assert answer.ranking == zoo.load(wine).predict({"alcohol": 13.0, "colour": "pale", "proline": 700.0}).ranking


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("alcohol,colour\n13,pale\n", "line 2: the row lacks column 'proline'"),
        ("alcohol,color,colour,proline\n13,,pale,700\n", "line 2: no column is called 'color': did you mean colour?"),
        ("alcohol,colour,proline\n13,pale,700\n13,plae,700\n", "line 3: no category of column 'colour'"),
        ("alcohol,colour,proline\n13,pale,much\n", "line 2: column 'proline' takes a finite number, received 'much'"),
        ("alcohol,colour,proline\n13,pale\n", "has 2 values in line 2, expected 3"),
    ],
)
def test_a_table_that_does_not_fit_is_told_by_its_line(
    content: str, told: str, wine: Path, tmp_path: Path, capsys
) -> None:
    path = tmp_path / "wines.csv"
    path.write_text(content, encoding="utf-8")
    assert main(["predict", str(wine), str(path)]) == 1
    error = capsys.readouterr().err
    assert error.removeprefix("zoo: 1 of 2 rows has no answer: ").removeprefix("zoo: ").startswith(str(path))
    assert told in error
    assert error.count("\n") == 1


def test_an_image_is_no_row_and_a_row_no_image(wine: Path, digits: Path) -> None:
    with pytest.raises(zoo.InputError, match="expected a mapping of column to value"):
        zoo.load(wine).predict(digits / "samples" / "3.png")
    with pytest.raises(zoo.InputError, match="this classifier takes no rows"):
        zoo.load(digits).predict({"alcohol": 13})
    with pytest.raises(zoo.InputError, match=r"^images\[0\]: expected an image"):
        zoo.load(digits).predict_batch([{"alcohol": 13}])
