"""The command line: what it prints, and what it exits with."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.cli.console import Table

ROOT = Path(__file__).parent.parent


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)


def test_an_error_is_one_sentence_on_standard_error_and_exit_code_1(capsys) -> None:
    assert main(["describe", "lenet"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", "zoo: no model is called 'lenet': did you mean lenet5 or resnet20?\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "lenet5", "--size", "28x"], "expected something like 64x64, received '28x'"),
        (["describe", "lenet5", "--size", "0"], "expected something like 64x64, received '0'"),
        (["train", "lenet5", "--data", "digits", "--size", "0x3"], "expected something like 64x64, received '0x3'"),
        (["train", "lenet5", "--size", "a"], "expected something like 64x64"),
        (["run", "softmax", "--all", "--data", "digits"], "leave out softmax, or --all"),
        (["run", "--all", "softmax", "--data", "digits"], "leave out softmax, or --all"),
        (["launch"], "no command is called 'launch': there are "),
        ([], "arguments are required"),
    ],
)
def test_a_wrong_command_line_exits_with_2(capsys, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("size", ["32x32", "32"])
def test_describe_as_json_holds_every_layer(capsys, size) -> None:
    assert main(["describe", "lenet5", "--size", size, "--channels", "3", "--classes", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["input"] == [32, 32, 3]
    assert sum(layer["parameters"] for layer in found["layers"]) == found["parameters"]
    assert {"c1_conv", "c3_conv", "c5_dense"} <= {layer["name"] for layer in found["layers"]}


def test_describe_as_a_table_shows_formulas_and_totals(capsys) -> None:
    assert main(["describe", "lenet5"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"c3_conv +Conv2D +10×10×16 +5×5×6×16 \+ 16 +2,416 +240,000 +14×14", shown)
    assert re.search(r"total +61,706 +416,520", shown)


def test_list_imports_neither_keras_nor_mlflow() -> None:
    code = (
        "import sys; from pipelines.cli import main; code = main(['list']); "
        "print(*sorted({'tensorflow', 'keras', 'mlflow', 'onnxruntime', 'numpy'} & set(sys.modules))); sys.exit(code)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    *table, imported = done.stdout.splitlines()
    assert imported == ""
    assert any("lenet5" in line for line in table)


def test_a_command_whose_packages_are_not_installed_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None; from pipelines.cli import main; "
        "sys.exit(main(['describe', 'lenet5']))"
    )
    done = python(code)
    assert done.returncode == 1
    assert re.fullmatch(r"zoo: tensorflow is not installed: pip install '.*\[train\]'\n", done.stderr), done.stderr


def test_output_that_nobody_reads_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m pipelines.cli list | true", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Traceback" not in done.stderr


def test_a_path_that_no_disk_takes_is_one_image_that_can_not_be_read(capsys) -> None:
    export = Path(__file__).parents[1] / "exports/digits/lenet5"
    assert main(["predict", str(export), str(export / "samples/3.png"), "x" * 300 + ".png"]) == 1
    out, err = capsys.readouterr()
    assert "3.png" in out and "xxx" in err and "File name too long" in err


def test_exports_are_listed_where_they_are_looked_for(monkeypatch, capsys, tmp_path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "exports/digits/softmax", tmp_path / "there/digits/softmax")
    monkeypatch.chdir(tmp_path)
    for folder, words in ((tmp_path / "there", []), ("", ["--exports", "there"])):
        monkeypatch.setenv("ZOO_EXPORTS", str(folder))
        assert main(["verify", "--all", *words]) == 0
        assert "softmax" in capsys.readouterr().out
    assert main(["verify", "--all"]) == 1


@pytest.mark.parametrize(
    ("said", "words", "printed"),
    [
        (
            "interrupted; to continue: zoo train --resume 0123",
            [],
            "the same command again, or zoo train --resume 0123 for",
        ),
        ("", [], "interrupted; to continue: the same command again\n"),
        ("interrupted; to continue: zoo train --resume 0123", ["--again"], "to continue: zoo train --resume 0123\n"),
    ],
)
def test_an_interrupted_run_goes_on_by_the_same_command(monkeypatch, capsys, said, words, printed) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt(said)

    monkeypatch.setattr("pipelines.run.run", interrupted)
    assert main(["run", "softmax", "--data", "digits", *words]) == 130
    assert printed in capsys.readouterr().err


def test_a_narrow_table_explains_no_column_that_it_leaves_out() -> None:
    table = Table("model", ">accuracy", ">robust (seen)", ">robust (unseen)")
    table.caption = ["accuracy: of the test images", "robust (seen): of corrupted ones", "note: read this"]
    assert table.without("robust (unseen)", "robust (seen)").caption == [
        "accuracy: of the test images",
        "note: read this",
        "left out in a terminal as narrow as this: robust (seen), robust (unseen); --json has all",
    ]
