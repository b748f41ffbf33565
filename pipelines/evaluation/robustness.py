"""How a model fares on corrupted images, told apart by whether its training imitated the corruption."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from pipelines.core.support.progress import progress
from pipelines.evaluation.corruptions import FIRST_SUITE, KINDS, SUITE, Corruption
from pipelines.evaluation.predictions import Ask, ask_all
from zoo.data import Split
from zoo.data.pixels import Images
from zoo.images import Pixels

# Bytes of corrupted images that are kept, at most: to make those of a suite takes longer than most models' answers, and
# each export is asked about them twice, when it's evaluated and when it's verified.
KEPT = 2**27
_kept: dict[tuple[Corruption, tuple[int, ...], str], Sequence[Pixels]] = {}


@dataclass(frozen=True)
class CorruptedMetrics:
    """Accuracy, 0..1, on test images with one corruption of `evaluation.corruptions`. amount: in words.

    images: how many; 0 where nobody wrote it down, which was all of them. seen: whether augmentation imitated it in
    training; None in the first suite, which didn't ask.
    """

    kind: str
    severity: int
    amount: str
    accuracy: float
    images: int = 0
    seen: bool | None = None


def measure_corrupted(
    test: Split, ask: Ask, recipe: Mapping[str, Any], suite: Sequence[Corruption] = SUITE
) -> tuple[CorruptedMetrics, ...]:
    """The accuracy under each corruption of a suite. recipe: by which the model was trained."""
    seen = {kind.name: kind.is_seen(recipe) for kind in KINDS} if suite is SUITE else {}
    found = []
    with progress("corrupted test images") as advance:
        for done, corruption in enumerate(suite, start=1):
            chosen = corruption.chosen(test.inputs)
            some = test if len(chosen) == len(test) else test.take(chosen)
            _, probabilities = ask_all(ask, _spoiled(corruption, some.inputs))
            accuracy = float((probabilities.argmax(axis=1) == some.labels).mean())
            about = (corruption.kind, corruption.severity, corruption.amount)
            found.append(CorruptedMetrics(*about, accuracy, len(some), seen.get(corruption.kind)))
            advance(done, len(suite), f"{done} of {len(suite)} corruptions")
    return tuple(found)


def _spoiled(corruption: Corruption, images: Images) -> Iterable[Pixels]:
    """The images of a corruption, some at a time: made once for all models that are asked, where there are few."""
    if not isinstance(images, np.ndarray) or images.nbytes > KEPT // len(SUITE):
        return corruption.batches(images)
    key = corruption, images.shape, hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    if key not in _kept:
        while len(_kept) >= len(SUITE):
            del _kept[next(iter(_kept))]  # the oldest
        _kept[key] = tuple(corruption.batches(images))
    return _kept[key]


def suite_of(metrics: Mapping[str, float]) -> Sequence[Corruption]:
    """The corruptions that stored metrics were measured on; none where they have none of corrupted images."""
    return SUITE if "test_robust_mean" in metrics else FIRST_SUITE if "test_robust_accuracy" in metrics else ()


def robust_metrics(corrupted: Sequence[CorruptedMetrics]) -> dict[str, float]:
    """What stands for all corruptions: mean accuracy over all kinds, over those seen in training, and the unseen.

    That of a kind is the mean over its strengths; a mean over no kind is left out. Of the first suite there is one
    mean, by the name that it had.
    """
    kinds: dict[str, list[CorruptedMetrics]] = {}
    for each in corrupted:
        kinds.setdefault(each.kind, []).append(each)
    means = {kind: fmean(each.accuracy for each in found) for kind, found in kinds.items()}
    if not means:
        return {}
    if any(each.seen is None for each in corrupted):
        return {"test_robust_accuracy": fmean(means.values())}
    parts = {
        "mean": list(means.values()),
        "seen": [mean for kind, mean in means.items() if kinds[kind][0].seen],
        "unseen": [mean for kind, mean in means.items() if not kinds[kind][0].seen],
    }
    return {f"test_robust_{part}": fmean(found) for part, found in parts.items() if found}
