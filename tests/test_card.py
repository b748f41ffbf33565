"""A card can be believed: its code runs, its images are there, its class names are shown as they are."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from keras_answers import answers_of_keras
from PIL import Image

import zoo
from pipelines.core.provenance.plan import load_data, make_plan
from pipelines.core.provenance.weights import weights_sha256
from pipelines.core.support.markdown import plain
from pipelines.evaluation.corruptions import FIRST_SUITE, SUITE
from pipelines.evaluation.evaluate import EVALUATION_FILE, draw, judge, with_reliability
from pipelines.evaluation.held_out import HeldOut
from pipelines.evaluation.predictions import clean_metrics
from pipelines.evaluation.reliability import reliability_metrics
from pipelines.evaluation.robustness import CorruptedMetrics, robust_metrics
from pipelines.exporting.architecture import summarize
from pipelines.exporting.card import CLASSES_LISTED, _in_a_list, render_card, write_card
from pipelines.exporting.export import write_export
from pipelines.exporting.usage import resize_words
from pipelines.tracking import TrackedRun
from zoo.contract import (
    CARD_FILE,
    LOGITS,
    PROBABILITIES,
    RESIZINGS,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Metadata,
    read_manifest,
)
from zoo.data import Split
from zoo.errors import ExportError
from zoo.images import resize
from zoo.models import build, definition

# Class names are folder names: what Markdown, HTML, formulas or a table's cells could take for their own.
AMOUNTS = {
    "Gaussian noise": "deviation 4% to 10% of the range",
    "shot noise": "500 to 50 photons for white",
    "impulse noise": "1% to 7% black or white",
    "Gaussian blur": "deviation 0.5 to 1.5 pixels of 28",
    "motion blur": "along 2 to 6 pixels of 28",
    "fog": "haze of 20% to 150% of the range",
    "brightness": "5% to 30% of the range, up or down",
    "contrast": "75% to 15% of it left",
    "JPEG": "quality 80 to 40",
    "pixelation": "90% to 30% of the side's pixels",
    "shift": "1 to 5 pixels of 28, both ways",
    "rotation": "5° to 30° to either side",
    "scale": "1.05 to 1.4 times as large or as small",
}
LABELS = ("zero", "*one*", "t|wo", "<b>3</b>", "$4", "five_5_", "[six](x)", "`7`", "acht & 8", "neun \\ 9")


@pytest.fixture(scope="module", params=[1, 3], ids=["gray", "color"])
def data_set(request):
    digits = load_data(make_plan("softmax", "digits"))

    def tinted(split):
        return Split(np.repeat(split.inputs, request.param, axis=3), split.labels, split.names)

    train, validation, test = (tinted(split) for split in (digits.train, digits.validation, digits.test))
    return replace(digits, name="odd_digits", labels=LABELS, train=train, validation=validation, test=test)


@pytest.mark.parametrize("name", ["+", "-", "#", "1.", "2)", "cat", "a-b"])
def test_a_class_of_signs_begins_no_list_of_its_own(name):
    """As CommonMark reads it: the line is one item, which begins with the name."""
    from markdown import markdown

    page = markdown(f"- {_in_a_list(plain(name))} classified as x: 5 of 40 images")
    assert page.replace("\n", "") == f"<ul><li>{name} classified as x: 5 of 40 images</li></ul>"


@pytest.fixture(scope="module")
def export(data_set, tmp_path_factory):
    """The folder of a real export, with its card."""
    model = build("softmax", 8, 8, data_set.channels, 10)
    pixels = data_set.train.inputs.reshape(len(data_set.train), -1) / 255
    means = np.stack([pixels[data_set.train.labels == k].mean(axis=0) for k in range(10)], axis=1)
    model.get_layer("head_dense").set_weights([means, -(means**2).sum(axis=0) / 2])

    plan = make_plan("softmax", "digits", settings={"epochs": 7})
    names = ("epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
    history = {name: (1, 2, 3) if name == "epoch" else (0.5, 0.6, 0.7) for name in names}
    run = TrackedRun(
        run_id="ab" * 16,
        status="FINISHED",
        plan=plan,
        data_set=data_set.name,
        data_digest=data_set.digest,
        fingerprint="",
        commit="cd" * 20,
        metrics={"best_epoch": 3},
        history=history,
    )
    answers = answers_of_keras(model, data_set.test.inputs)
    evaluated = tmp_path_factory.mktemp("evaluation")
    corrupted = [
        CorruptedMetrics(each.kind, each.severity, each.amount, 0.9 - k / 100, 359, seen=each.kind == "shift")
        for k, each in enumerate(SUITE)
    ]
    drawn = draw(evaluated, run, model, data_set, answers[PROBABILITIES], corrupted)
    both = (answers[LOGITS], answers[PROBABILITIES])
    measured = clean_metrics(data_set.test, both) | robust_metrics(corrupted)
    evaluation = judge(run, data_set, answers[PROBABILITIES], measured, corrupted, drawn)
    evaluation = with_reliability(evaluation, data_set.test, both, HeldOut())
    (evaluated / EVALUATION_FILE).write_text(evaluation.to_json(), encoding="utf-8")
    metadata = Metadata(
        model="softmax",
        family="dense",
        data_set=data_set.name,
        data_digest=data_set.digest,
        labels=data_set.labels,
        height=8,
        width=8,
        channels=data_set.channels,
        recipe=plan.recipe.to_json(),
        run_id=run.run_id,
        commit=run.commit,
        weights_sha256=weights_sha256(model),
        test_accuracy=evaluation.accuracy,
        versions={"keras": "3.15.1"},
    )
    goal = tmp_path_factory.mktemp("exports") / "softmax"

    def describe(folder, manifest):
        write_card(folder, manifest, evaluated, summarize(model))

    write_export(goal, model, data_set, metadata, reliability_metrics(data_set.test, both, {}, {}), describe)
    return goal, evaluation


@pytest.fixture(scope="module")
def card(export):
    return (export[0] / CARD_FILE).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def code(card):
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(blocks) == 2
    return blocks


def run_in(folder, code):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_card_without_sets_explains_none(card):
    assert "By class, over the test images predicted as that class" in card
    assert "Coverage:" not in card


def test_both_ways_to_call_it_run_and_agree(export, code):
    folder, _ = export
    sample = json.loads((folder / SAMPLES_FILE).read_text(encoding="utf-8"))[0]
    expected = LABELS[int(np.argmax(sample["probabilities"]))]
    bare, ours = (run_in(folder, block) for block in code)
    label, _, probability = ours.rpartition(" ")
    assert label == bare == expected
    assert float(probability) == pytest.approx(max(sample["probabilities"]), abs=1e-6)


def test_both_ways_see_a_turned_transparent_image_alike(export, code, tmp_path):
    folder, _ = export
    sample = json.loads((folder / SAMPLES_FILE).read_text(encoding="utf-8"))[0]["file"]
    pixels = np.asarray(Image.open(folder / SAMPLES_FOLDER / sample).convert("RGBA")).copy()
    pixels[: len(pixels) // 2] = 0  # transparent, and black below
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    file = tmp_path / "seen.png"
    Image.fromarray(pixels).save(file, exif=exif)
    begin = code[0].replace(f"{SAMPLES_FOLDER}/{sample}", file.as_posix()).rpartition("print(")[0]
    answer = f'print(session.run(["{PROBABILITIES}"], {{"images": pixels}})[0][0].tolist())'
    found, expected = json.loads(run_in(folder, begin + answer)), zoo.load(folder).predict(file)
    assert LABELS[int(np.argmax(found))] == expected.label
    assert max(found) == pytest.approx(expected.probability, abs=1e-6)


def test_bare_onnxruntime_takes_seven_lines_and_none_of_ours(code):
    assert len(code[0].strip().splitlines()) == 7
    assert "import zoo" not in code[0]


def test_its_images_are_there_and_the_manifest_names_them(export, card):
    folder, evaluation = export
    shown = re.findall(r"!\[.+?\]\((plots/\w+\.png)\)", card)
    assert sorted(shown) == sorted(f"plots/{name}" for name in evaluation.plots)
    assert all((folder / path).stat().st_size > 1000 for path in shown)
    manifest = read_manifest(folder)
    assert all(manifest.file(path) for path in [*shown, CARD_FILE])


def test_its_metrics_are_those_of_the_evaluation(export, card):
    folder, evaluation = export
    assert f"**{evaluation.accuracy:.2%}** on 359 test images" in " ".join(card.split())
    assert f"95% interval {evaluation.low:.2%} to {evaluation.high:.2%}" in card
    metrics = read_manifest(folder).metrics
    assert f"| parameters | {metrics['parameters']:,.0f} |" in card
    assert f"| largest difference from Keras | {metrics['largest_difference']:.1e} |" in card


def test_it_tells_the_accuracy_on_each_corruption_and_their_means(export, card):
    _, evaluation = export
    kinds = {}
    for each in evaluation.corrupted:
        kinds.setdefault(each.kind, []).append(each)
    for kind, found in kinds.items():
        accuracies = [each.accuracy for each in found]
        cells = (kind, AMOUNTS[kind], "seen" if kind == "shift" else "", *(f"{share:.1%}" for share in accuracies))
        assert f"| {' | '.join(cells)} | {np.mean(accuracies):.2%} |" in card
    for name, mean in (
        ("mean, seen", evaluation.robust_seen),
        ("mean, unseen", evaluation.robust_unseen),
        ("mean, all", evaluation.robust_accuracy),
    ):
        assert f"| {name} |  |  |  |  |  |  |  | {mean:.2%} |" in card
    assert f"| robust accuracy | {evaluation.robust_accuracy:.2%} |" in card
    assert "plots/corruptions.png" in card


def test_its_first_lines_say_how_it_fares_on_corrupted_images(export, card):
    _, evaluation = export
    head = " ".join(card.split("\n## ")[0].split())
    assert (
        f"its mean accuracy is **{evaluation.robust_accuracy:.2%}**: {evaluation.robust_seen:.2%} on kinds that its "
        f"training augmentation imitated and {evaluation.robust_unseen:.2%} on kinds new to it."
    ) in head


def test_an_export_that_was_measured_on_the_first_suite_has_its_card_still(export):
    folder, evaluation = export
    corrupted = tuple(CorruptedMetrics(c.kind, c.severity, c.amount, 0.5) for c in FIRST_SUITE)
    before = replace(evaluation, corrupted=corrupted, robust_accuracy=0.5, robust_seen=None, robust_unseen=None)
    card = render_card(read_manifest(folder), before, "samples/0.png", 4000, "")
    for each in corrupted:
        assert f"| {each.kind}, {'mild' if each.severity == 1 else 'strong'} | {each.amount} | 50.00% |" in card
    assert "| mean, all |  | 50.00% |" in card
    assert "seen" not in card.split("\n## ")[0]


def test_what_the_file_cannot_show_again_is_not_printed(export, card):
    folder, evaluation = export
    manifest = read_manifest(folder)
    seeds = {f"test_accuracy_seed_{seed}": 0.9 + seed / 100 for seed in (10, 1, 2)}
    told = render_card(replace(manifest, metrics={**manifest.metrics, **seeds}), evaluation, "samples/0.png", 4000, "")
    assert "over seeds" not in told
    assert "epochs of training" not in card


def test_it_says_how_the_model_was_made(card, data_set):
    assert f"`{'ab' * 16}`" in card
    assert f"`{'cd' * 20}`" in card
    assert data_set.digest in card
    assert "| `epochs` | 7 |" in card


def test_it_draws_the_model_and_says_the_receptive_field(export, card, data_set):
    drawn = card.partition("```text\n")[2].partition("\n```")[0]
    assert drawn == summarize(build("softmax", 8, 8, data_set.channels, 10))
    assert "The receptive field of the features below the head is the whole image." in " ".join(card.split())
    folder, evaluation = export
    manifest = read_manifest(folder)
    narrow = replace(manifest, metrics={**manifest.metrics, "receptive_field": 19.0})
    told = render_card(narrow, evaluation, "samples/0.png", 4000, drawn)
    assert "is 19×19 pixels." in " ".join(told.split())


def test_it_names_the_most_frequent_error_first(export, card):
    _, evaluation = export
    wrong = np.array(evaluation.confusion)
    np.fill_diagonal(wrong, 0)
    row, column = np.unravel_index(wrong.argmax(), wrong.shape)
    images = evaluation.classes[row].images
    first = card.partition("Its most frequent errors:\n\n")[2].partition("\n")[0]
    assert first == f"- {plain(LABELS[row])} classified as {plain(LABELS[column])}: {wrong.max()} of {images} images"


def test_each_table_has_rows_of_one_length(card):
    tables = re.findall(r"(?:^\|.*\|\n)+", card, re.MULTILINE)
    assert len(tables) == 8
    for table in tables:
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1, table


@pytest.mark.parametrize("text", [*LABELS, "# head", "~~gone~~", "![x](y)", "&lt;"])
def test_a_class_name_is_shown_as_it_is(text):
    escaped = plain(text)
    assert re.sub(r"\\([\\`*_\[\]<>|$~&])", r"\1", escaped) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*_\[\]<>|$~&]", escaped)


def test_a_class_name_stays_on_its_line():
    assert plain("two\nlines\tand a tab") == "two lines and a tab"


def test_of_many_classes_those_that_fare_worst_are_listed(export):
    folder, evaluation = export
    many = 100
    classes = tuple(
        replace(evaluation.classes[0], label=f"class {k}", f1=k / many, recall=k / many) for k in reversed(range(many))
    )
    confusion = tuple(tuple(9 if j == k else 0 for j in range(many)) for k in range(many))
    large = replace(evaluation, classes=classes, confusion=confusion)
    card = render_card(read_manifest(folder), large, "samples/0.png", 4000, "")
    listed = re.findall(r"^\| \d+ \| class (\d+) \|", card, re.MULTILINE)
    assert listed == [str(k) for k in range(CLASSES_LISTED)]
    assert "30 of 100 classes with the lowest F1" in card
    assert "- none on the test images" in card


def test_it_says_whether_probabilities_are_too_high(export):
    folder, evaluation = export
    manifest = read_manifest(folder)
    for confidence, words in ((0.99, "overconfident"), (0.7, "well calibrated"), (0.3, "underconfident")):
        judged = replace(evaluation, accuracy=0.7, confidence=confidence)
        assert words in render_card(manifest, judged, "samples/0.png", 4000, "")


def test_every_registered_model_has_a_line_about_itself(card):
    assert plain(definition("softmax").summary) in card


def test_a_damaged_evaluation_leaves_no_card(export, tmp_path):
    folder, _ = export
    with pytest.raises(ExportError, match="zoo evaluate"):
        write_card(tmp_path, read_manifest(folder), tmp_path, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_what_a_card_says_of_resizing_elsewhere_is_what_its_file_does(resizing: str) -> None:
    """By the words: each of them, done with Pillow alone, comes to the pixels of `zoo.images.resize`."""
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (50, 30, 3), np.uint8))
    metadata = read_manifest(Path(__file__).parents[1] / "exports/digits/softmax").metadata
    words = resize_words(replace(metadata, height=20, width=20, resizing=resizing))
    if "crop images to the largest part in the middle" in words:
        image = image.crop((0, 10, 30, 40))
    if "between black margins" in words:
        found = Image.new("RGB", (20, 20))
        found.paste(image.resize((12, 20), Image.Resampling.BILINEAR), (4, 0))
    else:
        found = image.resize((20, 20), Image.Resampling.BILINEAR)
    image = np.random.default_rng(1).integers(0, 256, (50, 30, 3), np.uint8)
    assert np.abs(np.asarray(found).astype(int) - resize(image, 20, 20, resizing)).max() <= 1
