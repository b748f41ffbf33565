"""The main job, whole and real: images to trainings, runs, exports, a comparison, and answers in an app."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import zoo
from pipelines import tracking
from pipelines.cli import main
from pipelines.evaluation.comparison.rows import Comparison
from pipelines.run import run
from zoo.contract import read_manifest
from zoo.models import definitions
from zoo.models.registry import _models

MODELS = ["softmax", "conv-tiny", "lenet5"]  # one of each family, the quickest
SETTINGS = {"epochs": 1, "least_updates": 108}


@pytest.fixture(scope="module")
def place(shared_store: Path) -> tuple[Path, Comparison]:
    """A working folder with the three models trained and exported: what `zoo run` leaves behind."""
    return shared_store, run(MODELS, "digits", settings=SETTINGS)


def test_each_model_is_trained_exported_and_compared(place: tuple[Path, Comparison]) -> None:
    folder, comparison = place
    assert [row.family for row in comparison.rows] == ["dense", "conv", "hybrid"]
    for row, model in zip(comparison.rows, MODELS, strict=True):
        manifest = read_manifest(folder / "exports" / "digits" / model)
        assert row.parameters == manifest.metrics["parameters"] > 0
        assert row.low < row.accuracy < row.high
        assert row.accuracy == manifest.metadata.test_accuracy > 0.5, "a short training is better than chance, 10 %"
        assert row.parity == manifest.metadata.parity["largest_difference"] < 1e-5
        assert manifest.metadata.parity["same_top_class"] == 1
        assert row.size == (folder / "exports" / "digits" / model / "model.onnx").stat().st_size
    best = max(comparison.rows, key=lambda row: row.accuracy).name
    assert [(pair.better, pair.test.images) for pair in comparison.pairs] == [(best, 359)] * 2
    with Image.open(folder / "exports" / "digits" / "comparison.png") as image:
        assert image.width > 500


def test_what_was_done_before_is_not_done_again(place: tuple[Path, Comparison], caplog) -> None:
    caplog.set_level("INFO", "zoo")
    folder, before = place
    files = {path: path.stat().st_mtime_ns for path in folder.glob("exports/digits/*/model.onnx")}
    after = run(MODELS[:1], "digits", settings=SETTINGS)
    assert [row.accuracy for row in after.rows] == [before.rows[0].accuracy]
    assert not any("training on" in step or "exporting" in step for step in caplog.messages)
    assert files == {path: path.stat().st_mtime_ns for path in files}


@pytest.mark.slow  # two trainings more
def test_more_seeds_are_trained_beside_and_the_export_stays_that_of_the_first(
    place: tuple[Path, Comparison], caplog
) -> None:
    caplog.set_level("INFO", "zoo")
    folder, before = place
    manifest = read_manifest(folder / "exports/digits/softmax")
    after = run(MODELS[:1], "digits", settings=SETTINGS, seeds=2)
    assert [step for step in caplog.messages if "training on" in step] == ["softmax, seed 2: training on digits"]
    exported = read_manifest(folder / "exports/digits/softmax")
    assert exported.metadata.run_id == manifest.metadata.run_id
    assert after.rows[0].accuracy == before.rows[0].accuracy == exported.metrics["test_accuracy_seed_1"]
    assert after.rows[0].spread is not None
    assert after.rows[0].spread.seeds == (1, 2)
    with tracking.open_client() as client:
        children = [client.get_run(run.info.run_id) for run in tracking.search("tags.mlflow.parentRunId LIKE '%'")]
        (parent,) = {run.data.tags["mlflow.parentRunId"] for run in children}
        assert len(children) == 2
        assert client.get_run(parent).data.metrics["test_accuracy"] == pytest.approx(after.rows[0].spread.mean)
        known = client.get_run(exported.metadata.run_id).data.metrics
    assert known["export_size"] == (folder / "exports/digits/softmax/model.onnx").stat().st_size
    assert known["multiply_accumulates"] == 640
    assert 0 < known["latency"] < 100  # milliseconds
    caplog.clear()
    run(MODELS[:1], "digits", settings=SETTINGS, seeds=2)
    assert not any("training on" in step or "exporting" in step for step in caplog.messages)


@pytest.mark.parametrize(
    "damaged",
    # It is exported again whichever file it is, and of the Keras model trained anew.
    ["model.onnx", *(pytest.param(each, marks=pytest.mark.slow) for each in ("manifest.json", "the Keras model"))],
)
def test_what_is_damaged_of_a_run_or_its_export_is_named_and_made_anew(
    place: tuple[Path, Comparison], caplog, damaged: str
) -> None:
    folder, _ = place
    export = folder / "exports/digits/softmax"
    before = read_manifest(export)
    if damaged == "the Keras model":
        with tracking.open_client() as client:
            logged = client.search_logged_models(
                [client.get_run(before.metadata.run_id).info.experiment_id],
                f"source_run_id = '{before.metadata.run_id}' AND name = 'keras'",
            )
        (Path(logged[0].artifact_location.removeprefix("file://")) / "data/model.keras").write_bytes(b"")
        (export / "model.onnx").write_bytes(b"")
    else:
        (export / damaged).write_bytes(b"")
    caplog.clear()
    run(MODELS[:1], "digits", settings=SETTINGS)
    assert any("is rewritten" in step for step in caplog.messages)
    after = read_manifest(export)
    assert zoo.load(export).metadata.test_accuracy == before.metadata.test_accuracy
    assert (after.metadata.run_id == before.metadata.run_id) == (damaged != "the Keras model")


def test_an_app_loads_the_export_and_answers(place: tuple[Path, Comparison], capsys) -> None:
    folder, _ = place
    samples = json.loads((folder / "exports/digits/lenet5/samples/samples.json").read_text(encoding="utf-8"))
    classifier = zoo.load("digits/lenet5")
    for sample in samples:
        image = folder / "exports/digits/lenet5/samples" / Path(sample["file"]).name
        predicted = classifier.predict(image)
        assert predicted.label == classifier.labels[int(np.argmax(sample["probabilities"]))]
        assert predicted.probability == pytest.approx(max(sample["probabilities"]), abs=1e-5)
    assert main(["predict", "digits/lenet5", str(image)]) == 0
    assert predicted.label in capsys.readouterr().out


def test_every_shipped_accuracy_is_found_again(place: tuple[Path, Comparison], capsys) -> None:
    """In the file's answers, in the manifest, in the card, and on the page of all."""
    _, comparison = place
    assert main(["gallery"]) == 0
    capsys.readouterr()
    assert main(["verify", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for row in comparison.rows:
        found = next(line.split() for line in lines if f" {row.name} " in line)
        assert found[1:6] == [row.name, f"{row.accuracy:.2%}", f"{row.accuracy:.2%}", "same", "same"]


def test_list_shows_the_metrics_of_exports(place: tuple[Path, Comparison], capsys) -> None:
    _, comparison = place
    assert main(["list"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if " lenet5 " in line)
    assert f"{comparison.rows[2].accuracy:.2%}" in line


def test_run_ends_with_a_table_and_what_to_do_next(place: tuple[Path, Comparison], capsys) -> None:
    folder, _ = place
    settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    assert main(["run", *MODELS, "--data", "digits", *settings]) == 0
    printed = capsys.readouterr()
    assert re.search(r"browse the runs: +\S+ ui\n", printed.out)
    (code,) = re.findall(r"load in an app: .* -c '(import zoo; .*)'", printed.out)
    answer = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    assert re.match(r"Prediction\(label='\d', ", answer.stdout)
    assert all(model in printed.out for model in MODELS)
    assert "already trained" in printed.err


def test_all_takes_every_model_that_there_is(place: tuple[Path, Comparison], registered, capsys) -> None:
    for name in {model.name for model in definitions()} - set(MODELS):
        del _models[name]  # the three that are trained already are a zoo as well
    settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    assert main(["run", "--all", "--data", "digits", "--json", *settings]) == 0
    assert [Path(row["name"]).name for row in json.loads(capsys.readouterr().out)["rows"]] == MODELS


@pytest.mark.slow
def test_the_ui_answers_and_leaves_no_server_behind(place: tuple[Path, Comparison]) -> None:
    folder, _ = place
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines.cli", "ui", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as ui:
        assert answers_within(port, 90)
        ui.terminate()
        assert ui.wait(timeout=120) == 130
    assert not answers_within(port, 0)


def answers_within(port: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                return page.status == 200
        except OSError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.5)


def test_a_wrong_name_is_told_before_anything_is_trained(place: tuple[Path, Comparison], capsys) -> None:
    folder, _ = place
    before = sorted(folder.rglob("*"))
    assert main(["run", "softmax", "lenet", "--data", "digits"]) == 1
    assert main(["run", "softmax", "--data", "digit"]) == 1
    assert "did you mean digits" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


@pytest.mark.slow  # the features of photographs are pretrained ones of 128x128
def test_models_of_several_sizes_are_paired_where_they_have_the_same_images(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for k in range(12):
            image = random.integers(0, 256, (32 + k, 48, 3), np.uint8)
            Image.fromarray(image).save(tmp_path / "pets" / label / f"{k}.png")
    comparison = run(["auto", "softmax", "conv-tiny"], "pets", settings={"epochs": 1, "least_updates": 1})
    assert comparison.rows[0].name == "pets/efficientnet-lite0"
    assert {name for pair in comparison.pairs for name in (pair.better, pair.other)} == {
        "pets/softmax",
        "pets/conv-tiny",
    }
    assert comparison.notes == ("pets/efficientnet-lite0 is paired with none: no other was tested on the same images",)
