"""What can be counted: parameters by formula, and how costs grow with image size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from pipelines.core.metrics.turns import seconds_in_turns
from pipelines.plotting.svg import Chart, Series
from pipelines.study.experiment import experiment
from pipelines.study.finding import Effect, Finding, Sample
from pipelines.study.lab import Lab
from zoo.models import build, definitions, pretrained_definitions
from zoo.models.backend import start_keras
from zoo.models.ledger import read_ledger

SIDES = (28, 56, 112, 224)  # pixels
UNITS, FILTERS = 64, 64
ROUNDS = 7
# Batch sizes at the largest image size. Smaller images have larger batches of the same multiply-accumulates, so that
# the overhead of a call and the number of cores in use are the same for all.
TIMED = {"dense": 256, "conv": 16}
# Worked examples of courses: name -> (parameters, shape of the kernel, biases).
EXAMPLES = {
    "100×100×3 pixels to 100 neurons, no biases": (3_000_000, (30_000, 100), False),
    "32 filters of 3×3×3, no biases": (864, (3, 3, 3, 32), False),
    "784 pixels to 100 neurons": (78_500, (784, 100), True),
    "8 filters of 3×3×1": (80, (3, 3, 1, 8), True),
}


@experiment(
    "formulas",
    claim="A dense layer with I inputs and O outputs has I·O + O parameters. A conv layer with a kernel of k×k has "
    "k·k·Cin·Cout + Cout, independent of the image size.",
    refuted_if="Keras counts a different number for any dense or conv layer of the zoo, or for any of four worked "
    "examples.",
    held_equal="Not applicable: these are counts.",
    beware="Parameters aren't compute: a conv layer uses each of its weights at every position.",
)
def formulas(lab: Lab) -> Finding:
    """Every dense and conv layer of every model of the zoo is built for 28x28x1 and 32x32x3 pixels (models on Keras
    Applications for the latter alone). The number of its parameters, as Keras counts them, is compared with the
    formula; so are the four examples. Depthwise layers have a different formula and are left out.
    """
    examples = {name: lab.observe(name, partial(_counted, *kind[1:])) for name, kind in EXAMPLES.items()}
    small, large = ([each.name for each in found] for found in (definitions(), pretrained_definitions()))
    layers = lab.observe("layers that differ, and all layers", partial(_layers_that_differ, small, large))
    off = sum(examples[name][0] != kind[0] for name, kind in EXAMPLES.items())
    places = range(len(EXAMPLES))
    counted = f"differences from the formula, of {layers[1]:.0f} layers and {len(EXAMPLES)} examples"
    return Finding(
        main=f"{{}} of {layers[1]:.0f} layers and {len(EXAMPLES)} examples differ from the formula",
        effects=(Effect(counted, layers[:1] + off, "layers", most=0, exact=True),),
        chart=Chart(
            "Parameters of four layers, by formula and as counted by Keras",
            "layer",
            "parameters",
            [
                Series("by formula", places, [[kind[0]] for kind in EXAMPLES.values()]),
                Series("counted by Keras", places, [examples[name] for name in EXAMPLES], dash=1),
            ],
            names=["pixels → 100", "3×3×3 → 32", "784 → 100", "3×3×1 → 8"],
            log_y=True,
            joined=False,
        ),
    )


def _counted(shape: tuple[int, ...], biases: bool) -> list[float]:
    layers = start_keras().layers
    if len(shape) == 2:
        layer = layers.Dense(shape[1], use_bias=biases)
        layer.build((None, shape[0]))
    else:
        layer = layers.Conv2D(shape[3], shape[:2], use_bias=biases)
        layer.build((None, 9, 9, shape[2]))
    return [float(layer.count_params())]


def _layers_that_differ(small: Sequence[str], large: Sequence[str]) -> tuple[float, float]:
    """Layers whose count differs from the formula, and all. large: models that take no images of 28 pixels."""
    differ = seen = 0
    built = [(name, size) for name in small for size in ((28, 28, 1), (32, 32, 3))]
    for name, size in (*built, *((name, (32, 32, 3)) for name in large)):
        for layer in build(name, *size, 10).layers:
            if type(layer).__name__ == "Dense":
                outputs, taken = layer.units, layer.input.shape[-1]
            elif type(layer).__name__ == "Conv2D":
                outputs, taken = layer.filters, layer.input.shape[-1] * math.prod(layer.kernel_size)
            else:
                continue
            seen += 1
            differ += layer.count_params() != taken * outputs + (outputs if layer.use_bias else 0)
    return float(differ), float(seen)


@experiment(
    "growth",
    claim="For images of s×s pixels, the parameters of a dense layer grow with s², while those of a conv layer stay "
    "constant; the multiply-accumulates of both grow with s².",
    refuted_if="The exponent of a dense layer's parameters isn't 2 (within 0.05). The claim holds in part if that of a "
    "conv layer's parameters isn't 0, if that of either layer's multiply-accumulates isn't 2 (within 0.05), or if that "
    "of their time isn't 2 (within 0.3).",
    held_equal="64 neurons and 64 filters of 3x3, on gray images of 28 to 224 pixels a side.",
    beware="Few parameters don't make a conv layer cheap: here it takes nine times the multiply-accumulates of the "
    "dense layer.",
)
def growth(lab: Lab) -> Finding:
    """A dense layer on all pixels and a conv layer are built for increasing image sizes; parameters,
    multiply-accumulates and bytes are counted. Time per image is measured on batches of 256 images of 224x224 pixels
    (dense) or 16 (conv), and on larger batches of smaller images with the same multiply-accumulates: the minimum of
    three runs in each of seven rounds. Exponents are slopes on log-log scales.
    """
    counted, timed = {}, {}
    for kind in ("dense", "conv"):
        for side in SIDES:
            counted[kind, side] = lab.observe(
                f"{kind}, {side}: parameters, multiply-accumulates, bytes", partial(_costs, kind, side)
            )
            timed[kind, side] = lab.observe(f"{kind}, {side}: seconds per image", partial(_seconds, kind, side))

    def exponent(kind: str, what: int) -> np.ndarray[Any, Any]:
        return np.array([_slope([counted[kind, side][what] for side in SIDES])])

    def exponents_of_time(kind: str) -> np.ndarray[Any, Any]:
        return np.array([_slope([timed[kind, side][k] for side in SIDES]) for k in range(ROUNDS)])

    def by_side(title: str, y: str, cost: Callable[[str, int], Sample]) -> Chart:
        series = [Series(kind, SIDES, [cost(kind, side) for side in SIDES], kind) for kind in TIMED]
        return Chart(
            f"{title} vs. image size",
            "side of the image, pixels",
            y,
            series,
            log_x=True,
            log_y=True,
        )

    unit = "(exponent)"
    return Finding(
        main="the parameters of a dense layer grow with s to the power of {}",
        effects=(
            Effect("dense layer, parameters", exponent("dense", 0), unit, least=1.95, most=2.05, exact=True),
            Effect("conv layer, parameters", exponent("conv", 0), unit, least=-0.01, most=0.01, exact=True),
            Effect("dense layer, multiply-accumulates", exponent("dense", 1), unit, least=1.95, most=2.05, exact=True),
            Effect("conv layer, multiply-accumulates", exponent("conv", 1), unit, least=1.95, most=2.05, exact=True),
            Effect("dense layer, time", exponents_of_time("dense"), unit, least=1.7, most=2.3),
            Effect("conv layer, time", exponents_of_time("conv"), unit, least=1.7, most=2.3),
        ),
        chart=Chart(
            "Parameters and multiply-accumulates vs. image size",
            "side of the image, pixels",
            "count",
            [
                Series(f"{kind}, {name}", SIDES, [[counted[kind, side][k]] for side in SIDES], kind, k)
                for k, name in enumerate(("parameters", "multiply-accumulates"))
                for kind in ("dense", "conv")
            ],
            log_x=True,
            log_y=True,
        ),
        more=(
            by_side("Memory of weights and outputs", "bytes", lambda kind, side: counted[kind, side][2:]),
            by_side("Time per image", "microseconds", lambda kind, side: 1e6 * timed[kind, side]),
        ),
    )


def _layer(kind: str, side: int) -> Any:
    """A `keras.Model` of this layer alone."""
    keras = start_keras()
    images = keras.Input((side, side, 1))
    if kind == "dense":
        return keras.Model(images, keras.layers.Dense(UNITS)(keras.layers.Flatten()(images)))
    return keras.Model(images, keras.layers.Conv2D(FILTERS, 3, padding="same")(images))


def _costs(kind: str, side: int) -> Sequence[float]:
    """Parameters, multiply-accumulates, and bytes of weights and outputs in float32."""
    entries = read_ledger(_layer(kind, side))
    weights = sum(entry.parameters for entry in entries)
    outputs = math.prod(entries[-1].shape)
    return weights, sum(entry.multiply_accumulates for entry in entries), 4 * (weights + outputs)


def _seconds(kind: str, side: int) -> Sequence[float]:
    """Per image of a batch, in each round."""
    import tensorflow as tf

    model = _layer(kind, side)
    run = tf.function(lambda images: model(images, training=False))
    count = TIMED[kind] * (SIDES[-1] // side) ** 2
    images = tf.random.stateless_uniform([count, side, side, 1], [1, 2])
    run(images)
    seconds = seconds_in_turns([partial(run, images)], ROUNDS, in_a_row=3).min(axis=2)  # [rounds, 1]
    rounds: list[float] = (seconds[:, 0] / count).tolist()
    return rounds


def _slope(values: Sequence[float]) -> float:
    return float(np.polyfit(np.log(SIDES), np.log(values), 1)[0])
