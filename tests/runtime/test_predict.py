"""`zoo predict`, as a function and on the command line, with the app's part alone."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def test_a_bad_image_among_good_ones_has_its_reason_in_its_place(digits: Path, samples, tmp_path, capsys) -> None:
    (tmp_path / "notes.png").write_text("milk")
    files = [str(samples[3][0]), str(tmp_path / "notes.png"), str(samples[7][0])]
    assert main(["predict", str(digits), *files]) == 1
    printed = capsys.readouterr()
    assert [line.split()[:2] for line in printed.out.splitlines()] == [
        [files[0], "3"],
        [files[1], "no"],
        [files[2], "7"],
    ]
    assert f"no answer: {files[1]} is not an image" in printed.out
    assert printed.err.startswith(f"zoo: 1 of 3 images has no answer: {files[1]} is not an image")
    assert main(["predict", str(digits), *files, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [sorted(each) for each in found][1] == ["error", "image"]
    assert [each.get("label") for each in found] == ["3", None, "7"]
    assert main(["predict", str(digits), *files, "--on-bad", "fail"]) == 1
    assert capsys.readouterr().out == ""
    assert main(["predict", str(digits), files[1], str(tmp_path / "missing.png")]) == 1
    assert "2 of 2 images have no answer" in capsys.readouterr().err


def test_a_folder_stands_for_the_images_in_it(digits: Path, samples, tmp_path, capsys) -> None:
    for name, k in {"2.png": 2, "10.PNG": 1, "deep/er/3.png": 3, ".hidden.png": 4, "@eaDir/5.png": 5}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(samples[k][0].read_bytes())
    (tmp_path / "notes.txt").write_text("milk")
    results = predict(digits, [tmp_path, samples[7][0]])
    assert [str(result) for result in results] == [
        *(str(tmp_path / name) for name in ("2.png", "10.PNG", "deep/er/3.png")),
        str(samples[7][0]),
    ]
    assert [result.label for result in results] == ["2", "1", "3", "7"]
    assert main(["predict", str(digits), str(tmp_path / "@eaDir" / "..")]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    (tmp_path / "none").mkdir()
    assert main(["predict", str(digits), str(tmp_path / "none")]) == 1
    assert "none holds no images: expected files that end in .avif .bmp" in capsys.readouterr().err


def test_an_address_is_named_with_what_to_do(digits: Path, capsys) -> None:
    assert main(["predict", str(digits), "https://example.org/cat.png"]) == 1
    assert "is an address: download it" in capsys.readouterr().err


def test_open_files_and_arrays_with_transparency_are_images(classifier, samples) -> None:
    path = samples[3][0]
    with path.open("rb") as file:
        assert classifier.predict(file).label == "3"
        assert [found.label for found in classifier.predict_batch([file, io.BytesIO(path.read_bytes())])] == ["3", "3"]
        with pytest.raises(zoo.InputError, match="received one BufferedReader: predict takes a single image"):
            classifier.predict_batch(file)
    gray = np.asarray(Image.open(path).convert("L"))
    opaque = np.dstack([gray, gray, gray, np.full_like(gray, 255)])
    assert classifier.predict(opaque) == classifier.predict(np.dstack([gray, gray, gray]))


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
