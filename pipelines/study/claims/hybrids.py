"""Hybrids: conv features under a dense head, and how many of the layers should be convolutional."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from pipelines.core.metrics.intervals import mean_interval
from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.plotting.svg import Chart, Front, Point, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.images import subset
from pipelines.study.lab import Arm, Lab
from pipelines.study.models import CONV, DENSE, HYBRID, hybrid
from zoo.contract import INPUT, LOGITS
from zoo.models import build_architecture
from zoo.models.registry import Architecture

ROUNDS = 9
# About equal parameters, with an increasing share of them in conv layers.
SPLITS = {
    "0 conv layers": DENSE["50 k"],
    "1 conv layer": hybrid(6, strides=(4,), units=(160,)),
    "2 conv layers": hybrid(10, 16, strides=(2, 2), units=(56,)),
    "4 conv layers": hybrid(10, 14, 20, 24, strides=(1, 1, 2, 2), units=(33,)),
    "6 conv layers": HYBRID["50 k"],
}


def latencies(architectures: Sequence[Architecture]) -> Sequence[float]:
    """Milliseconds that each ONNX file takes for one image on one CPU thread: [rounds * architectures], interleaved.

    The weights are untrained: their values don't affect latency.
    """
    import onnxruntime

    from pipelines.exporting.convert import convert

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = []
    for architecture in architectures:
        file = convert(build_architecture(architecture, "study", 28, 28, 1, 10)).SerializeToString()
        sessions.append(onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]))
    image = {INPUT: np.zeros((1, 28, 28, 1), np.uint8)}
    calls = [partial(session.run, [LOGITS], image) for session in sessions]
    milliseconds = 1000 * np.median(seconds_in_turns(calls, ROUNDS, in_a_row=200), axis=2)  # [rounds, sessions]
    found: list[float] = milliseconds.ravel().tolist()
    return found


@experiment(
    "hybrids",
    claim="Hybrids combine the strengths of both: with the same number of parameters, conv features with a dense head "
    "are more accurate than a dense model and no less accurate than a conv model with global average pooling.",
    refuted_if="At about 50,000 parameters, the hybrid is ahead of the dense model by less than 1 point. The claim "
    "holds in part if the hybrid is behind the conv model by more than half a point at 50,000 or at 4,000 parameters.",
    held_equal="Training images, updates, optimizer, and parameter count (within 12.5%). Multiply-accumulates differ: "
    "see the second chart.",
    beware="Objects are centered in this data set, which a position-dependent head can exploit. Where objects lie "
    "anywhere, global average pooling has the advantage (see translation). Latency was measured on one machine.",
)
def hybrids(lab: Lab) -> Finding:
    """Models of the three families with 4,000, 14,000 and 50,000 parameters are trained on Fashion-MNIST; and, at
    50,000, models with 0 to 6 conv layers under the dense head. Latency is that of the ONNX file for one image on one
    thread: the median of 200 runs, with the files in alternation, in nine rounds, of which the chart shows the median.
    The dashed line is the Pareto front of the means: no other model is better in both.
    """
    count, updates = lab.usual
    sizes = lab.choose(tuple(DENSE), ("4 k", lab.size))
    families = {"dense": DENSE, "conv": CONV, "hybrid": HYBRID}
    arms = {f"{family}, {size}": models[size] for family, models in families.items() for size in sizes}
    if not lab.quick:
        arms |= SPLITS
    results = lab.train(
        {
            name: Arm(architecture, partial(subset, "fashion-mnist", count), updates)
            for name, architecture in arms.items()
        }
    )
    # The first and the last of the splits are models of the families already.
    family_of = {name: name.partition(",")[0] if "," in name else "hybrid" for name in arms}
    points = [name for name in arms if name not in ("0 conv layers", "6 conv layers")]
    rounds = lab.observe("latency, ms", partial(latencies, [arms[name] for name in points]))
    latency = dict(zip(points, np.median(rounds.reshape(-1, len(points)), axis=0), strict=True))

    def lead(other: str, size: str) -> Sample:
        return results[f"hybrid, {size}"] - results[f"{other}, {size}"]

    def front(title: str, x: str, cost: Callable[[str], float]) -> Front:
        found = []
        for name in points:
            low, high = mean_interval(results[name])
            found.append(Point(name, cost(name), float(np.mean(results[name])), low, high, family_of[name]))
        return Front(title, x, "test accuracy, %", found)

    splits = Chart(
        "Test accuracy vs. conv layers under the dense head, 50,000 parameters",
        "conv layers",
        "test accuracy, %",
        [Series("hybrid", range(len(SPLITS)), [results[name] for name in SPLITS if not lab.quick], "hybrid")],
        names=[name.partition(" ")[0] for name in SPLITS],
    )
    return Finding(
        main=f"with {lab.size} parameters, the hybrid is {{}} points {{more|less}} accurate than dense",
        effects=(
            Effect(f"hybrid minus dense, {lab.size} parameters", lead("dense", lab.size), "points", least=1),
            Effect(f"hybrid minus conv, {lab.size} parameters", lead("conv", lab.size), "points", least=-0.5),
            Effect("hybrid minus conv, 4 k parameters", lead("conv", "4 k"), "points", least=-0.5),
        ),
        chart=front("Test accuracy vs. parameters", "parameters", lambda name: results[name, "parameters"][0]),
        more=(
            front(
                "Test accuracy vs. multiply-accumulates",
                "multiply-accumulates per image",
                lambda name: results[name, "multiply_accumulates"][0],
            ),
            front("Test accuracy vs. latency", "ms per image", lambda name: float(latency[name])),
            *(() if lab.quick else (splits,)),
        ),
    )
