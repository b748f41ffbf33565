"""Reliability: whether probabilities are true, foreign images are noticed, and changed contrast is borne."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.calibration import equal_mass_error
from pipelines.core.metrics.temperature import fit_temperature
from pipelines.evaluation.spoiling import contrast
from pipelines.evaluation.unknown import auroc
from pipelines.exporting.familiarity.fit import fit
from pipelines.plotting.svg import Chart, Series
from pipelines.study.claims.locality import STRIDES
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import FOREIGN, foreign, subset
from pipelines.study.lab import ADAMW, EVALUATED, Arm, Lab, Results
from pipelines.study.models import CONV, DENSE, dense, hybrid, unshared
from zoo.contract import LOGITS
from zoo.data import DataSet
from zoo.data.pixels import in_chunks
from zoo.images import Pixels
from zoo.models.backend import start_keras


def logits_of(model: Any, images: Pixels) -> NDArray[np.float64]:
    """[N, H, W, C] -> [N, K]"""
    found = [np.asarray(model.predict_on_batch(some)[LOGITS]) for some in in_chunks(images, EVALUATED)]
    return np.concatenate(found).astype(np.float64)


def _probabilities(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = shares / shares.sum(axis=1, keepdims=True)
    return found


# --- calibration -----------------------------------------------------------------------------------------------------


def calibration(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """In percent: "accuracy" on the test images; the expected calibration error in 15 bins of equal mass, "as trained"
    and with a "temperature". That is fitted on every other test image, and both errors are measured on the others.
    """
    labels, logits = data_set.test.labels, logits_of(model, data_set.test.inputs)
    temperature = fit_temperature(logits[::2], labels[::2])
    correct = logits.argmax(axis=1) == labels
    found = {"accuracy": 100 * float(correct.mean())}
    for name, divided_by in (("as trained", 1.0), ("temperature", temperature)):
        confidence = _probabilities(logits[1::2] / divided_by).max(axis=1)
        found[name] = 100 * equal_mass_error(confidence, correct[1::2]).error
    return found


def at_equal_accuracy(results: Results, metric: str, arm: str, others: Sequence[str]) -> Sample:
    """For each seed, the metric of the others where their accuracy is that of the arm: along straight lines between
    two of them; where it is less accurate than all of them or more, that of the nearest.
    """
    accuracies, values = (np.array([results[other, name] for other in others]) for name in ("accuracy", metric))
    order = accuracies.argsort(axis=0)  # [others, seeds]
    return np.array(
        [
            np.interp(goal, accuracies[order[:, k], k], values[order[:, k], k])
            for k, goal in enumerate(results[arm, "accuracy"])
        ]
    )


@experiment(
    "calibration",
    claim="At equal accuracy, a conv model is better calibrated than a dense model: its probabilities are closer to "
    "its actual accuracy.",
    refuted_if="At the accuracy of a dense model of about 50,000 parameters, the conv model's calibration error is "
    "lower by less than half a point. The claim holds in part if it isn't lower at the accuracy of a dense model of "
    "14,000 parameters, with 2,000 training images, or once both have a temperature.",
    held_equal="Training images, updates, optimizer; and accuracy, between conv models of three sizes. Parameters and "
    "multiply-accumulates differ.",
    beware="No labels are smoothed and no images augmented, either of which changes calibration more than the layers "
    "may. A calibration error is above 0 by noise alone, by about half a point for 5,000 images. On images from "
    "elsewhere, neither is calibrated.",
)
def calibration_at_equal_accuracy(lab: Lab) -> Finding:
    """Dense models of two sizes and conv models of three are trained on 10,000 images of Fashion-MNIST, and with as
    many updates on 2,000. The conv models' calibration error is interpolated to the accuracy of each dense model. A
    temperature is fitted on half of the test images, and all errors are measured on the other half.
    """
    usual, updates = lab.usual
    few = 2_000
    counts = lab.choose((usual, few), (usual,))
    dense_sizes, conv_sizes = lab.choose((("50 k", "14 k"), tuple(CONV)), (("14 k",), ("4 k", "14 k")))
    arms = {
        f"{family}, {size}, {count} images": (architectures[size], count)
        for count in counts
        for family, sizes, architectures in (("dense", dense_sizes, DENSE), ("conv", conv_sizes, CONV))
        for size in sizes
    }
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates, measure=calibration)
            for name, (architecture, count) in arms.items()
        }
    )

    def lower(size: str, count: int, error: str = "as trained", least: float = 0) -> Effect:
        arm = f"dense, {size}, {count} images"
        others = [f"conv, {conv_size}, {count} images" for conv_size in conv_sizes]
        conditions = f"{size} parameters, {count:,} images{', with a temperature' if error == 'temperature' else ''}"
        difference = results[arm, error] - at_equal_accuracy(results, error, arm, others)
        return Effect(
            f"calibration error at equal accuracy, dense minus conv, {conditions}", difference, "points", least
        )

    def errors(title: str, error: str) -> Chart:
        series = []
        for family, sizes in (("dense", dense_sizes), ("conv", conv_sizes)):
            for dash, count in enumerate(counts):
                names = [f"{family}, {size}, {count} images" for size in sizes]
                names.sort(key=lambda name: float(results[name, "accuracy"].mean()))
                x = [float(results[name, "accuracy"].mean()) for name in names]
                series.append(
                    Series(f"{family}, {count:,} images", x, [results[name, error] for name in names], family, dash)
                )
        return Chart(title, "test accuracy, %", "calibration error, %", series)

    largest = dense_sizes[0]
    return Finding(
        main="at equal accuracy, the calibration error of conv is {} points {lower|higher} than that of dense",
        effects=(
            lower(largest, usual, least=0.5),
            *(lower(size, usual) for size in dense_sizes[1:]),
            *(lower(largest, count) for count in counts[1:]),
            lower(largest, usual, "temperature"),
        ),
        chart=errors("Calibration error vs. accuracy, as trained", "as trained"),
        more=(errors("Calibration error vs. accuracy, with a temperature", "temperature"),),
    )


# --- foreign images --------------------------------------------------------------------------------------------------

KNOWN, OTHERS = 2_000, 500  # test images, and foreign ones of each kind, that are told apart
ACTIVATIONS = 4  # the last so many that are looked at


def with_activations(model: Any) -> tuple[Any, tuple[int, ...]]:
    """A `keras.Model` with two outputs, beside the logits [N, K] what leaves the last ReLUs of a model, averaged over
    positions: [N, D]. And D of each of these.
    """
    keras = start_keras()
    outputs = [layer.output for layer in model.layers if isinstance(layer, keras.layers.ReLU)][-ACTIVATIONS:]
    averaged = [keras.ops.mean(output, axis=tuple(range(1, len(output.shape) - 1))) for output in outputs]
    both = [keras.ops.concatenate(averaged, axis=1), model.get_layer(LOGITS).output]
    return keras.Model(model.input, both), tuple(each.shape[1] for each in averaged)


def activations_and_logits(extended: Any, images: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Of a model that `with_activations` gave: [N, D] and [N, K]."""
    found = [extended.predict_on_batch(some) for some in in_chunks(images, EVALUATED)]
    activations, logits = (np.concatenate([np.asarray(each) for each in part]) for part in zip(*found, strict=True))
    return activations, logits.astype(np.float64)


