"""The conv family: local filters, shared over all positions, and no dense layer but the one that names the classes."""

from __future__ import annotations

from zoo.models import layers
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe

Kernel = int | tuple[int, int]  # a side, or height and width, in pixels

# Batch normalization steadies the steps, so that they can be twice as long as the default's. In six epochs of
# conv-small on Fashion-MNIST, Muon came to 92.6 % of the validation images and AdamW to 91.8 %, in the same time.
# Labels are not smoothed: of smoothed ones, no single temperature calibrates the probabilities. With a quarter of the
# images degraded, conv-small had 86.0 % of the corrupted validation images after five epochs, over thirteen kinds of
# corruption, and 83.1 % without; of the clean ones, 91.9 and 92.2 %.
PATIENT = Recipe(epochs=45, optimizer="muon", learning_rate=4e-3, weight_decay=0.05, normalize="image", degrade=0.25)
# Hundreds of thousands of weights overfit, unless images lose a piece each time.
WIDE = PATIENT.with_values({"epochs": 40, "learning_rate": 3e-3, "augmentation": "strong"})


# Ten thousand weights have none to spare for degraded images.
@model("conv-tiny", family="conv", recipe=PATIENT.with_values({"degrade": 0.0, "precision": "float32"}))
def conv_tiny(images: Tensor, classes: int) -> Tensor:
    """Separable convolutions (Howard et al. 2017) with residuals (He et al. 2015) in under 10,000 parameters.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*16+4*16 + 3*3*16+4*16 + 16*32+4*32 + 2*(3*3*32+4*32 + 32*32+4*32)
                     + 3*3*32+4*32 + 32*48+4*48 + 3*3*48+4*48 + 48*48+4*48 + 48*10+10 = 9,946 parameters
    """
    x = conv_unit(images, 16, name="stem")  # [N, H, W, 16]

    x = separable_unit(x, 32, stride=2, name="block1_unit1")  # [N, H/2, W/2, 32]
    for unit in ("block1_unit2", "block1_unit3"):
        x = separable_residual(x, name=unit)

    x = separable_unit(x, 48, stride=2, name="block2_unit1")  # [N, H/4, W/4, 48]
    x = separable_residual(x, name="block2_unit2")

    return pooling_head(x, classes)


