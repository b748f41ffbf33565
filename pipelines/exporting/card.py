"""The card of an export: README.md, with what the model is for, how to call it, where it fails, and how it was made."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.metrics.seed_spread import spread
from pipelines.core.support.markdown import filled, plain, points, row, table
from pipelines.evaluation.evaluate import Evaluation, read_evaluation
from zoo.contract import (
    ACTIVATION_MAP,
    CARD_FILE,
    FEATURES,
    FLOAT16,
    INPUT,
    INT8,
    LOGITS,
    MODEL_FILE,
    MODEL_FILES,
    PLOTS_FOLDER,
    PREFIX,
    PROBABILITIES,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Manifest,
    Metadata,
)
from zoo.models import definition

CLASSES_LISTED = 30  # of more classes, those that fare worst are listed
PAIRS_LISTED = 5
PRECISIONS_TITLE = "## In fewer bits"
CATEGORIES_LISTED = 10  # of a column: the file names them all


def write_card(folder: Path, manifest: Manifest, evaluation: Path, architecture: str) -> None:
    """Write README.md into an export's folder, and the images that it shows below plots/.

    folder: holds model.onnx and samples/ already. manifest: complete but for the files. evaluation: the folder that
    `evaluate` wrote. architecture: of the model, as text. Raises ExportError where the evaluation is damaged.
    """
    found = read_evaluation(evaluation)
    (folder / PLOTS_FOLDER).mkdir()
    for name in found.plots:
        shutil.copyfile(evaluation / name, folder / PLOTS_FOLDER / name)
    samples = json.loads((folder / SAMPLES_FILE).read_text(encoding="utf-8"))
    size = (folder / MODEL_FILE).stat().st_size
    sample = f"{SAMPLES_FOLDER}/{samples[0]['file']}" if "file" in samples[0] else SAMPLES_FILE
    card = render_card(manifest, found, sample, size, architecture)
    (folder / CARD_FILE).write_text(card, encoding="utf-8")


def render_card(manifest: Manifest, evaluation: Evaluation, sample: str, size: int, architecture: str) -> str:
    """The text of the card.

    sample: path of an image in the export, or of the file with rows. size: of model.onnx in bytes. architecture:
    as text.
    """
    metadata = manifest.metadata
    of_table = bool(metadata.columns)
    kind = "rows" if of_table else "images"
    sections = (
        _head(metadata, evaluation),
        _calls_of_table(sample) if of_table else _calls(metadata, sample),
        _contract_of_table(metadata) if of_table else _contract(manifest),
        _model(manifest, architecture),
        _metrics(manifest, evaluation, size, kind),
        _classes(evaluation, kind),
        _failures(evaluation, kind),
        *([] if of_table else [_corruptions(evaluation)]),
        _making(metadata, evaluation),
    )
    return "\n\n".join(sections) + "\n"


def with_precisions(card: str, metrics: Mapping[str, float], made: Mapping[str, Mapping[str, Any]]) -> str:
    """A card with a section about the export's files of other precisions, in place of the one that it had.

    metrics: those of the manifest. made: how each file was made, by precision, as it says itself; none for no section.
    """
    without = re.sub(rf"^{PRECISIONS_TITLE}\n.*?(?=^## |\Z)", "", card, flags=re.MULTILINE | re.DOTALL)
    if not made:
        return without
    place = without.find("\n## Classes\n") + 1 or len(without)
    return without[:place] + _precisions(metrics, made) + "\n\n" + without[place:]


def _precisions(metrics: Mapping[str, float], made: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for precision in made:

        def figure(name: str, precision: str = precision) -> float | None:
            return metrics.get(f"{precision}_{name}")

        speeds = [figure("speedup_1"), figure("speedup_64")]
        rows.append(
            (
                f"`{MODEL_FILES[precision]}`",
                f"{figure('accuracy'):.2%}",
                points(figure("accuracy_difference")),
                f"{points(figure('accuracy_difference_low'))} to {points(figure('accuracy_difference_high'))}",
                f"{figure('same_top_class'):.2%}",
                f"{(figure('size') or 0) / 1000:,.0f} kB",
                *("" if speed is None else f"{speed:.2f}×" for speed in speeds),
            )
        )
    columns = (
        "file",
        ">test accuracy",
        ">points",
        ">95% interval",
        ">same answer",
        ">size",
        ">speed, one image",
        ">speed, 64 at once",
    )
    told = f"""
        The same model in fewer bits, with the same inputs and outputs:
        {" or ".join(f'`zoo.load(".", precision="{precision}")`' for precision in made)}. Points: of accuracy, against
        `{MODEL_FILE}` on the same test images. Same answer: as that file's. Speed: how many times as fast as that
        file, on one thread of the processor that made it.
    """
    parts = [PRECISIONS_TITLE, filled(told), _table(columns, rows)]
    if INT8 in made:
        parts.append(filled(_how_on_bytes(made[INT8])))
    if FLOAT16 in made:
        parts.append(
            filled(
                "float16 halves the file. Processors turn it into float32 as they go; graphics cards may gain or lose."
            )
        )
    return "\n\n".join(parts)


def _how_on_bytes(made: Mapping[str, Any]) -> str:
    in_float = ", ".join(f"`{plain(str(layer))}`" for layer in made.get("float32_layers", ()))
    learned = " (which it had learned from, too)" if made.get("validation_learned") else ""
    return f"""
        int8 was calibrated on {made.get("calibration_images", 0):,} training images; of the ways to do so,
        {plain(str(made.get("calibration")))} came closest to float32 on the validation images{learned}. The test
        images chose nothing. {f"Kept in float32: {in_float}." if in_float else "No layer is kept in float32."}
    """


def _head(metadata: Metadata, evaluation: Evaluation) -> str:
    if metadata.columns:
        kind, does = "rows", "scales numbers, fills gaps and spreads categories"
        trained_on = f"rows of {len(metadata.columns)} columns"
    else:
        kind, does = "images", "resizes and scales"
        color = "gray" if metadata.channels == 1 else "color"
        trained_on = f"{color} images of {metadata.height}×{metadata.width} pixels"
    about = f"""
        This classifier of the **{metadata.family}** family tells {len(metadata.labels)} classes apart. It was trained
        on {trained_on}, and is right on **{evaluation.accuracy:.2%}**
        of {evaluation.images:,} test {kind} that had no part in its making (95% interval {evaluation.low:.2%} to
        {evaluation.high:.2%}). The file {does} by itself, and was checked against the Keras model on each
        of those {kind}.
    """
    title = f"# {plain(metadata.model)} on {plain(metadata.data_set)}"
    return f"{title}\n\n{plain(definition(metadata.model).summary)}\n\n{filled(about)}"


def _calls(metadata: Metadata, sample: str) -> str:
    mode, axes = ("L", "None, ..., None") if metadata.channels == 1 else ("RGB", "None")
    return f"""## Call it

