"""Hybrids: conv features, a dense head to decide, and where the one should hand over to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter

import numpy as np

from pipelines.core.metrics.intervals import mean_interval
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
# About as many parameters, with ever more of them in convolutions.
SPLITS = {
    "0 conv layers": DENSE["50 k"],
    "1 conv layer": hybrid(6, strides=(4,), units=(160,)),
    "2 conv layers": hybrid(10, 16, strides=(2, 2), units=(56,)),
    "4 conv layers": hybrid(10, 14, 20, 24, strides=(1, 1, 2, 2), units=(33,)),
    "6 conv layers": HYBRID["50 k"],
}


def latencies(diagrams: Sequence[Architecture]) -> Sequence[float]:
    """Milliseconds that each ONNX file takes for one image on one thread of a processor, round by round, by turns.

    The weights are new: what they are doesn't change how long it takes.
    """
    import onnxruntime

    from pipelines.exporting.convert import convert

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = []
    for architecture in diagrams:
        file = convert(build_architecture(architecture, "study", 28, 28, 1, 10)).SerializeToString()
        sessions.append(onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"]))
    image = {INPUT: np.zeros((1, 28, 28, 1), np.uint8)}
    found = []
    for _ in range(ROUNDS):
        for session in sessions:
            times = []
            for _ in range(200):
                begin = perf_counter()
                session.run([LOGITS], image)
                times.append(perf_counter() - begin)
            found.append(1000 * float(np.median(times)))
    return found


@experiment(
    "hybrids",
    claim="Hybrids combine both: with as many parameters, conv features under a dense head are more accurate than a "
    "dense model, and no less accurate than a conv model with an average over positions.",
    refuted_if="With about 50 thousand parameters the hybrid is ahead of the dense model by less than 1 point; it is "
    "a limit if it is behind the conv model by more than half a point there, or with 4 thousand.",
    held_equal="Training images, updates, optimizer, parameters within an eighth. The work differs: see the second "
    "chart.",
    beware="Things lie in the middle in this set, which a head that knows positions can use. Where they lie anywhere, "
    "the average over positions has the advantage (see translation). Latency is that of one machine.",
)
def hybrids(lab: Lab) -> Finding:
    """Models of the three families at budgets of 4, 14 and 50 thousand parameters learn Fashion-MNIST; and at 50
    thousand, models that hand over to the dense head after 0 to 6 conv layers. Latency is that of the ONNX file, for
    one image on one thread: the median of 200, of the files by turns, in nine rounds, of which the chart has the
    median. On the dashed line are the models that no other beats in both, by their means (Pareto's front).
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

    def ahead(of: str, size: str) -> Sample:
        return results[f"hybrid, {size}"] - results[f"{of}, {size}"]

    def front(title: str, x: str, cost: Callable[[str], float]) -> Front:
        found = []
        for name in points:
            low, high = mean_interval(results[name])
            found.append(Point(name, cost(name), float(np.mean(results[name])), low, high, family_of[name]))
        return Front(title, x, "test accuracy, %", found)

    splits = Chart(
        "Accuracy against where conv layers hand over to dense ones, 50 thousand parameters",
        "conv layers",
        "test accuracy, %",
        [Series("hybrid", range(len(SPLITS)), [results[name] for name in SPLITS if not lab.quick], "hybrid")],
        names=[name.partition(" ")[0] for name in SPLITS],
    )
    return Finding(
        effects=(
            Effect(f"hybrid against dense, {lab.size}", ahead("dense", lab.size), "points", least=1),
            Effect(f"hybrid against conv, {lab.size}", ahead("conv", lab.size), "points", least=-0.5),
            Effect("hybrid against conv, 4 k", ahead("conv", "4 k"), "points", least=-0.5),
        ),
        chart=front("Accuracy against parameters", "parameters", lambda name: results[name, "parameters"][0]),
        more=(
            front("Accuracy against multiply-accumulates", "multiply-accumulates", lambda n: results[n, "work"][0]),
            front("Accuracy against latency", "ms for one image", lambda name: float(latency[name])),
            *(() if lab.quick else (splits,)),
        ),
    )
