"""Bring the shipped exports to today's names and words: once, kept in the history. No .onnx file is touched.

PYTHONPATH=. python benchmarks/migrate_exports.py exports/digits/* exports/fashion-mnist/*

The evaluation of each export is found again from the answers of its own model.onnx (proven equal to Keras when it was
exported), and has to be the one on record: the metrics of the old manifest, and each number of the old card. Plots that
need no more than the answers are drawn again; the learning curves and the first layer are kept, with their texts in
today's words. Accuracies on corrupted images are those of the old card.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import zoo
from pipelines.core.metrics.calibration import calibration_bins
from pipelines.core.metrics.classification import confusion_matrix, precision_recall_f1
from pipelines.core.provenance.reading import find_data_set
from pipelines.evaluation.corruptions import CORRUPTIONS
from pipelines.evaluation.evaluate import ClassMetrics, CorruptedMetrics, Evaluation
from pipelines.evaluation.plots import confusion, reliability
from pipelines.evaluation.predictions import answers_of, clean_metrics
from pipelines.exporting.architecture import summarize
from pipelines.exporting.card import render_card
from pipelines.exporting.quantization.card_section import with_precisions
from pipelines.exporting.quantization.quantize import _made_of
from pipelines.plotting.tiles import errors
from zoo.contract import (
    CARD_FILE,
    FLOAT32,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    PLOTS_FOLDER,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Manifest,
    describe_file,
    read_manifest,
)
from zoo.data import DataSet
from zoo.models import build

SAME = 1e-6  # as `verify` has it: in another order of additions a mean differs in its last digits

KEPT = {  # texts of the plots that are kept, in today's words
    "pictures": "images",
    r"with ([\d.]+%) of these right\.": r"with an accuracy of \1.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exports", nargs="+", type=Path, metavar="EXPORT", help="its folder; files are passed over")
    for folder in parser.parse_args().exports:
        if folder.is_dir():
            migrate(folder)
            print(f"{folder}: migrated", flush=True)


def migrate(folder: Path) -> None:
    manifest, old_card = read_manifest(folder), (folder / CARD_FILE).read_text(encoding="utf-8")
    onnx_files = {file.path: file for file in manifest.files if file.path.endswith(".onnx")}
    for path, file in onnx_files.items():
        assert describe_file(folder, folder / path) == file, path
    data_set = find_data_set(manifest.metadata, None)
    assert data_set is not None
    (folder / "figures").rename(folder / PLOTS_FOLDER)
    (folder / PLOTS_FOLDER / "mistakes.png").rename(folder / PLOTS_FOLDER / "errors.png")

    evaluation = evaluated(folder, manifest, old_card, data_set)
    metadata = manifest.metadata
    model = build(metadata.model, metadata.height, metadata.width, metadata.channels, len(metadata.labels))
    architecture = summarize(model)
    on_record = re.search(r"```text\n(.*?)\n```", old_card, re.DOTALL)
    assert on_record and on_record[1] == architecture, f"{on_record}\n{architecture}"
    samples = json.loads((folder / SAMPLES_FILE).read_text(encoding="utf-8"))
    card = render_card(
        manifest,
        evaluation,
        f"{SAMPLES_FOLDER}/{samples[0]['file']}",
        onnx_files[MODEL_FILE].size,
        architecture,
    )
    made = {p: _made_of(folder / MODEL_FILES[p]) for p in manifest.precisions if p != FLOAT32}
    card = with_precisions(card, manifest.metrics, made)
    assert numbers(card) == numbers(old_card), sorted(set(numbers(card)) ^ set(numbers(old_card)))
    (folder / CARD_FILE).write_text(card, encoding="utf-8")

    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    manifest = replace(manifest, files=tuple(describe_file(folder, path) for path in files))
    assert {file.path: file for file in manifest.files if file.path in onnx_files} == onnx_files
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")
    assert read_manifest(folder) == manifest


def evaluated(folder: Path, manifest: Manifest, old_card: str, data_set: DataSet) -> Evaluation:
    """The evaluation by the file's own answers, its plots drawn; AssertionError where it isn't the one on record."""
    metadata, metrics = manifest.metadata, manifest.metrics
    answers = answers_of(zoo.load(folder, provider="cpu"), data_set.test.inputs)
    measured = clean_metrics(data_set.test, answers)
    for name, value in measured.items():
        assert math.isclose(value, metrics[name], rel_tol=0, abs_tol=SAME), (name, value, metrics[name])

    answer, confidence = answers[1].argmax(axis=1), answers[1].max(axis=1)
    matrix = confusion_matrix(data_set.test.labels, answer, data_set.classes)
    precision, recall, f1 = (shares.tolist() for shares in precision_recall_f1(matrix))
    corrupted = corruptions(old_card)
    robust = metrics["test_robust_accuracy"]
    assert abs(sum(each.accuracy for each in corrupted) / len(corrupted) - robust) < 0.5e-4
    return Evaluation(
        run=metadata.run_id,
        model=metadata.model,
        data_set=metadata.data_set,
        images=int(metrics["test_images"]),
        accuracy=metrics["test_accuracy"],
        low=metrics["test_accuracy_low"],
        high=metrics["test_accuracy_high"],
        loss=metrics["test_loss"],
        top3=metrics["test_top3"],
        confidence=float(confidence.mean(dtype=np.float64)),
        calibration_error=metrics["test_calibration_error"],
        robust_accuracy=robust,
        corrupted=corrupted,
        classes=tuple(map(ClassMetrics, data_set.labels, matrix.sum(axis=1).tolist(), precision, recall, f1)),
        confusion=tuple(map(tuple, matrix.tolist())),
        plots=plots(folder / PLOTS_FOLDER, old_card, data_set, answer, confidence),
    )


def plots(
    folder: Path, old_card: str, data_set: DataSet, answer: NDArray[np.int64], confidence: NDArray[np.float32]
) -> Mapping[str, str]:
    """Draw those that answers are enough for. Returns file name -> alternative text, of those that are kept too."""
    test, labels = data_set.test, data_set.labels
    matrix = confusion_matrix(test.labels, answer, data_set.classes)
    drawn = {
        "confusion.png": confusion(folder / "confusion.png", matrix, labels, data_set.kind),
        "reliability.png": reliability(
            folder / "reliability.png", calibration_bins(confidence, answer == test.labels), data_set.kind
        ),
        "errors.png": errors(folder / "errors.png", test.inputs, labels, test.labels, answer, confidence),
    }
    for text, name in re.findall(r"^!\[(.*)\]\(figures/(curves\.png|first_layer\.png)\)$", old_card, re.MULTILINE):
        for old, new in KEPT.items():
            text = re.sub(old, new, text)
        drawn[name] = text
    assert {path.name for path in folder.iterdir()} == set(drawn)
    return drawn


def corruptions(old_card: str) -> tuple[CorruptedMetrics, ...]:
    """The rows of the old card, in its two decimals."""
    found = []
    for corruption in CORRUPTIONS:
        name = f"{corruption.kind}, {'mild' if corruption.severity == 1 else 'strong'}"
        row = re.search(rf"^\| {name} \| {re.escape(corruption.amount)} \| ([\d.]+)% \|$", old_card, flags=re.MULTILINE)
        assert row, name
        found.append(CorruptedMetrics(corruption.kind, corruption.severity, corruption.amount, float(row[1]) / 100))
    return tuple(found)


def numbers(card: str) -> list[str]:
    """Each number of a card, sorted: words may be put another way, and move a number, but change none."""
    return sorted(re.findall(r"\d[\d,.]*\d|\d", card))


if __name__ == "__main__":
    main()
