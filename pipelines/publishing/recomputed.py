"""Each number that a card prints, found again: the card is written anew from what the file does, and compared.

What can't be measured is compared with what the file itself carries (how it was made, parity at export). Speeds are of
the machine that measured them, and marked so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx

from pipelines.evaluation.evaluate import Evaluation, judge_answers, with_reliability, words_of_plots
from pipelines.evaluation.held_out import HeldOut, answers_from
from pipelines.evaluation.predictions import clean_metrics
from pipelines.evaluation.robustness import robust_metrics
from pipelines.exporting.architecture import summarize
from pipelines.exporting.card import CURVES, class_rows, error_lines, render_card
from pipelines.exporting.checks import METRIC_TOLERANCE, ROUNDING
from pipelines.exporting.quantization.card_section import with_precisions
from pipelines.exporting.verify import Tested
from zoo.checked import read_text
from zoo.contract import (
    CARD_FILE,
    FLOAT32,
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_FILES,
    SAMPLES_FILE,
    SAMPLES_FOLDER,
    Manifest,
    Metadata,
    check_file,
)
from zoo.errors import VerificationError
from zoo.models.build import build_for_images, build_for_table
from zoo.models.ledger import Ledger, read_ledger
from zoo.models.registry import Family

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?%?")


class KnownLines:
    """Lines by what is in them beside numbers. count, share: by how much one may differ."""

    def __init__(self, lines: Iterable[str], count: int, share: float) -> None:
        self.count, self.share = count, share
        self.lines: dict[str, list[list[str]]] = {}
        self.numbers: set[str] = set()
        for line in lines:
            found = NUMBER.findall(line)
            self.lines.setdefault(NUMBER.sub("#", line), []).append(found)
            self.numbers.update(found)

    def has(self, line: str) -> bool:
        """Whether a line has no number, or those of a known one; of a line in other words, they are looked up alone."""
        found = NUMBER.findall(line)
        if not found:
            return True
        if alike := self.lines.get(NUMBER.sub("#", line)):
            return any(self._are(found, each) for each in alike)
        return self.numbers.issuperset(found)

    def _are(self, found: Sequence[str], known: Sequence[str]) -> bool:
        return all(a == b or self._is(a, b) for a, b in zip(found, known, strict=True))

    def _is(self, found: str, known: str) -> bool:
        if "e" in found + known:  # a parity, as the file itself has it
            return False
        a, b = (float(number.replace(",", "").rstrip("%")) for number in (found, known))
        if found.endswith("%") and known.endswith("%"):
            return abs(a - b) <= 100 * self.share
        if "." in found and "." in known:
            return abs(a - b) <= self.share
        return "." not in found + known and abs(a - b) <= self.count


def build_again(metadata: Metadata) -> Any:
    """The Keras model, with new weights. Raises ModelError where nobody registered it."""
    if metadata.columns:
        # What numbers are scaled by changes no number of parameters.
        scales = [(0.0, 0.0, 1.0) if each.categories is None else len(each.categories) for each in metadata.columns]
        return build_for_table(metadata.model, scales, len(metadata.labels))
    return build_for_images(metadata)


def check_model(folder: Path, manifest: Manifest, model: Any) -> str:
    """What the manifest says of the model's size is what the registered model has."""
    metadata = manifest.metadata
    size = (metadata.height, metadata.width, metadata.channels)
    ledger = Ledger(metadata.model, cast(Family, metadata.family), size, len(metadata.labels), read_ledger(model))
    found = {
        "parameters": ledger.parameters,
        "multiply_accumulates": ledger.multiply_accumulates,
        "receptive_field": ledger.receptive_field or 0,
    }
    for name, value in found.items():
        if manifest.metrics.get(name, value) != value:
            raise VerificationError(
                f"{folder / MANIFEST_FILE}: {name} is {manifest.metrics[name]:,.0f}, {metadata.model} has {value:,}: "
                "export the model again"
            )
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in found.items())


def check_card(folder: Path, manifest: Manifest, lines: KnownLines) -> str:
    """Each line of the card with a number in it is one that the file gives, within what processors differ by."""
    card = check_file(folder, manifest, CARD_FILE)
    text = read_text(card)
    for line in text.splitlines():
        if not lines.has(line):
            raise VerificationError(
                f"{card} has the line {line.strip()!r}, which isn't what the file gives: export the model again"
            )
    return f"{len(NUMBER.findall(text)):,} numbers found again"


def card_lines(folder: Path, manifest: Manifest, model: Any, tested: Tested) -> KnownLines:
    """The lines that a card may have, by what the file does. model: `build_again`."""
    evaluation = _evaluation(manifest, model, tested)
    expected = _rendered(folder, manifest, evaluation, model).splitlines()
    # Where two classes are as good as equally probable, another processor may list another one.
    others = [*class_rows(evaluation), *error_lines(evaluation, tested.test.kind)]
    return KnownLines([*expected, *others], *_slack(manifest, tested))


def _evaluation(manifest: Manifest, model: Any, tested: Tested) -> Evaluation:
    metadata = manifest.metadata
    test, (_, probabilities), corrupted = tested.test, tested.answers, tested.corrupted
    measured = clean_metrics(test, tested.answers) | robust_metrics(corrupted)
    drawn = words_of_plots(model, test, metadata.labels, probabilities, corrupted) | {"curves.png": CURVES}
    about = (metadata.run_id, metadata.model, metadata.data_set)
    found = judge_answers(about, metadata.labels, test, probabilities, measured, corrupted, drawn, tested.findings)
    fitted = HeldOut(metadata.calibration, metadata.sets, answers_from(manifest.metrics))
    return with_reliability(found, test, tested.answers, fitted)


def _rendered(folder: Path, manifest: Manifest, evaluation: Evaluation, model: Any) -> str:
    samples = sorted(file.path for file in manifest.files if file.path.startswith(f"{SAMPLES_FOLDER}/"))
    sample = SAMPLES_FILE if manifest.metadata.columns else samples[0]
    size = (folder / MODEL_FILE).stat().st_size
    card = render_card(manifest, evaluation, sample, size, summarize(model))
    made = {each: _quantization(folder / MODEL_FILES[each]) for each in manifest.precisions if each != FLOAT32}
    return with_precisions(card, manifest.metrics, made)


def _quantization(file: Path) -> Mapping[str, Any]:
    properties = {p.key: p.value for p in onnx.load(file, load_external_data=False).metadata_props}
    return Metadata.from_properties(properties, str(file)).quantization


def _slack(manifest: Manifest, tested: Tested) -> tuple[int, float]:
    """By how much a count and a share may differ on another processor: by the images that it may answer otherwise."""
    best = np.sort(tested.answers[1], axis=1)[:, -2:]
    undecided = int((best[:, 1] - best[:, 0] <= 2 * ROUNDING[manifest.metadata.precision]).sum())
    fewest = max(1, int(np.bincount(tested.test.labels).min()))
    return undecided, METRIC_TOLERANCE + 0.5 / len(tested.test.labels) + undecided / fewest
