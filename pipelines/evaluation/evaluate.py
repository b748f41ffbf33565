"""`zoo evaluate RUN`: how good a trained model is, on images that had no part in its making."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.core.metrics.calibration import calibration_bins
from pipelines.core.metrics.classification import confusion_matrix, precision_recall_f1
from pipelines.core.provenance.plan import load_data
from pipelines.evaluation.corruptions import as_learned
from pipelines.evaluation.held_out import HeldOut, answer_metrics, cooled, fit
from pipelines.evaluation.learning_curves import curves
from pipelines.evaluation.plots import (
    confusion,
    confusion_text,
    corruptions,
    corruptions_text,
    decision,
    decision_text,
    reliability,
    reliability_text,
)
from pipelines.evaluation.predictions import Answers, ask_all, clean_metrics, in_batches
from pipelines.evaluation.reliability import ClassReliability, Decision, by_class, decisions, reliability_metrics
from pipelines.evaluation.robustness import CorruptedMetrics, measure_corrupted, robust_metrics
from pipelines.plotting.tiles import errors, errors_text, first_layer, first_layer_text
from pipelines.tracking import TrackedRun
from zoo.contract import LOGITS, PROBABILITIES, renamed
from zoo.data import DataSet, Split
from zoo.data.held_out import held_out
from zoo.errors import ExportError

logger = logging.getLogger("zoo.evaluation")

EVALUATION_FOLDER = "evaluation"  # among the artifacts of a run
EVALUATION_FILE = "evaluation.json"
SMALL_SIDE = 560  # pixels at most


@dataclass(frozen=True)
class ClassMetrics:
    """How a class fared. precision: share of its answers that are correct; recall: share of its images found; 0..1."""

    label: str
    images: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Evaluation:
    """A model on its whole test set.

    accuracy, and its 95% interval from low to high (Wilson): 0..1. loss: mean cross-entropy in nats. top3: share of
    images whose class is among the three likeliest. confidence: mean probability of the answers; calibration_error:
    expected difference between a probability and how often the answer is correct, in 15 bins. robust_accuracy: the mean
    over all corruptions of the images; robust_seen, robust_unseen: over the kinds that augmentation imitated in
    training and over the others, None where there are none. confusion: [K][K] counts, a row for each class, a column
    for each answer. plots: file name -> alternative text. A table's rows aren't corrupted: robust_accuracy is None.
    balanced_accuracy and macro_f1: means over the classes of recall and F1, 0..1; None where the classes have about as
    many test images. findings: what the check of the data set found, a sentence each. held_out: what was fitted on
    images that were not learned from; all of the above is of answers that are calibrated by it. reliability: by class,
    in the same order; decisions: for each accuracy that the surest answers are to reach.
    """

    run: str
    model: str
    data_set: str
    images: int
    accuracy: float
    low: float
    high: float
    loss: float
    top3: float
    confidence: float
    calibration_error: float
    robust_accuracy: float | None
    corrupted: tuple[CorruptedMetrics, ...]
    classes: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    plots: Mapping[str, str]
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    findings: tuple[str, ...] = ()
    held_out: HeldOut = field(default_factory=HeldOut)
    reliability: tuple[ClassReliability, ...] = ()
    decisions: tuple[Decision, ...] = ()
    robust_seen: float | None = None
    robust_unseen: float | None = None

    def to_json(self) -> str:
        """The text of evaluation.json."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def evaluate(run: str) -> Evaluation:
    """Evaluate a run's Keras model on the whole test set, clean and corrupted, and log metrics and plots.

    The rows of a table aren't corrupted. If the recipe holds images out of training, the probabilities are first
    calibrated on these.

    run: its id, or the beginning of it.
    Raises TrackingError for a run that doesn't exist or has no model, and DataError if its images have changed.
    """
    tracked = tracking.load_run(run)
    data_set = load_data(tracked.plan, digest=tracked.data_digest)
    model = tracking.load_keras_model(tracked.run_id)

    def ask(inputs: Any) -> Answers:
        found = model.predict_on_batch(inputs)
        return np.asarray(found[LOGITS]), np.asarray(found[PROBABILITIES])

    kept = held_out(data_set, tracked.plan.recipe.images)
    fitted = HeldOut()
    if kept is None:
        logger.info("%s: no images were held out of training, so it is not calibrated", tracked.plan.model)
    else:
        logits = ask_all(ask, in_batches(kept.inputs, "running the model on held-out data"))[0]
        fitted = fit(logits, kept.labels, tracked.plan.model)
    answers = ask_all(ask, in_batches(data_set.test.inputs, "running the model on the test set"))
    if fitted.temperature != 1:
        answers = cooled(answers[0], fitted.temperature)
    recipe = as_learned(tracked.plan.recipe.to_json(), head_alone=tracked.metrics.get("best_epoch") == 0)
    corrupted = () if data_set.columns else measure_corrupted(data_set.test, ask, recipe)
    measured = {**clean_metrics(data_set.test, answers), **robust_metrics(corrupted)}
    measured |= reliability_metrics(data_set.test, answers, fitted.calibration, fitted.sets) | answer_metrics(fitted)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        drawn = draw(folder, tracked, model, data_set, answers[1], corrupted)
        _write_small(folder, [name for name in ("curves.png", "confusion.png") if name in drawn])
        evaluation = judge(tracked, data_set, answers[1], measured, corrupted, drawn)
        evaluation = with_reliability(evaluation, data_set.test, answers, fitted)
        (folder / EVALUATION_FILE).write_text(evaluation.to_json(), encoding="utf-8")
        tracking.log_folder(tracked.run_id, folder, EVALUATION_FOLDER)
    # Last: who finds an accuracy in a run finds its plots, too.
    tracking.log_metrics(tracked.run_id, measured, model=tracking.KERAS_MODEL, split="test")
    return evaluation


