"""`--from`: features of a trained model, from an export or a run, under a new head; frozen first, then trained on."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import zoo
from pipelines import tracking
from pipelines.cli import main
from pipelines.core.provenance.plan import Plan, load_data, make_plan, parse_plan
from pipelines.evaluation.evaluate import evaluate
from pipelines.exporting.convert import convert
from pipelines.exporting.export import export
from pipelines.exporting.from_onnx import rebuild
from pipelines.run import run
from pipelines.training.fingerprint import fingerprint
from pipelines.training.loop import checkpoint
from pipelines.training.loop.stages import Schedule, Stage, make_stages
from pipelines.training.preparing import prepare
from pipelines.training.train import train
from pipelines.training.transfer import transfer as source
from pipelines.training.transfer.layers import LUMA
from pipelines.training.transfer.transfer import find_source, make_transfer
from zoo.contract import Metadata, read_manifest
from zoo.data import DataSet, Split
from zoo.errors import ExportError, RecipeError, TrackingError, ZooError
from zoo.models import build
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

EXPORTS = Path(__file__).parents[1] / "exports"
# 9 steps an epoch, 4 epochs a validation: two validations with frozen features, then two with all that learns.
SETTINGS = {"epochs": 16, "frozen": 0.5, "precision": "float32", "augmentation": "none", "degrade": 0}
RAW = {"normalize": "none"}


@pytest.fixture(scope="module")
def folder(shared_store):
    """A working folder with a store of its own, which finds the exports that are shipped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZOO_EXPORTS", str(EXPORTS))
        yield shared_store


@pytest.fixture(scope="module")
def started(folder):
    """conv-mlp-small from the features of the shipped conv-small of other images."""
    return train("conv-mlp-small", "digits", source="fashion-mnist/conv-small", settings=SETTINGS)


def weights(run: str) -> list[np.ndarray]:
    return tracking.load_keras_model(run).get_weights()


def same(some, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, shape, np.uint8)


def pixels_of(name: str) -> dict[str, str]:
    """The setting under which a shipped export's features mean something; older ones are of raw pixels."""
    return {"normalize": read_manifest(EXPORTS / name).metadata.recipe.get("normalize", "none")}


def features_of(model, layer: str):
    """The part of a model up to a layer's outputs."""
    return start_keras().Model(model.input, model.get_layer(layer).output)


def some_images(name: str, images: np.ndarray, classes: int = 10) -> DataSet:
    """A data set of these images alone."""
    split = Split(images, np.arange(len(images)) % classes, tuple(map(str, range(len(images)))))
    return DataSet(name, tuple("abcdefghij"[:classes]), split, split, split, mirrored=False, origin="here")


# --- an exported file as a Keras model -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "digits/conv-tiny",  # depthwise convolutions
        "digits/lenet5-modern",  # norms behind dense layers
        "fashion-mnist/alexnet-mini",  # dropout between the maps and the dense layer
        "fashion-mnist/lenet5",  # no norms; margins around the images
        "fashion-mnist/mlp-residual",  # layer normalization
        "fashion-mnist/resnet-mlp",  # residuals
        "fashion-mnist/separable-small",
        # Of layers that the others have as well.
        *(pytest.param(f"fashion-mnist/{name}", marks=pytest.mark.slow) for name in ("conv-small", "softmax")),
        *(pytest.param(f"fashion-mnist/{name}", marks=pytest.mark.slow) for name in ("vgg-mini", "wide-resnet-small")),
    ],
)
def test_a_shipped_file_comes_back_as_the_keras_model_that_answers_alike(name):
    model, metadata = rebuild(EXPORTS / name)
    classifier = zoo.load(EXPORTS / name, provider="cpu")
    samples = [np.asarray(Image.open(path)) for path in sorted((EXPORTS / name / "samples").glob("*.png"))]
    images = np.concatenate([np.stack(samples)[..., None], noise(8, classifier.height, classifier.width, 1)])
    (expected,) = classifier.session.run(["logits"], {"images": images})
    np.testing.assert_allclose(np.asarray(model(images)["logits"]), expected, atol=1e-4)
    assert metadata == classifier.metadata


