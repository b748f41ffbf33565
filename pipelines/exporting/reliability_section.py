"""The sections of an export's card about how far its answers can be relied on, and how to act on them."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines.core.support.markdown import filled, plain, row, table
from pipelines.evaluation.evaluate import Evaluation
from pipelines.evaluation.reliability import MEASURED, ClassReliability
from zoo.contract import Manifest, Metadata

CLASSES_LISTED = 30  # of more classes, those with the fewest answers in their interval are listed


def reliability_section(manifest: Manifest, evaluation: Evaluation, kind: str) -> str:
    """Whether probabilities come true, and what sets of labels hold. kind: images or rows."""
    parts = ["## Reliability", filled(_calibrated(manifest.metadata, kind)), _errors(manifest.metrics, kind)]
    parts += [filled(_by_class_words(evaluation.reliability, kind)), _by_class(evaluation.reliability)]
    if sets := _sets(manifest, kind):
        parts.append(sets)
    if manifest.metadata.familiarity:
        parts.append(filled(_familiar(manifest, kind)))
    return "\n\n".join(parts)


def action_section(evaluation: Evaluation, plot: str, kind: str) -> str:
    """Which answers to accept, and which to ask a person about. plot: its line of Markdown."""
    about = f"""
        Accept a prediction if its probability reaches a threshold; otherwise, ask a person. Each threshold is the
        lowest at which the accepted predictions on held-out {kind} reach the target accuracy. The columns to its right
        show the result on the test {kind}.
    """
    rows = [
        (
            f"{100 * each.target:g}%",
            f"{each.threshold:.4f}",
            f"{each.answered:.1%}",
            f"{each.accuracy:.2%}",
            f"{each.low:.2%} to {each.high:.2%}",
        )
        for each in evaluation.decisions
    ]
    columns = (">target accuracy", ">threshold", ">accepted", ">accuracy of these", ">95% interval")
    found = [filled(about), table(columns, map(row, rows))] if rows else []
    return "\n\n".join(["## When to accept a prediction", *found, plot])


def _familiar(manifest: Manifest, kind: str) -> str:
    found, share = manifest.metadata.familiarity, manifest.metrics.get("familiarity_accepted")
    own = ": measure this on your own images with `zoo evaluate EXPORT --unknown FOLDER`" if kind == "images" else ""
    measured = "" if share is None else f" and {1 - share:.1%} of the test {kind}"
    return f"""
        Unknown classes: the output `familiarity` is the share of {found["images"]:,} held-out {kind} of the known
        classes that look less familiar than the input. Below {found["threshold"]:g}, treat the input as an unknown
        class, however high the probability; this rejects {found["threshold"]:.0%} of the held-out {kind}{measured}.
        Unknown classes that closely resemble a known one are not detected{own}.
    """


def _calibrated(metadata: Metadata, kind: str) -> str:
    found, images = metadata.calibration, metadata.recipe.get("images")
    if found:
        return f"""
            Its probabilities are calibrated by temperature scaling (Guo et al. 2017): the logits are divided by
            {found["temperature"]:.4g}, fitted on {found["images"]:,} {kind} held out of training. This changes no
            label.
        """
    if images == "all":
        return f"""
            Its probabilities are not calibrated: it was trained on all {kind} except the test set. Training with
            `--set images=most` holds some out for calibration.
        """
    return f"Its probabilities are not calibrated: too few {kind}, or none, were held out of training."


def _errors(metrics: Mapping[str, float], kind: str) -> str:
    def cells(name: str, share: bool) -> list[str]:
        written = "{:.2%}" if share else "{:.4f}"
        if name not in metrics:
            return ["", ""]
        low, high = (written.format(metrics[f"{name}_{end}"]) for end in ("low", "high"))
        return [written.format(metrics[name]), f"{low} to {high}"]

    rows = [
        (words, *cells(f"test_uncalibrated_{name}", share), *cells(f"test_{name}", share))
        for words, name, share in (
            ("calibration error", "mass_calibration_error", True),
            ("cross-entropy, nats", "loss", False),
        )
    ]
    columns = [f"on the test {kind}", ">uncalibrated", ">95% interval", ">as exported", ">95% interval"]
    if "test_uncalibrated_loss" not in metrics:
        columns, rows = [columns[0], *columns[3:]], [(line[0], *line[3:]) for line in rows]
    about = f"""
        Calibration error: the expected difference between a predicted probability and the accuracy at that probability,
        over 15 bins with the same number of {kind} each. Chance alone makes it larger than 0; if chance is enough to
        explain it, the interval starts at 0.
    """
    return f"{table(columns, map(row, rows))}\n\n{filled(about)}"


def _by_class_words(classes: tuple[ClassReliability, ...], kind: str) -> str:
    held = f"""
        Coverage: the share of the class's {kind} whose prediction set, for a coverage of 95%, contains the class.
    """
    return f"""
        By class, over the test {kind} predicted as that class: a mean probability inside the interval is consistent
        with the precision. {held if any(each.coverage is not None for each in classes) else ""}
    """


def _by_class(classes: tuple[ClassReliability, ...]) -> str:
    def share(value: float | None) -> str:
        return "" if value is None else f"{value:.1%}"

    listed = classes
    if len(classes) > CLASSES_LISTED:
        listed = tuple(sorted(classes, key=lambda each: -abs((each.confidence or 0) - (each.precision or 0))))
    rows = [
        (
            plain(each.label),
            f"{each.answers:,}",
            share(each.uncalibrated_confidence),
            share(each.confidence),
            share(each.precision),
            f"{each.low:.1%} to {each.high:.1%}",
            share(each.coverage),
            share(each.coverage_by_class),
        )
        for each in listed[:CLASSES_LISTED]
    ]
    columns = (
        "class",
        ">predictions",
        ">uncalibrated probability",
        ">mean probability",
        ">precision",
        ">95% interval",
        ">coverage",
        ">coverage, thresholds by class",
    )
    filled_in = [k for k in range(len(columns)) if any(line[k] for line in rows)]
    return table([columns[k] for k in filled_in], [row(line[k] for k in filled_in) for line in rows])


def _sets(manifest: Manifest, kind: str) -> str:
    sets, metrics = manifest.metadata.sets, manifest.metrics
    rows = []
    for coverage in MEASURED:
        percent = coverage.removeprefix("0.")
        if f"test_coverage_{percent}" in metrics:
            held, size = metrics[f"test_coverage_{percent}"], metrics[f"test_mean_set_{percent}"]
            rows.append((f"{percent}%", f"{sets['thresholds'][coverage]:.4g}", f"{held:.2%}", f"{size:.2f}"))
    if not rows:
        return ""
    about = f"""
        `classifier.predict(..., coverage=0.95).labels` is a prediction set: it contains the true label in 95% of cases.
        It has every label whose probability reaches a threshold, and at least one. The thresholds come from
        {sets["images"]:,} held-out {kind} (split conformal prediction; Sadinle et al. 2019). If the model's accuracy is
        above the coverage, most sets have one label. The coverage holds for {kind} from the same source, but not for
        others{", such as photos from another camera or of something else" if kind == "images" else ""}.
    """
    columns = (">coverage", ">threshold", f">covered test {kind}", ">mean set size")
    return f"{filled(about)}\n\n{table(columns, map(row, rows))}"
