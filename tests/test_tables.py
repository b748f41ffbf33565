"""Tables, the whole way: real ones of scikit-learn as CSV, trained, exported, verified, and answered by row."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from keras_answers import answers_of_keras

import zoo
from pipelines import tracking
from pipelines.cli import main
from pipelines.cli.commands.train import next_steps
from pipelines.core.provenance.plan import make_plan, parse_plan
from pipelines.evaluation.comparison.candidates import find_candidates
from pipelines.evaluation.comparison.paired import pair_up
from pipelines.evaluation.comparison.rows import Comparison
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.convert import convert
from pipelines.exporting.export import export
from pipelines.exporting.verify import verify
from pipelines.publishing.gallery import gallery
from pipelines.run import run
from pipelines.training.train import train
from zoo.contract import Column, Metadata, read_manifest
from zoo.data import load
from zoo.data.tables.reading import scales
from zoo.errors import DataError, ExportError, InputError, ModelError, RecipeError, VerificationError
from zoo.models import build_for_table
from zoo.tables import decode, encode, read_text_table

QUICK = {"epochs": 1, "least_updates": 300, "learning_rate": 0.02}
DENSE = ("softmax", "mlp-small", "mlp-large", "mlp-residual")
LABELS = {"iris": "species", "wine": "cultivar", "breast_cancer": "diagnosis"}


def write(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def real(name: str) -> tuple[list[str], list[list[object]]]:
    """Header and rows of one of scikit-learn's tables, its label as words in the last column."""
    from sklearn import datasets

    found = getattr(datasets, f"load_{name}")()
    rows = [
        [*values, found.target_names[label]] for values, label in zip(found.data.tolist(), found.target, strict=True)
    ]
    return [*map(str, found.feature_names), LABELS[name]], rows


def mixed() -> tuple[list[str], list[list[object]]]:
    """Wine, two of its columns in words, and a gap in every tenth row."""
    header, rows = real("wine")
    for name, words in (("color_intensity", ("pale", "medium", "deep")), ("proline", ("low", "high"))):
        place = header.index(name)
        values = np.array([row[place] for row in rows], float)
        steps = np.quantile(values, np.linspace(0, 1, len(words) + 1)[1:-1])
        for row, step in zip(rows, np.searchsorted(steps, values), strict=True):
            row[place] = words[step]
    for k, row in enumerate(rows[::10]):
        row[k % (len(header) - 1)] = ""
    return header, rows


@pytest.fixture(scope="module")
def place(shared_store: Path) -> tuple[Path, Comparison]:
    """A working folder with a table of numbers and categories, and two models that were trained on it."""
    write(shared_store / "wine.csv", *mixed())
    models = ["softmax", "mlp-small"]
    return shared_store, run(models, "wine.csv", label="cultivar", settings=QUICK)


# --- the whole way -------------------------------------------------------------------------------------------------


def test_a_table_is_trained_exported_and_compared(place: tuple[Path, Comparison]) -> None:
    folder, comparison = place
    assert [row.name for row in comparison.rows] == ["wine/softmax", "wine/mlp-small"]
    for row in comparison.rows:
        manifest = read_manifest(folder / "exports" / row.name)
        assert row.accuracy == manifest.metadata.test_accuracy > 0.85
        assert row.parity < 1e-5
        assert "test_robust_accuracy" not in manifest.metrics, "nobody has corrupted rows"
        assert (manifest.metadata.height, manifest.metadata.label_column) == (0, "cultivar")
    (pair,) = comparison.pairs
    assert pair.test.images == 36
    assert not list(folder.glob("exports/wine/*/samples/*.png"))


def test_its_runs_name_columns_and_not_image_sizes(place: tuple[Path, Comparison]) -> None:
    folder, _ = place
    run_id = read_manifest(folder / "exports/wine/softmax").metadata.run_id
    with tracking.open_client() as client:
        found = client.get_run(run_id)
        schema = found.inputs.dataset_inputs[0].dataset
    assert (found.data.params["columns"], found.data.params["label"]) == ("13", "cultivar")
    assert "size" not in found.data.params
    assert json.loads(schema.profile)["rows"] == len(load("wine.csv", label="cultivar").train)
    assert found.data.params["augmentation"] == "none"


