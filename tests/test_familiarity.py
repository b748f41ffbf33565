"""How familiar an image is: one more output, continuous, equal in all runtimes, and low for what was never learned.

Families x inputs: the shipped models of digits, and a table, with what a user may hand over.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from PIL import Image
from without_familiarity import metadata_in, without_familiarity

import zoo
from pipelines.cli import main
from pipelines.evaluation.predictions import familiarity_of
from pipelines.evaluation.unknown import auroc, evaluate_unknown
from pipelines.exporting.checks import check_contract, check_graph
from pipelines.exporting.convert import convert
from pipelines.exporting.export import write_export
from pipelines.exporting.familiarity.check import accepted, check_familiarity
from pipelines.exporting.familiarity.features import activations, features_of
from pipelines.exporting.familiarity.fit import BETWEEN, CELLS, LEAST, MEANS, THRESHOLD, fit
from pipelines.exporting.familiarity.graph import read_familiarity
from pipelines.exporting.familiarity.output import give_familiarity
from pipelines.exporting.from_onnx import rebuild
from pipelines.publishing.triton import config
from pipelines.tracking.serving import Served
from zoo.contract import CONTRACT, FAMILIARITY, LOGITS, PROBABILITIES, read_manifest
from zoo.data import DataSet, Split, load
from zoo.errors import DataError, ExportError, VerificationError
from zoo.models import build, layers
from zoo.recipe import Recipe

ROOT = Path(__file__).parent.parent
WINE = ROOT / "tests" / "runtime" / "fixture" / "wine" / "softmax"
# Of each family one, and the one that has nothing but its input to look at.
MODELS = ("softmax", "mlp-small", "conv-small", "conv-tiny", "lenet5", "conv-mlp-small")
TOLERANCE = 1e-5  # of a share, between runtimes


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    """Name -> (model, file), with familiarity measured on the images held out by images=train."""
    kept = {}

    def make(name):
        if name not in kept:
            model = bare(name)
            kept[name] = written(model, metadata_in(model), digits, tmp_path_factory.mktemp(name) / "model.onnx")
        return kept[name]

    return make


@pytest.fixture(scope="module")
def wine(tmp_path_factory):
    """(model, file, rows): of the table in the runtime's fixture."""
    model = onnx.load(WINE / "model.onnx")
    metadata = replace(metadata_in(model), recipe={"images": "train"}, contract=CONTRACT)
    samples = json.loads((WINE / "samples" / "samples.json").read_text(encoding="utf-8"))
    rows = zoo.tables.encode_all([sample["row"] for sample in samples], metadata.columns)
    random = np.random.default_rng(0)
    numbers = [k for k, column in enumerate(metadata.columns) if column.categories is None]
    many = rows[random.integers(0, len(rows), 400)].copy()
    many[:, numbers] *= random.normal(1, 0.05, (400, len(numbers)))
    labels = np.arange(400) % len(metadata.labels)
    parts = [
        Split(many[k], labels[k], tuple(map(str, range(len(labels[k])))))
        for k in (slice(0, 250), slice(250, 350), slice(350, 400))
    ]
    data_set = DataSet("wine", metadata.labels, *parts, False, "made up", columns=metadata.columns)
    return *written(model, metadata, data_set, tmp_path_factory.mktemp("wine") / "model.onnx"), many


def bare(name):
    """A shipped model of digits without familiarity, whose recipe says images=train."""
    model = without_familiarity(onnx.load(ROOT / "exports" / "digits" / name / "model.onnx"))
    assert metadata_in(model).recipe["images"] == "train" and metadata_in(model).contract == CONTRACT
    return model


