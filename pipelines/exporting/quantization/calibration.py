"""Calibration: the ranges of the values inside of a model on real images, and where to clip them for int8."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

Range = tuple[float, float]
Counts = NDArray[np.int64]

BINS = 2048
LEVELS = 256  # of a byte
CUTS = np.arange(0.3, 1.0001, 0.02)  # shares of the whole range that the least squares tries


@dataclass(frozen=True)
class Observed:
    """A value's histogram over all images. counts: [BINS], of equal width between low and high, which it reached.

    means: [C], of each channel, which are the second dimension of all that Conv and Gemm read.
    """

    low: float
    high: float
    counts: Counts
    means: NDArray[np.float64]

    @property
    def centers(self) -> NDArray[np.float64]:
        """The middle of each bin, [BINS]."""
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS


def observe(model: Any, values: Sequence[str], batches: Callable[[], Iterable[Any]]) -> dict[str, Observed]:
    """The histogram of each value, by name, while the model answers to images.

    model: a ModelProto. values: names inside of it. batches: gives the images [B, H, W, C] uint8, the same each time:
    they are run twice, for the range and for what lies in it.
    """
    import onnxruntime

    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    there = {output.name for output in opened.graph.output}
    opened.graph.output.extend(
        helper.make_tensor_value_info(value, TensorProto.FLOAT, None) for value in values if value not in there
    )
    session = onnxruntime.InferenceSession(opened.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def found() -> Iterable[tuple[str, NDArray[np.float32]]]:
        for batch in batches():
            yield from zip(values, session.run(values, {name: batch}), strict=True)

    low = dict.fromkeys(values, 0.0)  # 0 is always in the range: padding is 0
    high = dict.fromkeys(values, 0.0)
    for value, numbers in found():
        low[value], high[value] = min(low[value], float(numbers.min())), max(high[value], float(numbers.max()))
    counts = {value: np.zeros(BINS, np.int64) for value in values}
    means: dict[str, list[NDArray[np.float64]]] = {value: [] for value in values}  # of each image, [B, C]
    for value, numbers in found():
        means[value].append(numbers.mean(axis=tuple(range(2, numbers.ndim)), dtype=np.float64))
        if high[value] > low[value]:
            place = ((numbers - low[value]) * (BINS / (high[value] - low[value]))).astype(np.int32).ravel()
            counts[value] += np.bincount(np.minimum(place, BINS - 1), minlength=BINS)
    return {
        value: Observed(low[value], high[value], counts[value], np.concatenate(means[value]).mean(axis=0))
        for value in values
    }


# --- where to cut off -------------------------------------------------------------------------------------------------


def min_max(seen: Observed) -> Range:
    """All that was seen."""
    return seen.low, seen.high


def percentile(share: float, seen: Observed) -> Range:
    """All but the outermost: `share` percent of the numbers lie inside, as many beyond it on either side."""
    beyond = (1 - share / 100) / 2 * seen.counts.sum()
    inside = np.flatnonzero((seen.counts.cumsum() > beyond) & (seen.counts[::-1].cumsum()[::-1] > beyond))
    width = (seen.high - seen.low) / BINS
    if not len(inside):
        return min_max(seen)
    return min(0.0, seen.low + inside[0] * width), max(0.0, seen.low + (inside[-1] + 1) * width)


def least_squares(seen: Observed) -> Range:
    """Where rounding and cutting off together lose least, by the mean of squares (Choukroun et al. 2019).

    The range, of those that are the whole one made smaller, with the least loss; of equals the widest.
    """

    def loss(cut: Range) -> float:
        step = (cut[1] - cut[0]) / (LEVELS - 1)
        beyond = seen.centers - np.clip(seen.centers, *cut)
        return float((seen.counts * (beyond**2 + (beyond == 0) * step**2 / 12)).sum())

    return min(((seen.low * cut, seen.high * cut) for cut in CUTS[::-1]), key=loss)


# The divergence of distributions (Migacz 2017) isn't among them: it cut off so much that ours lost 0.7 to 1.2 points.
METHODS: Mapping[str, Callable[[Observed], Range]] = {
    "min-max": min_max,
    "percentile 99.99": partial(percentile, 99.99),
    "percentile 99.9": partial(percentile, 99.9),
    "least squares": least_squares,
}
