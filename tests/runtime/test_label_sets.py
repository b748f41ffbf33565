"""Sets of labels of an exported file: what `coverage` gives, and what is said where there is nothing to give."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.contract import Metadata
from zoo.errors import ExportError, InputError
from zoo.runtime.label_sets import labels_within, thresholds_for

SETS = {
    "method": "LAC",
    "images": 75,
    "images_by_class": [25, 25, 25],
    "thresholds": {"0.80": 0.5, "0.90": 0.3, "0.95": 0.1},
    "by_class": {"0.80": [0.5, 0.6, 0.1], "0.90": [0.3, 0.2, 0.05]},
}
FIXTURE = Path(__file__).parent / "fixture"


def about(**fields):
    known = {
        "model": "softmax",
        "family": "dense",
        "data_set": "pets",
        "data_digest": "",
        "labels": ("cat", "dog", "owl"),
        "height": 8,
        "width": 8,
        "channels": 1,
        "recipe": {"images": "train"},
        "run_id": "",
        "commit": "",
        "weights_sha256": "",
        "test_accuracy": 0.5,
    }
    return Metadata(**{**known, "sets": SETS, **fields})


@pytest.mark.parametrize(
    ("coverage", "found"),
    [(0.8, 0.5), (0.80000000001, 0.5), (0.9, 0.3), (0.91, None), (0.95, 0.1), (0.5, None)],
)
def test_a_coverage_has_its_own_thresholds_or_none(coverage, found):
    if found is None:
        with pytest.raises(
            InputError, match=r"pets/softmax gives sets for a coverage of 0\.80 to 0\.95, by 75 held-out"
        ):
            thresholds_for(about(), coverage)
    else:
        assert thresholds_for(about(), coverage) == (found,) * 3


def test_a_coverage_between_two_takes_the_higher_one():
    steps = {f"{k / 100:.2f}": 1 - k / 100 for k in range(80, 100)}
    metadata = about(sets={**SETS, "thresholds": steps})
    assert thresholds_for(metadata, 0.905) == (steps["0.91"],) * 3
    assert thresholds_for(metadata, 0.99) == (steps["0.99"],) * 3


@pytest.mark.parametrize("coverage", [np.float64(0.95), np.float32(0.95), np.linspace(0.8, 0.95, 4)[-1]])
def test_a_coverage_may_be_a_number_of_numpy(coverage):
    assert thresholds_for(about(), coverage) == (0.1,) * 3


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 1.5, 95, float("nan"), "0.95", True, None, [0.9]])
def test_what_is_no_share_is_refused(coverage):
    with pytest.raises(InputError, match=r"coverage is a share above 0 and below 1, such as 0\.95, received"):
        thresholds_for(about(), coverage)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"sets": {}, "contract": "1"}, "it is of contract 1, before there were sets: export its model again"),
        (
            {"sets": {}, "recipe": {"images": "all"}},
            "its model learned from all images but the test set: train it with",
        ),
        ({"sets": {}}, "too few images were held out of its training, or none"),
        ({"sets": {**SETS, "thresholds": {}, "by_class": {}}}, "too few images were held out of its training, or none"),
    ],
)
def test_a_file_without_sets_says_why(fields, reason):
    with pytest.raises(ExportError, match=f"pets/softmax gives no sets of labels, {reason}"):
        thresholds_for(about(**fields), 0.95)


def test_by_class_each_label_has_its_own_and_too_few_images_are_named():
    assert thresholds_for(about(), 0.9, by_class=True) == (0.3, 0.2, 0.05)
    sets = {**SETS, "images": 69, "images_by_class": [25, 19, 25], "by_class": {}}
    with pytest.raises(ExportError, match="take 20 held-out images of each class, and 'dog' has 19"):
        thresholds_for(about(sets=sets), 0.9, by_class=True)
    sets = {**SETS, "thresholds": {"0.99": 0.01}}
    with pytest.raises(ExportError, match="take 99 held-out images of each class, and 'cat' has 25"):
        thresholds_for(about(sets=sets), 0.99, by_class=True)


def test_the_likeliest_label_is_always_in_the_set():
    ranking = (("owl", 0.5), ("cat", 0.4), ("dog", 0.1))
    assert labels_within(ranking, {"owl": 0.9, "cat": 0.9, "dog": 0.9}) == ("owl",)
    assert labels_within(ranking, {"owl": 0.9, "cat": 0.4, "dog": 0.9}) == ("owl", "cat")
    assert labels_within(ranking, {"owl": 0, "cat": 0, "dog": 0}) == ("owl", "cat", "dog")


# --- of a file -----------------------------------------------------------------------------------------------------


def with_sets(name: str, folder: Path) -> Path:
    """A file of the fixture under contract 2, whose sets hold what has a tenth of the probability or more."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(FIXTURE / name / "model.onnx")
    found = {p.key: p.value for p in model.metadata_props}
    classes = len(json.loads(found["zoo.labels"]))
    sets = {
        "method": "LAC",
        "images": 25 * classes,
        "images_by_class": [25] * classes,
        "thresholds": {"0.95": 0.1},
        "by_class": {"0.95": [0.0, *[1.0] * (classes - 1)]},
    }
    onnx.helper.set_model_props(model, {**found, "zoo.contract": '"2"', "zoo.sets": json.dumps(sets)})
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize("name", ["digits/softmax", "wine/softmax"])
def test_predictions_have_sets_where_a_coverage_is_asked_for(name, tmp_path):
    classifier = zoo.load(with_sets(name, tmp_path), provider="cpu")
    random = np.random.default_rng(0)
    if classifier.columns:
        inputs = random.normal(size=(8, len(classifier.columns))).astype(np.float32)
        sums, one = inputs, {column.name: None for column in classifier.columns}
    else:
        sums = inputs = random.integers(0, 256, (8, 8, 8, 1), np.uint8)
        one = inputs[0]
    assert all(prediction.labels == () for prediction in classifier.predict_batch(sums))
    for prediction in [*classifier.predict_batch(inputs, coverage=0.95), classifier.predict(one, coverage=0.95)]:
        expected = [label for label, probability in prediction.ranking if probability >= 0.1]
        assert [*prediction.labels] == (expected or [prediction.label])
        assert prediction.labels[0] == prediction.label
    for prediction in classifier.predict_batch(inputs, coverage=0.95, by_class=True):
        assert set(prediction.labels) == {prediction.label, classifier.labels[0]}
    with pytest.raises(InputError, match="by_class requires a coverage"):
        classifier.predict(one, by_class=True)


def test_a_file_of_contract_1_predicts_as_before_and_gives_no_sets():
    classifier = zoo.load(FIXTURE / "digits/softmax", provider="cpu")
    image = np.zeros((8, 8), np.uint8)
    assert classifier.predict(image).labels == ()
    with pytest.raises(ExportError, match="gives no sets of labels, it is of contract 1"):
        classifier.predict(image, coverage=0.95)