@pytest.mark.parametrize(
    "name",
    [
        "convnext-mini",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlp-mixer-tiny", "mlp-large", "vgg-mini")),
    ],
)
def test_what_is_not_shipped_comes_back_too_in_color_and_at_odd_sizes(name, tmp_path):
    file, model = exported(name, tmp_path, size=(12, 20, 3))
    images = noise(8, 12, 20, 3)
    answers = [np.asarray(each(images)["logits"]) for each in (model, rebuild(file)[0])]
    np.testing.assert_allclose(*answers, atol=1e-4)


def exported(name: str, folder: Path, size: tuple[int, int, int], labels: str = "abcde", recipe=RAW):
    """A file of a model whose weights are random, statistics of norms and biases included. recipe: its `normalize`."""
    model, random = build(name, *size, len(labels), **recipe), np.random.default_rng(2)
    for weight in model.weights:
        if len(weight.shape) == 1:
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    converted = convert(model)
    metadata = Metadata(name, "conv", "noise", "0" * 64, tuple(labels), *size, recipe, "0" * 32, "", "0" * 64, 0.5)
    onnx.helper.set_model_props(converted, metadata.to_properties())
    file = folder / "model.onnx"
    file.write_bytes(converted.SerializeToString())
    return file, model


def test_a_file_whose_weights_are_elsewhere_or_answer_otherwise_is_told(tmp_path):
    file, _ = exported("conv-tiny", tmp_path, size=(16, 16, 1))
    original = onnx.load(file)
    for change, sentence in (
        (lambda node: node.input.__setitem__(1, "other"), "holds no stem_conv/kernel"),
        (lambda node: node.attribute.extend([onnx.helper.make_attribute("dilations", [2, 2])]), "logits that differ"),
    ):
        changed = onnx.ModelProto()
        changed.CopyFrom(original)
        for constant in changed.graph.initializer:
            if constant.name == "stem_conv/kernel" and "holds" in sentence:
                constant.name = "other"
        stem = next(node for node in changed.graph.node if node.name == "stem_conv")
        if "differ" in sentence:
            stem.attribute.remove(next(a for a in stem.attribute if a.name == "dilations"))
            pads = next(a for a in stem.attribute if a.name == "pads")
            pads.ints[:] = [2, 2, 2, 2]
        change(stem)
        file.write_bytes(changed.SerializeToString())
        with pytest.raises(ExportError, match=rf"{sentence}.*name the run that made it instead"):
            rebuild(file)


# --- what is transferred --------------------------------------------------------------------------------------------


def test_the_features_come_along_and_the_head_is_new(folder):
    plan = make_plan("conv-mlp-small", "digits", source=find_source("fashion-mnist/conv-small", "conv-mlp-small"))
    transfer = make_transfer(plan, load_data(plan))
    assert (len(transfer.layers), transfer.of, transfer.parameters) == (12, 14, 86_560)
    assert str(transfer) == "12 of 14 layers (86,560 parameters) start from fashion-mnist/conv-small"
    images = noise(4, 8, 8, 1)
    source = rebuild(EXPORTS / "fashion-mnist/conv-small")[0]
    small = build("conv-small", 8, 8, 1, 10, normalize="image")
    small.set_weights(source.get_weights())
    model = build("conv-mlp-small", 8, 8, 1, 10, normalize="image")
    for name, values in transfer.layers.items():
        model.get_layer(name).set_weights(values)
    answers = [np.asarray(features_of(each, "block3_unit2_relu")(images)) for each in (small, model)]
    assert answers[0].max() > 0.1
    np.testing.assert_allclose(*answers, atol=1e-4)


def test_features_are_the_same_when_a_step_computes_them_with_the_statistics_of_its_batch(folder):
    """And kernels that came folded are as easy to move as others."""
    plan = make_plan("conv-small", "digits", source=find_source("fashion-mnist/conv-small", "conv-small"))
    data_set = load_data(plan)
    model, new = (build("conv-small", 8, 8, 1, 10, normalize="image") for _ in range(2))
    for name, values in make_transfer(plan, data_set).layers.items():
        model.get_layer(name).set_weights(values)
    features = features_of(model, "block3_unit2_relu")
    for layer in ("block1_unit1_conv", "block3_unit2_conv"):  # as large as new ones: a step moves them as far
        sizes = [np.std(each.get_layer(layer).get_weights()[0]) for each in (model, new)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.2)
    images = data_set.train.inputs  # all that the statistics are of: those of 512 are 6 % away
    frozen, trained = (np.asarray(features(images, training=training)) for training in (False, True))
    assert np.abs(trained - frozen).mean() < 0.05 * frozen.mean()


