"""The dense family: every pixel to every neuron. Where a pixel lies is something that these models have to learn."""

from __future__ import annotations

from zoo.models import layers
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe


@model("softmax", family="dense", recipe=Recipe(augmentation="none", precision="float32"))
def softmax(images: Tensor, classes: int) -> Tensor:
    """Multinomial logistic regression (Cox 1958; Bishop 2006, section 4.3.4): one weight a pixel and class.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 784*10+10 = 7,850 parameters
    """
    pixels = layers.Flatten(name="flatten")(images)  # [N, H*W*C]
    return layers.Dense(classes, name="head_dense")(pixels)


# Shifted pictures are a task of their own for a model that learns each position by itself: 88.4 % on Fashion-MNIST's
# validation pictures with them, 90.2 % without. A longer training with more decay brings 90.6 %.
@model(
    "mlp-small",
    family="dense",
    recipe=Recipe(epochs=40, learning_rate=1e-3, weight_decay=0.1, augmentation="none", precision="float32"),
)
def mlp_small(images: Tensor, classes: int) -> Tensor:
    """Multi-layer perceptron with two hidden layers (Rumelhart, Hinton & Williams 1986).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 784*256+256 + 256*128+128 + 128*10+10 = 235,146 parameters
    Departures: ReLU for the logistic function, dropout (Srivastava et al. 2014) after each hidden layer.
    """
    x = layers.Flatten(name="flatten")(images)  # [N, H*W*C]
    x = layers.Dense(256, activation="relu", name="hidden1_dense")(x)  # [N, 256]
    x = layers.Dropout(0.2, name="hidden1_dropout")(x)

    return mlp_head(x, 128, classes)


def mlp_head(features: Tensor, units: int, classes: int) -> Tensor:
    """One hidden layer and the logits: the dense head of the hybrids. features [N, F] -> logits [N, K]."""
    x = layers.Dense(units, activation="relu", name="head_hidden_dense")(features)  # [N, units]
    x = layers.Dropout(0.2, name="head_dropout")(x)
    return layers.Dense(classes, name="head_dense")(x)
