"""The card of an export: README.md, with what the model is for, its usage, where it fails, and how it was made."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipelines.core.support.markdown import filled, plain, row, table
from pipelines.evaluation.evaluate import Evaluation, read_evaluation
from pipelines.exporting.card_robustness import robustness_section, robustness_sentence
from pipelines.exporting.licenses import pretrained_sentence
from pipelines.exporting.reliability_section import action_section, reliability_section
from pipelines.exporting.usage import calls, calls_of_table, inputs_and_outputs, inputs_and_outputs_of_table
from zoo.contract import CARD_FILE, MODEL_FILE, PLOTS_FOLDER, SAMPLES_FILE, SAMPLES_FOLDER, Manifest, Metadata
from zoo.models import definition

CLASSES_LISTED = 30  # of more classes, the worst are listed
# In place of the plot's own text, whose epochs and validation accuracy nobody can find again from the file.
CURVES = "Loss and accuracy by epoch: training and, if data was held out for it, validation."
PAIRS_LISTED = 5


def write_card(folder: Path, manifest: Manifest, evaluation: Path, architecture: str) -> None:
    """Write README.md into an export's folder, and the plots that it shows below plots/.

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
        calls_of_table(sample) if of_table else calls(metadata, sample),
        inputs_and_outputs_of_table(metadata) if of_table else inputs_and_outputs(manifest),
        _model(manifest, architecture),
        _metrics(manifest, evaluation, size, kind),
        _classes(evaluation, kind),
        _failures(evaluation, kind),
        *_reliability(manifest, evaluation, kind),
        *([robustness_section(evaluation)] if evaluation.corrupted else []),
        *([_findings(evaluation, kind)] if evaluation.findings else []),
        _making(manifest, evaluation),
    )
    return "\n\n".join(sections) + "\n"


def _head(metadata: Metadata, evaluation: Evaluation) -> str:
    if metadata.columns:
        kind, does = "rows", "standardizes numbers, imputes missing values, and encodes categories"
        trained_on = f"rows of {len(metadata.columns)} columns"
    else:
        kind, does = "images", "resizes and scales its inputs"
        color = "grayscale" if metadata.channels == 1 else "color"
        trained_on = f"{color} images of {metadata.height}×{metadata.width} pixels"
    about = f"""
        A classifier of the **{metadata.family}** family with {len(metadata.labels)} classes, trained on {trained_on}.
        Its accuracy is **{evaluation.accuracy:.2%}** on {evaluation.images:,} test {kind} that it was not trained on
        (95% interval {evaluation.low:.2%} to {evaluation.high:.2%}). The ONNX file {does} itself, and its predictions
        were checked against the Keras model on every test {kind[:-1]}. {robustness_sentence(evaluation)}
    """
    title = f"# {plain(metadata.model)} on {plain(metadata.data_set)}"
    about = f"{about.rstrip()} {plain(pretrained_sentence(metadata))}".rstrip()
    return f"{title}\n\n{plain(definition(metadata.model).summary)}\n\n{filled(about)}"


def _model(manifest: Manifest, architecture: str) -> str:
    field = int(manifest.metrics["receptive_field"])
    if manifest.metadata.columns:
        about = "One line per block: its operations, the number of its outputs, and its parameters."
    else:
        side = f"{field}×{field} pixels" if field else "the whole image"
        about = f"""
            One line per block: its operations, the shape of its output (height × width × channels, or channels
            only), and its parameters. The receptive field of the features below the head is {side}.
        """
    return f"## The model\n\n{filled(about)}\n\n```text\n{architecture}\n```"


def _metrics(manifest: Manifest, evaluation: Evaluation, size: int, kind: str) -> str:
    metrics, parity = manifest.metrics, manifest.metadata.parity
    interval = f"{evaluation.low:.2%} to {evaluation.high:.2%}"
    at_export = f"over all test {kind}, at export"
    rows = [
        ("test accuracy", f"{evaluation.accuracy:.2%}", f"95% interval {interval}, {evaluation.images:,} {kind}"),
        *_over_classes(evaluation),
        ("top-3 accuracy", f"{evaluation.top3:.2%}", ""),
        *(
            []
            if evaluation.robust_accuracy is None
            else [
                (
                    "robust accuracy",
                    f"{evaluation.robust_accuracy:.2%}",
                    "on corrupted images, mean of the table below",
                )
            ]
        ),
        ("cross-entropy", f"{evaluation.loss:.4f}", "nats"),
        (
            "calibration error",
            f"{evaluation.calibration_error:.2%}",
            "expected calibration error (ECE), 15 bins of equal width",
        ),
        ("parameters", f"{metrics['parameters']:,.0f}", ""),
        ("multiply-accumulates", f"{metrics['multiply_accumulates']:,.0f}", f"per {kind[:-1]}"),
        ("size", f"{size / 1000:,.0f} kB", f"`{MODEL_FILE}`"),
        ("largest difference from Keras", f"{parity['largest_difference']:.1e}", f"in any probability, {at_export}"),
        ("same prediction as Keras", f"{parity['same_top_class']:.2%}", at_export),
    ]
    return "## Metrics\n\n" + _table(("metric", ">value", ""), rows)


