"""The metrics of a test, from answers alone: as `evaluate` logs them of a Keras model and `verify` of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.calibration import calibration_bins, calibration_error, cross_entropy
from pipelines.core.metrics.classification import (
    Counts,
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    top_accuracy,
)
from pipelines.core.metrics.intervals import wilson_interval
from pipelines.core.support.progress import progress
from zoo.contract import FAMILIARITY, LOGITS, PROBABILITIES, Metadata
from zoo.data import Split
from zoo.data.pixels import in_chunks
from zoo.images import Pixels
from zoo.runtime import Classifier
from zoo.runtime.running import check_shares, run_session

Answers = tuple[NDArray[np.float32], NDArray[np.float32]]  # logits [N, K], probabilities [N, K]

Ask = Callable[[Pixels], Answers]  # of some images [B, H, W, C]

BATCH = 256  # images at a time, of small ones
# In them: a network makes some ten times as many of each image of 224x224, and keeps them all until the next layer.
BATCH_VALUES = 2**22
# Test images of the largest class for one of the smallest: above it, accuracy alone says little of the smallest.
IMBALANCE = 2.0
KINDS = ("rows", "images")


def in_batches(inputs: Any, work: str) -> Iterator[Any]:
    """All images [N, H, W, C] or rows [N, F], as many at a time as a model is asked about at once.

    work: what they are for, in the progress that is reported.
    """
    size, done, kind = max(1, min(BATCH, BATCH_VALUES // prod(inputs.shape[1:]))), 0, KINDS[inputs.ndim == 4]
    with progress(work) as advance:
        for some in in_chunks(inputs, size):
            yield some
            done += len(some)
            advance(done, len(inputs), f"{done:,} of {len(inputs):,} {kind}")


def made_up(metadata: Metadata, count: int) -> Any:
    """Random images [count, H, W, C] uint8 of the model's size, or rows [count, F] float32: the same each time."""
    random = np.random.default_rng(0)
    if not metadata.columns:
        return random.integers(0, 256, (count, metadata.height, metadata.width, metadata.channels), dtype=np.uint8)
    of_column = [
        random.normal(size=count) if column.categories is None else random.integers(0, len(column.categories), count)
        for column in metadata.columns
    ]
    return np.stack(of_column, axis=1).astype(np.float32)


def answers_of(classifier: Classifier, inputs: Any) -> Answers:
    """What an exported file answers to images [N, H, W, C] uint8, or rows [N, F] float32, however many they are."""
    name, batches = classifier.metadata.input.name, in_batches(inputs, "running the exported file")
    return ask_all(lambda some: classifier.session.run([LOGITS, PROBABILITIES], {name: some}), batches)


def familiarity_of(classifier: Classifier, inputs: Any) -> NDArray[np.float32]:
    """[N]: how familiar a file whose metadata speak of it finds images or rows, however many they are.

    Raises ExportError where it gives something else than a share of each.
    """
    about, provider, batches = classifier.metadata, classifier.provider, in_batches(inputs, "measuring familiarity")
    found = np.concatenate(
        [run_session(classifier.session, about, provider, [FAMILIARITY], some)[0] for some in batches]
    )
    check_shares(found, about)
    return found


def ask_all(ask: Ask, batches: Iterable[Any]) -> Answers:
    """The answers to all of some batches, one after the other: they need not fit into memory at once."""
    logits, probabilities = (np.concatenate(parts) for parts in zip(*map(ask, batches), strict=True))
    return logits, probabilities


def clean_metrics(test: Split, answers: Answers) -> dict[str, float]:
    """The metrics that an export's manifest has of its test, but for those of corrupted images."""
    logits, probabilities = answers
    answer = probabilities.argmax(axis=1)
    correct = answer == test.labels
    low, high = wilson_interval(int(correct.sum()), len(correct))
    found = {
        "test_accuracy": float(correct.mean()),
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_images": len(correct),
        "test_loss": cross_entropy(logits, test.labels),
        "test_top3": top_accuracy(logits, test.labels, 3),
        "test_calibration_error": calibration_error(calibration_bins(probabilities.max(axis=1), correct)),
    }
    confusion = confusion_matrix(test.labels, answer, probabilities.shape[1])
    if is_imbalanced(confusion):
        found |= {"test_balanced_accuracy": balanced_accuracy(confusion), "test_macro_f1": macro_f1(confusion)}
    return found


def is_imbalanced(confusion: Counts) -> bool:
    """Whether a class has so many more test images than another that accuracy is about the one."""
    images = confusion.sum(axis=1)
    return bool(images.max() > IMBALANCE * images.min())