In this folder, with `pip install 'classifier-zoo[cpu]'`:

```python
import zoo

classifier = zoo.load(".")
prediction = classifier.predict("{sample}")
print(prediction.label, prediction.probability)
```

Or with onnxruntime alone:

```python
import json, numpy, onnxruntime, PIL.Image
session = onnxruntime.InferenceSession("{MODEL_FILE}")
labels = json.loads(session.get_modelmeta().custom_metadata_map["{PREFIX}labels"])
image = numpy.asarray(PIL.Image.open("{sample}").convert("{mode}"))[{axes}]
print(labels[session.run(["{PROBABILITIES}"], {{"{INPUT}": image}})[0][0].argmax()])
```

`{SAMPLES_FOLDER}/` holds images with the probabilities that are expected, for a test in any language."""


def _contract(manifest: Manifest) -> str:
    metadata = manifest.metadata
    channels = "gray" if metadata.channels == 1 else "red, green, blue"
    rows = [
        (
            "in",
            f"`{INPUT}`",
            "uint8",
            f"[N, H, W, {metadata.channels}]",
            f"raw pixels 0 to 255, {channels}; any N, H, W",
        ),
        ("out", f"`{PROBABILITIES}`", "float32", f"[N, {len(metadata.labels)}]", "one a class, in the order below"),
        ("out", f"`{LOGITS}`", "float32", f"[N, {len(metadata.labels)}]", "the same before the softmax"),
    ]
    if manifest.map_size:
        shape = f"[N, {len(metadata.labels)}, {', '.join(map(str, manifest.map_size))}]"
        told = "what each position adds to a class: its mean, plus the last layer's bias, is the logits"
        rows.append(("out", f"`{ACTIVATION_MAP}`", "float32", shape, told))
    size = f"{metadata.height}×{metadata.width}"
    elsewhere = (
        f"On CUDA and in OpenVINO, hand it images of {size}, as `zoo.load` does: onnxruntime 1.31 doesn't resize "
        "bytes there, and OpenVINO 2026.4 shrinks without antialiasing."
    )
    table = _table(("", "name", "type", "shape", "what it holds"), rows)
    return f"## What goes in, what comes out\n\n{table}\n\n{elsewhere}"


def _calls_of_table(sample: str) -> str:
    return f"""## Call it

In this folder, with `pip install 'classifier-zoo[cpu]'`:

```python
import json, zoo

classifier = zoo.load(".")
row = json.load(open("{sample}", encoding="utf-8"))[0]["row"]  # column -> value, None where it is missing
prediction = classifier.predict(row)
print(prediction.label, prediction.probability)
```

