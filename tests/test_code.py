"""Whether it is the same code: what changes the part of a fingerprint that is code, and what doesn't."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ASK = """
import json
from pipelines.core.provenance.plan import make_plan
from pipelines.training.fingerprint import code_of
print(json.dumps({model: code_of(make_plan(model, "digits")) for model in ("softmax", "lenet5", "conv-small")}))
"""


def ask(root: Path, keep_bytecode: bool = False) -> dict[str, str]:
    """By model. Bytecode is kept of unedited files alone: an edit of the same size in the same second would be lost."""
    variable = {"PYTHONDONTWRITEBYTECODE": "" if keep_bytecode else "1"}
    environment = {**os.environ, "PYTHONPATH": str(root), **variable}
    done = subprocess.run(
        [sys.executable, "-c", ASK], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy")
    for package in ("zoo", "pipelines"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "demo_page"))
    return root


@pytest.fixture(scope="module")
def before(copy):
    found = ask(copy, keep_bytecode=True)
    assert len(set(found.values())) == 3
    return found


@pytest.fixture
def edited(copy):
    """A function that edits files of the copy, which are as before after the test."""
    kept: dict[Path, str | None] = {}

    def edit(path: str, old: str, new: str) -> None:
        file = copy / path
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        kept.setdefault(file, text if file.exists() else None)
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    yield edit
    for file, text in kept.items():
        file.unlink() if text is None else file.write_text(text, encoding="utf-8")


LOOP = "pipelines/training/loop"
IN_MODEL = "    return lenet5_head(lenet5_features(images), classes)"
NEW_MODEL = '''"""A model more."""

from zoo.models import layers
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe


@model("one-more", family="dense", recipe=Recipe())
def one_more(images: Tensor, classes: int) -> Tensor:
    """One more."""
    return layers.Dense(classes)(layers.Flatten()(images))
'''
HARMLESS = {
    "a comment where errors are": ("zoo/errors.py", "class ZooError", "# a comment\nclass ZooError"),
    "a comment in the loop": (
        f"{LOOP}/fit.py",
        "    keras = start_keras()",
        "    # why\n    keras = start_keras()",
    ),
    "a docstring": (
        f"{LOOP}/optimizer_and_schedule.py",
        '"""A `keras.optimizers.Optimizer` for',
        '"""An optimizer for',
    ),
    "another layout": (f"{LOOP}/fused_norms.py", "is_training=learns,", "is_training=(\n    learns),"),
    "an annotation": (f"{LOOP}/optimizer_and_schedule.py", "weights: list[Any]) -> Any:", "weights: Any) -> object:"),
    "the words of an error": (f"{LOOP}/fit.py", "the training of {plan.model} diverged", "it diverged"),
    "a new model": ("zoo/models/families/more.py", "", NEW_MODEL),
    "what is shown of a run": ("pipelines/tracking/describing.py", "NOTE = ", "MORE = 1\nNOTE = "),
    "a method more of a class": (
        "zoo/data/dataset.py",
        "    def take(self, indices",
        "    def half(self) -> int:\n        return len(self) // 2\n\n    def take(self, indices",
    ),
    "another model's recipe": ("zoo/models/families/conv.py", 'family="conv", recipe=WIDE', 'family="conv"'),
}
DECISIVE = {
    "the rule of the precision": (
        "pipelines/core/provenance/machine.py",
        '"mixed_bfloat16" if _has',
        '"mixed_float16" if _has',
    ),
    "whether XLA compiles": ("pipelines/core/provenance/machine.py", "return bool(_graphics_cards())", "return True"),
    "the optimizer": (f"{LOOP}/optimizer_and_schedule.py", "self.momentum - 1)", "self.momentum - 2)"),
    "a constant of it": (f"{LOOP}/optimizer_and_schedule.py", "LEAST_INPUTS = 16", "LEAST_INPUTS = 17"),
    "the norm": (f"{LOOP}/fused_norms.py", "now * (1 - self.momentum)", "now * (2 - self.momentum)"),
    "the augmentation": ("zoo/data/augmentation/augment.py", "SHIFT_SHARE = ", "SHIFT_SHARE = 2 * "),
    "an augmentation's code": (
        "zoo/data/augmentation/augment.py",
        "if moves.mirrored else",
        "if not moves.mirrored else",
    ),
    "the order of images": (
        "zoo/data/batches.py",
        "seed = [recipe.seed, 2 * epoch]",
        "seed = [recipe.seed, 4 * epoch]",
    ),
    "the loss": (
        f"{LOOP}/learner.py",
        "CategoricalCrossentropy(from_logits=True)",
        "CategoricalCrossentropy()",
    ),
    "which weights are best": (f"{LOOP}/checkpoint.py", "-self.loss) >", "self.loss) >"),
    "the scaling of pixels": ("zoo/models/build.py", "Rescaling(1 / 255", "Rescaling(1 / 256"),
    "what a function of a library is called": (
        f"{LOOP}/optimizer_and_schedule.py",
        "from zoo.models.backend import start_keras",
        "import cmath as math\nfrom zoo.models.backend import start_keras",
    ),
    "a method that Keras calls": ("zoo/models/preprocessing.py", "return input_shape[0], len", "return None, len"),
    "how long it goes on": (f"{LOOP}/stages.py", "STEPS_PER_CALL = 32", "STEPS_PER_CALL = 16"),
}


def test_what_means_nothing_changes_no_fingerprint(before, edited, copy):
    """All at once: a digest that one of them had changed would not come back by the others."""
    for path, old, new in HARMLESS.values():
        edited(path, old, new)
    optimizer = (copy / f"{LOOP}/optimizer_and_schedule.py").read_text(encoding="utf-8")
    edited("pipelines/training/rates.py", "", optimizer)
    for path in ("loop/learner.py", "transfer/head.py"):
        path = f"pipelines/training/{path}"
        edited(path, "pipelines.training.loop.optimizer_and_schedule import", "pipelines.training.rates import")
    edited(f"{LOOP}/optimizer_and_schedule.py", optimizer, "")  # a moved file
    layer = (copy / "zoo/models/preprocessing.py").read_text(encoding="utf-8")
    edited("zoo/models/scaling.py", "", layer)  # a moved layer that a function imports
    edited("zoo/models/build.py", "from zoo.models.preprocessing import", "from zoo.models.scaling import")
    assert ask(copy) == before


# Of each kind of change one; the others take as long, and go the same way.
OF_A_KIND = ("a constant of it", "an augmentation's code", "the order of images", "the loss", "the norm")


@pytest.mark.parametrize(
    "change", [pytest.param(each, marks=[pytest.mark.slow] * (each in OF_A_KIND)) for each in DECISIVE]
)
def test_what_decides_the_weights_changes_all_fingerprints(before, edited, copy, change):
    edited(*DECISIVE[change])
    after = ask(copy)
    assert all(after[model] != before[model] for model in before)


def test_a_models_own_code_changes_its_fingerprint_alone(before, edited, copy):
    edited("zoo/models/families/hybrid.py", IN_MODEL, IN_MODEL.replace("images)", "images + 0)"))
    after = ask(copy)
    assert after["lenet5"] != before["lenet5"]
    assert {name: after[name] for name in ("softmax", "conv-small")} == {
        name: before[name] for name in ("softmax", "conv-small")
    }
