"""The hybrid family: head(features(images)), with conv features and a dense head over all positions at once."""

from __future__ import annotations

from zoo.models import layers
from zoo.models.families.conv import PATIENT, WIDE, conv_small_features, conv_unit, wide_resnet_small_features
from zoo.models.families.dense import dense_unit, mlp_head
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe


# Without norms to steady them, small filters still take twice the default rate, and use the epochs: 92.2 % on
# Fashion-MNIST's validation images, where 20 epochs at the default gave 91.2 %.
@model("lenet5", family="hybrid", recipe=Recipe(epochs=40, learning_rate=4e-3, normalize="image", degrade=0.25))
def lenet5(images: Tensor, classes: int) -> Tensor:
    """LeNet-5 (LeCun et al. 1998, figure 2).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 5*5*1*6+6 + 5*5*6*16+16 + 400*120+120 + 120*84+84 + 84*10+10 = 61,706 parameters
    Original: 32x32x1, C1 6@28x28, S2 6@14x14, C3 16@10x10, S4 16@5x5, C5 120, F6 84, 10 RBF units.
    Departures: ReLU for tanh, max pooling for trainable averages, each map of C3 reads all six of S2, linear logits
    for RBF units; an image smaller than 32x32 is centered in a field of that size, as the paper does with its digits.
    """
    return lenet5_head(lenet5_features(images), classes)


def lenet5_features(images: Tensor) -> Tensor:
    """C1 to S4 of LeNet-5. images [N, H, W, C] -> features [N, 5, 5, 16] for images of up to 32x32."""
    height, width = images.shape[1:3]
    rows, columns = max(32 - height, 0), max(32 - width, 0)
    margins = ((rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2))
    x = layers.ZeroPadding2D(margins, name="field")(images)  # [N, 32, 32, C]

    x = layers.Conv2D(6, 5, activation="relu", name="c1_conv")(x)  # [N, 28, 28, 6]
    x = layers.MaxPooling2D(2, name="s2_pool")(x)  # [N, 14, 14, 6]

    x = layers.Conv2D(16, 5, activation="relu", name="c3_conv")(x)  # [N, 10, 10, 16]
    return layers.MaxPooling2D(2, name="s4_pool")(x)  # [N, 5, 5, 16]


def lenet5_head(features: Tensor, classes: int) -> Tensor:
    """C5 and F6 of LeNet-5, and the logits. features [N, H, W, C] -> logits [N, K]"""
    x = layers.Flatten(name="flatten")(features)
    x = layers.Dense(120, activation="relu", name="c5_dense")(x)
    x = layers.Dense(84, activation="relu", name="f6_dense")(x)
    return layers.Dense(classes, name="head_dense")(x)


@model("conv-mlp-small", family="hybrid", recipe=PATIENT)
def conv_mlp_small(images: Tensor, classes: int) -> Tensor:
    """The features of conv-small with a dense head that keeps positions instead of pooling them away.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 86,560 + 2352*64+64 + 64*10+10 = 237,802 parameters, the first 86,560 of them in the features
    """
    return mlp_head(layers.Flatten(name="flatten")(conv_small_features(images)), 64, classes)


@model("lenet5-modern", family="hybrid", recipe=PATIENT)
def lenet5_modern(images: Tensor, classes: int) -> Tensor:
    """LeNet-5 with later techniques: batch norm (Ioffe & Szegedy 2015) and ReLU after each layer.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 5*5*1*6+4*6 + 5*5*6*16+4*16 + 784*120+4*120 + 120*84+4*84 + 84*10+10 = 108,464 parameters
    """
    features = lenet5_modern_features(images)
    x = dense_unit(layers.Flatten(name="flatten")(features), 120, name="c5")
    x = dense_unit(x, 84, name="f6")
    return layers.Dense(classes, name="head_dense")(x)


def lenet5_modern_features(images: Tensor) -> Tensor:
    """C1 to S4 of lenet5-modern. images [N, H, W, C] -> features [N, H/4, W/4, 16], rounded up."""
    x = conv_unit(images, 6, kernel=5, name="c1")  # [N, H, W, 6]
    x = layers.MaxPooling2D(2, padding="same", name="s2_pool")(x)

    x = conv_unit(x, 16, kernel=5, name="c3")  # [N, H/2, W/2, 16]
    return layers.MaxPooling2D(2, padding="same", name="s4_pool")(x)


