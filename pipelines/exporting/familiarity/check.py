"""Whether a file's FAMILIARITY is what its numbers come to, and how many images of the known classes it accepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.intervals import wilson_interval
from pipelines.evaluation.predictions import familiarity_of, in_batches
from pipelines.exporting.familiarity.features import read_features
from pipelines.exporting.familiarity.fit import THRESHOLD, Matrix
from pipelines.exporting.familiarity.graph import read_familiarity
from pipelines.exporting.graph.edit import Model
from zoo.contract import Metadata
from zoo.data import Split
from zoo.errors import VerificationError
from zoo.runtime import Classifier
from zoo.runtime.providers import reason_of

COMPARED = 1000  # images, at most, of which familiarity is computed once more
# Of a share. Within 1e-5 on most models; but an activation whose last bit differs, as sums in another order make it, is
# some ten times as far in units of what little it varies.
TOLERANCE = 1e-4


def accepted(familiarity: NDArray[np.float32], threshold: float = THRESHOLD) -> float:
    """The share of images that are taken for one of the classes."""
    return float((familiarity >= threshold).mean())


def check_familiarity(
    model: Model, classifier: Classifier, file: Path, test: Split | None, stated: float | None
) -> str:
    """FAMILIARITY is what NumPy computes of the same features in float64, and of the test images as many are accepted
    as the manifest says.

    test: None where the images aren't known. stated: the manifest's share; None where there is none.
    """
    if test is None:
        return "not checked without the test images"
    about = classifier.metadata.familiarity
    few = test.take(np.arange(min(len(test), COMPARED)))
    expected = _computed(model, file, classifier.metadata, few)
    found = familiarity_of(classifier, test.inputs)
    difference = float(np.abs(expected - found[: len(few)]).max())
    if not difference <= TOLERANCE:
        raise VerificationError(
            f"{file}: familiarity differs by {difference:.1e} from what its parameters give, expected at most "
            f"{TOLERANCE:.0e}: export the model again"
        )
    share = accepted(found, about["threshold"])
    if stated is not None and not abs(share - stated) <= 1e-3 + 0.5 / len(test):
        raise VerificationError(
            f"{file} accepts {share:.2%} of the test set, the manifest says {stated:.2%}: export the model again"
        )
    low, high = wilson_interval(round(share * len(test)), len(test))
    return (
        f"within {difference:.0e} of its numbers; {share:.1%} of the test set accepted ({low:.1%} - {high:.1%}), of "
        f"{about['images']:,} held-out images {1 - about['threshold']:.0%}"
    )


def _computed(model: Model, file: Path, metadata: Metadata, split: Split) -> Matrix:
    """[N] in float64, by the numbers in a file that anyone may have written."""
    try:
        name, fitted = read_familiarity(model.graph, metadata.familiarity["images"])
        features = read_features(
            model, (name, (len(fitted.center),)), metadata, in_batches(split.inputs, "checking familiarity")
        )
        return fitted.familiarity(features)
    except Exception as error:  # numbers of other shapes, nodes that lead elsewhere; onnxruntime's have no base
        raise VerificationError(
            f"{file} doesn't compute its familiarity as `zoo export` writes it ({reason_of(error)}): export the model "
            "again"
        ) from None
