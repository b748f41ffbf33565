"""The ledger of a model: each layer's shape, parameters (formula and number), multiply-accumulates, receptive field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from zoo.models.build import build
from zoo.models.registry import Family, definition


@dataclass(frozen=True)
class LayerEntry:
    """One layer.

    shape: of the output, without the batch. formula: of the parameters, with this layer's numbers ("784×10 + 10").
    multiply_accumulates: of one image; convolutions and dense layers alone are counted, as is usual.
    receptive_field: its side in pixels, in theory; None where an output depends on the whole image.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    formula: str
    parameters: int
    multiply_accumulates: int
    receptive_field: int | None


@dataclass(frozen=True)
class Ledger:
    """A model at one image size, or for one table. input: height, width and channels, or how many columns.

    receptive_field: of the last layer that still has positions; None where none has.
    """

    model: str
    family: Family
    input: tuple[int, ...]
    classes: int
    layers: tuple[LayerEntry, ...]

    @property
    def parameters(self) -> int:
        """All of them, also those that batch normalization keeps outside of the gradient: what Keras counts."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def multiply_accumulates(self) -> int:
        """Of one image."""
        return sum(layer.multiply_accumulates for layer in self.layers)

    @property
    def receptive_field(self) -> int | None:
        """Of one feature, before the head puts the positions together: its side in pixels."""
        if any(layer.receptive_field is None and len(layer.shape) > 1 for layer in self.layers):
            return None  # positions are mixed with one another, or weighted by all of them
        fields = [layer.receptive_field for layer in self.layers if layer.receptive_field is not None]
        is_local = any(field > 1 for field in fields)
        return max(fields) if is_local else None


def ledger(name: str, height: int, width: int, channels: int, classes: int) -> Ledger:
    """Build the model and write its ledger. Raises ModelError as `build` does."""
    layers = read_ledger(build(name, height, width, channels, classes))
    return Ledger(name, definition(name).family, (height, width, channels), classes, layers)


def read_ledger(model: Any) -> tuple[LayerEntry, ...]:
    """The entries of any functional `keras.Model` of images [N, H, W, C], or rows [N, F], in order of its layers."""
    entries = []
    fields: dict[str, _Field] = {}
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer":
            fields[layer.name] = _Field(side=1, step=1)  # a pixel is its own
            continue
        field = _receptive_field(layer, [fields[t._keras_history.operation.name] for t in _tensors(layer)])
        fields[layer.name] = field
        formula, multiply_accumulates = _FORMULAS.get(type(layer).__name__, _counted_by_keras)(layer)
        shape = tuple(layer.output.shape[1:])
        entries.append(
            LayerEntry(
                name=layer.name,
                kind=type(layer).__name__,
                shape=shape,
                formula=formula,
                parameters=layer.count_params(),
                multiply_accumulates=multiply_accumulates,
                receptive_field=field.side if field.step else None,
            )
        )
    return tuple(entries)


# --- parameters and multiply-accumulates ---------------------------------------------------------------------------


def _times(*numbers: int) -> str:
    return "×".join(str(number) for number in numbers)


def _with_bias(layer: Any, weights: str, biases: int) -> str:
    return f"{weights} + {biases}" if layer.use_bias else weights


def _dense(layer: Any) -> tuple[str, int]:
    """I×O + O; applied to each position where there are any."""
    inputs, outputs = layer.kernel.shape
    positions = prod(layer.output.shape[1:-1])
    return _with_bias(layer, _times(inputs, outputs), outputs), positions * inputs * outputs


def _convolution(layer: Any) -> tuple[str, int]:
    """k·k·Cin·Cout + Cout, each weight used once at every output position."""
    weights = tuple(layer.kernel.shape)  # [k, k, Cin / groups, Cout]
    positions = prod(layer.output.shape[1:-1])
    return _with_bias(layer, _times(*weights), weights[-1]), positions * prod(weights)


def _depthwise(layer: Any) -> tuple[str, int]:
    """k·k·C + C: one filter a channel."""
    rows, columns, channels, multiplier = layer.kernel.shape
    weights = (rows, columns, channels * multiplier)
    positions = prod(layer.output.shape[1:-1])
    return _with_bias(layer, _times(*weights), channels * multiplier), positions * prod(weights)


def _unshared(layer: Any) -> tuple[str, int]:
    """h·w·k·k·Cin·Cout: a convolution whose filters aren't shared uses each weight once."""
    (weights,) = layer.weights  # [h, w, k·k·Cin, Cout]
    return _times(*weights.shape), prod(weights.shape)


def _normalization(layer: Any) -> tuple[str, int]:
    """Scale, offset and, for batch normalization, the running mean and variance: so many numbers a channel."""
    channels = layer.output.shape[-1]
    return _times(len(layer.weights), channels), 0


def _counted_by_keras(layer: Any) -> tuple[str, int]:
    return (" + ".join(_times(*weight.shape) for weight in layer.weights), 0)


_FORMULAS: dict[str, Callable[[Any], tuple[str, int]]] = {
    "Dense": _dense,
    "Conv1D": _convolution,
    "Conv2D": _convolution,
    "DepthwiseConv2D": _depthwise,
    "UnsharedConv2D": _unshared,
    "BatchNormalization": _normalization,
    "LayerNormalization": _normalization,
    "GroupNormalization": _normalization,
}


# --- receptive field -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Field:
    """A receptive field. side: in pixels; step: pixels between neighbors, 0 where positions are gone."""

    side: int
    step: int


def _tensors(layer: Any) -> list[Any]:
    inputs = layer.input
    return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]


def _receptive_field(layer: Any, inputs: list[_Field]) -> _Field:
    """Each window widens the field by (k - 1) steps, each stride lengthens the step (Dumoulin & Visin 2016)."""
    if len(layer.output.shape) != 4 or any(field.step == 0 for field in inputs):
        return _Field(side=0, step=0)
    side = max(field.side for field in inputs)
    step = max(field.step for field in inputs)
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None) or (1, 1)
    strides = layer.strides if hasattr(layer, "strides") else (1, 1)
    dilation = getattr(layer, "dilation_rate", None) or (1, 1)
    dilations = (dilation, dilation) if isinstance(dilation, int) else dilation
    reach = max((k - 1) * d for k, d in zip(window, dilations, strict=True))
    return _Field(side + reach * step, step * max(strides))
