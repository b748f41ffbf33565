"""`zoo predict EXPORT DATA --out FILE`: every kind of input into every kind of file, with the app's part alone."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import zoo
from pipelines.cli import main
from pipelines.inference.bulk import predict_all as job
from pipelines.inference.bulk.predict_all import Answers, predict_all
from zoo.errors import DataError, ExportError, ImageError, InputError, MissingExtraError

HOSTILE = (
    "=cmd|' C'!A0.png",
    "@x,y.png",
    "-1+1.png",
    'q"uo;te.png',
    "line\nbreak.png",
    "\x1b[2J<b>{}%s.png",
    "ü 😀.png",
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(samples) -> Path:
    """Ten images in a folder and one below it."""
    Path("images/more").mkdir(parents=True)
    for file, label, _ in samples:
        shutil.copy(file, Path("images/more" if int(label) > 5 else "images", file.name))
    return Path("images")


def run(export: Path, *paths: str | Path, out: str = "answers.jsonl", processes: int = 1, **options: Any) -> Answers:
    return predict_all(export, paths, Path(out), processes=processes, **options)


def rows_of(out: Path) -> list[dict[str, Any]]:
    """What was written, in the types of JSON."""
    if out.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow.parquet")
        return pyarrow.read_table(out).to_pylist()
    text = out.read_text(encoding="utf-8")
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return [
        {**row, "label": row["label"] or None, "error": row["error"] or None, "probability": number(row["probability"])}
        for row in csv.DictReader(io.StringIO(text, newline=""), strict=True)
    ]


def number(text: str) -> float | None:
    return float(text) if text else None


# --- each kind of input into each kind of file -----------------------------------------------------------------------


def as_folder(folder: Path) -> tuple[list[Path], list[str]]:
    return [folder], [str(folder / f"{'more/' if k > 5 else ''}{k}.png") for k in range(10)]


def as_files(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    return [Path(name) for name in names], names


def as_table(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    with Path("table.csv").open("w", newline="") as file:
        csv.writer(file, delimiter=";").writerows([("number", "file"), *enumerate(names)])
    return [Path("table.csv")], names


def as_json_lines(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    Path("table.jsonl").write_text("".join(json.dumps({"number": 1, "path": name}) + "\n" for name in names))
    return [Path("table.jsonl")], names


def as_shards(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    for number, part in enumerate((names[:4], names[4:])):
        with tarfile.open(f"part-{number}.tar", "w") as archive:
            for name in part:
                archive.add(name)
                archive.addfile(tarfile.TarInfo(f"{name[:-4]}.cls"))
    return [Path("part-*.tar")], [f"part-{int(k > 3)}.tar/{name}" for k, name in enumerate(names)]


def as_folder_of_shards(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_shards(folder)
    Path("shards").mkdir()
    for number in (0, 1):
        Path(f"part-{number}.tar").rename(f"shards/part-{number}.tar")
    return [Path("shards")], [f"shards/{name}" for name in names]


def as_bytes(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    return parquet({"number": list(range(10)), "image": [Path(name).read_bytes() for name in names]}), [
        f"images.parquet/{k}" for k in range(10)
    ]


def as_hugging_face_has_them(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    return parquet({"image": [{"bytes": Path(name).read_bytes(), "path": name} for name in names]}), names


def as_parquet_of_paths(folder: Path) -> tuple[list[Path], list[str]]:
    _, names = as_folder(folder)
    return parquet({"path": names}), names


def parquet(columns: dict[str, list[Any]]) -> list[Path]:
    arrow = pytest.importorskip("pyarrow.parquet")
    arrow.write_table(pytest.importorskip("pyarrow").table(columns), "images.parquet", row_group_size=4)
    return [Path("images.parquet")]


INPUTS: dict[str, Callable[[Path], tuple[list[Path], list[str]]]] = {
    name.removeprefix("as_"): made for name, made in list(globals().items()) if name.startswith("as_")
}


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("given", INPUTS)
def test_each_kind_of_input_becomes_each_kind_of_file(digits, classifier, folder, samples, given, kind) -> None:
    if kind == ".parquet":
        pytest.importorskip("pyarrow")
    paths, names = INPUTS[given](folder)
    found = run(digits, *paths, out=f"answers{kind}")
    assert (found.images, found.unreadable, found.resumed) == (10, 0, 0)
    rows = rows_of(Path(f"answers{kind}"))
    assert [row["path"] for row in rows] == names
    assert [list(row) for row in rows] == [["path", "label", "probability", "error"]] * 10 == [list(found.columns)] * 10
    expected = [classifier.predict(file) for file, _, _ in samples]
    assert [row["label"] for row in rows] == [each.label for each in expected]
    assert [row["probability"] for row in rows] == pytest.approx([each.probability for each in expected], abs=1e-5)
    assert sorted(path.name for path in Path().glob("*answers*")) == [f"answers{kind}", f"answers{kind}.job.json"]


def test_images_may_lie_in_another_folder_than_the_table(digits, folder) -> None:
    Path("lists").mkdir()
    Path("lists/some.csv").write_text("path\nimages/3.png\nimages/4.png\n")
    assert run(digits, "lists/some.csv", images=Path()).unreadable == 0
    assert [row["label"] for row in rows_of(Path("answers.jsonl"))] == ["3", "4"]


# --- what can't be read ----------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read_has_its_reason_and_the_others_their_answers(digits, folder, capsys) -> None:
    Path("images/11.png").write_bytes(b"")
    Path("images/12.png").write_text("milk")
    assert main(["predict", str(digits), "images", "--out", "answers.csv", "--processes", "1"]) == 0
    rows = {row["path"]: row for row in rows_of(Path("answers.csv"))}
    assert len(rows) == 12
    assert rows["images/11.png"]["error"] == "images/11.png is empty (0 bytes): replace it"
    assert rows["images/12.png"]["error"].startswith("images/12.png is not an image")
    assert [row["label"] for row in rows.values() if row["error"]] == [None, None]
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "answers.csv: 10 of 12 answered"
    assert told[1] == "2 can't be read, the column error says why: images/11.png is empty (0 bytes): replace it"


def test_where_none_can_be_read_the_file_says_why_and_the_exit_code_is_1(digits, capsys) -> None:
    Path("broken").mkdir()
    Path("broken/1.png").write_text("milk")
    assert main(["predict", str(digits), "broken", "--out", "answers.jsonl", "--json"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["unreadable"] == 1
    assert printed.err.splitlines()[-1].startswith("zoo: none of 1 images can be read: broken/1.png is not an image")
    assert rows_of(Path("answers.jsonl"))[0]["label"] is None


def test_on_bad_fail_ends_with_the_image_and_goes_on_when_it_is_repaired(digits, folder, samples) -> None:
    Path("images/more/8.png").write_text("milk")
    with pytest.raises(ImageError, match=r"8\.png is not an image"):
        run(digits, folder, on_bad="fail")
    assert not Path("answers.jsonl").exists()
    shutil.copy(samples[8][0], "images/more/8.png")
    assert run(digits, folder, on_bad="fail").images == 10


def test_a_shard_that_was_cut_short_costs_what_is_behind(digits, folder) -> None:
    as_shards(folder)
    whole = Path("part-0.tar").read_bytes()
    Path("part-0.tar").write_bytes(whole[:2500])
    found = run(digits, "part-*.tar")
    assert found.unreadable >= 1 and "cut short" in found.error
    assert [row["label"] for row in rows_of(Path("answers.jsonl"))][-6:] == ["4", "5", "6", "7", "8", "9"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.csv", "path\n", r"empty\.csv holds no images: expected a folder of images"),
        ("none.csv", "", r"none\.csv is empty"),
        ("other.csv", "a,b\n1,2\n", r"other\.csv lacks a column with the names of images"),
        ("uneven.csv", "path,x\na.png,1\nb.png\n", r"has 1 values in line 3, expected 2"),
        ("empty.jsonl", "", r"empty\.jsonl holds no rows"),
        ("broken.jsonl", '{"path": "a.png"}\n{"path"\n', r"broken\.jsonl, line 2, is not JSON"),
        ("none.parquet", "milk", r"none\.parquet can't be read as Parquet"),
        ("nothing", None, r"nothing holds no images: expected a folder of images, a table that names them"),
        ("*.tar", "", r"\*\.tar matches no shard"),
        ("s3://bucket/images", "", r"it is an address: download it"),
        ("missing", "", r"at missing, but nothing is there"),
    ],
)
def test_data_without_images_are_refused_before_anything_is_written(digits, name, content, sentence) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if content is None:
        Path(name).mkdir()
    elif name.isascii() and not any(letter in name for letter in "*:") and name != "missing":
        Path(name).write_text(content)
    with pytest.raises((DataError, InputError), match=sentence):
        run(digits, name)
    assert not list(Path().glob("*answers*"))


def test_a_row_beyond_the_beginning_of_a_table_is_checked_before_the_first_is_answered(digits, folder) -> None:
    Path("table.csv").write_text("path,x\n" + "images/3.png,1\n" * 20_000 + "images/3.png\n")
    with pytest.raises(DataError, match="has 1 values in line 20002, expected 2"):
        run(digits, "table.csv")


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_names_are_written_as_they_are(digits, samples, kind) -> None:
    if kind == ".parquet":
        pytest.importorskip("pyarrow")
    Path("odd").mkdir()
    for name in HOSTILE:
        shutil.copy(samples[3][0], Path("odd", name))
    assert run(digits, "odd", out=f"answers{kind}").unreadable == 0
    assert {row["path"] for row in rows_of(Path(f"answers{kind}"))} == {f"odd/{name}" for name in HOSTILE}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet"])
def test_a_name_that_is_no_text_is_written_with_escapes(digits, samples, kind, capsys) -> None:
    if kind == ".parquet":
        pytest.importorskip("pyarrow")
    Path("odd").mkdir()
    shutil.copy(samples[3][0], os.fsdecode(b"odd/caf\xe9.png"))
    Path(os.fsdecode(b"odd/\xff\x1b.png")).write_text("milk")
    assert main(["predict", str(digits), "odd", "--out", f"answers{kind}", "--processes", "1"]) == 0
    assert [row["path"] for row in rows_of(Path(f"answers{kind}"))] == ["odd/caf\\udce9.png", "odd/\\udcff\x1b.png"]
    assert "\x1b" not in capsys.readouterr().out


def test_nothing_outside_of_the_folder_is_read(digits, folder, samples) -> None:
    shutil.copy(samples[3][0], "secret.png")
    inside = Path("inside")
    inside.mkdir()
    (inside / "link.png").symlink_to(Path("secret.png").absolute())
    shutil.copy(samples[4][0], inside / "own.png")
    names = [
        "../secret.png",
        str(Path("secret.png").absolute()),
        "link.png",
        "x/../../secret.png",
        "a\\0.png",
        "own.png",
    ]
    (inside / "table.jsonl").write_text("".join(json.dumps({"path": name}) + "\n" for name in names))
    with tarfile.open(inside / "part.tar", "w") as archive:
        for name in ("../secret.png", "/etc/secret.png"):
            found = tarfile.TarInfo(name)
            found.size = samples[5][0].stat().st_size
            archive.addfile(found, io.BytesIO(samples[5][0].read_bytes()))
        linked = tarfile.TarInfo("linked.png")
        linked.type, linked.linkname = tarfile.SYMTYPE, str(Path("secret.png").absolute())
        archive.addfile(linked)
    run(digits, inside, out="folder.jsonl")
    run(digits, inside / "table.jsonl", out="table.jsonl")
    run(digits, inside / "part.tar", out="part.jsonl")
    assert {row["path"]: row["label"] for row in rows_of(Path("folder.jsonl"))} == {
        "inside/link.png": None,
        "inside/own.png": "4",
    }
    assert [row["label"] for row in rows_of(Path("table.jsonl"))] == [None] * 5 + ["4"]
    assert "lies outside of inside" in rows_of(Path("table.jsonl"))[0]["error"]
    assert [(row["path"], row["label"]) for row in rows_of(Path("part.jsonl"))] == [
        ("inside/part.tar/../secret.png", "5"),
        ("inside/part.tar//etc/secret.png", "5"),
    ]
    run(digits, inside, out="followed.jsonl", follow_links=True)
    assert [row["label"] for row in rows_of(Path("followed.jsonl"))] == ["3", "4"]


# --- a file that is there --------------------------------------------------------------------------------------------


def test_a_job_that_is_complete_does_nothing_more(digits, folder) -> None:
    run(digits, folder)
    before = Path("answers.jsonl").stat().st_mtime_ns, Path("answers.jsonl").read_bytes()
    found = run(digits, folder)
    assert (found.images, found.resumed) == (10, 10)
    assert (Path("answers.jsonl").stat().st_mtime_ns, Path("answers.jsonl").read_bytes()) == before
    Path("answers.jsonl").unlink()
    assert run(digits, folder).resumed == 0
    assert Path("answers.jsonl").read_bytes() == before[1]


def test_a_file_of_somebody_else_stays(digits, folder) -> None:
    Path("answers.csv").write_text("mine")
    with pytest.raises(InputError, match=r"answers\.csv exists and wasn't written by `zoo predict --out`"):
        run(digits, folder, out="answers.csv")
    assert Path("answers.csv").read_text() == "mine"
    Path("answers.csv").rename("answers.csv.partial")
    with pytest.raises(InputError, match=r"answers\.csv\.partial exists and wasn't written by"):
        run(digits, folder, out="answers.csv")
    assert Path("answers.csv.partial").read_text() == "mine"
    assert not list(Path().glob("*answers.csv.[jl]*"))


def test_the_file_of_another_job_stays(digits, pooled, folder, samples) -> None:
    run(digits, folder)
    before = Path("answers.jsonl").read_bytes()
    with pytest.raises(
        InputError, match="belongs to another job, which differs in its export: choose another file with --out"
    ):
        run(pooled, folder)
    with pytest.raises(InputError, match="differs in its data"):
        run(digits, folder / "more")
    shutil.copy(samples[3][0], "images/33.png")
    with pytest.raises(InputError, match="differs in its data"):
        run(digits, folder)
    assert Path("answers.jsonl").read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", "[]", "milk", '{"form": 1, "job": 3}', "[" * 100_000])
def test_a_state_that_is_damaged_is_refused_in_one_sentence(digits, folder, content) -> None:
    Path("answers.jsonl.job.json").write_text(content)
    with pytest.raises(InputError, match=r"answers\.jsonl\.job\.json can't be read as the state of a job: remove it"):
        run(digits, folder)


def test_one_job_at_a_time_writes_a_file(digits, folder, monkeypatch) -> None:
    def again(*_: object) -> Any:
        with pytest.raises(InputError, match=r"answers\.jsonl is being written by process \d+: wait for it"):
            run(digits, folder)
        raise InterruptedError

    monkeypatch.setattr(job, "_looked_at", again)
    with pytest.raises(InterruptedError):
        run(digits, folder)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("answers.xls", r"answers\.xls ends in \.xls, expected one of \.csv, \.jsonl, \.parquet"),
        ("answers", "answers ends in nothing, expected one of"),
        ("nowhere/answers.csv", r"nowhere/answers\.csv can't be written \(No such file or directory\)"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(digits, folder, out, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        run(digits, folder, out=out)


# --- exports and options ---------------------------------------------------------------------------------------------


def test_an_export_of_contract_1_has_neither_familiarity_nor_sets(digits, folder) -> None:
    assert zoo.load(digits).metadata.contract == "1"
    with pytest.raises(ExportError, match="it is of contract 1, before there were sets: export its model again"):
        run(digits, folder, coverage=0.9)
    assert run(digits, folder).columns == ("path", "label", "probability", "error")


def test_a_classifier_of_rows_is_refused(wine, folder) -> None:
    with pytest.raises(InputError, match="takes rows of a table: --out is for images"):
        run(wine, folder)


@pytest.mark.parametrize("words", [["--top", "3"], ["--explain"]])
def test_what_is_printed_alone_does_not_go_with_a_file(digits, folder, words, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(digits), "images", "--out", "answers.csv", *words])
    assert "can't be combined with --out" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--processes", "2"], ["--images", "images"], ["--follow-links"]])
def test_what_is_about_many_images_goes_with_a_file(digits, folder, words, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["predict", str(digits), "images", *words])
    assert "require --out" in capsys.readouterr().err


def test_without_pyarrow_one_sentence_says_what_to_install(digits, folder, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for paths, out in (([folder], "answers.parquet"), ([Path("x.parquet")], "answers.csv")):
        Path("x.parquet").touch()
        with pytest.raises(MissingExtraError, match=r"pyarrow is not installed: pip install '.*\[parquet\]'"):
            run(digits, *paths, out=out)
    assert not list(Path().glob("*answers*"))


def test_it_imports_nothing_of_training(digits, folder) -> None:
    code = (
        "import sys\nfrom pipelines.cli import main\n"
        f"assert main(['predict', {str(digits)!r}, 'images', '--out', 'answers.jsonl', '--processes', '1']) == 0\n"
        "print(*sys.modules)"
    )
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=paths).stdout
    packages = {name.partition(".")[0] for name in told.split()}
    assert "onnxruntime" in packages
    assert not packages & {
        "tensorflow",
        "keras",
        "tf2onnx",
        "onnx",
        "mlflow",
        "matplotlib",
        "sklearn",
        "rich",
        "psutil",
    }
    assert "pyarrow" not in packages
    assert len(rows_of(Path("answers.jsonl"))) == 10


def test_no_more_is_read_ahead_than_is_answered(digits, folder, monkeypatch) -> None:
    monkeypatch.setattr(job, "CHUNK", 2)
    read: list[int] = []
    all_of = job._all

    def counted(*arguments: Any) -> Any:
        for image in all_of(*arguments):
            read.append(1)
            yield image

    monkeypatch.setattr(job, "_all", counted)
    after = []
    save = job.State.after
    monkeypatch.setattr(job.State, "after", lambda self, *more: after.append(len(read)) or save(self, *more))
    run(digits, folder)
    assert after == [12, 14, 16, 18, 20]  # ten when they were counted


def test_answers_are_a_table_of_the_same_images(digits, pooled, folder) -> None:
    run(digits, folder, out="first.csv")
    assert run(pooled, "first.csv", out="second.csv").unreadable == 0
    first, second = rows_of(Path("first.csv")), rows_of(Path("second.csv"))
    assert [row["path"] for row in first] == [row["path"] for row in second]
