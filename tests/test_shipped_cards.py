"""A shipped card has the words that its generator writes today, whatever the numbers; the export isn't made again."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from pipelines.evaluation.corruptions import STRENGTHS
from pipelines.evaluation.evaluate import ClassMetrics, Evaluation
from pipelines.evaluation.reliability import ClassReliability, Decision
from pipelines.evaluation.robustness import CorruptedMetrics
from pipelines.exporting.architecture import summarize
from pipelines.exporting.card import render_card
from pipelines.exporting.quantization.card_section import with_precisions
from pipelines.publishing.recomputed import NUMBER, _quantization, build_again
from zoo.contract import CARD_FILE, FLOAT32, MANIFEST_FILE, MODEL_FILES, read_manifest

EXPORTS = Path(__file__).parent.parent / "exports"
SHIPPED = [path.parent for path in sorted(EXPORTS.glob(f"*/*/{MANIFEST_FILE}"))]


def words(card: str) -> list[str]:
    """A card's sections in one line each, a # for each number."""
    return [NUMBER.sub("#", " ".join(section.split())) for section in card.split("\n## ")]


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def cells(text: str) -> list[list[str]]:
    """The rows of the last table of a section, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    start = max((k for k, line in enumerate(lines) if line.startswith("| -")), default=len(lines))
    return [line.strip("| ").split(" | ") for line in lines[start + 1 :]]


def evaluation_of(card: str, labels: tuple[str, ...]) -> Evaluation:
    """What the generator needs to write the card once more: whatever isn't a number is as the card has it."""
    confusion = np.zeros((len(labels), len(labels)), int)
    number = {re.sub(r"\\(.)", r"\1", label): k for k, label in enumerate(labels)}
    for true, predicted, count in re.findall(r"^- (.+) classified as (.+): ([\d,]+) of", card, re.M):
        confusion[number[true], number[predicted]] = int(count.replace(",", ""))
    corrupted = []
    for name, amount, *others in cells(section(card, "Corrupted images")):
        kind, _, strength = name.partition(", ")
        if strength in ("mild", "strong"):  # as images were corrupted in the first suite
            corrupted.append(CorruptedMetrics(kind, 1 + (strength == "strong"), amount, 0.5))
        elif amount.strip():
            seen = others[0] == "seen"
            corrupted += [CorruptedMetrics(name, k + 1, amount, 0.5, 10, seen) for k in range(STRENGTHS)]
    reliability, given = section(card, "Reliability"), None
    calibrated = re.findall(r"(Overall, it is well calibrated|It is overconfident|It is underconfident):", card)[0]
    before, coverage, by_class = (
        0.5 if head in reliability else given
        for head in ("| uncalibrated probability |", "| coverage |", "| coverage, thresholds by class |")
    )
    share = {each: 0.5 if f"| mean, {each} |" in card else None for each in ("seen", "unseen", "all")}
    return Evaluation(
        run="",
        model="",
        data_set="",
        images=10,
        accuracy=0.5,
        low=0,
        high=1,
        loss=1,
        top3=1,
        confidence=0.9 if "over" in calibrated else 0.1 if "under" in calibrated else 0.5,
        calibration_error=0,
        robust_accuracy=share["all"],
        corrupted=tuple(corrupted),
        classes=tuple(ClassMetrics(label, 10, 0.5, 0.5, 0.5) for label in labels),
        confusion=tuple(map(tuple, confusion.tolist())),
        plots={name: text for text, name in re.findall(r"^!\[(.*)\]\(plots/(.*)\)$", card, re.M)},
        balanced_accuracy=0.5 if "| balanced accuracy |" in card else None,
        macro_f1=0.5 if "| macro F1 |" in card else None,
        reliability=tuple(
            ClassReliability(label, 10, 0.5, 0, 1, 0.5, before, coverage, by_class) for label in labels if reliability
        ),
        decisions=(Decision(0.9, 0.5, 0.5, 0.9, 0, 1),) * len(cells(section(card, "When to accept a prediction"))),
        robust_seen=share["seen"],
        robust_unseen=share["unseen"],
    )


@pytest.mark.parametrize("folder", SHIPPED, ids=[f"{path.parent.name}/{path.name}" for path in SHIPPED])
def test_a_shipped_card_has_the_generators_words(folder):
    card = (folder / CARD_FILE).read_text(encoding="utf-8")
    manifest = read_manifest(folder)
    architecture = section(card, "The model").partition("```text\n")[2].partition("\n```")[0]
    written = render_card(manifest, evaluation_of(card, manifest.metadata.labels), "samples/0.png", 1000, architecture)
    made = {each: _quantization(folder / MODEL_FILES[each]) for each in manifest.precisions if each != FLOAT32}
    assert words(card) == words(with_precisions(written, manifest.metrics, made))


def test_a_shipped_card_has_the_architecture_as_it_is_drawn_today():
    folder = EXPORTS / "digits" / "lenet5"
    drawn = summarize(build_again(read_manifest(folder).metadata))
    assert f"```text\n{drawn}\n```" in (folder / CARD_FILE).read_text(encoding="utf-8")


def test_another_word_is_seen():
    """The comparison can fail: a card with a sentence of its own differs in that section alone."""
    card = (SHIPPED[0] / CARD_FILE).read_text(encoding="utf-8")
    changed = card.replace("Its most frequent errors", "The errors")
    assert [a == b for a, b in zip(words(card), words(changed), strict=True)].count(False) == 1
