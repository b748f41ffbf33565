"""A head that learns from frozen features of several views, computed once: `--from … --set views=N`."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines import tracking
from pipelines.cli.commands.train import training_summary
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.training.fingerprint import fingerprint
from pipelines.training.loop import checkpoint
from pipelines.training.loop.stages import Schedule, Stage, make_stages
from pipelines.training.train import train
from pipelines.training.transfer import features, head
from pipelines.training.transfer.features import apart, features_of
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.data.batches import view_batches
from zoo.errors import RecipeError
from zoo.models import build
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

EXPORTS = Path(__file__).parents[1] / "exports"
SOURCE = "fashion-mnist/conv-small"
SETTINGS = {"views": 2, "epochs": 4, "precision": "float32"}


@pytest.fixture(scope="module")
def folder(shared_store, tmp_path_factory):
    """A working folder with a store and a cache of its own, which finds the exports that are shipped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_EXPORTS", str(EXPORTS))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(head, "PASSES", 10)
        patch.setattr(head, "LEAST_UPDATES", 100)
        patch.setattr(head, "DECAYS", (0.01, 1.0))
        patch.setattr("pipelines.training.train.SAVING", 1e9)  # a checkpoint after each validation
        yield shared_store


@pytest.fixture(scope="module")
def trained(folder):
    return train("conv-mlp-small", "digits", source=SOURCE, settings=SETTINGS)


def cached() -> set[str]:
    return {file.name for file in (features.cache_folder() / "features").iterdir()}


def weights(run: str) -> list[np.ndarray]:
    return tracking.load_keras_model(run).get_weights()


def test_the_head_learns_first_then_all_but_the_norms(folder, trained):
    plan = tracking.load_run(trained.run).plan
    found = tracking.load_run(trained.run)
    taken = make_transfer(plan, load_data(plan))
    with tracking.open_client() as client:
        history = client.get_metric_history(trained.run, "validation_accuracy")
    curve = [(each.step, each.value) for each in history]
    assert [epoch for epoch, _ in curve][:2] == [0, 4]
    assert curve[0][1] > 0.8, "the head alone, from features of other images"
    assert float(found.tags["head_weight_decay"]) in head.DECAYS
    model = tracking.load_keras_model(trained.run)
    assert trained.best_epoch == 4
    for name in taken.norms:
        assert all(map(np.array_equal, model.get_layer(name).get_weights(), taken.layers[name]))
    moved = next(name for name in taken.layers if name not in taken.norms)
    assert not np.array_equal(model.get_layer(moved).get_weights()[0], taken.layers[moved][0])


def test_with_frozen_features_alone_no_epoch_is_trained(folder, trained):
    before = cached()
    without_part = {"mixup": 0.2, "cutmix": 0.5, "patience": 2, "average": "ema"}
    only = train("conv-mlp-small", "digits", source=SOURCE, settings={**SETTINGS, **without_part, "frozen": 1})
    assert (only.epochs, only.best_epoch) == (0, 0)
    assert " (only the head, on frozen features) in " in training_summary(only)
    plan = tracking.load_run(only.run).plan
    model, layers = tracking.load_keras_model(only.run), make_transfer(plan, load_data(plan)).layers
    for name, values in layers.items():
        assert all(map(np.array_equal, model.get_layer(name).get_weights(), values)), name
    assert cached() == before, "the same features, computed once"
    with tracking.open_client() as client:
        params = client.get_run(only.run).data.params
    recorded = {"epochs": "0", "frozen": "1.0", "views": "2", "fine_rate": "1.0", "batch_size": "128", "warmup": "0.1"}
    recorded |= {"mixup": "0.0", "cutmix": "0.0", "patience": "0", "average": "none", "augmentation": "light"}
    assert {name: params[name] for name in recorded} == recorded
    assert tracking.load_run(only.run).history["epoch"] == (0,)


