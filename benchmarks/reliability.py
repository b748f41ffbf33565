"""Calibration and sets of labels of exported files, and what was chosen among: one export a block.

    PYTHONPATH=. python benchmarks/reliability.py [exports/fashion-mnist/lenet5 ...] [--draws 200] [--json FILE]

Held out are the validation images where the recipe says so (images=train or most); exports that learned from all images
are left out. For each export: accuracy; expected calibration error in 15 bins of equal mass, and log loss, before and
after, with their intervals; coverage and mean size of the sets for 90, 95 and 99 %, by three scores and by class. The
interval of a coverage is that of a share of so many test images and of the held-out ones that the threshold rests on.

Then, on the held-out and the test images shuffled together, of which any is as good as any other: the coverage of sets
whose temperature was fitted on the same n images as their threshold, on the other half of n, and on none.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import zoo
from pipelines.core.metrics.conformal import threshold
from pipelines.core.metrics.temperature import fit_temperature
from pipelines.evaluation.held_out import cooled, fit, temperature_of
from pipelines.evaluation.predictions import answers_of
from pipelines.evaluation.reliability import reliability_metrics, within_sets
from zoo.contract import MANIFEST_FILE, read_manifest
from zoo.data import Split, load
from zoo.data.held_out import held_out

COVERAGES = ("0.90", "0.95", "0.99")
NUMBERS = (50, 200, 1000, 5000)
Probabilities = NDArray[np.float32]


def before(probabilities: Probabilities) -> NDArray[np.float64]:
    """APS without randomization (Romano et al. 2020), by the mass of the likelier labels: [N, K], low is likely."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1).astype(np.float64)
    found = np.empty_like(ranked)
    np.put_along_axis(found, order, ranked.cumsum(axis=1) - ranked, axis=1)
    return found


def regularized(probabilities: Probabilities) -> NDArray[np.float64]:
    """RAPS without randomization (Angelopoulos et al. 2021): a label's own mass, and 0.05 for each but the first."""
    ranks = np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1)
    return before(probabilities) + probabilities + 0.05 * ranks


