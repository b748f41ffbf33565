"""Which images a recipe lets a model learn from, and which are held out to calibrate its probabilities by."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.training.loop.stages import learned_from
from pipelines.training.preparing import prepare
from zoo.data import load
from zoo.data.held_out import held_out, learned_images
from zoo.errors import RecipeError
from zoo.recipe import Recipe


def names(split):
    return set() if split is None else set(split.names)


@pytest.mark.parametrize("images", ["train", "most", "all"])
def test_no_image_is_learned_from_and_held_out_and_none_is_lost(images):
    data_set = load("digits")
    learned, kept = learned_images(data_set, images), held_out(data_set, images)
    given = names(data_set.train) | names(data_set.validation)
    assert names(learned.train) & names(kept) == set()
    assert names(learned.train) | names(kept) == given
    assert names(kept) & names(data_set.test) == set()
    assert len(learned.train) + len(kept or ()) == len(given)
    assert len(learned.validation) == (len(data_set.validation) if images == "train" else 0)
    assert [*learned_from(Recipe(images=images), data_set).train.names] == [*learned.train.names]
    assert (kept is None) == (images == "all")


def test_half_of_each_class_of_the_validation_is_held_out_the_same_each_time():
    data_set = load("digits")
    kept = held_out(data_set, "most")
    of_class = [np.bincount(split.labels, minlength=data_set.classes) for split in (kept, data_set.validation)]
    assert (np.abs(of_class[0] - of_class[1] / 2) <= 0.5).all()
    assert kept.names == held_out(data_set, "most").names


@pytest.mark.parametrize("images", ["train", "most", "all"])
def test_a_data_set_without_validation_images_holds_none_out(images):
    data_set = load("digits").without_validation()
    assert held_out(data_set, images) is None
    assert len(learned_images(data_set, images).train) == len(data_set.train)


def test_an_unknown_division_holds_nothing_out():
    assert held_out(load("digits"), "") is None  # of a file that says nothing of it


def test_patience_needs_validation_images():
    with pytest.raises(RecipeError, match="patience=3 ends a training by its validation images, which images=most"):
        make_plan("softmax", "digits", settings={"patience": 3, "images": "most"})


@pytest.mark.parametrize("groups", [None, "none"])
def test_halves_tear_no_group_of_a_table_apart(tmp_path, groups):
    """A table's column of groups counts without being named, unless they are to be left aside."""
    rows = ["path,label,group"]
    for k in range(40):
        Image.fromarray(np.full((4, 4), 6 * k, np.uint8)).save(tmp_path / f"{k}.png")
        rows.append(f"{k}.png,{'ab'[k % 2]},{k // 4}")
    (tmp_path / "images.csv").write_text("\n".join(rows), encoding="utf-8")
    plan = make_plan("softmax", str(tmp_path / "images.csv"), settings={"images": "most"}, groups=groups)
    if groups is None:
        with pytest.raises(RecipeError, match=r"would tear apart the groups of images: .* or leave groups aside"):
            prepare(plan, "float32", None)
    else:
        assert prepare(plan, "float32", None).learned.validation is not None


def test_halves_tear_no_group_apart(tmp_path):
    with pytest.raises(RecipeError, match="would tear apart the groups of folder: set images=train or images=all"):
        make_plan("softmax", str(tmp_path), settings={"images": "most"}, groups="folder")


@pytest.mark.parametrize("kind", ["images", "rows"])
@pytest.mark.parametrize("repeated", [True, False])
def test_halves_tear_no_duplicates_apart(tmp_path, kind, repeated):
    random, path = np.random.default_rng(1), tmp_path / "data"
    if kind == "images":
        for k in range(60):
            (path / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(random.integers(0, 256, (16, 16), np.uint8))
            for copy in range(1 + repeated):
                image.save(path / "ab"[k % 2] / f"{k}-{copy}.png")
    else:
        path = tmp_path / "data.csv"
        rows = [f"{random.random()},{'ab'[k % 2]}" for k in range(60)]
        path.write_text("\n".join(["x,label", *rows, *(rows[:40] if repeated else [])]), encoding="utf-8")
    label = None if kind == "images" else "label"
    plan = make_plan("softmax", str(path), settings={"images": "most"}, label=label)
    if repeated:
        with pytest.raises(RecipeError, match="some of data are duplicates of others, which would be learned from and"):
            prepare(plan, "float32", None)
    else:
        assert len(held_out(load_data(plan), "most"))
        prepare(plan, "float32", None)