Or with onnxruntime alone:

```python
import json, numpy, onnxruntime
row = json.load(open("{sample}", encoding="utf-8"))[0]["row"]
session = onnxruntime.InferenceSession("{MODEL_FILE}")
about = session.get_modelmeta().custom_metadata_map
labels, columns = json.loads(about["{PREFIX}labels"]), json.loads(about["{PREFIX}columns"])

def feature(value, categories):
    if categories is None:
        return numpy.nan if value is None else value
    value = "" if value is None else value
    return categories.index(value) if value in categories else -1

features = [[feature(row[column["name"]], column["categories"]) for column in columns]]
answer = session.run(["{PROBABILITIES}"], {{"{FEATURES}": numpy.array(features, "float32")}})[0][0]
print(labels[answer.argmax()])
```

`{SAMPLES_FILE}` holds rows with the probabilities that are expected, for a test in any language."""


def _contract_of_table(metadata: Metadata) -> str:
    classes = f"[N, {len(metadata.labels)}]"
    rows = [
        ("in", f"`{FEATURES}`", "float32", f"[N, {len(metadata.columns)}]", "raw values, in the order below; any N"),
        ("out", f"`{PROBABILITIES}`", "float32", classes, "one a class, in the order below"),
        ("out", f"`{LOGITS}`", "float32", classes, "the same before the softmax"),
    ]
    listed = []
    for place, column in enumerate(metadata.columns):
        if column.categories is None:
            kind, taken = "number", "as it is; NaN where it is missing"
        else:
            kind = f"{len(column.categories)} categories"
            names = [repr(category) for category in column.categories[:CATEGORIES_LISTED]]
            more = ", …" if len(column.categories) > CATEGORIES_LISTED else ""
            taken = f"0 to {len(column.categories) - 1} for {', '.join(names)}{more}; -1 for any other"
        listed.append((f"{place}", plain(column.name), kind, plain(taken)))
    told = f"""
        The class is that of the column {plain(metadata.label_column)}. A missing number counts as the median of the
        training rows.
    """
    table = _table(("", "name", "type", "shape", "what it holds"), rows)
    columns = _table((">feature", "column", "holds", "value"), listed)
    return f"## What goes in, what comes out\n\n{table}\n\n{filled(told)}\n\n{columns}"


def _model(manifest: Manifest, architecture: str) -> str:
    field = int(manifest.metrics["receptive_field"])
    if manifest.metadata.columns:
        told = "A line for each part, with what happens there, how many numbers come out, and its parameters."
    else:
        sees = f"a square of {field}×{field} pixels at most" if field else "the whole image"
        told = f"""
            A line for each part, with what happens there, the shape of its output (height, width and channels, or
            numbers alone) and its parameters. One feature, before they are put together, sees {sees}.
        """
    return f"## The model\n\n{filled(told)}\n\n```text\n{architecture}\n```"


def _metrics(manifest: Manifest, evaluation: Evaluation, size: int, kind: str) -> str:
    metrics, parity = manifest.metrics, manifest.metadata.parity
    interval = f"{evaluation.low:.2%} to {evaluation.high:.2%}"
    rows = [
        ("test accuracy", f"{evaluation.accuracy:.2%}", f"95% interval {interval}, {evaluation.images:,} {kind}"),
        *_over_seeds(manifest),
        ("among the first three", f"{evaluation.top3:.2%}", ""),
        *(
            []
            if evaluation.robust_accuracy is None
            else [
                (
                    "robust accuracy",
                    f"{evaluation.robust_accuracy:.2%}",
                    "on corrupted images, the mean of those below",
                )
            ]
        ),
        ("cross-entropy", f"{evaluation.loss:.4f}", "nats"),
        ("calibration error", f"{evaluation.calibration_error:.2%}", "expected, in 15 bins of probability"),
        ("parameters", f"{metrics['parameters']:,.0f}", ""),
        ("multiply-accumulates", f"{metrics['multiply_accumulates']:,.0f}", f"one {kind[:-1]}"),
        ("size", f"{size / 1000:,.0f} kB", f"`{MODEL_FILE}`"),
        ("largest difference from Keras", f"{parity['largest_difference']:.1e}", f"of a probability, all test {kind}"),
        ("same answer as Keras", f"{parity['same_top_class']:.2%}", f"of the test {kind}"),
    ]
    return "## Metrics\n\n" + _table(("figure", ">value", ""), rows)


def _over_seeds(manifest: Manifest) -> list[tuple[str, str, str]]:
    found = spread(manifest.metrics)
    if found is None:
        return []
    what = f"over seeds {', '.join(map(str, found.seeds))}"
    told = f"mean ± standard deviation of the test accuracy; this file is of seed {manifest.metadata.recipe['seed']}"
    return [(what, str(found), told)]


def _classes(evaluation: Evaluation, kind: str) -> str:
    listed = list(enumerate(evaluation.classes))
    told = f"Precision: of the answers that name the class, the share that is right. Recall: of its {kind}, that found."
    if len(listed) > CLASSES_LISTED:
        listed = sorted(listed, key=lambda entry: entry[1].f1)[:CLASSES_LISTED]
        told += f" These are the {CLASSES_LISTED} classes of {len(evaluation.classes)} that fare worst, by F1."
    rows = [
        (f"{k}", plain(row.label), f"{row.images:,}", *(f"{v:.1%}" for v in (row.precision, row.recall, row.f1)))
        for k, row in listed
    ]
    return f"## Classes\n\n{told}\n\n" + _table((">output", "class", f">{kind}", ">precision", ">recall", ">F1"), rows)


def _failures(evaluation: Evaluation, kind: str) -> str:
    mistakes = "\n".join(
        f"- {plain(row)} taken for {plain(column)}: {count:,} of {images:,} {kind}"
        for count, images, row, column in _frequent_mistakes(evaluation)
    )
    beyond = f"""
        It knows these {len(evaluation.classes)} classes and nothing else: a {kind[:-1]} of something else gets one of
        these labels too, at times with a high probability. It was tested on {kind} of the same origin as those that it
        learned from; how it does on others, nobody has measured.
    """
    return f"""## Where it fails

