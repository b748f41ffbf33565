"""Hybrids with pretrained features: those of `keras.applications`, averaged over positions, under our head.

`--from imagenet` starts from the weights that Keras' authors publish, learned from 1.3 million photographs at 224x224.
Each application wants pixels scaled in its own way: that is part of the architecture, and so of the exported file.
"""

from __future__ import annotations

from zoo.models import layers
from zoo.models.backend import start_keras
from zoo.models.families.dense import mlp_head
from zoo.models.registry import KerasFile, Published, Tensor, model
from zoo.recipe import Recipe

# Rates and stages as in Keras' guide to transfer learning: 1e-3 while the features are frozen, then a hundredth of it.
# The head has few weights and good features: it needs fewer updates than a new model. 32 images a step, since a step
# of resnet50-v2 keeps 50 MB for each of 224x224 pixels. float32: depthwise convolutions are slow in bfloat16.
GENTLE = Recipe(
    epochs=10, least_updates=400, batch_size=32, learning_rate=1e-3, frozen=0.5, fine_rate=0.01, precision="float32"
)
HIDDEN = 128  # units of the head
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1
STORE = "https://storage.googleapis.com/tensorflow/keras-applications"
BY = "the authors of Keras Applications"  # the accuracies are those of its table, https://keras.io/api/applications/


@model(
    "mobilenet-v2",
    family="hybrid",
    recipe=GENTLE,
    published=Published(
        KerasFile(
            "MobileNetV2",
            f"{STORE}/mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
            md5=None,
        ),
        by=BY,
        license="Apache-2.0",
        size=224,
        accuracy=0.713,
        parameters=2_257_984,
        multiply_accumulates=299_494_272,
    ),
)
def mobilenet_v2(images: Tensor, classes: int) -> Tensor:
    """The features of MobileNetV2 (Sandler et al. 2018), made for phones, under a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 2,257,984 + 1280*128+128 + 128*10+10 = 2,423,242 parameters, the first 2,257,984 of them in the features
    """
    return _with_head("MobileNetV2", _from_minus_one_to_one(_as_rgb(images)), classes)


@model(
    "efficientnet-v2-b0",
    family="hybrid",
    recipe=GENTLE,
    published=Published(
        KerasFile(
            "EfficientNetV2B0",
            f"{STORE}/efficientnet_v2/efficientnetv2-b0_notop.h5",
            md5="893217f2bb855e2983157299931e43ff",
        ),
        by=BY,
        license="Apache-2.0",
        size=224,
        accuracy=0.787,
        parameters=5_919_312,
        multiply_accumulates=716_806_176,
    ),
)
def efficientnet_v2_b0(images: Tensor, classes: int) -> Tensor:
    """The features of EfficientNetV2-B0 (Tan & Le 2021), found by search, under a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 5,919,312 + 1280*128+128 + 128*10+10 = 6,084,570 parameters, the first 5,919,312 of them in the features
    """
    scale, offset = zip(*((1 / d, -m / d) for m, d in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)), strict=True)
    x = layers.Rescaling(list(scale), list(offset), name="standardized")(_as_rgb(images))
    return _with_head("EfficientNetV2B0", x, classes, include_preprocessing=False)


@model(
    "resnet50-v2",
    family="hybrid",
    recipe=GENTLE,
    published=Published(
        KerasFile(
            "ResNet50V2",
            f"{STORE}/resnet/resnet50v2_weights_tf_dim_ordering_tf_kernels_notop.h5",
            md5="fac2f116257151a9d068a22e544a4917",
        ),
        by=BY,
        license="MIT",
        size=224,
        accuracy=0.76,
        parameters=23_564_800,
        multiply_accumulates=3_480_207_360,
    ),
)
def resnet50_v2(images: Tensor, classes: int) -> Tensor:
    """The features of ResNet50V2 (He et al. 2016), whose norms come before the convolutions, under a dense head.

    images [N, H, W, C] float32 in 0..1 -> logits [N, K]
    K = 10: 23,564,800 + 2048*128+128 + 128*10+10 = 23,828,362 parameters, the first 23,564,800 of them in the features
    """
    return _with_head("ResNet50V2", _from_minus_one_to_one(_as_rgb(images)), classes)


def _as_rgb(images: Tensor) -> Tensor:
    """[N, H, W, C] -> [N, H, W, 3], gray as three equal channels."""
    return images if images.shape[-1] == 3 else layers.Concatenate(name="rgb")([images, images, images])


def _from_minus_one_to_one(images: Tensor) -> Tensor:
    """0..1 -> -1..1"""
    return layers.Rescaling(2, -1, name="centered")(images)


def _with_head(application: str, pixels: Tensor, classes: int, **options: bool) -> Tensor:
    """The features of an application with new weights, pooled, under a dense head. [N, H, W, 3] -> logits [N, K]"""
    features = getattr(start_keras().applications, application)(
        include_top=False, weights=None, input_tensor=pixels, input_shape=pixels.shape[1:], **options
    )
    x = layers.GlobalAveragePooling2D(name="head_pool")(features.output)
    return mlp_head(x, HIDDEN, classes)