@pytest.fixture
def silent(tmp_path):
    """A file without familiarity."""
    onnx.save(bare("softmax"), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def written(model, metadata, data_set, file):
    said = give_familiarity(model, metadata, data_set)
    onnx.helper.set_model_props(model, replace(metadata, familiarity=said).to_properties())
    onnx.save(model, file)
    return model, file


def run(model, inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([FAMILIARITY], {session.get_inputs()[0].name: inputs})[0]


def odd_images(digits):
    """Constant ones, noise, inverted ones, and known ones."""
    some = digits.test.inputs[:20]
    noise = np.random.default_rng(0).integers(0, 256, some.shape, dtype=np.uint8)
    constant = np.stack([np.full_like(some[0], value) for value in (0, 1, 128, 255)])
    return np.concatenate([some, 255 - some, noise, constant])


@pytest.mark.parametrize("name", MODELS)
def test_a_file_with_familiarity_keeps_its_contract_and_its_other_outputs_bit_by_bit(made, digits, name):
    model, file = made(name)
    check_graph(model, file)
    check_contract(model, file)
    assert model.graph.output[-1].name == FAMILIARITY
    before = onnxruntime.InferenceSession(bare(name).SerializeToString(), providers=["CPUExecutionProvider"])
    assert [each.name for each in before.get_outputs()] == [each.name for each in model.graph.output[:-1]]
    after = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for output in (PROBABILITIES, LOGITS):
        old, new = (session.run([output], {"images": digits.test.inputs})[0] for session in (before, after))
        assert np.array_equal(old, new)


@pytest.mark.parametrize("name", MODELS)
def test_runtimes_and_batches_agree_on_familiarity(made, digits, name):
    model, _ = made(name)
    images = odd_images(digits)
    found = run(model, images)
    assert found.shape == (len(images),) and found.dtype == np.float32
    assert ((found >= 0) & (found <= 1)).all()
    assert np.abs(ReferenceEvaluator(model).run([FAMILIARITY], {"images": images})[0] - found).max() <= TOLERANCE
    assert (
        np.abs(np.concatenate([run(model, image[np.newaxis]) for image in images[:5]]) - found[:5]).max() <= TOLERANCE
    )
    larger = np.kron(images[:3], np.ones((1, 4, 4, 1), np.uint8))
    assert run(model, larger).shape == (3,)


@pytest.mark.parametrize("name", MODELS)
def test_as_many_test_images_are_accepted_as_of_those_held_out(made, digits, name):
    model, file = made(name)
    classifier = zoo.load(file, provider="cpu")
    # Of 360 test images at a true share of 95 %, 99.9 % of draws lie within 3.9 points; the held-out ones add theirs.
    assert abs(accepted(familiarity_of(classifier, digits.test.inputs)) - 0.95) < 0.06
    assert abs(accepted(familiarity_of(classifier, digits.validation.inputs)) - 0.95) < 0.02
    assert check_familiarity(model, classifier, file, digits.test, None).startswith("within ")


@pytest.mark.parametrize("name", MODELS)
def test_noise_and_constant_images_are_less_familiar_than_digits(made, digits, name):
    model, _ = made(name)
    images = np.random.default_rng(1).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
    assert auroc(run(model, digits.test.inputs), run(model, images)) > 0.9
    constant = np.arange(256, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)
    assert auroc(run(model, digits.test.inputs), run(model, constant)) > 0.9


def test_a_prediction_says_whether_an_image_is_known(made, digits):
    _, file = made("conv-small")
    classifier = zoo.load(file, provider="cpu")
    batch = classifier.predict_batch(odd_images(digits))
    for prediction in (*batch, classifier.predict(digits.test.inputs[0])):
        assert 0 <= prediction.familiarity <= 1
        assert prediction.known == (prediction.familiarity >= THRESHOLD)
    assert sum(prediction.known for prediction in batch[:20]) >= 17
    assert not any(prediction.known for prediction in batch[-4:])  # constant
    photograph = classifier.predict(np.random.default_rng(0).integers(0, 256, (50, 31, 3), dtype=np.uint8))
    assert photograph.known is False
    explained = classifier.explain(digits.test.inputs[0]).prediction
    assert explained.familiarity == pytest.approx(batch[0].familiarity, abs=TOLERANCE)


def test_an_export_with_familiarity_follows_the_contract_that_has_it(digits, tmp_path):
    model, shipped = rebuild(ROOT / "exports" / "digits" / "softmax")
    metadata = replace(shipped, parity={}, calibration={}, sets={}, familiarity={}, contract="1")
    assert metadata.recipe["images"] == "train"
    for familiarity in (True, False):
        folder = write_export(tmp_path / "softmax", model, digits, metadata, {}, familiarity=familiarity).folder
        said = read_manifest(folder)
        assert bool(said.metadata.familiarity) == ("familiarity_accepted" in said.metrics) == familiarity
        assert said.metadata.contract == (CONTRACT if familiarity else "1")


def test_servers_know_of_the_output(made, digits):
    _, file = made("conv-small")
    assert 'name: "familiarity" data_type: TYPE_FP32 dims: [1] reshape: { shape: [] } }' in config(zoo.load(file))
    answers = Served(zoo.load(file)).predict({"images": digits.test.inputs[:3]})
    assert answers[FAMILIARITY].shape == (3,)


def test_the_command_line_says_none_of_these(made, digits, tmp_path, capsys):
    _, file = made("conv-small")
    Image.fromarray(digits.test.inputs[0, :, :, 0]).save(tmp_path / "known.png")
    noise = np.random.default_rng(0).integers(0, 256, (3, 20, 24), dtype=np.uint8)
    (tmp_path / "other").mkdir()
    for k, image in enumerate(noise):
        Image.fromarray(image).save(tmp_path / "other" / f"{k}.png")
    paths = [str(tmp_path / "known.png"), str(tmp_path / "other" / "0.png")]
    assert main(["predict", str(file), *paths]) == 0
    known, other = capsys.readouterr().out.splitlines()
    assert "none of these" not in known and "familiarity 0." in known
    assert "none of these; nearest: " in other and "familiarity 0.0" in other
    assert main(["predict", str(file), *paths, "--json"]) == 0
    assert [each["known"] for each in json.loads(capsys.readouterr().out)] == [True, False]
    assert main(["evaluate", str(file), "--unknown", str(tmp_path / "other")]) == 0
    assert "3 images, 100.0% of which are predicted 'none of these'" in capsys.readouterr().out
    assert main(["evaluate", str(file), "--unknown", str(tmp_path / "other"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["none_of_these"] == 1.0


def test_a_file_without_familiarity_says_nothing_of_it(silent):
    prediction = zoo.load(silent, provider="cpu").predict(np.zeros((8, 8), np.uint8))
    assert prediction.familiarity is None and prediction.known is None


def test_rows_of_a_table_have_familiarity_too_with_gaps_and_with_values_far_off(wine):
    model, file, rows = wine
    check_contract(model, file)
    gap, far = rows[:1].copy(), rows[:1].copy()
    columns = zoo.load(file, provider="cpu").columns
    number = next(k for k, column in enumerate(columns) if column.categories is None)
    gap[0, number], far[0, number] = np.nan, 1e6
    inputs = np.concatenate([rows[350:], gap, far, np.full_like(gap, np.nan)])
    found = run(model, inputs)
    assert np.abs(ReferenceEvaluator(model).run([FAMILIARITY], {"features": inputs})[0] - found).max() <= TOLERANCE
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[:50] >= THRESHOLD).mean() > 0.8
    assert found[51] < THRESHOLD
    predictions = zoo.load(file, provider="cpu").predict_batch(inputs)
    assert [p.familiarity for p in predictions] == pytest.approx(found.tolist(), abs=TOLERANCE)


def test_the_same_model_and_images_give_the_same_bytes(made, digits, tmp_path):
    _, file = made("lenet5")
    model = bare("lenet5")
    _, again = written(model, metadata_in(model), digits, tmp_path / "model.onnx")
    assert again.read_bytes() == file.read_bytes()


@pytest.mark.parametrize(("images", "held"), [("all", 287), ("train", LEAST - 1), ("train", 0)])
def test_too_few_held_out_images_leave_the_output_out_and_say_why(digits, caplog, images, held):
    model = bare("softmax")
    before, metadata = model.SerializeToString(), metadata_in(model)
    metadata = replace(metadata, recipe={**metadata.recipe, "images": images})
    few = replace(digits, validation=digits.validation.take(np.arange(min(held, len(digits.validation)))))
    assert give_familiarity(model, metadata, few) == {}
    assert model.SerializeToString() == before
    assert "can't detect unknown classes" in caplog.text


def test_a_few_images_of_each_class_are_enough(digits):
    model = bare("conv-small")
    metadata = metadata_in(model)
    few = replace(digits, train=digits.train.take(np.arange(60)), validation=digits.validation.take(np.arange(LEAST)))
    assert give_familiarity(model, metadata, few)["images"] == LEAST
    noise = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 1), dtype=np.uint8)
    assert auroc(run(model, digits.test.inputs), run(model, noise)) > 0.9


def test_a_model_that_knows_images_by_one_number_has_none(digits, registered, metadata_of, caplog):
    @registered("needle", family="dense", recipe=Recipe())
    def needle(images, classes):
        return layers.Dense(classes)(layers.Dense(1, activation="relu")(layers.Flatten()(images)))

    model = build("needle", 8, 8, 1, 10)
    metadata = replace(metadata_of("needle", model, digits), recipe={"images": "train"})
    assert give_familiarity(convert(model), metadata, digits) == {}
    assert "needle describes images by one number: its file can't detect unknown classes" in caplog.text


@pytest.mark.parametrize("side", [8, 28])
def test_a_model_without_hidden_layers_looks_at_normalized_pixels_on_either_side_of_zero(digits, metadata_of, side):
    model = build("softmax", 8, 8, 1, 10, normalize="image")
    metadata = replace(metadata_of("softmax", model, digits), recipe={"images": "train", "normalize": "image"})
    converted = convert(model)
    assert give_familiarity(converted, metadata, digits)["images"] == len(digits.validation)
    known, others = run(converted, digits.test.inputs), run(converted, odd_images(digits))
    assert np.isfinite([*known, *others]).all()
    noise = np.random.default_rng(0).integers(0, 256, (100, side, side, 1), dtype=np.uint8)
    assert auroc(known, run(converted, noise)) > 0.9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("features", [np.zeros((40, 8)), np.ones((40, 8)), np.eye(8)[np.arange(40) % 2]])
def test_features_that_do_not_vary_within_a_class_have_a_familiarity_all_the_same(features):
    learned, labels = features.astype(np.float32), np.arange(40) % 2
    found = fit(learned, labels, (8,), learned[:LEAST]).familiarity(learned)
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1


def test_more_classes_than_directions_are_told_by_their_main_ones():
    random = np.random.default_rng(0)
    centers = random.gamma(1.0, size=(3 * MEANS, 100))
    labels = np.arange(4000) % len(centers)
    features = (centers[labels] * random.gamma(20.0, 0.05, (4000, 100))).astype(np.float32)
    fitted = fit(features[:3000], labels[:3000], (60, 40), features[3000:])
    assert [factor.shape for factor in fitted.classes] == [(100, MEANS), (MEANS, 3 * MEANS)]
    other = (random.gamma(1.0, size=(500, 100)) * random.gamma(20.0, 0.05, (500, 100))).astype(np.float32)
    assert auroc(fitted.familiarity(features[3000:]), fitted.familiarity(other)) > 0.9


def test_familiarity_is_the_share_of_held_out_images_that_look_less_familiar(digits):
    model = bare("mlp-small")
    metadata = metadata_in(model)
    learned, sizes = features_of(model, metadata, [digits.train.inputs])
    others, _ = features_of(model, metadata, [digits.validation.inputs])
    fitted = fit(learned, digits.train.labels, sizes, others)
    scores = fitted.scores(others)
    below = (scores[:, np.newaxis] > scores).mean(axis=1)
    assert len(fitted.start) == min(CELLS, len(others) // BETWEEN)
    assert np.abs(fitted.familiarity(others) - below).max() <= 1 / len(fitted.start)
    # Darker or brighter by a factor, an image's activations keep their shares.
    assert fitted.scores(2 * learned[:50]) == pytest.approx(fitted.scores(learned[:50]), rel=1e-4)


def test_what_is_looked_at_are_inputs_of_layers_with_weights(made):
    def looked_at(name):
        model = bare(name)
        return [(each.name, each.layout, each.channels) for each in activations(model.graph)]

    assert looked_at("softmax") == []
    assert looked_at("mlp-small") == [("hidden1_dense/Relu", "none", 256), ("head_hidden_dense/Relu", "none", 128)]
    assert looked_at("conv-small")[-2:] == [("block3_unit1_relu", "first", 48), ("block3_unit2_relu", "first", 48)]
    assert [layout for _, layout, _ in looked_at("conv-mlp-small")] == ["first"] * 6 + ["none"]


def test_a_changed_constant_is_found_by_verify(made, digits, tmp_path):
    model, _ = made("lenet5")
    changed = type(model)()
    changed.CopyFrom(model)
    constant = next(each for each in changed.graph.initializer if each.name == f"{FAMILIARITY}/steepness")
    constant.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(constant) * np.float32(0.5), constant.name))
    file = tmp_path / "model.onnx"
    onnx.save(changed, file)
    classifier = zoo.load(file, provider="cpu")
    share = accepted(familiarity_of(zoo.load(made("lenet5")[1], provider="cpu"), digits.test.inputs))
    with pytest.raises(VerificationError, match=r"accepts .* of the test set, the manifest says"):
        check_familiarity(changed, classifier, file, digits.test, share)
    name, _ = read_familiarity(changed.graph, 1)
    center = next(each for each in changed.graph.initializer if each.name == f"{FAMILIARITY}/center")
    assert name and center
    node = next(each for each in changed.graph.node if each.name == f"{FAMILIARITY}/white")
    node.attribute[0].f = -0.5
    onnx.save(changed, file)
    with pytest.raises(VerificationError, match="differs by"):
        check_familiarity(changed, zoo.load(file, provider="cpu"), file, digits.test, None)


@pytest.mark.parametrize(
    "change",
    [
        {"sum": np.float32(1)},
        {"epsilon": np.zeros(0, np.float32)},
        {"center": np.zeros((2, 2), np.float32)},
        {"steepness": np.ones((1, 3), np.float32)},
        {"directions/half": np.ones((3, 1), np.float16)},
        {"offsets": None},
    ],
    ids=str,
)
def test_numbers_of_other_shapes_are_found_by_verify(made, digits, change):
    model, file = made("lenet5")
    changed = type(model)()
    changed.CopyFrom(model)
    for name, values in change.items():
        constant = next(each for each in changed.graph.initializer if each.name == f"{FAMILIARITY}/{name}")
        if values is None:
            changed.graph.initializer.remove(constant)
        else:
            constant.CopyFrom(numpy_helper.from_array(np.asarray(values), constant.name))
    with pytest.raises(VerificationError, match=r"doesn't compute its familiarity as `zoo export` writes it"):
        check_familiarity(changed, zoo.load(file, provider="cpu"), file, digits.test.take(np.arange(5)), None)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1, np.inf])
