"""The conv family: local filters, shared over all positions, and no dense layer but the one that names the classes."""

from __future__ import annotations

from zoo.models import layers
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe

# Batch normalisation steadies the steps, so that they can be twice as long as the default's.
NORMALIZED = Recipe(epochs=16, learning_rate=4e-3)


@model("conv-small", family="conv", recipe=NORMALIZED)
def conv_small(images: Tensor, classes: int) -> Tensor:
    """All-convolutional net (Springenberg et al. 2015): strides in place of pooling, and an average over positions.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*32 + 3*3*32*32 + 3*3*32*48 + 3*(3*3*48*48) + 4*(2*32+4*48) + 48*10+10 = 87,050 parameters
    Departures: batch normalisation (Ioffe & Szegedy 2015) in place of biases and dropout, fewer and narrower layers.
    """
    return pooling_head(conv_small_features(images), classes)


def conv_small_features(images: Tensor) -> Tensor:
    """The six convolutions of conv-small. images [N, H, W, C] -> features [N, H/4, W/4, 48], rounded up.

    Channels are multiples of 16, the block that processors work in: with 24 and 60 of them onnxruntime took seven times
    as long a multiply-accumulate.
    """
    x = conv_unit(images, 32, name="block1_unit1")  # [N, H, W, 32]
    x = conv_unit(x, 32, name="block1_unit2")

    x = conv_unit(x, 48, stride=2, name="block2_unit1")  # [N, H/2, W/2, 48]
    x = conv_unit(x, 48, name="block2_unit2")

    x = conv_unit(x, 48, stride=2, name="block3_unit1")  # [N, H/4, W/4, 48]
    return conv_unit(x, 48, name="block3_unit2")


@model("separable-small", family="conv", recipe=NORMALIZED.with_values({"precision": "float32"}))
def separable_small(images: Tensor, classes: int) -> Tensor:
    """Depthwise separable convolutions, as in MobileNet (Howard et al. 2017): space and channels filtered in turn.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*32+4*32 + 3*3*32+4*32 + 32*64+4*64 + 3*3*64+4*64 + 64*64+4*64
                     + 3*3*64+4*64 + 64*128+4*128 + 3*3*128+4*128 + 128*128+4*128 + 128*10+10 = 37,706 parameters
    Departures: a stem without stride, and two halvings instead of five, for pictures of tens of pixels a side.
    """
    x = conv_unit(images, 32, name="stem")  # [N, H, W, 32]

    x = separable_unit(x, 64, stride=2, name="block1_unit1")  # [N, H/2, W/2, 64]
    x = separable_unit(x, 64, name="block1_unit2")

    x = separable_unit(x, 128, stride=2, name="block2_unit1")  # [N, H/4, W/4, 128]
    x = separable_unit(x, 128, name="block2_unit2")

    return pooling_head(x, classes)


def conv_unit(x: Tensor, filters: int, stride: int = 1, kernel: int = 3, *, name: str) -> Tensor:
    """Convolution, batch normalisation, ReLU: k*k*Cin*Cout + 4*Cout weights. [N, H, W, Cin] -> [N, H/s, W/s, Cout]"""
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def separable_unit(x: Tensor, filters: int, stride: int = 1, *, name: str) -> Tensor:
    """A filter for each channel, then a mixture of channels for each pixel. [N, H, W, Cin] -> [N, H/s, W/s, Cout]

    3*3*Cin + 4*Cin + Cin*Cout + 4*Cout parameters, where a convolution has 3*3*Cin*Cout + 4*Cout.
    """
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_norm")(x)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    return conv_unit(x, filters, kernel=1, name=f"{name}_pointwise")


def pooling_head(features: Tensor, classes: int) -> Tensor:
    """Global average pooling (Lin et al. 2014), then one weight a channel and class. [N, H, W, C] -> logits [N, K]"""
    x = layers.GlobalAveragePooling2D(name="head_pool")(features)  # [N, C]
    return layers.Dense(classes, name="head_dense")(x)