@model("alexnet-mini", family="hybrid", recipe=WIDE)
def alexnet_mini(images: Tensor, classes: int) -> Tensor:
    """AlexNet (Krizhevsky et al. 2012) for small images: five convolutions, overlapping pooling, two dense layers.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 5*5*1*32+4*32 + 5*5*32*64+4*64 + 3*3*64*96+4*96 + 3*3*96*96+4*96 + 3*3*96*64+4*64
                     + 1024*256+256 + 256*256+256 + 256*10+10 = 577,706 parameters
    Departures: batch normalization for the local response one and for biases, no split in two halves, a first
    convolution of 5x5 without stride for 11x11 with one of 4, widths divided by three to sixteen.
    """
    x = layers.Flatten(name="flatten")(alexnet_mini_features(images))
    x = layers.Dropout(0.5, name="fc6_dropout")(x)
    x = layers.Dense(256, activation="relu", name="fc6_dense")(x)
    x = layers.Dropout(0.5, name="fc7_dropout")(x)
    x = layers.Dense(256, activation="relu", name="fc7_dense")(x)
    return layers.Dense(classes, name="head_dense")(x)


def alexnet_mini_features(images: Tensor) -> Tensor:
    """The five convolutions of alexnet-mini. images [N, H, W, C] -> features [N, H/8, W/8, 64], rounded up."""
    x = conv_unit(images, 32, kernel=5, name="conv1")  # [N, H, W, 32]
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)

    x = conv_unit(x, 64, kernel=5, name="conv2")  # [N, H/2, W/2, 64]
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool2")(x)

    x = conv_unit(x, 96, name="conv3")  # [N, H/4, W/4, 96]
    x = conv_unit(x, 96, name="conv4")
    x = conv_unit(x, 64, name="conv5")
    return layers.MaxPooling2D(3, strides=2, padding="same", name="pool5")(x)


@model("vgg-mini", family="hybrid", recipe=PATIENT)
def vgg_mini(images: Tensor, classes: int) -> Tensor:
    """VGG (Simonyan & Zisserman 2015) for small images: 3x3 convolutions, three pooling layers, a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 3*3*1*32+4*32 + 3*3*32*32+4*32 + 3*3*32*48+4*48 + 2*(3*3*48*48+4*48) + 768*32+32
                     + 32*10+10 = 90,570 parameters
    Departures: batch normalization in place of biases, five convolutions of at most 48 channels, one hidden layer.
    """
    return mlp_head(layers.Flatten(name="flatten")(vgg_mini_features(images)), 32, classes)


def vgg_mini_features(images: Tensor) -> Tensor:
    """Five convolutions and three poolings. images [N, H, W, C] -> features [N, H/8, W/8, 48], rounded up."""
    x = conv_unit(images, 32, name="block1_unit1")  # [N, H, W, 32]
    x = conv_unit(x, 32, name="block1_unit2")
    x = layers.MaxPooling2D(2, padding="same", name="block1_pool")(x)

    x = conv_unit(x, 48, name="block2_unit1")  # [N, H/2, W/2, 48]
    x = conv_unit(x, 48, name="block2_unit2")
    x = layers.MaxPooling2D(2, padding="same", name="block2_pool")(x)

    x = conv_unit(x, 48, name="block3_unit1")  # [N, H/4, W/4, 48]
    return layers.MaxPooling2D(2, padding="same", name="block3_pool")(x)


@model("resnet-mlp", family="hybrid", recipe=WIDE)
def resnet_mlp(images: Tensor, classes: int) -> Tensor:
    """The features of wide-resnet-small with a dense head that keeps positions instead of pooling them away.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 678,304 + 6272*128+128 + 128*10+10 = 1,482,538 parameters, the first 678,304 in the features
    """
    return mlp_head(layers.Flatten(name="flatten")(wide_resnet_small_features(images)), 128, classes)
