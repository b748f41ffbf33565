"""What a check knows is said before a training; where classes are imbalanced, accuracy doesn't stand alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics

from pipelines import tracking
from pipelines.cli import main
from pipelines.core.metrics.classification import balanced_accuracy, confusion_matrix, macro_f1
from pipelines.core.provenance.reading import read_data
from pipelines.evaluation.predictions import is_imbalanced
from zoo.contract import read_manifest

COUNTS = {"circle": 300, "square": 30}


@pytest.fixture(scope="module")
def folder(shared_store):
    """Noise, brighter at the left in one class and at the right in the other, of which there are few."""
    random = np.random.default_rng(0)
    for label, count in COUNTS.items():
        (shared_store / "shapes" / label).mkdir(parents=True)
        for k in range(count):
            image = random.integers(0, 120, (12, 12), np.uint8)
            image[:, slice(0, 6) if label == "circle" else slice(6, 12)] += 40
            Image.fromarray(image).save(shared_store / "shapes" / label / f"{k}.png")
    return shared_store


@pytest.mark.slow  # a whole run
def test_a_whole_run_says_it_first_and_everywhere(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    read_data.cache_clear()
    assert main(["run", "softmax", "--data", "shapes", "--set", "epochs=2"]) == 0
    out, err = capsys.readouterr()
    finding = "zoo: warning: shapes: class 'circle' has 10.0 times the images of 'square'"
    assert err.count(finding) == 1
    assert err.index(finding) < err.index("training on shapes")
    assert "balanced: mean recall of the classes" in out
    manifest = read_manifest(folder / "exports/shapes/softmax")
    shown = [f"{manifest.metrics[name]:.2%}" for name in ("test_balanced_accuracy", "test_macro_f1")]
    (line,) = (line for line in out.splitlines() if "softmax" in line and "kB" in line)
    assert line.split()[-2:] == shown
    card = (folder / "exports/shapes/softmax/README.md").read_text(encoding="utf-8")
    assert f"| balanced accuracy | {shown[0]} |" in card
    assert f"| macro F1 | {shown[1]} |" in card
    assert "- class 'circle' has 10.0 times the images of 'square'" in card.partition("## The data")[2]
    run = tracking.load_run(manifest.metadata.run_id)
    assert run.metrics["test_macro_f1"] == manifest.metrics["test_macro_f1"]
    assert main(["evaluate", run.run_id]) == 0
    assert f"balanced accuracy {shown[0]}, macro F1 {shown[1]}" in " ".join(capsys.readouterr().out.split())
    assert main(["verify", "exports/shapes/softmax", "--data", "shapes"]) == 0
    assert "balanced_accuracy" in " ".join(capsys.readouterr().out.split())


def test_the_metrics_are_scikit_learns():
    random = np.random.default_rng(1)
    truth = random.choice(5, 400, p=(0.6, 0.2, 0.1, 0.1, 0))
    answer = np.where(random.random(400) < 0.6, truth, random.integers(0, 3, 400))
    confusion = confusion_matrix(truth, answer, 5)
    assert balanced_accuracy(confusion) == pytest.approx(metrics.balanced_accuracy_score(truth, answer))
    assert macro_f1(confusion) == pytest.approx(metrics.f1_score(truth, answer, average="macro"))


@pytest.mark.parametrize(
    ("counts", "expected"), [((10, 10), False), ((20, 10), False), ((21, 10), True), ((3, 0), True)]
)
def test_classes_are_imbalanced_where_one_has_twice_the_images(counts, expected):
    assert is_imbalanced(np.diag(counts)) == expected