def with_reliability(evaluation: Evaluation, test: Split, answers: Answers, fitted: HeldOut) -> Evaluation:
    """The same evaluation, with how far each class and each answer can be relied on. answers: calibrated ones."""
    labels = [row.label for row in evaluation.classes]
    return replace(
        evaluation,
        held_out=fitted,
        reliability=by_class(test, answers, labels, fitted.calibration, fitted.sets),
        decisions=decisions(test, answers, fitted.answer_from),
    )


def judge(
    tracked: TrackedRun,
    data_set: DataSet,
    probabilities: NDArray[np.float32],
    measured: Mapping[str, float],
    corrupted: Sequence[CorruptedMetrics],
    drawn: Mapping[str, str],
) -> Evaluation:
    """All that is known of a run's model by its probabilities [N, K] for the N test images, as `judge_answers`."""
    about = (tracked.run_id, tracked.plan.model, tracked.data_set)
    findings = data_set.findings
    return judge_answers(about, data_set.labels, data_set.test, probabilities, measured, corrupted, drawn, findings)


def judge_answers(
    about: tuple[str, str, str],
    labels: Sequence[str],
    test: Split,
    probabilities: NDArray[np.float32],
    measured: Mapping[str, float],
    corrupted: Sequence[CorruptedMetrics],
    drawn: Mapping[str, str],
    findings: tuple[str, ...] = (),
) -> Evaluation:
    """All that is known of a model by its probabilities [N, K] for the N test images, whoever gave them.

    about: run, model and data set. measured: the metrics of `pipelines.evaluation.predictions`. drawn: the plots that
    go with them. findings: of the data set.
    """
    run, model, data_set = about
    answer, confidence, correct = _answers(probabilities, test)
    confusion = confusion_matrix(test.labels, answer, len(labels))
    precision, recall, f1 = (shares.tolist() for shares in precision_recall_f1(confusion))
    counts = confusion.sum(axis=1).tolist()
    return Evaluation(
        run=run,
        model=model,
        data_set=data_set,
        images=len(correct),
        accuracy=measured["test_accuracy"],
        low=measured["test_accuracy_low"],
        high=measured["test_accuracy_high"],
        loss=measured["test_loss"],
        top3=measured["test_top3"],
        confidence=float(confidence.mean(dtype=np.float64)),
        calibration_error=measured["test_calibration_error"],
        robust_accuracy=measured.get("test_robust_mean", measured.get("test_robust_accuracy")),
        corrupted=tuple(corrupted),
        classes=tuple(map(ClassMetrics, labels, counts, precision, recall, f1)),
        confusion=tuple(map(tuple, confusion.tolist())),
        plots=drawn,
        balanced_accuracy=measured.get("test_balanced_accuracy"),
        macro_f1=measured.get("test_macro_f1"),
        findings=findings,
        robust_seen=measured.get("test_robust_seen"),
        robust_unseen=measured.get("test_robust_unseen"),
    )