@model("conv-small", family="conv", recipe=PATIENT)
def conv_small(images: Tensor, classes: int) -> Tensor:
    """All-convolutional net (Springenberg et al. 2015): strides instead of pooling, then global average pooling.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*32 + 3*3*32*32 + 3*3*32*48 + 3*(3*3*48*48) + 4*(2*32+4*48) + 48*10+10 = 87,050 parameters
    Departures: batch normalization (Ioffe & Szegedy 2015) in place of biases and dropout, fewer and narrower layers.
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


@model("separable-small", family="conv", recipe=PATIENT.with_values({"precision": "float32"}))
def separable_small(images: Tensor, classes: int) -> Tensor:
    """Depthwise separable convolutions (Howard et al. 2017) with residuals (He et al. 2015): deep for their cost.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*48+4*48 + 3*3*48+4*48 + 48*80+4*80 + 3*(3*3*80+4*80 + 80*80+4*80)
                     + 3*3*80+4*80 + 80*112+4*112 + 4*(3*3*112+4*112 + 112*112+4*112) + 112*10+10 = 98,058 parameters
    Departures from MobileNet: residuals, a stem without stride, and two halvings instead of five, for images of tens
    of pixels a side.
    """
    x = conv_unit(images, 48, name="stem")  # [N, H, W, 48]

    x = separable_unit(x, 80, stride=2, name="block1_unit1")  # [N, H/2, W/2, 80]
    for unit in ("block1_unit2", "block1_unit3", "block1_unit4"):
        x = separable_residual(x, name=unit)

    x = separable_unit(x, 112, stride=2, name="block2_unit1")  # [N, H/4, W/4, 112]
    for unit in ("block2_unit2", "block2_unit3", "block2_unit4", "block2_unit5"):
        x = separable_residual(x, name=unit)

    return pooling_head(x, classes)


@model("resnet20", family="conv", recipe=WIDE)
def resnet20(images: Tensor, classes: int) -> Tensor:
    """Residual network for small images (He et al. 2015, section 4.2, n = 3).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*16+4*16 + 6*(3*3*16*16+4*16)
                     + 3*3*16*32+4*32 + 5*(3*3*32*32+4*32) + 16*32+4*32
                     + 3*3*32*64+4*64 + 5*(3*3*64*64+4*64) + 32*64+4*64 + 64*10+10 = 273,754 parameters
    Departure: where the size changes, the shortcut is a 1x1 convolution (their option B) and not a subsampling.
    """
    return pooling_head(resnet20_features(images), classes)


def resnet20_features(images: Tensor) -> Tensor:
    """Three stages of three blocks. images [N, H, W, C] -> features [N, H/4, W/4, 64], rounded up."""
    x = conv_unit(images, 16, name="stem")  # [N, H, W, 16]
    for stage, filters in enumerate((16, 32, 64), start=1):
        for block in range(1, 4):
            stride = 2 if stage > 1 and block == 1 else 1
            x = residual_block(x, filters, stride, name=f"stage{stage}_block{block}")
    return x


def residual_block(x: Tensor, filters: int, stride: int = 1, *, name: str) -> Tensor:
    """relu(x + norm(conv(relu(norm(conv(x)))))). [N, H, W, Cin] -> [N, H/s, W/s, Cout]

    3*3*Cin*Cout + 3*3*Cout*Cout + 2*4*Cout parameters, and Cin*Cout + 4*Cout for a shortcut that changes the shape.
    """
    y = conv_unit(x, filters, stride, name=f"{name}_unit1")
    y = conv_norm(y, filters, name=f"{name}_unit2")
    if x.shape[-1] != filters or stride > 1:
        x = conv_norm(x, filters, stride, kernel=1, name=f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


@model("wide-resnet-small", family="conv", recipe=WIDE)
def wide_resnet_small(images: Tensor, classes: int) -> Tensor:
    """Wide residual network (Zagoruyko & Komodakis 2016): a few wide layers instead of many narrow ones.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*32+4*32 + 2*(3*3*32*32+4*32)
                     + 3*3*32*64+4*64 + 3*(3*3*64*64+4*64) + 32*64+4*64
                     + 3*3*64*128+4*128 + 3*(3*3*128*128+4*128) + 64*128+4*128 + 128*10+10 = 679,594 parameters
    Departures: norms after the convolutions, as in resnet20, and one block in the first stage, which has most pixels.
    """
    return pooling_head(wide_resnet_small_features(images), classes)


def wide_resnet_small_features(images: Tensor) -> Tensor:
    """Five residual blocks. images [N, H, W, C] -> features [N, H/4, W/4, 128], rounded up."""
    x = conv_unit(images, 32, name="stem")  # [N, H, W, 32]
    x = residual_block(x, 32, name="stage1_block1")

    x = residual_block(x, 64, stride=2, name="stage2_block1")  # [N, H/2, W/2, 64]
    x = residual_block(x, 64, name="stage2_block2")

    x = residual_block(x, 128, stride=2, name="stage3_block1")  # [N, H/4, W/4, 128]
    return residual_block(x, 128, name="stage3_block2")


@model("convnext-mini", family="conv", recipe=PATIENT.with_values({"epochs": 30, "precision": "float32"}))
def convnext_mini(images: Tensor, classes: int) -> Tensor:
    """ConvNeXt (Liu et al. 2022) for small images: large depthwise filters, then an MLP at each position.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 2*2*1*48+48 + 2*48 + 2*(7*7*48+48 + 2*48 + 2*48*192 + 192+48)
                     + 2*48 + 2*2*48*96+96 + 2*(7*7*96+96 + 2*96 + 2*96*384 + 384+96)
                     + 2*96 + 96*10+10 = 220,858 parameters
    Departures: two stages of two blocks, patches of 2x2 pixels for 4x4, no layer scale, no stochastic depth.
    """
    x = layers.Conv2D(48, 2, strides=2, padding="same", name="stem_conv")(images)  # [N, H/2, W/2, 48]
    x = layers.LayerNormalization(epsilon=1e-6, name="stem_norm")(x)
    x = convnext_block(convnext_block(x, name="stage1_block1"), name="stage1_block2")

    x = layers.LayerNormalization(epsilon=1e-6, name="stage2_norm")(x)
    x = layers.Conv2D(96, 2, strides=2, padding="same", name="stage2_conv")(x)  # [N, H/4, W/4, 96]
    x = convnext_block(convnext_block(x, name="stage2_block1"), name="stage2_block2")

    x = layers.GlobalAveragePooling2D(name="head_pool")(x)  # [N, 96]
    x = layers.LayerNormalization(epsilon=1e-6, name="head_norm")(x)
    return layers.Dense(classes, name="head_dense")(x)


def convnext_block(x: Tensor, *, name: str) -> Tensor:
    """x + dense(gelu(dense(norm(depthwise7x7(x))))). [N, H, W, C] -> the same shape

    7*7*C+C + 2*C + 4*C*C+4*C + 4*C*C+C parameters.
    """
    channels = x.shape[-1]
    y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
    y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(y)
    y = layers.Dense(4 * channels, activation="gelu", name=f"{name}_hidden_dense")(y)
    y = layers.Dense(channels, name=f"{name}_dense")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def conv_unit(x: Tensor, filters: int, stride: int = 1, kernel: Kernel = 3, *, name: str) -> Tensor:
    """Convolution, batch normalization, ReLU: k*k*Cin*Cout + 4*Cout weights. [N, H, W, Cin] -> [N, H/s, W/s, Cout]"""
    return layers.ReLU(name=f"{name}_relu")(conv_norm(x, filters, stride, kernel, name=name))


def conv_norm(x: Tensor, filters: int, stride: int = 1, kernel: Kernel = 3, *, name: str) -> Tensor:
    """A conv_unit before its ReLU. [N, H, W, Cin] -> [N, H/s, W/s, Cout]"""
    x = layers.Conv2D(filters, kernel, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def separable_unit(x: Tensor, filters: int, stride: int = 1, *, name: str) -> Tensor:
    """A filter for each channel, then a mixture of channels for each pixel. [N, H, W, Cin] -> [N, H/s, W/s, Cout]

    3*3*Cin + 4*Cin + Cin*Cout + 4*Cout parameters, where a convolution has 3*3*Cin*Cout + 4*Cout.
    """
    x = layers.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_depthwise_norm")(x)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    return conv_unit(x, filters, kernel=1, name=f"{name}_pointwise")


def separable_residual(x: Tensor, *, name: str) -> Tensor:
    """x + separable_unit(x), with 3*3*C+4*C + C*C+4*C parameters. [N, H, W, C] -> the same shape"""
    return layers.Add(name=f"{name}_add")([x, separable_unit(x, x.shape[-1], name=name)])


def pooling_head(features: Tensor, classes: int) -> Tensor:
    """Global average pooling (Lin et al. 2014), then one weight a channel and class. [N, H, W, C] -> logits [N, K]"""
    x = layers.GlobalAveragePooling2D(name="head_pool")(features)  # [N, C]
    return layers.Dense(classes, name="head_dense")(x)