@pytest.mark.parametrize("model", ["conv-small", "mlp-large"])
def test_an_rgb_image_has_the_features_of_its_grey_version(folder, tmp_path, model):
    layer = {"conv-small": "block3_unit2_relu", "mlp-large": "hidden3_relu"}[model]
    file, source = exported(model, tmp_path, size=(16, 16, 1))
    plan = make_plan(model, "unused", source=find_source(str(file), model), settings=RAW)
    color = noise(6, 16, 16, 3)
    transfer = make_transfer(plan, some_images("color", color))
    assert "the first one reads RGB as its luma" in str(transfer)
    learner = build(model, 16, 16, 3, 10)
    for name, values in transfer.layers.items():
        learner.get_layer(name).set_weights(values)
    gray = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in color])[..., None]
    seen, known = features_of(learner, layer)(color), features_of(source, layer)(gray)
    rounding = 0.5 / 255 * np.abs(np.asarray(known)).max()
    np.testing.assert_allclose(np.asarray(seen), np.asarray(known), atol=5 * rounding)
    np.testing.assert_allclose(np.asarray(seen), features_of(source, layer)(color @ LUMA[:, None]), atol=1e-4)


@pytest.mark.parametrize("normalize", ["none", "image"])  # three equal channels are normalized as one is
def test_a_grey_image_has_the_features_of_its_rgb_version(folder, tmp_path, normalize):
    settings = {"normalize": normalize}
    file, source = exported("conv-small", tmp_path, size=(16, 16, 3), recipe=settings)
    plan = make_plan("conv-small", "unused", source=find_source(str(file), "conv-small"), settings=settings)
    gray = noise(6, 16, 16, 1)
    transfer = make_transfer(plan, some_images("gray", gray))
    assert "the first one reads gray as three equal channels" in str(transfer)
    learner = build("conv-small", 16, 16, 1, 10, **settings)
    for name, values in transfer.layers.items():
        learner.get_layer(name).set_weights(values)
    answers = [features_of(m, "block3_unit2_relu")(x) for m, x in ((learner, gray), (source, np.repeat(gray, 3, 3)))]
    np.testing.assert_allclose(*map(np.asarray, answers), atol=1e-4)


def test_the_layer_of_the_logits_comes_along_where_the_classes_are_the_same(folder, tmp_path):
    file, _ = exported("conv-tiny", tmp_path, size=(16, 16, 1))
    origin = find_source(str(file), "conv-tiny")
    plan = make_plan("conv-tiny", "unused", source=origin, settings=RAW)
    others = replace(some_images("others", noise(6, 16, 16, 1), 5), labels=tuple("vwxyz"))
    assert "head_dense" in make_transfer(plan, some_images("same", noise(6, 16, 16, 1), 5)).layers
    assert "head_dense" not in make_transfer(plan, others).layers


def test_dense_layers_behind_features_of_another_size_are_new(folder):
    origin = find_source("fashion-mnist/resnet-mlp", "resnet-mlp")
    plan = make_plan("resnet-mlp", "digits", source=origin, settings=pixels_of("fashion-mnist/resnet-mlp"))
    transfer = make_transfer(plan, load_data(plan))  # 8x8 pixels here, 28x28 there
    assert "head_hidden_dense" not in transfer.layers
    assert transfer.parameters == 678_304


@pytest.mark.parametrize(
    ("model", "source", "sentence"),
    [
        ("conv-small", "fashion-mnist/resnet-mlp", r"expected block1_unit1_conv \[\[3, 3, 1, 32\]\].*stem_conv"),
        ("conv-small", "fashion-mnist/softmax", "has no features for conv-small"),
        ("softmax", "fashion-mnist/softmax", "name a source with the same first layers"),
        ("lenet5", "digits/lenet5-modern", "received c1_conv"),
    ],
)
def test_a_source_without_the_features_is_told_before_anything_is_written(folder, model, source, sentence):
    before, settings = sorted(folder.rglob("*")), pixels_of(source)
    with pytest.raises(RecipeError, match=sentence):
        train(model, "digits", source=source, settings=settings)
    with pytest.raises(RecipeError, match=sentence):
        run([model], "digits", source=source, settings=settings)
    assert sorted(folder.rglob("*")) == before


