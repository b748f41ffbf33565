"""The hybrid family: head(features(images)), with conv features and a dense head that sees all positions at once."""

from __future__ import annotations

from zoo.models import layers
from zoo.models.conv import NORMALIZED, conv_small_features
from zoo.models.dense import mlp_head
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe


# Without norms to steady them, small filters still take twice the default rate, and use the epochs: 92.2 % on
# Fashion-MNIST's validation pictures, where 20 epochs at the default gave 91.2 %.
@model("lenet5", family="hybrid", recipe=Recipe(epochs=40, learning_rate=4e-3))
def lenet5(images: Tensor, classes: int) -> Tensor:
    """LeNet-5 (LeCun et al. 1998, figure 2).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 5*5*1*6+6 + 5*5*6*16+16 + 400*120+120 + 120*84+84 + 84*10+10 = 61,706 parameters
    Original: 32x32x1, C1 6@28x28, S2 6@14x14, C3 16@10x10, S4 16@5x5, C5 120, F6 84, 10 RBF units.
    Departures: ReLU for tanh, max pooling for trainable averages, each map of C3 sees all six of S2, linear logits
    for RBF units; a picture smaller than 32x32 is centred in a field of that size, as the paper does with its digits.
    """
    return lenet5_head(lenet5_features(images), classes)


def lenet5_features(images: Tensor) -> Tensor:
    """C1 to S4 of LeNet-5. images [N, H, W, C] -> features [N, 5, 5, 16] for pictures of up to 32x32."""
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


@model("conv-mlp-small", family="hybrid", recipe=NORMALIZED)
def conv_mlp_small(images: Tensor, classes: int) -> Tensor:
    """The features of conv-small under a dense head that keeps positions: what pooling throws away, this can use.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 86,560 + 2352*64+64 + 64*10+10 = 237,802 parameters, the first 86,560 of them in the features
    """
    return mlp_head(layers.Flatten(name="flatten")(conv_small_features(images)), 64, classes)