def test_a_familiarity_that_is_no_share_is_refused_by_all_who_ask(made, digits, tmp_path, value):
    model, _ = made("conv-tiny")
    changed = type(model)()
    changed.CopyFrom(model)
    last = next(node for node in changed.graph.node if FAMILIARITY in node.output)
    last.output[0] = "before"
    named = {"name": "wrong", "value": numpy_helper.from_array(np.float32(value))}
    changed.graph.node.append(onnx.helper.make_node("Constant", [], ["wrong"], **named))
    same = [onnx.helper.make_node("Equal", ["before", "before"], ["same"])]
    changed.graph.node.extend([*same, onnx.helper.make_node("Where", ["same", "wrong", "before"], [FAMILIARITY])])
    onnx.save(changed, tmp_path / "model.onnx")
    classifier = zoo.load(tmp_path / "model.onnx", provider="cpu")
    some = digits.test.take(np.arange(3))
    for ask in (
        lambda: classifier.predict(some.inputs[0]),
        lambda: familiarity_of(classifier, some.inputs),
        lambda: check_familiarity(changed, classifier, tmp_path / "model.onnx", some, None),
    ):
        with pytest.raises(ExportError, match="gives a familiarity that isn't from 0 to 1"):
            ask()


def test_a_folder_of_other_things_is_measured(made, digits, tmp_path):
    _, file = made("conv-small")
    random = np.random.default_rng(0)
    (tmp_path / "other" / "noise").mkdir(parents=True)
    for k in range(30):
        noise = random.integers(0, 256, (20, 24), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "other" / "noise" / f"{k}.png")
    found = evaluate_unknown(file, tmp_path / "other")
    assert (found.images, found.test_images) == (30, len(digits.test))
    assert found.auroc > 0.95 and found.none_of_these > 0.8 and found.test_none_of_these < 0.12


@pytest.mark.parametrize("what", ["class", "image", "nothing", "no familiarity", "table"])
def test_what_is_no_folder_of_other_things_is_refused(made, digits, wine, silent, tmp_path, what):
    file = made("conv-small")[1]
    place = tmp_path / "other" / ("7" if what == "class" else "things")
    place.mkdir(parents=True)
    if what != "nothing":
        Image.fromarray(digits.train.inputs[3, :, :, 0]).save(place / "a.png")
    file = {"no familiarity": silent, "table": wine[1]}.get(what, file)
    expected = {
        "class": (DataError, "'7', which is the name of a known class"),
        "image": (DataError, r"a\.png is an image of digits"),
        "nothing": (DataError, "holds no images"),
        "no familiarity": (ExportError, "has no output for unknown classes"),
        "table": (ExportError, "rows of a table"),
    }[what]
    with pytest.raises(expected[0], match=expected[1]):
        evaluate_unknown(file, tmp_path / "other")