def test_a_run_ends_with_a_line_that_an_app_can_run(place: tuple[Path, Comparison]) -> None:
    shown = "\n".join(next_steps(place[1], Path("exports")))
    (code,) = re.findall(r"load in an app: .* -c '(import json, zoo; .*)'", shown)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Prediction(label='class_0', ")


def test_what_was_done_before_is_not_done_again(place: tuple[Path, Comparison], caplog) -> None:
    caplog.set_level("INFO", "zoo")
    run(["softmax"], "wine.csv", label="cultivar", settings=QUICK)
    assert [step for step in caplog.messages if "already trained" not in step] == ["comparing"]


def test_the_app_answers_as_keras_row_by_row(place: tuple[Path, Comparison]) -> None:
    test = load("wine.csv", label="cultivar").test
    classifier = zoo.load("wine/mlp-small")
    expected = tracking.load_keras_model(classifier.metadata.run_id).predict(test.inputs, verbose=0)["probabilities"]
    header, rows = mixed()
    given = [dict(zip(header, rows[int(name.split()[1]) - 2], strict=True)) for name in test.names]  # line 2 is rows[0]
    for row in given:
        del row["cultivar"]
        row.update({name: None for name, value in row.items() if value == ""})
    answers = classifier.predict_batch(given)
    assert answers == [classifier.predict(row) for row in given]
    for answer, probabilities in zip(answers, expected, strict=True):
        assert dict(answer.ranking) == pytest.approx(dict(zip(classifier.labels, probabilities, strict=True)), abs=1e-5)
        assert answer.label == classifier.labels[probabilities.argmax()]


def test_the_export_is_verified_against_its_table(place: tuple[Path, Comparison]) -> None:
    folder, comparison = place
    found = verify("exports/wine/softmax", data="wine.csv")
    told = {check.name: check.result for check in found.checks}
    assert found.accuracy == comparison.rows[0].accuracy
    assert "of 36 rows correct" in told["test set"]
    assert "13 columns" in told["gaps"]
    assert "image sizes" not in told
    told = {check.name: check.result for check in verify("exports/wine/softmax").checks}
    assert told["test set"] == "not checked, 'wine' isn't a known data set: name its table with --data"
    named = [folder / "exports/wine/softmax", folder / "exports/wine/mlp-small"]
    pairs, notes = pair_up(find_candidates(named, folder), "wine.csv")
    assert len(pairs) == 1
    assert not notes


def test_a_table_that_has_changed_is_told(place: tuple[Path, Comparison], tmp_path: Path) -> None:
    header, rows = mixed()
    write(tmp_path / "wine.csv", header, rows[1:])
    with pytest.raises(VerificationError, match=r"the rows of wine aren't those"):
        verify("exports/wine/softmax", data=str(tmp_path / "wine.csv"))


def test_the_card_tells_of_columns_and_its_examples_run(place: tuple[Path, Comparison]) -> None:
    folder, _ = place
    own = folder / "exports/wine/softmax"
    card = (own / "README.md").read_text(encoding="utf-8")
    assert (
        "| 9 | color\\_intensity | 4 categories | 0 to 3 for '', 'deep', 'medium', 'pale'; -1 for any other |" in card
    )
    assert "trained on rows of 13 columns" in card
    assert "--unknown" not in card, "it takes images alone"
    assert not re.search(r"images?\b|pixels|[Cc]orrupt", card.replace("| `images` | train |", ""))
    label = json.loads((own / "samples/samples.json").read_text(encoding="utf-8"))[0]["label"]
    for code in re.findall(r"```python\n(.*?)```", card, re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            cwd=own,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(label)


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_real_tables_are_learned(name: str, store: Path) -> None:
    """Slow: each is a training with its export. Wine, with words and gaps in it, goes the whole way above."""
    write(store / f"{name}.csv", *real(name))
    trained = train("softmax", f"{name}.csv", label=LABELS[name], settings=QUICK)
    assert evaluate(trained.run).accuracy > 0.85
    exported = export(trained.run)
    assert exported.metrics["largest_difference"] < 1e-5
    assert exported.metrics["same_top_class"] == 1
    classifier = zoo.load(f"{name}/softmax")
    for sample in json.loads((exported.folder / "samples/samples.json").read_text(encoding="utf-8")):
        expected = dict(zip(classifier.labels, sample["probabilities"], strict=True))
        assert dict(classifier.predict(sample["row"]).ranking) == pytest.approx(expected, abs=1e-6)


def test_the_command_answers_each_row(place: tuple[Path, Comparison], tmp_path: Path, capsys) -> None:
    header, rows = mixed()
    shuffled = write(tmp_path / "some.csv", header[::-1], [row[::-1] for row in rows[:3]], ";")
    assert main(["predict", "wine/mlp-small", str(shuffled), "--top", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[f"{shuffled}:{line}", "class_0"] for line in (2, 3, 4)]
    assert main(["predict", "wine/mlp-small", str(shuffled), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["line"], row["label"]) for row in found] == [(2, "class_0"), (3, "class_0"), (4, "class_0")]

    rows[1][header.index("alcohol")] = "strong"
    wrong = write(tmp_path / "wrong.csv", header, rows[:3])
    assert main(["predict", "wine/mlp-small", str(wrong)]) == 1
    told = (
        f"zoo: 1 of 3 rows has no answer: {wrong}, line 3: column 'alcohol' takes a finite number, received 'strong'\n"
    )
    assert capsys.readouterr().err == told
    assert main(["predict", "wine/mlp-small", str(write(tmp_path / "few.csv", header[1:], [rows[0][1:]]))]) == 1
    assert "line 2: the row lacks column 'alcohol'" in capsys.readouterr().err


def test_the_page_of_exports_names_the_command_that_makes_it_again(place: tuple[Path, Comparison]) -> None:
    folder, _ = place
    gallery(folder / "exports")
    page = (folder / "exports" / "README.md").read_text(encoding="utf-8")
    assert "\nzoo run mlp-small --data path/to/wine.csv --label cultivar --set" in page
    assert "augmentation" not in page


def test_mlflow_serves_the_rows(place: tuple[Path, Comparison]) -> None:
    import mlflow

    test = load("wine.csv", label="cultivar").test
    classifier = zoo.load("wine/softmax")
    mlflow.set_tracking_uri(tracking.store_uri())
    try:
        served = mlflow.pyfunc.load_model(f"runs:/{classifier.metadata.run_id}/onnx")
    finally:
        mlflow.set_tracking_uri(None)  # or it would be that of the tests that follow
    assert str(served.metadata.get_input_schema().inputs[0].shape) == "(-1, 13)"
    found = served.predict({"features": test.inputs})["probabilities"]
    np.testing.assert_allclose(found, classifier.probabilities(test.inputs), atol=1e-6)


@pytest.mark.parametrize(("model", "told"), [("conv-small", "conv family"), ("lenet5", "hybrid family")])
def test_models_that_look_at_images_take_no_table(model: str, told: str) -> None:
    with pytest.raises(ModelError, match=f"{told}, whose models look at images: a table takes dense models"):
        make_plan(model, "wine.csv", label="cultivar")


def test_a_dense_model_that_cuts_patches_takes_no_table() -> None:
    with pytest.raises(ModelError, match=r"^mlp-mixer-tiny can't be built for the rows of a table .*: a table takes"):
        build_for_table("mlp-mixer-tiny", [2, 3], classes=2)


def test_rows_are_not_augmented(place: tuple[Path, Comparison]) -> None:
    assert make_plan("mlp-large", "wine.csv", label="cultivar").recipe.augmentation == "none"
    with pytest.raises(RecipeError, match="augmentation=none"):
        train("softmax", "wine.csv", label="cultivar", settings={"augmentation": "light"})
    assert not tracking.search("status != 'FINISHED'")  # it was refused before a run began


def test_a_plan_keeps_the_label_and_older_ones_have_none() -> None:
    plan = make_plan("softmax", "wine.csv", label="cultivar")
    assert parse_plan(plan.to_json(), "plan.json") == plan
    of_images = make_plan("softmax", "digits")
    assert "label" not in json.loads(of_images.to_json())
    assert parse_plan(of_images.to_json(), "plan.json") == of_images


# --- in front of the model -----------------------------------------------------------------------------------------

SCALES = [(5.0, 4.0, 2.0), 3, (0.0, 1e6, 1e3)]  # median, mean, deviation; categories
FEATURES = np.array([[6, 2, 1_001_000], [np.nan, -1, 999_000], [0, 0, np.nan]], np.float32)
SCALED = [[1, 1, 0, 0, 1], [0.5, -1, 0, 0, 0], [-2, -1000, 1, 0, 0]]  # numbers first, then the switches


def test_numbers_come_to_one_scale_and_categories_to_switches() -> None:
    model = build_for_table("softmax", SCALES, classes=2)
    columns = model.get_layer("columns")
    np.testing.assert_allclose(columns(FEATURES), SCALED, rtol=1e-6)
    assert model.count_params() == 5 * 2 + 2


KINDS = [SCALES, *(pytest.param(kinds, marks=pytest.mark.slow) for kinds in ([(0.0, 0.0, 1.0)] * 3, [3, 2, 4]))]


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("kinds", KINDS, ids=["mixed", "numbers", "categories"])
def test_dense_models_convert_with_their_columns(name: str, kinds: list, tmp_path: Path) -> None:
    import keras
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    random = np.random.default_rng(0)
    rows = np.stack(
        [random.integers(-1, k, 9) if isinstance(k, int) else k[1] + k[2] * random.normal(size=9) for k in kinds],
        axis=1,
    ).astype(np.float32)
    rows[0, [not isinstance(k, int) for k in kinds]] = np.nan
    model = build_for_table(name, kinds, classes=4)
    expected = answers_of_keras(model, rows)["probabilities"]
    converted = convert(model)
    session = onnxruntime.InferenceSession(converted.SerializeToString())
    np.testing.assert_allclose(session.run(["probabilities"], {"features": rows})[0], expected, atol=1e-5)
    if name == "softmax":  # whose operators are those that only tables have
        reference = ReferenceEvaluator(converted).run(["probabilities"], {"features": rows})[0]
        np.testing.assert_allclose(reference, expected, atol=1e-5)
    assert session.get_inputs()[0].shape == ["N", 3]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(answers_of_keras(again, rows)["probabilities"], expected)


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_any_delimiter_and_a_byte_order_mark_give_the_same_data(delimiter: str, tmp_path: Path) -> None:
    plain = load(str(write(tmp_path / "a.csv", *mixed())), label="cultivar")
    other = write(tmp_path / "b.csv", *mixed(), delimiter)
    other.write_bytes(b"\xef\xbb\xbf" + other.read_bytes() + b"\n\n")
    found = load(str(other), label="cultivar")
    assert found.digest == plain.digest
    assert found.name == "b"


def test_kinds_of_columns_are_told_by_their_values(tmp_path: Path) -> None:
    rows = [
        [
            k,
            "?" if k == 4 else k / 2,
            "" if k % 7 == 0 else "xyz"[k % 3],
            ["0", "1", "2", "3+"][k % 4],
            "no",
            "ab"[k % 2],
        ]
        for k in range(40)
    ]
    found = load(str(write(tmp_path / "t.csv", ["id", "gap", "word", "some", "all", "label"], rows)), label="label")
    assert [(column.name, column.categories) for column in found.columns] == [
        ("id", None),
        ("gap", None),
        ("word", ("", "x", "y", "z")),
        ("some", ("0", "1", "2", "3+")),
        ("all", ("no",)),
    ]
    splits = (found.train, found.validation, found.test)
    everything = {name: row for split in splits for name, row in zip(split.names, split.inputs, strict=True)}
    assert np.isnan(everything["line 6"][1])
    assert decode(everything["line 2"], found.columns) == {"id": 0, "gap": 0, "word": None, "some": "0", "all": "no"}
    assert encode(decode(everything["line 3"], found.columns), found.columns).tolist() == everything["line 3"].tolist()


def test_scales_are_those_of_the_training_rows(tmp_path: Path) -> None:
    found = load(str(write(tmp_path / "wine.csv", *mixed())), label="cultivar")
    alcohol = found.train.inputs[:, 0].astype(float)
    alcohol = alcohol[~np.isnan(alcohol)]
    assert scales(found)[0] == pytest.approx((np.median(alcohol), alcohol.mean(), alcohol.std()))
    assert scales(found)[9] == 4


def test_splits_are_stratified_and_copies_stay_together(tmp_path: Path) -> None:
    header, rows = real("iris")
    rows = [*rows, *rows[::3]]  # a third of the rows twice
    found = load(str(write(tmp_path / "iris.csv", header, rows)), label="species")
    splits = (found.train, found.validation, found.test)
    assert sum(map(len, splits)) == len(rows)
    contents = [{tuple(row) for row in split.inputs.tolist()} for split in splits]
    assert not (contents[0] & contents[1] or contents[0] & contents[2] or contents[1] & contents[2])
    for share, split in zip((0.7, 0.1, 0.2), splits, strict=True):
        assert np.bincount(split.labels) / len(rows) == pytest.approx([share / 3] * 3, abs=0.03)
    assert load(str(tmp_path / "iris.csv"), label="species").test.names == found.test.names


def test_people_who_are_alike_are_no_copies(tmp_path: Path) -> None:
    rows = [["mf"[k % 2], ["child", "adult"][k // 2 % 2], ["lost", "saved"][k % 3 == 0]] for k in range(120)]
    found = load(str(write(tmp_path / "ship.csv", ["sex", "age", "fate"], rows)), label="fate")
    assert (len(found.train), len(found.validation), len(found.test)) == (84, 12, 24)
    assert {tuple(row) for row in found.test.inputs.tolist()} <= {tuple(row) for row in found.train.inputs.tolist()}


def test_a_column_split_is_followed_and_what_it_lacks_is_drawn(tmp_path: Path) -> None:
    header, rows = real("iris")
    given = ["Test" if k % 5 == 0 else "train" for k in range(len(rows))]
    path = write(tmp_path / "iris.csv", ["split", *header], [[s, *row] for s, row in zip(given, rows, strict=True)])
    found = load(str(path), label="species")
    assert found.test.names == tuple(f"line {k + 2}" for k in range(0, len(rows), 5))
    assert len(found.validation) == 15
    assert [column.name for column in found.columns] == header[:-1]


def test_a_category_of_the_test_rows_alone_is_unknown_to_the_model(tmp_path: Path) -> None:
    rows = [["train", "xy"[k % 2], "ab"[k % 2]] for k in range(20)] + [["test", "z", "a"], ["test", "x", "b"]]
    found = load(str(write(tmp_path / "t.csv", ["split", "word", "label"], rows)), label="label")
    assert found.columns == (Column("word", ("x", "y")),)
    assert found.test.inputs.tolist() == [[-1], [0]]


def test_a_category_of_the_test_rows_alone_is_exported_beside_blanks(store: Path) -> None:
    rows = [["train", ("", "blue", "red")[k % 3], f"{k}", "ab"[k % 2]] for k in range(60)]
    rows += [["test", "green", "1", "a"], ["test", "red", "2", "b"]]
    table = write(store / "unseen.csv", ["split", "color", "size", "label"], rows)
    (found,) = run(["softmax"], str(table), label="label", settings={"epochs": 1, "least_updates": 0}).rows
    samples = json.loads((store / "exports/unseen/softmax/samples/samples.json").read_text(encoding="utf-8"))
    assert {"color": None, "size": 1.0} in [sample["row"] for sample in samples]
    assert found.name == "unseen/softmax"


ROWS = "1,x\n2,x\n3,x\n4,y\n5,y\n6,y\n"


@pytest.mark.parametrize(
    ("content", "label", "told"),
    [
        ("", "l", r"is empty: expected a line with the names"),
        ("a,l\n", "l", r"holds no rows in column 'l'"),
        ("a,l\n" + ROWS, "labl", r"no column is called 'labl'"),
        ("length,l\n" + ROWS, "lenght", r"no column is called 'lenght': did you mean length\?"),
        ("a,l\n" + ROWS, None, r"is a table: name the column that holds the class with --label, one of a, l"),
        ("a,a,l\n1,1,x\n", "l", r"names two columns 'a' in line 1"),
        (",l\n1,x\n", "l", r"has no name for column 1 in line 1"),
        ("a\x1b[2J,l\n" + ROWS, "l", r"names a column 'a\\x1b\[2J' in line 1, which can't be printed"),
        ("a,l\n1,x\n2\n", "l", r"has 1 values in line 3, expected 2"),
        ('a,l\n"1\n2",x\n3,x,x\n', "l", r"has 3 values in line 4"),
        ('a,l\n1,x\n"2,x\n', "l", r"is damaged in line 3 \(unexpected end of data\)"),
        (b"a,l\n1,x\n\x81\xfe,x\n", "l", r"isn't UTF-8 text \(line 3\)"),
        (b"a,l\n1,\0\n", "l", r"isn't text \(line 2 holds a null character\)"),
        ("a,l\n1,x\n2,x\n3,x\n", "l", r"holds one class, 'x',"),
        ("a,l\n1,x\n2,x\n3,x\n4,y\n5,y\n", "l", r"class 'y' in .* has 2 different rows, expected at least 3"),
        ("a,l\n1,x\n2,x\n3,x\n4,y\n4,y\n5,y\n6,x\n7,x\n", "l", r"class 'y' in .* has 2 different rows"),
        ("a,l\n" + ROWS + "7,\n", "l", r"has no class in line 8, column 'l'"),
        ("l\n" + ROWS.replace(",", ""), "l", r"has no column but 'l'"),
        ("a;l\n" + ROWS.replace(",", ";") + "1,5;x\n", "l", r"has '1,5' in line 8, .* expected a point for the comma"),
        (
            "a,l\n" + "".join(f"{k},{'xy'[k % 2]}\n" for k in range(30)) + "many,x\n",
            "l",
            r"has 'many' in line 32, column 'a': expected a finite number as in other lines",
        ),
        (
            "a,l\n" + "".join(f"n{k},{'xy'[k % 2]}\n" for k in range(101)),
            "l",
            r"has 101 different texts in column 'a', expected at most 100 categories",
        ),
        (
            "a,l\n" + "".join(f"{1.7e9 + k},{'xy'[k % 2]}\n" for k in range(30)),
            "l",
            r"column 'a' that differ by 8\.6\d+ alone, which float32 can't distinguish",
        ),
        (f"{'a' * 1001},l\n" + ROWS, "l", r"names a column 'aaaaaaaaaaaaaaaaaaaa\.\.\.' in line 1, which has 1,001 l"),
        (f"a,l\n{'t' * 1001},x\n" + ROWS, "l", r"has a text of 1,001 letters in line 2, column 'a', expected at most"),
        (f"a,l\n1,{'t' * 1001}\n" + ROWS, "l", r"has a class of 1,001 letters in line 2, column 'l'"),
        ("a,b,l\n" + ROWS.replace(",", ",,"), "l", r"has no value in column 'b' for any training row"),
        ("split,a,l\n" + ROWS, "l", r"has 2 values in line 2, expected 3"),
        ("split,a,l\nhere,1,x\n", "l", r"one class"),
        ("split,a,l\n" + "here,1,x\nhere,2,y\n", "l", r"has 'here' in line 2, column 'split': expected one of train"),
        ("split,a,l\n" + "test,1,x\ntest,2,y\n", "l", r"has no row that is train in column 'split'"),
    ],
)
def test_what_is_wrong_with_a_table_is_told_in_one_sentence(
    content: str | bytes, label: str | None, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=told) as error:
        load(str(path), label=label)
    assert "\n" not in str(error.value)


def test_tables_and_images_are_not_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no table at nowhere\.csv"):
        load("nowhere.csv", label="l")
    with pytest.raises(DataError, match="expected a folder with a sub-folder for each class"):
        load(str(write(tmp_path / "iris", *real("iris"))))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="holds no images"):  # a folder is one, whatever it is called
        load(str(tmp_path / "folder.csv"))
    with pytest.raises(DataError, match="digits holds images"):
        load("digits", label="l")
    with pytest.raises(DataError, match="sizes, groups, and links require images"):
        load(str(write(tmp_path / "iris.csv", *real("iris"))), label="species", size=(8, 8))


def test_a_label_may_be_called_split(tmp_path: Path) -> None:
    header, rows = real("iris")
    found = load(str(write(tmp_path / "iris.csv", [*header[:-1], "split"], rows)), label="split")
    assert found.label_column == "split"
    assert len(found.test) == 30


def test_a_table_may_not_pass_for_a_known_data_set(tmp_path: Path) -> None:
    assert load(str(write(tmp_path / "digits.csv", *real("iris"))), label="species").name == "digits-table"


# --- rows of apps --------------------------------------------------------------------------------------------------

COLUMNS = (Column("alcohol"), Column("color", ("", "deep", "pale")))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"alcohol": 13.5, "color": "pale"}, [13.5, 2]),
        ({"color": None, "alcohol": np.int64(3)}, [3, 0]),
        ({"color": float("nan"), "alcohol": 3}, [3, 0]),
        ({"color": "deep", "alcohol": None}, [np.nan, 1]),
        ({"color": "deep", "alcohol": float("nan")}, [np.nan, 1]),
    ],
)
def test_a_row_becomes_features(row: dict, expected: list[float]) -> None:
    found = encode(row, COLUMNS)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"alcohol": 13.5}, "the row lacks column 'color': give None where a value isn't known"),
        ({}, "the row lacks columns 'alcohol', 'color': give None where a value isn't known"),
        ({"alcohol": 1, "color": "pale", "alcool": 2}, "no column is called 'alcool': did you mean alcohol?"),
        (
            {"alcohol": "13.5", "color": "pale"},
            "column 'alcohol' takes a finite number, or None where it is missing, received '13.5'",
        ),
        (
            {"alcohol": float("inf"), "color": "pale"},
            "column 'alcohol' takes a finite number, or None where it is missing, received inf",
        ),
        (
            {"alcohol": True, "color": "pale"},
            "column 'alcohol' takes a finite number, or None where it is missing, received True",
        ),
        (
            {"alcohol": 1, "color": 2},
            "column 'color' takes text such as 'pale', or None where it is missing, received 2",
        ),
        ({"alcohol": 1, "color": "pail"}, "no category of column 'color' is called 'pail': did you mean pale?"),
        ([13.5, "pale"], "expected a mapping of column to value, received list"),
        ("13.5", "expected a mapping of column to value, received str"),
    ],
)
def test_a_row_that_does_not_fit_is_told_in_one_sentence(row: object, told: str) -> None:
    with pytest.raises(InputError) as error:
        encode(row, COLUMNS)
    assert str(error.value) == told