def told_apart(model: Any, data_set: DataSet) -> Mapping[str, float]:
    """In percent: "accuracy"; and of each kind of foreign images the share of pairs, one of these and one of the test
    images, of which the test image has the nearer "activations", and the greater largest "probability" (AUROC).

    The distance of activations is that of an export's familiarity: Mahalanobis', to the nearest class.
    """
    test, learned = data_set.test, data_set.train
    extended, sizes = with_activations(model)
    features, _ = activations_and_logits(extended, learned.inputs)
    fitted = fit(features, learned.labels, sizes, features)

    def scores(activations: NDArray[np.float32], logits: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {"activations": fitted.scores(activations), "probability": _probabilities(logits).max(axis=1)}

    features, logits = activations_and_logits(extended, test.inputs)
    known = scores(features[:KNOWN], logits[:KNOWN])
    found = {"accuracy": 100 * float((logits.argmax(axis=1) == test.labels).mean())}
    for kind in FOREIGN:
        images = foreign(kind, OTHERS, data_set.height)
        for name, other in scores(*activations_and_logits(extended, images)).items():
            found[f"{name} on {kind}"] = 100 * auroc(known[name], other)
    return found


@experiment(
    "foreign-images",
    claim="A conv model detects images of unknown classes better than a dense model: their activations lie farther "
    "from those of the known classes.",
    refuted_if="At about 50,000 parameters, the conv model's AUROC by the distance of activations, the mean over "
    "digits, photographs and noise, is ahead by less than 1 point. The claim holds in part if the conv model is behind "
    "on one of these, if a conv model of about equal accuracy isn't ahead, or if the larger one isn't ahead by its "
    "largest probability alone.",
    held_equal="Training images, updates, optimizer, and parameter count (within 10%); for equal accuracy a conv "
    "model of 14,000 parameters, which reached that of the dense model within a point in parameter-efficiency.",
    beware="Three kinds of images that look very different from clothes: images that look alike are another question. "
    "The photographs are 500 crops of two, so that the interval says nothing of other photographs. "
    "The distance was chosen among others on models of the zoo, on these kinds among others. Dense models have fewer "
    "layers to look at.",
)
def foreign_images(lab: Lab) -> Finding:
    """Dense and conv models are trained on Fashion-MNIST. Activations behind their last four ReLUs are averaged over
    positions, and compared by Mahalanobis distance to the nearest class, fitted on the training images, as exported
    files do it. AUROC is over pairs of a test image and a foreign one: handwritten digits, crops of two photographs,
    and noise.
    """
    count, updates = lab.usual
    less = lab.choose("14 k", "4 k")
    models = {"dense": DENSE[lab.size], "conv": CONV[lab.size], "smaller conv": CONV[less]}
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates, measure=told_apart)
            for name, architecture in models.items()
        }
    )

    def mean(name: str, by: str) -> Sample:
        found: Sample = np.mean([results[name, f"{by} on {kind}"] for kind in FOREIGN], axis=0)
        return found

    def of_kind(kind: str) -> Effect:
        difference = results["conv", f"activations on {kind}"] - results["dense", f"activations on {kind}"]
        return Effect(f"AUROC by activations, conv minus dense, {kind}", difference, "points", least=0)

    def auroc_by(by: str) -> Chart:
        lines = [
            Series(
                name,
                range(len(FOREIGN)),
                [results[name, f"{by} on {kind}"] for kind in FOREIGN],
                name.removeprefix("smaller "),
                dash=int(name.startswith("smaller")),
            )
            for name in models
        ]
        return Chart(f"AUROC by {by}", "foreign images", "AUROC, %", lines, names=list(FOREIGN))

    by_activations = "AUROC by activations, mean over the kinds"
    return Finding(
        main="by the distance of activations, the AUROC of conv is {} points {higher|lower} than that of dense",
        effects=(
            Effect(
                f"{by_activations}, conv minus dense",
                mean("conv", "activations") - mean("dense", "activations"),
                "points",
                least=1,
            ),
            *map(of_kind, FOREIGN),
            Effect(
                f"{by_activations}, conv of about equal accuracy minus dense",
                mean("smaller conv", "activations") - mean("dense", "activations"),
                "points",
                least=0,
            ),
            Effect(
                "AUROC by the largest probability, mean over the kinds, conv minus dense",
                mean("conv", "probability") - mean("dense", "probability"),
                "points",
                least=0,
            ),
        ),
        chart=auroc_by("activations"),
        more=(auroc_by("probability"),),
    )