def draw(
    folder: Path,
    tracked: TrackedRun,
    model: Any,
    data_set: DataSet,
    probabilities: NDArray[np.float32],
    corrupted: Sequence[CorruptedMetrics] = (),
) -> dict[str, str]:
    """Write the plots of an evaluation to a folder. Returns file name -> alternative text."""
    test, labels = data_set.test, data_set.labels
    answer, confidence, correct = _answers(probabilities, test)
    matrix = confusion_matrix(test.labels, answer, data_set.classes)
    path, kind = folder.joinpath, data_set.kind
    best_epoch, averaged = int(tracked.metrics["best_epoch"]), tracked.tags.get(tracking.WEIGHTS_KEPT) == "averaged"
    drawn = {}
    if "train_loss" in tracked.history:  # else no epoch was trained
        drawn["curves.png"] = curves(path("curves.png"), tracked.history, best_epoch, kind, averaged=averaged)
    drawn |= {
        "confusion.png": confusion(path("confusion.png"), matrix, labels, kind),
        "reliability.png": reliability(path("reliability.png"), calibration_bins(confidence, correct), kind),
        "decision.png": decision(path("decision.png"), confidence, correct, kind),
    }
    if data_set.columns:
        return drawn
    drawn["errors.png"] = errors(path("errors.png"), test.inputs, labels, test.labels, answer, confidence)
    if corrupted:
        drawn["corruptions.png"] = corruptions(path("corruptions.png"), corrupted, float(correct.mean()))
    weights = first_weights(model)
    if weights is not None:
        unit = _unit(weights, test)
        named = labels if unit == "neuron" and weights.shape[3] == len(labels) else None
        drawn["first_layer.png"] = first_layer(path("first_layer.png"), weights, unit, named)
    return drawn


def words_of_plots(
    model: Any,
    test: Split,
    labels: Sequence[str],
    probabilities: NDArray[np.float32],
    corrupted: Sequence[CorruptedMetrics] = (),
) -> dict[str, str]:
    """The alternative texts of the plots that `draw` would make of the answers and the model, without drawing them."""
    answer, confidence, correct = _answers(probabilities, test)
    matrix = confusion_matrix(test.labels, answer, len(labels))
    words = {
        "confusion.png": confusion_text(matrix, labels, test.kind),
        "reliability.png": reliability_text(calibration_bins(confidence, correct)),
        "decision.png": decision_text(confidence, correct, test.kind),
    }
    if test.kind == "images":
        words["errors.png"] = errors_text(labels, test.labels, answer, confidence)
        if corrupted:
            words["corruptions.png"] = corruptions_text(corrupted, float(correct.mean()))
        weights = first_weights(model)
        if weights is not None:
            words["first_layer.png"] = first_layer_text(weights, _unit(weights, test))
    return words


def _unit(weights: NDArray[np.float32], test: Split) -> str:
    return "neuron" if weights.shape[:2] == test.inputs.shape[1:3] else "filter"


def _write_small(folder: Path, names: Sequence[str]) -> None:
    """Copies of plots that fit into the column of a run's description in the MLflow UI."""
    from PIL import Image

    (folder / tracking.SMALL).mkdir()
    for name in names:
        with Image.open(folder / name) as image:
            image.thumbnail((SMALL_SIDE, SMALL_SIDE), Image.Resampling.LANCZOS)
            image.save(folder / tracking.SMALL / name)


def first_weights(model: Any) -> NDArray[np.float32] | None:
    """The weights of the first layer that has a kernel, as images [H, W, C, F]; None where they aren't images."""
    _, height, width, channels = model.input_shape
    layer = next((layer for layer in model.layers if hasattr(layer, "kernel")), None)
    if layer is None:
        return None
    kernel = np.asarray(layer.kernel)
    if kernel.ndim == 2 and len(kernel) == height * width * channels:
        return kernel.reshape(height, width, channels, -1)
    if kernel.ndim == 4 and kernel.shape[2] == channels:
        return kernel
    return None


def read_evaluation(folder: Path) -> Evaluation:
    """What `evaluate` wrote into a folder. Raises ExportError where it isn't there or doesn't fit."""
    path = folder / EVALUATION_FILE
    try:
        found = renamed(json.loads(path.read_text(encoding="utf-8")))
        if "figures" in found:  # as plots were called before
            found["plots"] = found.pop("figures")
        if any(Path(name).name != name for name in found["plots"]):  # it came from the store, and is copied from
            raise ValueError("it names plots outside of its folder")
        classes = tuple(ClassMetrics(**renamed(metrics)) for metrics in found.pop("classes"))
        corrupted = tuple(CorruptedMetrics(**metrics) for metrics in found.pop("corrupted"))
        confusion = tuple(map(tuple, found.pop("confusion")))
        findings = tuple(map(str, found.pop("findings", ())))
        later: dict[str, Any] = {
            "held_out": HeldOut(**found.pop("held_out", {})),
            "reliability": tuple(ClassReliability(**row) for row in found.pop("reliability", ())),
            "decisions": tuple(Decision(**row) for row in found.pop("decisions", ())),
        }
        return Evaluation(
            classes=classes, corrupted=corrupted, confusion=confusion, findings=findings, **later, **found
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ExportError(f"{path} can't be read as an evaluation ({error!r}): `zoo evaluate` the run again") from None


def _answers(
    probabilities: NDArray[np.float32], test: Split
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Of each image [N]: the likeliest class, its probability, and whether it is correct."""
    answer = probabilities.argmax(axis=1)
    return answer, probabilities.max(axis=1), answer == test.labels