def test_a_source_that_is_nowhere_is_told(folder, capsys):
    assert main(["train", "conv-small", "--data", "digits", "--from", "fashion-mnist/conv-smal"]) == 1
    assert "did you mean fashion-mnist/conv-small" in capsys.readouterr().err
    with pytest.raises(TrackingError, match=r"no run.* begins with 'abc'|there are no runs yet"):
        train("conv-small", "digits", source="abc")


# --- two stages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({}, [(0, 4, 1.0, True), (4, 16, 0.5, False)]),
        ({"frozen": 0.5, "fine_rate": 0.1}, [(0, 8, 1.0, True), (8, 16, 0.1, False)]),
        ({"frozen": 0.25, "fine_rate": 0.1}, [(0, 4, 1.0, True), (4, 16, 0.1, False)]),
        ({"frozen": 0.01}, [(0, 4, 1.0, True), (4, 16, 0.5, False)]),
        ({"frozen": 0.99}, [(0, 12, 1.0, True), (12, 16, 0.5, False)]),
        ({"frozen": 1}, [(0, 16, 1.0, True)]),
        ({"frozen": 0}, [(0, 16, 0.5, False)]),
    ],
)
def test_the_recipe_divides_the_epochs_at_a_validation(settings, stages):
    recipe = Recipe(learning_rate=1.0).with_values(settings)
    found = make_stages(recipe, Schedule(1, 16, 4, 4), ["features"], new=True)
    expected = [Stage(a, b, rate, frozenset({"features"} if frozen else ())) for a, b, rate, frozen in stages]
    assert found == tuple(expected)


def test_without_a_source_or_without_anything_new_there_is_one_stage():
    recipe = Recipe(learning_rate=1.0)
    assert make_stages(recipe, Schedule(1, 16, 4, 4), [], new=True) == (Stage(0, 16, 1.0),)
    assert make_stages(recipe, Schedule(1, 16, 4, 4), ["all"], new=False) == (Stage(0, 16, 0.5),)


@pytest.mark.parametrize(("epochs", "warned"), [(4, True), (16, False)])
def test_features_that_are_never_frozen_are_reported(folder, caplog, epochs, warned):
    """4 epochs are one validation interval, after which nothing is left to learn with all layers."""
    settings = {**SETTINGS, "epochs": epochs, "least_updates": 0}
    plan = make_plan(
        "conv-mlp-small", "digits", settings=settings, source=find_source("fashion-mnist/conv-small", "conv-mlp-small")
    )
    prepare(plan, "float32", None)
    assert ("frozen=0.5 has no effect: all 4 epochs lie between two validations" in caplog.text) == warned


def test_a_teacher_of_a_head_alone_is_refused(folder, caplog):
    settings = {**SETTINGS, "views": 1, "frozen": 1, "teacher": "digits/conv-small"}
    plan = make_plan(
        "conv-mlp-small", "digits", settings=settings, source=find_source("fashion-mnist/conv-small", "conv-mlp-small")
    )
    with pytest.raises(RecipeError, match="only the head is trained, on labels: leave out the teacher, or set views=0"):
        prepare(plan, "float32", None)


@pytest.mark.slow  # a training more; the stages are tested above, the card below
def test_frozen_features_do_not_move_and_then_they_do(folder, started):
    plan = tracking.load_run(started.run).plan
    transfer = make_transfer(plan, load_data(plan)).layers
    frozen = train(plan=replace(plan, recipe=plan.recipe.with_values({"frozen": 1})))
    kept, moved = (tracking.load_keras_model(each.run) for each in (frozen, started))
    for name, values in transfer.items():  # norms with their statistics among them
        assert same(kept.get_layer(name).get_weights(), values), name
    assert not same(moved.get_layer("block1_unit1_conv").get_weights(), transfer["block1_unit1_conv"])
    assert started.best_epoch > 8
    assert started.validation_accuracy > 0.8


@pytest.mark.slow  # exports as sources are tested above
def test_a_run_can_be_a_source_too(folder, started):
    again = train("conv-small", "digits", source=started.run[:10], settings={"epochs": 4, "frozen": 1})
    model, source = (tracking.load_keras_model(each.run) for each in (again, started))
    images = load_data(make_plan("conv-small", "digits")).test.inputs[:32]
    answers = [features_of(each, "block3_unit2_relu")(images) for each in (model, source)]
    np.testing.assert_allclose(*map(np.asarray, answers), atol=1e-4)
    assert tracking.load_run(again.run).plan.source.name == f"runs:/{started.run}"


