"""What a card says of corrupted images: how accurate the model is on each kind, and whether it had trained for it."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.core.support.markdown import filled, plain, row, table
from pipelines.evaluation.corruptions import STRENGTHS
from pipelines.evaluation.evaluate import Evaluation
from pipelines.evaluation.robustness import CorruptedMetrics
from zoo.contract import PLOTS_FOLDER

PLOT = "corruptions.png"


def robustness_sentence(evaluation: Evaluation) -> str:
    """For the card's first lines; nothing where corrupted images were measured as they were before, or not at all."""
    if not _is_told_apart(evaluation):
        return ""
    kinds = {True: "kinds that its training augmentation imitated", False: "kinds new to it"}
    parts = [
        f"{value:.2%} on {kinds[seen]}"
        for seen, value in ((True, evaluation.robust_seen), (False, evaluation.robust_unseen))
        if value is not None
    ]
    return (
        f"On corrupted images (noise, blur, fog, lighting, compression, geometry), its mean accuracy is "
        f"**{evaluation.robust_accuracy:.2%}**: {' and '.join(parts)}."
    )


def robustness_section(evaluation: Evaluation) -> str:
    """A line for each kind with the accuracy by strength, and the plot of it."""
    if not _is_told_apart(evaluation):
        return _first_suite(evaluation)
    about = f"""
        Accuracy on test images corrupted in {len(_kinds(evaluation))} ways at five strengths (after Hendrycks &
        Dietterich 2019), with {max(each.images for each in evaluation.corrupted):,} images each. None of them was used
        to select the model. Seen: imitated by the training augmentation.
    """
    rows = []
    for kind in _kinds(evaluation):
        found = [each for each in evaluation.corrupted if each.kind == kind]
        amounts = _span(found[0].amount, found[-1].amount)
        mean = sum(each.accuracy for each in found) / len(found)
        seen = "seen" if found[0].seen else ""
        rows.append((kind, amounts, seen, *(f"{each.accuracy:.1%}" for each in found), f"{mean:.2%}"))
    means = (
        ("mean, seen", evaluation.robust_seen),
        ("mean, unseen", evaluation.robust_unseen),
        ("mean, all", evaluation.robust_accuracy),
        ("clean", evaluation.accuracy),
    )
    blank = [""] * (STRENGTHS + 2)
    rows += [(name, *blank, f"{value:.2%}") for name, value in means if value is not None]
    columns = ("corruption", "mild to strong", "in training", *(f">{k + 1}" for k in range(STRENGTHS)), ">mean")
    drawn = f"\n\n![{plain(evaluation.plots[PLOT])}]({PLOTS_FOLDER}/{PLOT})" if PLOT in evaluation.plots else ""
    return f"## Corrupted images\n\n{filled(about)}\n\n{table(columns, map(row, rows))}{drawn}"


def _first_suite(evaluation: Evaluation) -> str:
    """As cards have it that were written before kinds were told apart."""
    about = """
        Accuracy on the same test images, corrupted in four common ways (after Hendrycks & Dietterich 2019), mildly and
        strongly. None of them was used to select the model.
    """
    rows: list[Sequence[str]] = [
        (f"{each.kind}, {'mild' if each.severity == 1 else 'strong'}", each.amount, f"{each.accuracy:.2%}")
        for each in evaluation.corrupted
    ]
    rows += [("mean, all", "", f"{evaluation.robust_accuracy:.2%}"), ("clean", "", f"{evaluation.accuracy:.2%}")]
    columns = ("corruption", "strength", ">accuracy")
    return f"## Corrupted images\n\n{filled(about)}\n\n" + table(columns, map(row, rows))


def _span(first: str, last: str) -> str:
    """Two amounts in one: `quality 80` and `quality 40` are `quality 80 to 40`."""
    pairs = zip(first.split(), last.split(), strict=True)
    return " ".join(word if word == other else f"{word} to {other}" for word, other in pairs)


def _kinds(evaluation: Evaluation) -> list[str]:
    return list(dict.fromkeys(each.kind for each in evaluation.corrupted))


def _is_told_apart(evaluation: Evaluation) -> bool:
    measured: Sequence[CorruptedMetrics] = evaluation.corrupted
    return bool(measured) and all(each.seen is not None for each in measured)