Its most frequent mistakes:

{mistakes or "- none on the test " + kind}

{_calibration(evaluation)}

{filled(beyond)}

{_images(evaluation, "confusion.png", "mistakes.png", "reliability.png")}"""


def _frequent_mistakes(evaluation: Evaluation) -> Iterable[tuple[int, int, str, str]]:
    """(how often, of how many images, class, answer), the most frequent first."""
    labels = [row.label for row in evaluation.classes]
    matrix = np.array(evaluation.confusion)
    wrong = matrix - np.diag(np.diag(matrix))
    for place in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS_LISTED]:
        row, column = divmod(int(place), len(labels))
        if wrong[row, column]:
            yield int(wrong[row, column]), evaluation.classes[row].images, labels[row], labels[column]


def _calibration(evaluation: Evaluation) -> str:
    gap = evaluation.confidence - evaluation.accuracy
    if abs(gap) < 0.01:
        judged = "Its probabilities can be taken at their word on the whole"
    else:
        judged = "It is too sure of itself" if gap > 0 else "It is more often right than it says"
    return f"{judged}: on average it says {evaluation.confidence:.1%}, and is right on {evaluation.accuracy:.1%}."


def _images(evaluation: Evaluation, *names: str) -> str:
    """Those of the images that were drawn."""
    drawn = {name: evaluation.plots[name] for name in names if name in evaluation.plots}
    return "\n\n".join(f"![{plain(text)}]({PLOTS_FOLDER}/{name})" for name, text in drawn.items())


def _corruptions(evaluation: Evaluation) -> str:
    told = """
        The same test images, spoiled in four common ways (after Hendrycks & Dietterich 2019), mildly and strongly;
        the model wasn't chosen by these either.
    """
    rows = [
        (f"{row.kind}, {'mild' if row.severity == 1 else 'strong'}", row.amount, f"{row.accuracy:.2%}")
        for row in evaluation.corrupted
    ]
    rows += [("mean of all", "", f"{evaluation.robust_accuracy:.2%}"), ("clean", "", f"{evaluation.accuracy:.2%}")]
    return f"## Corrupted images\n\n{filled(told)}\n\n" + _table(("corruption", "how much", ">accuracy"), rows)


def _making(metadata: Metadata, evaluation: Evaluation) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in metadata.versions.items())
    rows = [
        ("MLflow run", f"`{metadata.run_id}`"),
        ("git commit", f"`{metadata.commit}`" if metadata.commit else "outside of a repository"),
        ("data set", f"{plain(metadata.data_set)}, SHA-256 of its content `{metadata.data_digest}`"),
        ("weights", f"SHA-256 `{metadata.weights_sha256}`"),
        ("versions", plain(versions)),
    ]
    if metadata.source:
        name, digest = metadata.source.get("name", ""), metadata.source.get("weights_sha256", "")
        rows.insert(3, ("started from", f"the features of {plain(str(name))}, SHA-256 of its weights `{digest}`"))
    recipe = [(f"`{field}`", plain(str(value))) for field, value in metadata.recipe.items()]
    return f"""## How it was made

{_table(("of", "is"), rows)}

The recipe:

{_table(("field", ">value"), recipe)}

The run keeps it in its `plan.json`; with that, `zoo train --plan plan.json` makes the same weights on the same machine,
with as many threads.

{_images(evaluation, "curves.png", "first_layer.png")}"""


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(columns, map(row, rows))
