"""The models of the experiments: one function for each family, with widths and depths as arguments.

Each function gives an architecture: images [N, H, W, C] float32 in 0..1, number of classes -> logits [N, K].
Dense and conv layers alike are followed by batch normalization and ReLU, so that neither has an advantage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.models import layers
from zoo.models.families.conv import Kernel, conv_unit, pooling_head
from zoo.models.families.dense import dense_unit
from zoo.models.registry import Architecture, Tensor


def dense(*units: int) -> Architecture:
    """Hidden layers of so many units on all pixels."""

    def architecture(images: Tensor, classes: int) -> Tensor:
        return dense_head(images, units, classes)

    return architecture


def conv(*filters: int, strides: Sequence[int] = (), kernel: Kernel = 3, units: Sequence[int] = ()) -> Architecture:
    """Conv layers of so many filters, global average pooling, and the logits. strides: as of `convolutions`.

    units: of hidden layers after the pooling.
    """

    def architecture(images: Tensor, classes: int) -> Tensor:
        features = convolutions(images, filters, strides, kernel)
        if not units:
            return pooling_head(features, classes)
        return dense_head(layers.GlobalAveragePooling2D(name="average")(features), units, classes)

    return architecture


def hybrid(*filters: int, units: Sequence[int] = (64,), strides: Sequence[int] = (), kernel: int = 3) -> Architecture:
    """The same conv layers under a dense head on all positions."""

    def architecture(images: Tensor, classes: int) -> Tensor:
        return dense_head(convolutions(images, filters, strides, kernel), units, classes)

    return architecture


def conv_of_several_kernels(*filters: int, kernels: Sequence[int] = (3, 5, 7)) -> Architecture:
    """`conv`, of whose filters a third each are of 3x3, 5x5 and 7x7 pixels, side by side (Szegedy et al. 2015)."""

    def architecture(images: Tensor, classes: int) -> Tensor:
        x = images
        for place, count in enumerate(filters, start=1):
            share = count // len(kernels)
            sides = [
                conv_unit(x, share, _usual_stride(place), kernel, name=f"conv{place}_{kernel}") for kernel in kernels
            ]
            x = layers.Concatenate(name=f"conv{place}")(sides)
        return pooling_head(x, classes)

    return architecture


def dense_head(features: Tensor, units: Sequence[int], classes: int) -> Tensor:
    """features [N, H, W, C] or [N, C] -> logits [N, K]"""
    x = layers.Flatten(name="flatten")(features)
    for place, count in enumerate(units, start=1):
        x = dense_unit(x, count, name=f"hidden{place}")
    return layers.Dense(classes, name="head_dense")(x)


def convolutions(x: Tensor, filters: Sequence[int], strides: Sequence[int] = (), kernel: Kernel = 3) -> Tensor:
    """[N, H, W, C] -> [N, H/s, W/s, F], where s is the product of the strides

    By default the third and the fifth layer have a stride of 2: the sixth has a receptive field of 23x23 pixels.
    """
    for place, count in enumerate(filters, start=1):
        stride = strides[place - 1] if strides else _usual_stride(place)
        x = conv_unit(x, count, stride, kernel, name=f"conv{place}")
    return x


def _usual_stride(place: int) -> int:
    return 2 if place in (3, 5) else 1


def unshared(*filters: int, strides: Sequence[int] = (), kernel: int = 3, pooled: bool = True) -> Architecture:
    """Locally connected: `conv` without weight sharing.

    pooled: global average pooling before the logits, as in `conv`; else the logits are computed from all positions.
    """

    def architecture(images: Tensor, classes: int) -> Tensor:
        x = images
        for place, count in enumerate(filters, start=1):
            stride = strides[place - 1] if strides else _usual_stride(place)
            x = unshared_layer()(count, kernel, stride, name=f"local{place}")(x)
            x = layers.BatchNormalization(momentum=0.9, name=f"local{place}_norm")(x)
            x = layers.ReLU(name=f"local{place}_relu")(x)
        return pooling_head(x, classes) if pooled else dense_head(x, (), classes)

    return architecture


def unshared_layer() -> Any:
    """The layer's class, which Keras 3 no longer has; imported here, since importing Keras takes seconds."""
    from pipelines.study.unshared import UnsharedConv2D

    return UnsharedConv2D


# Named by their parameters, within about a tenth, for gray images of 28x28 and ten classes.
DENSE = {"4 k": dense(5), "14 k": dense(17, 17), "50 k": dense(60, 50)}
CONV = {"4 k": conv(4, 5, 6, 8, 12, 18), "14 k": conv(8, 8, 12, 16, 24, 32), "50 k": conv(16, 16, 24, 32, 46, 54)}
HYBRID = {
    "4 k": hybrid(4, 4, 4, 5, 6, 6, units=(8,)),
    "14 k": hybrid(6, 6, 8, 8, 10, 12, units=(16,)),
    "50 k": hybrid(10, 10, 14, 18, 24, 28, units=(23,)),
}