SCORES: dict[str, Callable[[Probabilities], NDArray[np.float64]]] = {
    "LAC": lambda probabilities: 1 - probabilities.astype(np.float64),
    "APS": before,
    "RAPS": regularized,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibration and sets of labels of exported files.")
    parser.add_argument("exports", nargs="*", type=Path, help="default: all of Fashion-MNIST in exports/")
    parser.add_argument("--draws", type=int, default=200, help="of the images that temperature and threshold rest on")
    parser.add_argument("--json", type=Path, help="a file for all numbers")
    options = parser.parse_args()
    found = {}
    for folder in options.exports or sorted(p.parent for p in Path("exports/fashion-mnist").glob(f"*/{MANIFEST_FILE}")):
        metadata = read_manifest(folder).metadata
        data_set = load(metadata.data_set)
        kept = held_out(data_set, str(metadata.recipe.get("images")))
        if kept is None:
            print(f"{folder}: left out, no image is held out of its training\n")
            continue
        classifier = zoo.load(folder, provider="cpu")
        whole = temperature_of(metadata.calibration)  # what it was divided by already
        fitting, tested = (answers_of(classifier, split.inputs)[0] * whole for split in (kept, data_set.test))
        found[folder.name] = measure(folder.name, fitting, kept.labels, tested, data_set.test)
        found[folder.name]["draws"] = of_draws(
            np.concatenate([fitting, tested]), np.concatenate([kept.labels, data_set.test.labels]), options.draws
        )
        print(flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def measure(
    name: str, fitting: Probabilities, labels: NDArray[np.int64], tested: Probabilities, test: Split
) -> dict[str, Any]:
    fitted = fit(fitting, labels, name)
    answers = cooled(tested, fitted.temperature)
    metrics = reliability_metrics(test, answers, fitted.calibration, fitted.sets)
    accuracy = float((tested.argmax(axis=1) == test.labels).mean())
    print(f"{name}: accuracy {accuracy:.2%}, temperature {fitted.temperature:.4f} by {len(labels):,} images")
    for what, unit in (("mass_calibration_error", 100), ("loss", 1)):
        both = [
            [metrics[f"test{k}_{what}{end}"] * unit for end in ("", "_low", "_high")] for k in ("_uncalibrated", "")
        ]
        print(f"  {what:24}" + " -> ".join(f"{e:.4f} ({low:.4f} to {high:.4f})" for e, low, high in both))
    (_, of_fitting), sets = cooled(fitting, fitted.temperature), {}
    for coverage in COVERAGES:
        share = float(coverage)
        reach = 1.96 * sqrt(share * (1 - share) * (1 / len(labels) + 1 / len(test)))
        for score, function in SCORES.items():
            own = np.take_along_axis(function(of_fitting), labels[:, np.newaxis], axis=1)[:, 0]
            most = np.sort(own)[min(len(own), ceil((len(own) + 1) * share)) - 1]
            sets[f"{score} {coverage}"] = judged(function(answers[1]) <= most, answers[1], test)
        if coverage in fitted.sets["by_class"]:
            within = within_sets(answers[1], fitted.sets["by_class"][coverage])
            sets[f"LAC by class {coverage}"] = judged(within, answers[1], test)
        for kind in (kind for kind in sets if kind.endswith(coverage)):
            held, size, worst = sets[kind]
            print(
                f"  {kind:18} held {held:.2%} (expected {share - reach:.2%} to {share + reach:.2%}), "
                f"{size:.3f} labels, of the class held least {worst:.1%}"
            )
    return {"accuracy": accuracy, "temperature": fitted.temperature, **metrics, "sets": sets}


def judged(within: NDArray[np.bool_], probabilities: Probabilities, test: Split) -> tuple[float, float, float]:
    """Coverage, mean size, and the coverage of the class that has least; sets are never empty."""
    within = within.copy()
    within[np.arange(len(within)), probabilities.argmax(axis=1)] = True
    held = within[np.arange(len(test)), test.labels]
    classes = [float(held[test.labels == k].mean()) for k in np.unique(test.labels)]
    return float(held.mean()), float(within.sum(axis=1).mean()), min(classes)


def of_draws(logits: Probabilities, labels: NDArray[np.int64], draws: int) -> dict[str, float]:
    """Mean coverage of labels that reach the threshold for 95 %, over draws of n images."""
    found: dict[str, float] = {}
    random = np.random.RandomState(0)
    for number in (number for number in NUMBERS if number < len(labels) / 2):
        held: dict[str, list[float]] = {"same images": [], "halves": [], "no temperature": []}
        for _ in range(draws):
            order = random.permutation(len(labels))
            few, others = order[:number], order[number : number + 5000]
            first, second = few[: number // 2], few[number // 2 :]
            for way, fitted_on, rests_on in (
                ("same images", few, few),
                ("halves", first, second),
                ("no temperature", None, few),
            ):
                enough = fitted_on is not None and len(fitted_on) >= 50
                temperature = fit_temperature(logits[fitted_on], labels[fitted_on]) if enough else 1.0
                own, other = (
                    np.take_along_axis(cooled(logits[k], temperature)[1], labels[k][:, np.newaxis], axis=1)[:, 0]
                    for k in (rests_on, others)
                )
                held[way].append(float((other >= threshold(own, 0.95)).mean()))
        means = {way: float(np.mean(shares)) for way, shares in held.items()}
        spread = {way: float(np.std(shares)) for way, shares in held.items()}
        error = spread["same images"] / sqrt(draws)
        print(
            f"  {number:,} images, {draws} draws, standard error {error:.2%}: "
            + ", ".join(f"{way} {mean:.2%} ±{spread[way]:.2%}" for way, mean in means.items())
        )
        found |= {f"{way} {number}": mean for way, mean in means.items()}
    return found


if __name__ == "__main__":
    main()
