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
    parts = ["## How far to rely on it", filled(_calibrated(manifest.metadata, kind)), _errors(manifest.metrics, kind)]
    parts += [filled(_by_class_words(evaluation.reliability, kind)), _by_class(evaluation.reliability)]
    if sets := _sets(manifest, kind):
        parts.append(sets)
    if manifest.metadata.familiarity:
        parts.append(filled(_familiar(manifest, kind)))
    return "\n\n".join(parts)


def action_section(evaluation: Evaluation, plot: str, kind: str) -> str:
    """Which answers to accept, and which to ask a person about. plot: its line of Markdown."""
    about = f"""
        Accept an answer where its probability reaches a threshold, and ask a person otherwise. Each threshold is the
        lowest at which the answers to the held-out {kind} reach the accuracy on the left; what came of it on the test
        {kind} stands beside it.
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
    columns = (">to be correct on", ">accept from", ">answered", ">of these correct", ">95% interval")
    found = [filled(about), table(columns, map(row, rows))] if rows else []
    return "\n\n".join(["## How to act on it", *found, plot])


def _familiar(manifest: Manifest, kind: str) -> str:
    found, share = manifest.metadata.familiarity, manifest.metrics.get("familiarity_accepted")
    measured = "" if share is None else f", and {1 - share:.1%} of the test {kind}"
    return f"""
        It says how familiar it is with what it is given: the share of {found["images"]:,} {kind} of its classes, held
        out of its training, that look less familiar. Below {found["threshold"]:g} take it for none of the classes,
        however probable the label; so are {found["threshold"]:.0%} of the held-out {kind}{measured}. What looks much
        like one of the classes is not told apart: measure it on your own by `zoo evaluate EXPORT --unknown FOLDER`.
    """


def _calibrated(metadata: Metadata, kind: str) -> str:
    found, images = metadata.calibration, metadata.recipe.get("images")
    if found:
        return f"""
            Its probabilities are calibrated: its logits were divided by a temperature of {found["temperature"]:.4g}
            (Guo et al. 2017), fitted on {found["images"]:,} {kind} that it did not learn from, which changes no label.
        """
    if images == "all":
        return f"""
            Its probabilities are not calibrated: it learned from all {kind} but those of the test. A model that is
            trained with `--set images=most` keeps some for it.
        """
    return f"Its probabilities are not calibrated: too few {kind} were held out of its training, or none."


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
    columns = [f"on the test {kind}", ">before", ">95% interval", ">as exported", ">95% interval"]
    if "test_uncalibrated_loss" not in metrics:
        columns, rows = [columns[0], *columns[3:]], [(line[0], *line[3:]) for line in rows]
    about = f"""
        Calibration error: the expected difference between a probability and how often such answers are correct, in 15
        bins with as many {kind} each. As many {kind} with probabilities that are exactly true come to more than 0, too:
        where chance explains it, the interval begins at 0.
    """
    return f"{table(columns, map(row, rows))}\n\n{filled(about)}"


def _by_class_words(classes: tuple[ClassReliability, ...], kind: str) -> str:
    held = f"""
        Held by its set: the share of the class's {kind} whose set of labels, for a coverage of 95%, holds it.
    """
    return f"""
        By class, of the test {kind} that it was answered for: where the mean probability lies in the interval, it is
        true as far as they can tell. {held if any(each.coverage is not None for each in classes) else ""}
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
        ">answers",
        ">mean probability before",
        ">mean probability",
        ">correct",
        ">95% interval",
        ">held by its set",
        ">by a set by class",
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
        `classifier.predict(..., coverage=0.95).labels` is the set of labels that holds the true one in 95% of cases:
        all that are as probable as the threshold, by {sets["images"]:,} held-out {kind} (split conformal prediction;
        Sadinle et al. 2019), and never none. Where the model is correct more often than that, its answer alone is the
        set. It holds for {kind} that come from where those did: others, such as photos of another camera or of
        something else, break it.
    """
    columns = (">coverage", ">labels from a probability of", f">held, of the test {kind}", ">labels in a set")
    return f"{filled(about)}\n\n{table(columns, map(row, rows))}"
