"""`zoo predict`, as a function and on the command line, with the app's part alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from pipelines.cli import main
from pipelines.inference.predict import predict


def test_each_image_gets_its_answer(digits: Path, samples) -> None:
    files = [file for file, _, _ in samples]
    results = predict(digits, files, provider="cpu", threads=1)
    assert [result.image for result in results] == files
    classifier = zoo.load(digits)
    assert [result.label for result in results] == [classifier.predict(file).label for file in files]


def test_the_command_prints_a_line_for_each_image(digits: Path, samples, capsys) -> None:
    files = [str(samples[k][0]) for k in (3, 7)]
    assert main(["predict", str(digits), *files, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[files[0], "3"], [files[1], "7"]]
    assert [line.count("%") for line in lines] == [2, 2]


def test_the_command_prints_json(digits: Path, samples, capsys) -> None:
    assert main(["predict", str(digits), str(samples[3][0]), "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)
    assert result["image"] == str(samples[3][0])
    assert result["label"] == result["ranking"][0][0] == "3"
    assert len(result["ranking"]) == 10


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "nowhere/nothing", "{image}"], "nowhere/nothing"),
        (["predict", "{export}", "no such image.png"], "no such image.png"),
        (["predict", "{export}", "{image}", "--provider", "quantum"], "quantum"),
        (["predict", "{export}", "{image}", "--threads", "0"], "threads must be 1 or more"),
    ],
    ids=["export", "image", "provider", "threads"],
)
def test_what_goes_wrong_is_told_in_one_sentence(digits: Path, samples, arguments: list[str], told: str) -> None:
    filled = [a.format(export=digits, image=samples[0][0]) for a in arguments]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from pipelines.cli import main; sys.exit(main())", *filled],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("zoo: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
