"""Two folders of one name: what is filed under it is kept apart, or said to belong together."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import make_plan, parse_plan
from pipelines.core.provenance.reading import read_data
from pipelines.training.filing import check_name_is_free
from zoo.contract import read_manifest
from zoo.errors import RecipeError


def save(folder, seed: int, count: int = 24) -> None:
    random = np.random.default_rng(seed)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            pixels = random.integers(0, 200, (8, 8), np.uint8) + (40 if label == "a" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{k}.png")


@pytest.fixture(scope="module")
def folder(shared_store):
    """x/data was run, and y/data holds other images."""
    save(shared_store / "x/data", 1)
    save(shared_store / "y/data", 2)
    assert run("x/data") == 0
    return shared_store


def run(data: str, *more: str) -> int:
    read_data.cache_clear()
    return main(["run", "softmax", "--data", data, "--set", "epochs=1", *more])


def experiments() -> dict[str, int]:
    """How many runs there are, by the name of the experiment."""
    with tracking.open_client() as client:
        found = {each.experiment_id: each.name for each in client.search_experiments()}
    names = [found[each.info.experiment_id] for each in tracking.search("")]
    return {name: names.count(name) for name in names}


@pytest.mark.parametrize("command", ["run", "train"])
def test_other_images_of_the_same_name_are_refused_before_anything_is_trained(folder, capsys, command):
    before = experiments()
    read_data.cache_clear()
    assert main([command, "softmax", "--data", "y/data", "--set", "epochs=1"]) == 1
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("zoo: there are runs of 'data' that learned other images, those of ")
    assert f"{folder}/x/data" in printed
    assert "--name y-data;" in printed
    assert printed.endswith("--name data")
    assert experiments() == before


def test_a_license_that_is_stated_is_written_without_training_again(folder, capsys):
    before = read_manifest(folder / "exports/data/softmax")
    assert before.licenses["weights"] == "not stated"
    assert run("x/data", "--license", "MIT") == 0
    assert "training on" not in capsys.readouterr().err
    after = read_manifest(folder / "exports/data/softmax")
    assert (after.licenses["weights"], after.metadata.run_id) == ("MIT", before.metadata.run_id)
    assert "| license of the weights | MIT |" in (folder / "exports/data/softmax/README.md").read_text(encoding="utf-8")
    assert run("x/data", "--license", "MIT") == 0
    assert "exporting" not in capsys.readouterr().err


@pytest.mark.slow  # a whole run
def test_a_name_of_their_own_keeps_them_apart(folder, capsys):
    kept = read_manifest(folder / "exports/data/softmax").metadata.run_id
    assert run("y/data", "--name", "y-data") == 0
    assert experiments()["y-data"] == 1
    assert read_manifest(folder / "exports/data/softmax").metadata.run_id == kept
    manifest = read_manifest(folder / "exports/y-data/softmax")
    assert manifest.metadata.data_set == "y-data"
    assert tracking.load_run(manifest.metadata.run_id).plan.name == "y-data"
    assert run("y/data", "--name", "y-data") == 0
    assert experiments()["y-data"] == 1, "already trained"
    assert "already trained" in capsys.readouterr().err


@pytest.mark.slow  # a whole run; that a digest is one of content is in test_data
def test_the_same_images_elsewhere_are_the_same(folder):
    shutil.copytree(folder / "x/data", folder / "moved/data")
    assert run("moved/data") == 0


def test_images_that_were_added_replace_the_export_with_a_word(folder, capsys):
    before = read_manifest(folder / "exports/data/softmax").metadata.run_id
    save(folder / "moved/data", 3, count=30)
    assert run("moved/data") == 1, "those of x/data may still be somebody's"
    assert "--name moved-data" in capsys.readouterr().err
    assert run("moved/data", "--name", "data") == 0
    printed = capsys.readouterr().err
    assert f"the model of other images there (run {before[:8]}) is replaced" in printed


def test_data_that_are_filed_there_may_be_trained_on_again(folder):
    """Also where other data came to the name since: `zoo reproduce` has no way to give another one."""
    check_name_is_free(make_plan("softmax", str(folder / "x/data")))


def test_another_store_knows_nothing_and_an_export_is_not_replaced_all_the_same(folder, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/another.db")
    before = read_manifest(folder / "exports/data/softmax")
    assert run("y/data") == 1
    assert "exports/data/softmax holds a model of other images of that name" in capsys.readouterr().err
    assert read_manifest(folder / "exports/data/softmax") == before


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\\b", "c:d", "digits", "x" * 101, "a\nb", " a"])
def test_what_nothing_can_be_called_is_refused(name):
    with pytest.raises(RecipeError, match="can't be called"):
        make_plan("softmax", "somewhere", name=name)


def test_a_known_data_set_has_its_name():
    with pytest.raises(RecipeError, match="is a known data set, which has its name"):
        make_plan("softmax", "digits", name="mine")


def test_a_plan_keeps_the_name():
    plan = make_plan("softmax", "somewhere", name="mine")
    assert parse_plan(plan.to_json(), "here") == plan
    assert '"name"' not in make_plan("softmax", "somewhere").to_json()
