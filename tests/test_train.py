"""Training: the schedule, what a step does, what a run leaves behind, and interruptions that change nothing."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path

import numpy as np
import pytest

from pipelines import tracking
from pipelines.core.provenance.plan import Plan, load_data, make_plan, read_plan
from pipelines.training.artifacts import changes
from pipelines.training.fingerprint import fingerprint
from pipelines.training.loop import checkpoint
from pipelines.training.loop.fused_norms import with_fused_norms
from pipelines.training.loop.learner import make_learner
from pipelines.training.loop.stages import Schedule, make_schedule, make_stages, schedule_for
from pipelines.training.train import train
from zoo.errors import DataError, ExportError, ModelError, RecipeError, TrackingError, ZooError
from zoo.models import build
from zoo.recipe import Recipe

# Dropout, augmentation and the schedule all take part; 9 steps an epoch, 4 epochs a validation, 7 validations.
SETTINGS = {"epochs": 1, "least_updates": 250, "augmentation": "strong", "precision": "float32"}
VALIDATIONS = 7
S = (-1, 0, 1)  # pixels that light moves a 8x8 image by
TEACHERS = Path(__file__).parent / "runtime" / "fixture"


@pytest.fixture(scope="module")
def folder(shared_store):
    return shared_store


@pytest.fixture(scope="module")
def trained(folder):
    return train("mlp-small", "digits", settings=SETTINGS)


def weights(run: str) -> list[np.ndarray]:
    return tracking.load_keras_model(run).get_weights()


def same(some, others) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


# --- what a run leaves behind --------------------------------------------------------------------------------------


def test_a_training_says_what_came_out(trained):
    assert (trained.model, trained.family, trained.data, trained.parameters) == ("mlp-small", "dense", "digits", 50826)
    assert trained.epochs == 4 * VALIDATIONS
    assert trained.best_epoch in range(4, trained.epochs + 1, 4)
    assert trained.validation_accuracy > 0.8


def test_the_run_holds_curves_metrics_and_status(trained):
    run = tracking.load_run(trained.run)
    assert run.status == "FINISHED"
    assert set(run.history) == {"epoch", *tracking.HISTORY}
    assert {len(values) for values in run.history.values()} == {VALIDATIONS}
    assert run.history["epoch"] == tuple(range(4, trained.epochs + 1, 4))
    best = max(run.history["validation_accuracy"])
    assert run.metrics["best_epoch"] == trained.best_epoch
    assert run.metrics["best_validation_accuracy"] == pytest.approx(best, abs=1e-6)
    assert run.history["validation_accuracy"][trained.best_epoch // 4 - 1] == best
    assert run.history["learning_rate"][-1] == 0.0


def test_the_run_shows_images_as_they_are_learned(trained, tmp_path):
    from PIL import Image

    tracking.fetch_folder(trained.run, "", tmp_path)
    with Image.open(tmp_path / "augmentation.png") as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image))) > 16  # digits have sixteen grays, noise the others


def test_what_is_shown_is_each_image_and_its_own_changes():
    data_set = load_data(make_plan("mlp-small", "digits"))
    images, changed = changes(Recipe(augmentation="light"), data_set)
    assert (images.shape, changed.shape) == ((8, 8, 8, 1), (5, 8, 8, 8, 1))
    own = [
        min(np.abs(np.roll(image, (y, x), (0, 1))[1:7, 1:7].astype(int) - seen[1:7, 1:7]).max() for y in S for x in S)
        for row in changed
        for image, seen in zip(images, row, strict=True)
    ]
    assert not any(own)


def test_the_kept_model_is_the_best_one_in_float32(trained):
    model = tracking.load_keras_model(trained.run)
    validation = load_data(make_plan("mlp-small", "digits")).validation
    found = model.predict(validation.inputs, verbose=0)["logits"].argmax(1)
    assert np.mean(found == validation.labels) == trained.validation_accuracy
    assert {weight.dtype for weight in model.get_weights()} == {np.dtype(np.float32)}
    assert all(layer.compute_dtype == "float32" for layer in model.layers)


def test_a_finished_run_leaves_no_checkpoint(trained, folder):
    assert not (folder / checkpoint.FOLDER / trained.run).exists()


@pytest.mark.slow  # `zoo reproduce` does the same, in test_reproduce
def test_the_plan_of_a_run_makes_the_same_weights_again(trained, folder):
    run = tracking.load_run(trained.run)
    path = folder / "plan.json"
    path.write_text(run.plan.to_json(), encoding="utf-8")
    assert read_plan(path) == run.plan
    again = train(plan=path)
    assert again.run != trained.run
    assert same(weights(again.run), weights(trained.run))


@pytest.mark.parametrize(("epochs", "validated"), [(1, [1]), (5, [1, 2, 3, 4, 5]), (6, [3, 6]), (8, [4, 8])])
def test_the_epochs_that_are_stated_are_those_that_are_trained(epochs, validated):
    digits = load_data(make_plan("softmax", "digits"))
    schedule = schedule_for(make_plan("softmax", "digits", settings={"epochs": epochs}).recipe, digits)
    assert list(range(schedule.validation_interval, schedule.epochs + 1, schedule.validation_interval)) == validated
    assert schedule.steps * schedule.validation_interval % schedule.call == 0
    least = schedule_for(Recipe(epochs=1, least_updates=10), digits)
    assert least == make_schedule(Recipe(epochs=1, least_updates=10), digits), "who asks for updates gets them at least"


AS_STATED = {"least_updates", "optimizer", "learning_rate", "weight_decay", "label_smoothing", "images", "balance"}
AS_STATED |= {"rotation", "scale", "degrade", "normalize", "teacher", "seed", "patience", "average"}


def test_the_record_of_a_run_equals_what_ran(folder):
    settings = {"epochs": 1, "batch_size": 5000, "augmentation": "mirror", "frozen": 0.5, "fine_rate": 0.1}
    settings |= {"rotation": 5, "mixup": 0.2, "cutmix": 1}
    done = train("softmax", "digits", settings=settings)
    tracked = tracking.load_run(done.run)
    with tracking.open_client() as client:
        params = client.get_run(done.run).data.params
    assert (done.epochs, tracked.history["epoch"]) == (1, (1,))
    recipe = {name: str(value) for name, value in tracked.plan.recipe.to_json().items()}
    images = len(load_data(tracked.plan).train)
    expected = {
        "epochs": "1",
        "batch_size": str(images),  # no more than there are
        "warmup": "0.0",  # one update is the peak's
        "augmentation": "none",  # no digit is the same mirrored
        "mirrored": "no",
        "mixup": "0.0",  # cutmix has all images
        "cutmix": "1.0",
        "teacher_share": "0.0",
        "frozen": "0.0",  # nothing came trained
        "views": "0",
        "fine_rate": "1.0",
        "precision": params["arithmetic"],
    }
    assert {name: params[name] for name in expected} == expected
    assert {name: params[name] for name in AS_STATED} == {name: recipe[name] for name in AS_STATED}
    assert expected.keys() | AS_STATED == recipe.keys(), "a new field is recorded as it was carried out, too"
    assert params["updates"] == "1"


# --- what a recipe can ask for -------------------------------------------------------------------------------------


def test_a_recipe_that_learns_from_all_images_keeps_the_last_weights(folder):
    trained = train("softmax", "digits", settings={"epochs": 9, "images": "all"})
    run = tracking.load_run(trained.run)
    assert trained.validation_accuracy is None
    assert trained.best_epoch == trained.epochs == 9
    assert "validation_accuracy" not in run.history
    assert "best_validation_accuracy" not in run.metrics
    assert len(run.history["train_loss"]) == 3
    data_set = load_data(make_plan("softmax", "digits"))
    assert run.data_digest == data_set.digest  # the same images, however they are used
    steps = (len(data_set.train) + len(data_set.validation)) // 128
    assert make_schedule(run.plan.recipe, data_set.without_validation()).steps == steps


def test_a_teacher_decides_the_weights_with_its_file(folder):
    settings = {"epochs": 4, "teacher": str(TEACHERS / "digits" / "softmax"), "teacher_share": 1.0}
    taught, alone = (make_plan("softmax", "digits", settings=s) for s in (settings, {"epochs": 4}))
    assert fingerprint(taught) != fingerprint(alone)
    first, second = train(plan=taught), train(plan=taught)
    assert same(weights(first.run), weights(second.run))
    assert not same(weights(first.run), weights(train(plan=alone).run))


@pytest.mark.parametrize(
    ("teacher", "error", "message"),
    [
        ("nobody/nowhere", ExportError, "nobody/nowhere"),
        ("tinted-digits/softmax", RecipeError, "expected the classes and channels of digits: name another"),
    ],
)
def test_a_teacher_that_isnt_there_or_knows_something_else_is_told(folder, monkeypatch, teacher, error, message):
    monkeypatch.setenv("ZOO_EXPORTS", str(TEACHERS))
    with pytest.raises(error, match=message):
        train("softmax", "digits", settings={"epochs": 4, "teacher": teacher})
    assert not list((folder / checkpoint.FOLDER).glob("*")), "nothing was begun"


def test_fused_norms_answer_as_those_of_keras(folder):
    plan = make_plan("lenet5-modern", "digits")
    plain = build("lenet5-modern", 8, 8, 1, 10)
    fused = with_fused_norms(plain)
    assert [w.path for w in fused.weights] == [w.path for w in plain.weights]
    images = load_data(plan).train.inputs[:64].astype("float32")
    for training in (False, True):
        answers = [np.asarray(model(images, training=training)["logits"]) for model in (plain, fused)]
        np.testing.assert_allclose(*answers, atol=2e-4)
    for own, other in zip(plain.weights, fused.weights, strict=True):  # the statistics, too, have learned the same
        np.testing.assert_allclose(own, other, rtol=0.02, atol=1e-4, err_msg=own.path)


# --- interruptions -------------------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_to_the_same_weights(trained, folder, monkeypatch):
    keep = checkpoint.save

    def keep_and_interrupt(state: checkpoint.Checkpoint, run_id: str) -> None:
        keep(state, run_id)
        if state.epoch == 8:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # who runs in the background ignores it
    try:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as interruption:
            patch.setattr(checkpoint, "save", keep_and_interrupt)
            patch.setattr("pipelines.training.train.SAVING", 1e9)  # a checkpoint after each validation
            train("mlp-small", "digits", settings=SETTINGS)
    finally:
        signal.signal(signal.SIGINT, handler)
    (state,) = (folder / checkpoint.FOLDER).glob("*/*")  # the last checkpoint, and nothing half-written
    run = state.parent.name
    assert f"zoo train --resume {run[:8]}" in str(interruption.value)
    assert tracking.load_run(run).status == "KILLED"
    assert 8 <= checkpoint.load(run).epoch < trained.epochs

    resumed = train(resume=run[:12])
    assert resumed.run == run
    assert (resumed.best_epoch, resumed.validation_accuracy) == (trained.best_epoch, trained.validation_accuracy)
    assert same(weights(run), weights(trained.run))
    tracked, whole = tracking.load_run(run), tracking.load_run(trained.run)
    assert tracked.status == "FINISHED"
    for name in set(tracking.HISTORY) - {"seconds"}:
        assert tracked.history[name] == whole.history[name]
    assert not state.exists()


@pytest.mark.slow  # an interruption later is tested above
def test_a_run_that_is_interrupted_before_it_learns_goes_on_too(trained, folder, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("pipelines.training.train.log_augmented", interrupt)
        train("mlp-small", "digits", settings=SETTINGS)
    (run,) = (path.name for path in (folder / checkpoint.FOLDER).iterdir())
    train(resume=run)
    assert same(weights(run), weights(trained.run))
    with tracking.open_client() as client:
        files = [{file.path for file in client.list_artifacts(each)} for each in (run, trained.run)]
    assert files[0] == files[1]


@pytest.mark.slow  # trains each twice
@pytest.mark.parametrize("augmentation", ["photo", "randaugment"])
def test_an_interrupted_run_with_mixed_photos_goes_on_to_the_same_weights(augmentation, folder, monkeypatch):
    keep = checkpoint.save
    mixing = {"augmentation": augmentation, "rotation": 10, "scale": 0.1, "mixup": 0.2, "cutmix": 0.5}
    settings = {**SETTINGS, **mixing, "least_updates": 100}
    whole = train("mlp-small", "digits", settings=settings)

    def keep_and_interrupt(state: checkpoint.Checkpoint, run_id: str) -> None:
        keep(state, run_id)
        if state.epoch == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt) as interruption:
        patch.setattr(checkpoint, "save", keep_and_interrupt)
        patch.setattr("pipelines.training.train.SAVING", 1e9)
        train("mlp-small", "digits", settings=settings)
    resumed = train(resume=str(interruption.value).split()[-1])
    assert resumed.run != whole.run
    assert same(weights(resumed.run), weights(whole.run))


def test_a_finished_run_is_not_resumed(trained):
    with pytest.raises(TrackingError, match="is finished: there is nothing to resume"):
        train(resume=trained.run)


def test_a_run_without_its_checkpoint_is_not_resumed(folder):
    plan = make_plan("mlp-small", "digits", settings=SETTINGS)
    run = tracking.start_run(plan, load_data(plan), {}, fingerprint=fingerprint(plan))
    tracking.finish(run, "KILLED")
    with pytest.raises(TrackingError, match="left no checkpoint in"):
        train(resume=run)


def test_a_training_that_diverges_fails_with_advice(folder):
    with pytest.raises(RecipeError, match=r"diverged in epoch \d+ .*--set learning_rate="):
        train("softmax", "digits", settings={**SETTINGS, "learning_rate": 99, "weight_decay": 0.9, "warmup": 0})
    (failed,) = tracking.search("status = 'FAILED'")
    assert "learning_rate=99.0" in failed.info.run_name


# --- bad requests, told before anything is written -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "error", "sentence"),
    [
        ({"model": "lenet", "data": "digits"}, ModelError, "did you mean lenet5"),
        ({"model": "lenet5", "data": "digts"}, DataError, "did you mean digits"),
        ({"model": "lenet5", "data": "digits", "settings": {"epoch": 3}}, RecipeError, "did you mean epochs"),
        ({"model": "lenet5"}, ZooError, "needs a model and a data set"),
        ({"model": "lenet5", "plan": Path("plan.json")}, ZooError, "leave out model"),
        ({"model": "lenet5", "resume": "abc"}, ZooError, "resumes as it was started"),
        ({"plan": Path("nowhere.json")}, RecipeError, "can't be read as a plan"),
    ],
)
def test_a_wrong_request_writes_nothing(request_, error, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=sentence):
        train(**request_)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"model": "lenet5", "data": "digits", "recipe": 3}'])
def test_a_file_that_is_not_a_plan_is_named(text, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=r"plan\.json is not a plan"):
        read_plan(path)


def test_a_plan_survives_its_file(tmp_path):
    plan = Plan("lenet5", "digits", None, (16, 12), Recipe(epochs=3, label_smoothing=0.1))
    (tmp_path / "plan.json").write_text(plan.to_json(), encoding="utf-8")
    assert read_plan(tmp_path / "plan.json") == plan


# --- schedule and step ---------------------------------------------------------------------------------------------


def schedule_of(images: int, **settings) -> Schedule:
    class Images:
        """Only its size matters to a schedule."""

        train = range(images)

    return make_schedule(Recipe(**settings), Images)


@pytest.mark.parametrize("images", [1, 100, 1257, 5000, 8576, 55000, 65537])
def test_a_schedule_reaches_its_updates_in_whole_calls(images):
    recipe = Recipe(epochs=3, least_updates=500)
    found = schedule_of(images, epochs=3, least_updates=500)
    assert found.steps == max(1, images // recipe.batch_size)
    assert found.epochs >= 3
    assert found.updates >= 500
    assert found.updates - 500 < found.steps * found.validation_interval or found.epochs - 3 < found.validation_interval
    assert found.epochs % found.validation_interval == 0
    assert found.steps * found.validation_interval % found.call == 0
    assert found.steps * found.validation_interval >= 32


def learner_of(model: str, **settings):
    plan = make_plan(model, "digits", settings={"precision": "float32", **settings})
    data_set = load_data(plan)
    schedule = make_schedule(plan.recipe, data_set)
    stage, *_ = make_stages(plan.recipe, schedule, (), new=True)
    return make_learner(plan, data_set, schedule, stage, "float32"), data_set


def test_weights_decay_in_kernels_alone():
    learner, _ = learner_of("conv-small", warmup=0.0, learning_rate=0.01, weight_decay=0.5)
    before = learner.get_weights()
    learner.optimizer.apply([weight * 0 for weight in learner.trainable_weights])
    for weight, old, new in zip(learner.weights, before, learner.get_weights(), strict=True):
        expected = old * (1 - 0.01 * 0.5) if weight.name == "kernel" else old
        np.testing.assert_allclose(new, expected, rtol=1e-6, err_msg=weight.path)


def test_the_rate_climbs_to_its_peak_and_falls_to_nothing():
    learner, _ = learner_of("softmax", warmup=0.25, learning_rate=0.1, epochs=4, least_updates=0)
    rates = []
    for step in (0, 4, 9, 22, 36):  # 9 steps an epoch, 36 in all
        learner.optimizer.iterations.assign(step)
        rates.append(float(learner.optimizer.learning_rate))
    half_way = 0.1 * 0.5 * (1 + math.cos(math.pi * (22 - 9) / 27))
    assert rates == pytest.approx([0, 0.1 * 4 / 9, 0.1, half_way, 0], abs=1e-7)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_cross_entropy_with_the_shares_that_the_stream_gives(smoothing):
    learner, data_set = learner_of("softmax", label_smoothing=smoothing)
    split = data_set.validation
    targets = np.eye(10)[split.labels] * (1 - smoothing) + smoothing / 10
    found = learner.evaluate(split.inputs, targets, verbose=0, return_dict=True)
    logits = learner.predict(split.inputs, verbose=0).astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    assert found["loss"] == pytest.approx(-(targets * log_probabilities).sum(1).mean(), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(logits.argmax(1) == split.labels))


def test_the_seed_decides_the_initial_weights():
    (first, _), (second, _), (other, _) = (learner_of("mlp-small", seed=seed) for seed in (5, 5, 6))
    assert same(first.get_weights(), second.get_weights())
    assert not same(first.get_weights(), other.get_weights())


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arrays = tuple(np.full(3, i, np.float32) for i in range(12))
    best = checkpoint.Best(3, 0.5, 1.25, arrays[:2])
    checkpoint.save(checkpoint.Checkpoint(4, "float32", arrays, best), "abc")
    found = checkpoint.load("abc")
    assert (found.epoch, found.precision) == (4, "float32")
    assert same(found.variables, arrays)
    assert found.best is not None
    assert (found.best.epoch, found.best.accuracy, found.best.loss) == (3, 0.5, 1.25)
    assert same(found.best.weights, arrays[:2])
    assert [path.name for path in (checkpoint.FOLDER / "abc").iterdir()] == [checkpoint.FILE]


def test_a_truncated_checkpoint_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint.save(checkpoint.Checkpoint(4, "float32", (np.zeros(1000),), None), "abc")
    path = checkpoint.FOLDER / "abc" / checkpoint.FILE
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(TrackingError, match="is damaged"):
        checkpoint.load("abc")


def test_a_checkpoint_with_pickled_content_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = checkpoint.FOLDER / "abc" / checkpoint.FILE
    path.parent.mkdir(parents=True)
    known = np.frombuffer(json.dumps({"epoch": 1, "precision": "float32"}).encode(), np.uint8)
    with path.open("wb") as file:
        np.savez(file, known=known, variable_0000=np.array([{"any": "object"}], object))
    with pytest.raises(TrackingError, match="is damaged"):
        checkpoint.load("abc")


def test_equal_accuracies_are_told_apart_by_their_loss():
    first, lower, worse = (
        checkpoint.Best(1, 0.9, 0.5, ()),
        checkpoint.Best(2, 0.9, 0.4, ()),
        checkpoint.Best(3, 0.8, 0.1, ()),
    )
    assert first.is_better_than(None)
    assert lower.is_better_than(first)
    assert not worse.is_better_than(first)
    assert not checkpoint.Best(4, 0.9, math.nan, ()).is_better_than(first)