@pytest.mark.slow  # an interruption in a single stage is in test_train
def test_interruptions_between_the_stages_and_later_change_nothing(folder, started, monkeypatch):
    save, interrupted = checkpoint.save, []

    def save_and_interrupt(state: checkpoint.Checkpoint, run_id: str) -> None:
        save(state, run_id)
        if state.epoch in {8, 12}.difference(interrupted):
            interrupted.append(state.epoch)
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_and_interrupt)
    monkeypatch.setattr("pipelines.training.train.SAVING", 1e9)  # a checkpoint after each validation
    with pytest.raises(KeyboardInterrupt, match="zoo train --resume") as interruption:
        train(plan=tracking.load_run(started.run).plan)
    run = str(interruption.value).split()[-1]
    with pytest.raises(KeyboardInterrupt, match=f"zoo train --resume {run}"):
        train(resume=run)
    resumed = train(resume=run)
    assert interrupted == [8, 12]
    assert (resumed.best_epoch, resumed.validation_accuracy) == (started.best_epoch, started.validation_accuracy)
    assert same(weights(resumed.run), weights(started.run))


# --- what is written down --------------------------------------------------------------------------------------------


def test_the_run_the_file_and_the_card_say_what_it_started_from(folder, started):
    with tracking.open_client() as client:
        found = client.get_run(started.run).data
    assert found.tags["source"] == found.params["source"] == "fashion-mnist/conv-small"
    assert (found.params["source_layers"], found.params["source_parameters"]) == ("12", "86560")
    assert found.params["frozen"] == "0.5"
    evaluate(started.run)
    written = export(started.run, exports=folder / "written")
    digest = tracking.load_run(started.run).plan.source.digest
    source = {"name": "fashion-mnist/conv-small", "weights_sha256": digest}
    assert zoo.load(written.folder).metadata.source == read_manifest(written.folder).metadata.source == source
    card = (written.folder / "README.md").read_text(encoding="utf-8")
    assert "Its features were initialized with those of fashion-mnist/conv-small." in " ".join(card.split())
    assert f"| transferred from | the features of fashion-mnist/conv-small, SHA-256 of its weights `{digest}` |" in card


@pytest.mark.slow  # a whole run; that a training starts from a source is tested above
def test_a_whole_run_starts_from_a_source_once(folder, capsys):
    command = ["run", "softmax", "--data", "digits", "--from", "digits/softmax", "--set", "epochs=4"]
    source._read_export.cache_clear()
    assert main(command) == 0
    assert source._read_export.cache_info().misses == 1, "read once, for the plan and for the training"
    assert "1 of 1 layers (650 parameters) start from digits/softmax" in capsys.readouterr().err  # the same classes
    assert read_manifest(folder / "exports/digits/softmax").metadata.source["name"] == "digits/softmax"
    assert main(command) == 0
    assert "already trained" in capsys.readouterr().err


def test_a_plan_keeps_its_source_and_old_plans_have_none(folder, started):
    plan = tracking.load_run(started.run).plan
    assert parse_plan(plan.to_json(), "here") == plan
    assert asdict(plan.source)["title"] == "fashion-mnist/conv-small"
    bare = Plan("lenet5", "digits", None, None, Recipe())
    assert "source" not in bare.to_json()
    assert parse_plan(bare.to_json(), "here").source is None


def test_the_weights_of_the_source_decide_the_fingerprint(folder, tmp_path):
    file, _ = exported("conv-tiny", tmp_path, size=(8, 8, 1))
    plans = [
        make_plan("conv-tiny", "digits"),
        make_plan("conv-tiny", "digits", source=find_source(str(file), "conv-tiny")),
    ]
    changed = onnx.load(file)
    bias = next(constant for constant in changed.graph.initializer if constant.name == "head_dense/bias")
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + 1, bias.name))
    file.write_bytes(changed.SerializeToString())
    plans.append(make_plan("conv-tiny", "digits", source=find_source(str(file), "conv-tiny")))
    assert len({fingerprint(plan) for plan in plans}) == 3
    with pytest.raises(RecipeError, match="holds other weights than when the plan was made"):
        train(plan=plans[1])


def test_a_source_beside_a_plan_is_told(folder, started):
    with pytest.raises(ZooError, match="settings, time, and source"):
        train(plan=tracking.load_run(started.run).plan, source="fashion-mnist/conv-small")
