"""The dense family: every pixel to every neuron. Where a pixel lies is something that these models have to learn.

Those that begin with Flatten learn the rows of a table as well: [N, F] float32, around 0, is flat already.
"""

from __future__ import annotations

from zoo.models import layers
from zoo.models.registry import Tensor, model
from zoo.recipe import Recipe

# A million weights in reach of every pixel overfit: mirrored images are twice as many, and still in the places where
# these models look (after 30 epochs mlp-large had 90.8 % of the validation images, 89.5 % with
# shifts).
REGULARIZED = Recipe(
    epochs=80,
    batch_size=256,
    weight_decay=0.1,
    normalize="image",
    degrade=0.25,
    augmentation="mirror",
    precision="float32",
)


@model("softmax", family="dense", recipe=Recipe(normalize="image", augmentation="none", precision="float32"))
def softmax(images: Tensor, classes: int) -> Tensor:
    """Multinomial logistic regression (Cox 1966; Bishop 2006, section 4.3.4): one weight per pixel and class.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 784*10+10 = 7,850 parameters
    """
    pixels = layers.Flatten(name="flatten")(images)  # [N, H*W*C]
    return layers.Dense(classes, name="head_dense")(pixels)


# Shifted images are a task of their own for a model that learns each position by itself: 88.4 % on Fashion-MNIST's
# validation images with them, 90.2 % without. A longer training with more decay brings 90.6 %. Where backgrounds are
# white, all pixels push one way, and AdamW follows until no neuron answers: of black letters on white and on colors
# it knew 4.0 % of the validation images, 19 % at a third of its rate, where Muon knew 90 %. On Fashion-MNIST, whose
# backgrounds are black, Muon has 90.4 %, on digits 99.4 % to AdamW's 98.3 %.
@model(
    "mlp-small",
    family="dense",
    recipe=Recipe(
        epochs=40,
        optimizer="muon",
        learning_rate=1e-3,
        weight_decay=0.1,
        normalize="image",
        degrade=0.25,
        augmentation="none",
        precision="float32",
    ),
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


# Its matrices are large enough for bfloat16, in which it trains 1.3 times as fast, to the same accuracy, 91.3 % of the
# validation images; the other dense models gain at most a tenth.
@model("mlp-large", family="dense", recipe=REGULARIZED.with_values({"precision": "auto"}))
def mlp_large(images: Tensor, classes: int) -> Tensor:
    """Multi-layer perceptron with three wide hidden layers and batch norm (Ioffe & Szegedy 2015).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 784*640+4*640 + 640*512+4*512 + 512*256+4*256 + 256*10+10 = 968,714 parameters
    """
    x = layers.Flatten(name="flatten")(images)  # [N, H*W*C]
    for index, units in enumerate((640, 512, 256), start=1):
        x = dense_unit(x, units, name=f"hidden{index}")  # [N, units]
        x = layers.Dropout(0.2, name=f"hidden{index}_dropout")(x)
    return layers.Dense(classes, name="head_dense")(x)


@model("mlp-residual", family="dense", recipe=REGULARIZED)
def mlp_residual(images: Tensor, classes: int) -> Tensor:
    """Residual MLP: pre-normalized blocks with skip connections (He et al. 2016; Touvron 2021).

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 784*256+256 + 3*(2*256 + 256*512+512 + 512*256+256) + 2*256 + 256*10+10 = 994,314 parameters
    Departures: layer normalization (Ba et al. 2016) for ResMLP's affine one, and all pixels mixed at once, where it
    mixes patches and channels in turn.
    """
    x = layers.Flatten(name="flatten")(images)  # [N, H*W*C]
    x = layers.Dense(256, name="stem_dense")(x)  # [N, 256]
    for index in range(1, 4):
        y = layers.LayerNormalization(name=f"block{index}_norm")(x)
        x = layers.Add(name=f"block{index}_add")([x, two_layers(y, 512, name=f"block{index}")])
    x = layers.LayerNormalization(name="head_norm")(x)
    return layers.Dense(classes, name="head_dense")(x)


@model(
    "mlp-mixer-tiny",
    family="dense",
    recipe=Recipe(epochs=40, optimizer="muon", normalize="image", degrade=0.25, precision="float32"),
)
def mlp_mixer_tiny(images: Tensor, classes: int) -> Tensor:
    """MLP-Mixer (Tolstikhin et al. 2021): dense layers shared by patches, at the border to conv.

    Every patch reaches every other, as in a dense layer; but all patches go through the same weights, and cutting them
    out is a convolution whose stride is its size.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    28x28x1, K = 10: 4*4*1*64+64 + 4*(2*64 + 49*64+64 + 64*49+49 + 2*64 + 64*128+128 + 128*64+64)
                     + 2*64 + 64*10+10 = 94,734 parameters
    """
    x = layers.Conv2D(64, 4, strides=4, padding="same", name="patches_conv")(images)  # [N, H/4, W/4, 64]
    rows, columns, channels = x.shape[1:]
    x = layers.Reshape((rows * columns, channels), name="patches")(x)  # [N, P, 64]
    for index in range(1, 5):
        y = layers.LayerNormalization(name=f"block{index}_tokens_norm")(x)
        y = layers.Permute((2, 1), name=f"block{index}_tokens_last")(y)  # [N, 64, P]
        y = two_layers(y, 64, name=f"block{index}_tokens")
        y = layers.Permute((2, 1), name=f"block{index}_channels_last")(y)  # [N, P, 64]
        x = layers.Add(name=f"block{index}_tokens_add")([x, y])

        y = layers.LayerNormalization(name=f"block{index}_channels_norm")(x)
        y = two_layers(y, 128, name=f"block{index}_channels")
        x = layers.Add(name=f"block{index}_channels_add")([x, y])
    x = layers.LayerNormalization(name="head_norm")(x)
    x = layers.GlobalAveragePooling1D(name="head_pool")(x)  # [N, 64]
    return layers.Dense(classes, name="head_dense")(x)


def dense_unit(x: Tensor, units: int, *, name: str) -> Tensor:
    """Dense layer, batch normalization, ReLU: I*units + 4*units weights. [N, I] -> [N, units]"""
    x = layers.Dense(units, use_bias=False, name=f"{name}_dense")(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def two_layers(x: Tensor, units: int, *, name: str) -> Tensor:
    """A hidden layer and back to the width that came: 2*I*units + units + I weights. [..., I] -> [..., I]"""
    width = x.shape[-1]
    x = layers.Dense(units, activation="gelu", name=f"{name}_hidden_dense")(x)
    x = layers.Dropout(0.2, name=f"{name}_dropout")(x)
    return layers.Dense(width, name=f"{name}_dense")(x)


def mlp_head(features: Tensor, units: int, classes: int) -> Tensor:
    """One hidden layer and the logits: the dense head of the hybrids. features [N, F] -> logits [N, K]."""
    x = layers.Dense(units, activation="relu", name="head_hidden_dense")(features)  # [N, units]
    x = layers.Dropout(0.2, name="head_dropout")(x)
    return layers.Dense(classes, name="head_dense")(x)