@pytest.mark.parametrize("moment", ["before the head", "after the head", "in the epochs"])
@pytest.mark.slow  # each is two trainings more: test_train interrupts one without a head
def test_an_interruption_at_any_moment_changes_nothing(folder, trained, monkeypatch, moment):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if moment == "before the head":
            patch.setattr("pipelines.training.train.learn_head", interrupt)
        elif moment == "after the head":
            patch.setattr("pipelines.training.train.fit", interrupt)
        else:
            save = checkpoint.save
            patch.setattr(checkpoint, "save", lambda state, run: (save(state, run), state.epoch and interrupt()))
        with pytest.raises(KeyboardInterrupt, match="zoo train --resume") as interruption:
            train(plan=tracking.load_run(trained.run).plan)
    resumed = train(resume=str(interruption.value).split()[-1])
    assert all(map(np.array_equal, weights(resumed.run), weights(trained.run)))
    assert resumed.best_epoch == trained.best_epoch


@pytest.mark.parametrize("damage", ["cut short", "too long"])
def test_a_damaged_file_of_features_is_made_anew(folder, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data_set, recipe = load_data(make_plan("softmax", "digits")), Recipe(views=2)
    images = start_keras().Input((8, 8, 1), name="images")
    extractor = start_keras().Model(images, start_keras().layers.Flatten(name="flatten")(images))
    before = [np.array(rows) for rows in features_of(extractor, recipe, data_set)]  # what is mapped is cut below
    for file in (tmp_path / "classifier-zoo/features").iterdir():
        whole = file.read_bytes()
        file.write_bytes(whole[:-100] if damage == "cut short" else whole + whole[:8])
    assert all(map(np.array_equal, features_of(extractor, recipe, data_set), before))
    assert len(before[0]) == 2 * len(data_set.train)


def test_other_code_computes_its_own_features(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    data_set = load_data(make_plan("softmax", "digits"))
    images = start_keras().Input((8, 8, 1), name="images")
    extractor = start_keras().Model(images, start_keras().layers.Flatten(name="flatten")(images))
    for code in ("before", "after", "after"):
        monkeypatch.setattr(features, "code_digest", lambda *_, code=code: code)
        features_of(extractor, Recipe(views=2), data_set)
    assert len(list((tmp_path / "classifier-zoo/features").iterdir())) == 2 * 2


def test_a_disk_that_is_full_is_told_and_nothing_half_written_stays(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images = start_keras().Input((8, 8, 1), name="images")
    extractor = start_keras().Model(images, start_keras().layers.Flatten(name="flatten")(images))
    data_set = load_data(make_plan("softmax", "digits"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # bytes of a file
    try:
        with pytest.raises(RecipeError, match=r"can't be stored in .*: choose another place with XDG_CACHE_HOME"):
            features_of(extractor, Recipe(views=2), data_set)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "classifier-zoo/features").iterdir())


@pytest.mark.parametrize(
    ("free", "old", "refused"),
    [
        (3e9, 0, False),
        (1e9, 0, True),  # the one that is there may be in use
        (1e9, 2, False),  # its room is enough
    ],
)
def test_features_that_do_not_fit_are_refused_before_any_is_written(tmp_path, monkeypatch, caplog, free, old, refused):
    other = tmp_path / "other.f32"
    other.touch()
    os.utime(other, (time.time() - old * 24 * 3600,) * 2)
    room = lambda folder: SimpleNamespace(free=free if other.exists() or free > 2e9 else 3e9)  # noqa: E731
    monkeypatch.setattr(features.shutil, "disk_usage", room)
    if refused:
        with pytest.raises(
            RecipeError, match=r"16 views of 24 images take 1\.9 GiB, and 0\.9 are free on the disk of /"
        ):
            features._make_room(tmp_path, 2 * 10**9, "16 views of 24 images")
        return
    with caplog.at_level("INFO", "zoo.training"):
        features._make_room(tmp_path, 2 * 10**9, "16 views of 24 images")
        features._make_room(tmp_path, 10**9, "few images")
    assert caplog.messages == [f"the features of 16 views of 24 images take 1.9 GiB in {tmp_path}"]
    assert other.exists() == (not old)


def test_what_is_half_written_goes_after_a_day_and_what_nobody_uses_after_a_month(tmp_path):
    ages = {"a.f32": 2, "b.f32": 31, "c.f32.partial-0a": 2, "d.f32.partial-0a": 0.5}  # days
    for name, days in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - days * 24 * 3600,) * 2)
    features._sweep(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.f32", "d.f32.partial-0a"}


# --- its parts -----------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_images_and_the_others_are_augmented_the_same_each_time():
    data_set = load_data(make_plan("softmax", "digits"))
    recipe = Recipe(augmentation="strong", seed=7)

    def view(number: int) -> np.ndarray:
        batches = view_batches(data_set.train, recipe, mirrored=False, view=number, batch_size=50)
        return np.concatenate([np.asarray(batch) for batch in batches])[: len(data_set.train)]

    assert np.array_equal(view(0), data_set.train.inputs)
    assert np.array_equal(view(1), view(1))
    assert not np.array_equal(view(1), view(0))
    assert not np.array_equal(view(1), view(2))


@pytest.mark.parametrize("field", [name for name in vars(Recipe()) if name not in ("views", "images")])
def test_what_changes_the_views_decides_which_file_has_their_features(field):
    """Each field of the recipe, at another value: where the second view is another one, its features are, too."""
    data_set = load_data(make_plan("softmax", "digits"))
    usual = Recipe(augmentation="light", mirrored="yes")
    other = {"augmentation": "strong", "mirrored": "no", "rotation": 20.0, "scale": 0.5, "degrade": 0.9, "seed": 7}
    changed = Recipe(**{**vars(usual), **({field: other[field]} if field in other else {})})

    def view(recipe: Recipe) -> np.ndarray:
        batches = view_batches(data_set.train, recipe, mirrored=True, view=1, batch_size=50)
        return np.asarray(next(iter(batches)))

    assert (field in features.OF_VIEWS) == (not np.array_equal(view(changed), view(usual)))


def test_a_model_comes_apart_where_its_new_layers_begin():
    model = build("conv-mlp-small", 28, 28, 1, 7)
    learner = start_keras().Model(model.input, model.get_layer("logits").output)
    frozen = [layer.name for layer in learner.layers if layer.weights and not layer.name.startswith("head")]
    extractor, rest = apart(learner, frozen)
    images = np.random.default_rng(1).integers(0, 256, (5, 28, 28, 1), np.uint8)
    np.testing.assert_allclose(rest(extractor(images)), learner(images), atol=1e-5)
    with pytest.raises(RecipeError, match="expected one row of features: set views=0"):
        apart(learner, frozen[:2])


def test_what_is_frozen_behind_a_dropout_learns_nothing_either(folder):
    keras = start_keras()
    x = images = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Dense(8, name="first")(keras.layers.Flatten(name="flatten")(x))
    x = keras.layers.Dense(8, name="second")(keras.layers.Dropout(0.2, name="dropout")(x))
    learner = keras.Model(images, keras.layers.Dense(10, name="logits")(x))
    before = learner.get_layer("second").get_weights()
    head.learn_head(learner, {"first", "second"}, Recipe(views=1), load_data(make_plan("softmax", "digits")))
    assert all(map(np.array_equal, learner.get_layer("second").get_weights(), before))
    assert all(layer.trainable for layer in learner.layers), "what follows says for itself what is frozen"


@pytest.mark.parametrize(("frozen", "last"), [(0.0, 16), (0.5, 16), (1.0, 0)])
def test_one_stage_follows_in_which_norms_keep_their_statistics(frozen, last):
    recipe = Recipe(learning_rate=1.0, fine_rate=0.1, views=2, frozen=frozen)
    found = make_stages(recipe, Schedule(1, 16, 4, 4), ["conv", "norm"], ["norm"], new=True)
    assert found == (Stage(0, last, 0.1, frozenset({"norm"})),)


def test_views_decide_the_fingerprint_only_where_something_is_transferred(folder):
    source = find_source(SOURCE, "conv-mlp-small")
    found = {
        views: fingerprint(make_plan("conv-mlp-small", "digits", source=source, settings={"views": views}))
        for views in (0, 1, 2)
    }
    assert len(set(found.values())) == 3
