"""A model's summary as text: a line per block with its operations, output shape, and parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from zoo.contract import LOGITS
from zoo.models.ledger import LayerEntry, read_ledger

WIDEST = 64  # characters of what happens on a line


@dataclass(frozen=True)
class Step:
    """The layers that share an address: block2_unit1 is block2_unit1_conv, block2_unit1_norm and block2_unit1_relu.

    does: in words. shape: of the last layer's output, without the batch.
    """

    address: str
    does: str
    shape: tuple[int, ...]
    parameters: int


def summarize(model: Any) -> str:
    """Any functional `keras.Model` of images [N, H, W, C] as plain text, from the pixels down to the answer."""
    found = steps(model)
    rows = [(model.inputs[0].name, [""], _sides(model.input_shape[1:]), "")]
    for step in found:
        lines = _wrapped(step.does)
        rows.append((step.address, lines, _sides(step.shape), f"{step.parameters:,}" if step.parameters else ""))
    rows.append(("total", [""], "", f"{sum(step.parameters for step in found):,}"))
    first = max(len(address) for address, *_ in rows)
    second = max(len(line) for _, lines, *_ in rows for line in lines)
    third, fourth = (max(len(row[k]) for row in rows) for k in (2, 3))
    return "\n".join(
        line.rstrip()
        for address, (does, *more), shape, parameters in rows
        for line in (
            f"{address:{first}}  {does:{second}}  {shape:{third}}  {parameters:>{fourth}}",
            *(f"{'':{first}}  {rest}" for rest in more),
        )
    )


def steps(model: Any) -> tuple[Step, ...]:
    """The steps of a model, each where its first layer comes."""
    entries = [entry for entry in read_ledger(model) if entry.name != LOGITS]  # the last layer once more, as float32
    address = _addresses([layer.name for layer in model.layers])
    grouped: dict[str, list[LayerEntry]] = {}
    for entry in entries:
        grouped.setdefault(address[entry.name], []).append(entry)
    order = [model.inputs[0].name, *grouped]
    return tuple(
        Step(
            own,
            _does(model, own, before, group, address),
            group[-1].shape,
            sum(entry.parameters for entry in group),
        )
        for before, (own, group) in zip(order, grouped.items(), strict=False)
    )


def _wrapped(does: str) -> list[str]:
    """Lines that end between two operations."""
    whole = ", ".join(operation.replace(" ", "\xa0") for operation in does.split(", "))
    return [line.replace("\xa0", " ") for line in wrap(whole, WIDEST, break_long_words=False)]


def _addresses(names: Iterable[str]) -> Mapping[str, str]:
    """Of each layer: its name without the role at its end, or its name where that is the address of others."""
    stems = {name: name.rpartition("_")[0].removesuffix("_hidden") for name in names}
    shared = set(stems.values())
    return {name: name if name in shared else stem or name for name, stem in stems.items()}


def _does(model: Any, own: str, before: str, group: list[LayerEntry], address: Mapping[str, str]) -> str:
    """The operations of a step, and where it takes up what doesn't come from the step above."""
    does: list[str] = []
    for entry in group:
        layer = model.get_layer(entry.name)
        sources = [address[source] for source in _sources(layer)]
        numbered = _NUMBERED.get(entry.kind)
        operation = numbered(layer) if numbered else _NAMED.get(entry.kind, entry.kind)
        if len(sources) > 1:
            operation += " " + " + ".join(_relative(source, own) for source in sources if source != own)
        elif not does and sources[0] not in (before, model.inputs[0].name, LOGITS):
            operation = f"from {_relative(sources[0], own)}: {operation}"
        activation = getattr(getattr(layer, "activation", None), "__name__", "linear")
        does += [operation] + [activation] * (entry.kind in _ACTIVATED and activation != "linear")
    return ", ".join(does)


def _sources(layer: Any) -> list[str]:
    """The names of the layers that a layer takes its input from."""
    inputs = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
    return [tensor._keras_history.operation.name for tensor in inputs]


def _relative(source: str, own: str) -> str:
    return source.removeprefix(f"{own}_")


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _window(sides: tuple[int, ...], strides: tuple[int, ...]) -> str:
    return _sides(sides) + (f" /{max(strides)}" if max(strides) > 1 else "")


_ACTIVATED = {"Conv2D", "DepthwiseConv2D", "Dense"}
_NAMED = {
    "Columns": "impute, standardize, one-hot",
    "GlobalAveragePooling1D": "global average pool",
    "GlobalAveragePooling2D": "global average pool",
    "BatchNormalization": "batch norm",
    "LayerNormalization": "layer norm",
    "ImageNormalization": "each image to mean 0, standard deviation 1",
    "ReLU": "relu",
    "Softmax": "softmax",
    "ZeroPadding2D": "zero padding",
    "Add": "add",
    "Concatenate": "concat",
    "Flatten": "flatten",
    "Reshape": "reshape",
    "Permute": "transpose",
}
_RESCALINGS = {
    "scaling": "scale to 0..1",
    "centered": "scale to -1..1",
    "standardized": "scale to mean 0, standard deviation 1",
}
_NUMBERED: Mapping[str, Callable[[Any], str]] = {
    "Rescaling": lambda layer: _RESCALINGS.get(layer.name, "rescaled"),
    "Conv2D": lambda layer: f"conv {_window(layer.kernel_size, layer.strides)}",
    "DepthwiseConv2D": lambda layer: f"depthwise conv {_window(layer.kernel_size, layer.strides)}",
    "Dense": lambda layer: f"dense {layer.units}",
    "MaxPooling2D": lambda layer: f"max pool {_window(layer.pool_size, layer.strides)}",
    "AveragePooling2D": lambda layer: f"average pool {_window(layer.pool_size, layer.strides)}",
    "Activation": lambda layer: str(layer.activation.__name__),
    "Dropout": lambda layer: f"dropout {layer.rate:g}",
}
