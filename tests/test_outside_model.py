"""A model from outside of the package is one function in somebody's file, and everything works with it."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

import zoo
from pipelines.cli import main
from pipelines.core.provenance.plan import make_plan
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.export import export
from pipelines.training.fingerprint import fingerprint, fingerprints
from pipelines.training.train import train
from zoo.models import layers
from zoo.models.registry import _models
from zoo.recipe import Recipe


@pytest.fixture
def folder(store: Path) -> Path:
    return store


@pytest.mark.slow  # a whole run; test_contributing makes the same one of the recipe for a model
def test_one_function_is_trained_evaluated_exported_and_answers_in_an_app(folder: Path, registered, capsys) -> None:
    @registered("one-hidden", family="dense", recipe=Recipe(learning_rate=1e-2))
    def one_hidden(images, classes):
        """One hidden layer, from a test."""
        x = layers.Dense(32, activation="relu", name="hidden_dense")(layers.Flatten(name="flatten")(images))
        return layers.Dense(classes, name="head_dense")(x)

    trained = train("one-hidden", "digits", settings={"epochs": 16})
    assert trained.parameters == 64 * 32 + 32 + 32 * 10 + 10
    evaluation = evaluate(trained.run)
    assert evaluation.accuracy > 0.8, "a short training is better than chance, 10 %"
    exported = export(trained.run)
    assert exported.metadata.test_accuracy == evaluation.accuracy

    classifier = zoo.load("digits/one-hidden")
    samples = json.loads((exported.folder / "samples" / "samples.json").read_text(encoding="utf-8"))
    for sample in samples:
        with Image.open(exported.folder / "samples" / sample["file"]) as image:
            predicted = classifier.predict(image)
        assert predicted.probability == pytest.approx(max(sample["probabilities"]), abs=1e-5)
    right = sum(classifier.predict(exported.folder / "samples" / s["file"]).label == s["label"] for s in samples)
    assert right >= len(samples) / 2

    assert main(["list"]) == 0
    assert re.search(
        rf"dense +one-hidden +digits .*{evaluation.accuracy:.2%} +One hidden layer", capsys.readouterr().out
    )
    assert main(["describe", "one-hidden", "--size", "8x8"]) == 0
    assert re.search(r"hidden_dense +Dense +32 +64×32 \+ 32 +2,080", capsys.readouterr().out)


def test_a_change_in_the_file_of_an_outside_model_makes_it_another_model(tmp_path: Path, registered) -> None:
    path = tmp_path / "my_models.py"
    code = (
        "from zoo.models import layers, model\n"
        "@model('mine', family='dense')\n"
        "def mine(images, classes):\n"
        "    return layers.Dense(classes)(layers.Flatten()(images))\n"
    )

    def written(text: str) -> str:
        _models.pop("mine", None)
        path.write_text(text, encoding="utf-8")
        runpy.run_path(str(path))
        return fingerprint(make_plan("mine", "digits"))

    first = written(code)
    assert written(code) == first
    assert written(code.replace("Dense(classes)", "Dense(classes, use_bias=False)")) != first


class Called:
    """One hidden layer, as an object."""

    __name__ = "called"

    def __call__(self, images, classes):
        return layers.Dense(classes)(layers.Flatten()(images))


def typed() -> Callable[..., object]:
    """A function that no file holds, as one at a prompt."""
    names = {"layers": layers}
    exec("def typed(images, classes):\n    return layers.Dense(classes)(layers.Flatten()(images))\n", names)
    return names["typed"]


@pytest.mark.parametrize("architecture", [Called(), typed(), partial(Called())], ids=["object", "typed", "partial"])
def test_a_model_that_no_file_holds_is_another_each_time(registered, architecture) -> None:
    registered("nowhere", family="dense")(architecture)
    plan = make_plan("nowhere", "digits")
    (first,) = fingerprints(plan)
    (second,) = fingerprints(plan)
    assert first != second