def test_a_classifier_of_tables_takes_rows_alone(place: tuple[Path, Comparison]) -> None:
    classifier = zoo.load("wine/softmax")
    assert repr(classifier) == "<Classifier wine/softmax: 13 columns, 3 labels, on cpu>"
    features = load("wine.csv", label="cultivar").test.inputs
    assert len(classifier.predict_batch(features, batch_size=5)) == 36
    assert classifier.predict_batch([]) == []
    with pytest.raises(InputError, match="expected a mapping of column to value, received str"):
        classifier.predict("three.png")
    with pytest.raises(InputError, match="expected a list of rows, received one dict: predict takes a single row"):
        classifier.predict_batch({"alcohol": 1})
    with pytest.raises(InputError, match=r"^rows\[1\]: the row lacks"):
        classifier.predict_batch([decode(features[0], classifier.columns), {}])
    for wrong in (features[0], features.astype(float), features[:, 1:], features[:0], np.full_like(features, np.inf)):
        with pytest.raises(InputError, match="expected"):
            classifier.probabilities(wrong)


# --- the contract --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def metadata(place: tuple[Path, Comparison]) -> Metadata:
    return read_manifest(place[0] / "exports/wine/softmax").metadata


def test_columns_survive_the_file_and_images_have_none(metadata: Metadata) -> None:
    properties = metadata.to_properties()
    assert Metadata.from_properties(properties, "model.onnx") == metadata
    assert json.loads(properties["zoo.columns"])[9] == {
        "name": "color_intensity",
        "categories": ["", "deep", "medium", "pale"],
    }
    assert not {"zoo.height", "zoo.resizing"} & set(properties)
    of_images = replace(metadata, columns=(), label_column="", height=8, width=8, channels=1)
    assert not {"zoo.columns", "zoo.label_column"} & set(of_images.to_properties())