def _over_classes(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """What the accuracy hides where a class has many more images than another."""
    found = (("balanced accuracy", evaluation.balanced_accuracy, "recall"), ("macro F1", evaluation.macro_f1, "F1"))
    return [(name, f"{value:.2%}", f"mean {of} over the classes") for name, value, of in found if value is not None]


def class_rows(evaluation: Evaluation) -> list[str]:
    """The lines of the table of classes, one for each, in the order of the outputs."""
    return [
        row((f"{k}", plain(c.label), f"{c.images:,}", f"{c.precision:.1%}", f"{c.recall:.1%}", f"{c.f1:.1%}"))
        for k, c in enumerate(evaluation.classes)
    ]


def _classes(evaluation: Evaluation, kind: str) -> str:
    listed, rows = list(range(len(evaluation.classes))), class_rows(evaluation)
    about = f"""
        Precision: of the {kind} predicted as the class, the share that belong to it. Recall: of the {kind} that belong
        to the class, the share predicted as it.
    """
    if len(listed) > CLASSES_LISTED:
        listed = sorted(listed, key=lambda k: evaluation.classes[k].f1)[:CLASSES_LISTED]
        about += f" Listed are the {CLASSES_LISTED} of {len(evaluation.classes)} classes with the lowest F1."
    columns = (">output", "class", f">{kind}", ">precision", ">recall", ">F1")
    return f"## Classes\n\n{filled(about)}\n\n" + table(columns, [rows[k] for k in listed])


def _failures(evaluation: Evaluation, kind: str) -> str:
    errors = "\n".join(itertools.islice(error_lines(evaluation, kind), PAIRS_LISTED))
    beyond = f"""
        It knows only these {len(evaluation.classes)} classes: {kind} of anything else also get one of these labels,
        sometimes with a high probability. It was tested on {kind} from the same source as its training {kind}; its
        accuracy on others is unknown.
    """
    return f"""## Where it fails

Its most frequent errors:

{errors or "- none on the test " + kind}

{_calibration(evaluation)}

{filled(beyond)}

{_plots(evaluation, "confusion.png", "errors.png", "mistakes.png", "reliability.png")}"""


def _reliability(manifest: Manifest, evaluation: Evaluation, kind: str) -> list[str]:
    """Two sections; none of a model that was evaluated before there was anything to say."""
    if "test_mass_calibration_error" not in manifest.metrics:
        return []
    plot = _plots(evaluation, "decision.png")
    return [reliability_section(manifest, evaluation, kind), action_section(evaluation, plot, kind)]


def error_lines(evaluation: Evaluation, kind: str) -> Iterator[str]:
    """A line for each class and another that was answered, the most frequent first."""
    labels = [row.label for row in evaluation.classes]
    matrix = np.array(evaluation.confusion)
    wrong = matrix - np.diag(np.diag(matrix))
    for place in np.argsort(-wrong, axis=None, kind="stable"):
        row, column = divmod(int(place), len(labels))
        if not wrong[row, column]:
            return
        images = evaluation.classes[row].images
        what = f"{_in_a_list(plain(labels[row]))} classified as {plain(labels[column])}"
        yield f"- {what}: {int(wrong[row, column]):,} of {images:,} {kind}"


def _in_a_list(text: str) -> str:
    """Text that begins no list or heading of its own, as the names +, 1. and # would."""
    return re.sub(r"^(\d*)([-+#.)])", r"\1\\\2", text)


def _calibration(evaluation: Evaluation) -> str:
    gap = evaluation.confidence - evaluation.accuracy
    if abs(gap) < 0.01:
        calibrated = "Overall, it is well calibrated"
    else:
        calibrated = "It is overconfident" if gap > 0 else "It is underconfident"
    return f"{calibrated}: its mean probability is {evaluation.confidence:.1%}, its accuracy {evaluation.accuracy:.1%}."


def _plots(evaluation: Evaluation, *names: str) -> str:
    """Those of the plots that were drawn; errors.png was called mistakes.png before."""
    drawn = {name: evaluation.plots[name] for name in names if name in evaluation.plots}
    drawn |= {"curves.png": CURVES} if "curves.png" in drawn else {}
    return "\n\n".join(f"![{plain(text)}]({PLOTS_FOLDER}/{name})" for name, text in drawn.items())


_LICENSES = {"weights": "license of the weights", "data": "license of the data", "data_source": "source of the data"}


def _making(manifest: Manifest, evaluation: Evaluation) -> str:
    metadata, licenses = manifest.metadata, manifest.licenses
    versions = ", ".join(f"{name} {version}" for name, version in metadata.versions.items())
    rows = [
        ("MLflow run", f"`{metadata.run_id}`"),
        ("git commit", f"`{metadata.commit}`" if metadata.commit else "not in a repository"),
        ("data set", f"{plain(metadata.data_set)}, SHA-256 of its content `{metadata.data_digest}`"),
        ("weights", f"SHA-256 `{metadata.weights_sha256}`"),
        ("versions", plain(versions)),
    ]
    rows += [(words, plain(licenses[name])) for name, words in _LICENSES.items() if name in licenses]
    if metadata.source:
        name, digest = metadata.source.get("name", ""), metadata.source.get("weights_sha256", "")
        rows.insert(3, ("transferred from", f"the features of {plain(str(name))}, SHA-256 of its weights `{digest}`"))
    recipe = [(f"`{field}`", plain(str(value))) for field, value in metadata.recipe.items()]
    return f"""## How it was made

{_table(("item", "value"), rows)}

The recipe:

{_table(("field", ">value"), recipe)}

The run stores it in `plan.json`: `zoo train --plan plan.json` reproduces the same weights on the same machine with the
same number of threads.

{_plots(evaluation, "curves.png", "first_layer.png")}"""


def _findings(evaluation: Evaluation, kind: str) -> str:
    about = filled(f"Before training, `zoo data check` found in its {kind}:")
    return "\n".join([f"## The data\n\n{about}\n", *(f"- {plain(sentence)}" for sentence in evaluation.findings)])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return table(columns, map(row, rows))