# --- contrast --------------------------------------------------------------------------------------------------------

KEPT = (1.0, 0.75, 0.5, 0.3, 0.15)  # of the contrast


def accuracy_by_contrast(model: Any, data_set: DataSet, kept: Sequence[float] = KEPT) -> Mapping[str, float]:
    """Accuracy on the test images with so much of their contrast, each around its own mean; in percent."""
    test, found = data_set.test, {}
    images = np.asarray(test.inputs, np.float32)
    for share in kept:
        poorer = contrast(share)(images, np.random.default_rng(0)) if share < 1 else images
        logits = logits_of(model, np.clip(np.rint(poorer), 0, 255).astype(np.uint8))
        found[f"contrast {share:g}"] = 100 * float((logits.argmax(axis=1) == test.labels).mean())
    return found


@experiment(
    "contrast",
    claim="What makes a model robust to changes in contrast is normalizing each image, not weight sharing.",
    refuted_if="At half the contrast, normalizing each image saves less than 10 points more of a model's accuracy than "
    "sharing its filters does. The claim holds in part if sharing filters saves more than 5 points, if normalizing "
    "saves a dense model less than 10 points, if a normalized model loses more than half a point, or if normalizing "
    "costs more than half a point on the original images.",
    held_equal="Training images, updates, optimizer; shapes of all layers of shared and unshared filters. Unshared "
    "filters have more parameters by definition.",
    beware="A normalized image is the same at any contrast but for rounding, so that most of this follows by "
    "calculation: what is measured is how much models lose without. Images are pulled towards their own mean, which "
    "brightens a black background; another brightness, color or shadow is another question. Normalizing discards how "
    "bright an image is, which is no use where that tells classes apart.",
)
def changed_contrast(lab: Lab) -> Finding:
    """The same four layers with shared and with unshared filters under a dense layer on all positions, and a dense
    model, are trained on Fashion-MNIST, on raw pixels and with each image normalized to one mean and deviation inside
    of the model. Each is tested on images with 100 to 15% of their contrast. All are trained with AdamW, as in
    weight-sharing.
    """
    count, updates = lab.usual
    kept = lab.choose(KEPT, (1.0, 0.5))
    filters, units = lab.choose(((16, 16, 24, 32), 35), ((6, 6, 8, 12), 10))
    models = {
        "shared": (hybrid(*filters, strides=STRIDES, units=()), "conv"),
        "unshared": (unshared(*filters, strides=STRIDES, pooled=False), "unshared"),
        "dense": (dense(units), "dense"),
    }
    results = lab.train(
        {
            f"{name}, {'normalized' if normalize == 'image' else 'raw'}": Arm(
                architecture,
                partial(subset, "fashion-mnist", count),
                updates,
                {**ADAMW, "normalize": normalize},
                partial(accuracy_by_contrast, kept=kept),
            )
            for name, (architecture, _) in models.items()
            for normalize in ("none", "image")
        }
    )

    def change(name: str, pixels: str) -> Sample:
        return results[f"{name}, {pixels}", "contrast 0.5"] - results[f"{name}, {pixels}", "contrast 1"]

    def saved_by_normalizing(name: str) -> Sample:
        return change(name, "normalized") - change(name, "raw")

    saved_by_sharing = change("shared", "raw") - change("unshared", "raw")
    what = "change of accuracy at half the contrast"
    return Finding(
        main="at half the contrast, normalizing saves {} points {more|less} than sharing filters",
        effects=(
            Effect(
                f"{what}: saved by normalizing unshared filters' images, minus saved by sharing filters",
                saved_by_normalizing("unshared") - saved_by_sharing,
                "points",
                least=10,
            ),
            Effect(f"{what}: saved by sharing filters", saved_by_sharing, "points", most=5),
            Effect(f"{what}: saved by normalizing, dense", saved_by_normalizing("dense"), "points", least=10),
            *(
                Effect(f"{what}, {name}, normalized", change(name, "normalized"), "points", least=-0.5)
                for name in models
            ),
            *(
                Effect(
                    f"accuracy on the original images, {name}, normalized minus raw",
                    results[f"{name}, normalized", "contrast 1"] - results[f"{name}, raw", "contrast 1"],
                    "points",
                    least=-0.5,
                )
                for name in models
            ),
        ),
        chart=Chart(
            "Test accuracy vs. contrast",
            "contrast of the test images, %",
            "test accuracy, %",
            [
                Series(
                    f"{name}, {pixels}",
                    [100 * share for share in kept],
                    [results[f"{name}, {pixels}", f"contrast {share:g}"] for share in kept],
                    family,
                    dash,
                )
                for dash, pixels in enumerate(("raw", "normalized"))
                for name, (_, family) in models.items()
            ],
        ),
    )