@pytest.mark.parametrize(
    "columns",
    [
        [],
        "alcohol",
        [{"name": "a"}],
        [{"name": "", "categories": None}],
        [{"name": "\x1b[2J", "categories": None}],
        [{"name": "a", "categories": None}, {"name": "a", "categories": None}],
        [{"name": "a", "categories": []}],
        [{"name": "a", "categories": ["x", "x"]}],
        [{"name": "a", "categories": ["\x1b[2J"]}],
        [{"name": "a", "categories": [1]}],
        [{"name": "a", "categories": 3}],
        {"name": "a"},
        None,
    ],
    ids=str,
)
def test_columns_that_no_table_has_are_refused(metadata: Metadata, columns: object) -> None:
    with pytest.raises(ExportError, match="export the model again"):
        Metadata.from_json({**metadata.to_json(), "columns": columns}, "model.onnx")


def test_the_manifest_names_the_input_and_the_file_keeps_it(place: tuple[Path, Comparison], metadata: Metadata) -> None:
    folder = place[0] / "exports/wine/softmax"
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["inputs"] == [{"name": "features", "dtype": "float32", "shape": ["N", 13]}]
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, replace(metadata, columns=metadata.columns[1:]).to_properties())
    onnx.save(model, folder.parent / "other.onnx")
    with pytest.raises(ExportError, match="doesn't keep the contract"):
        zoo.load(folder.parent / "other.onnx")


def test_a_file_is_of_images_or_of_a_table(metadata: Metadata) -> None:
    with pytest.raises(ExportError, match="export the model again"):
        Metadata.from_json({**metadata.to_json(), "height": 8, "width": 8, "channels": 1}, "model.onnx")


def test_the_reader_says_where_each_row_begins(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n\n"x\ny", 1 \nz,2\n', encoding="utf-8")
    found = read_text_table(tmp_path / "t.csv")
    assert found.header == ("a", "b")
    assert found.rows == [["x\ny", "1"], ["z", "2"]]
    assert found.lines == [3, 5]
