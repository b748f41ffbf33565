"""Why half the contrast ruins a model: the change is taken apart, and each part is shown to what is shipped.

    PYTHONPATH=. python benchmarks/contrast.py [softmax conv-tiny ...]

Prints the accuracy of exports of Fashion-MNIST on the first 2,000 test images.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

import zoo
from pipelines.core.provenance.plan import load_data, make_plan

MODELS = ("softmax", "mlp-small", "lenet5", "conv-tiny", "conv-small", "vgg-mini", "resnet20", "convnext-mini")
IMAGES, BATCH, MARGIN = 2000, 250, 2

test = load_data(make_plan("softmax", "fashion-mnist")).test
labels, clean = test.labels[:IMAGES], test.inputs[:IMAGES].astype(np.float32)


def of_image(values: np.ndarray, statistic: Callable[..., np.ndarray]) -> np.ndarray:
    found: np.ndarray = statistic(values, axis=(1, 2, 3), keepdims=True)
    return found


mean, deviation = of_image(clean, np.mean), of_image(clean, np.std)
half = np.rint(mean + (clean - mean) / 2)
framed = half.copy()
framed[:, :MARGIN] = framed[:, -MARGIN:] = framed[:, :, :MARGIN] = framed[:, :, -MARGIN:] = 0

CHANGES = {
    "clean": clean,
    "half the contrast": half,
    "half of each value, black stays black": clean / 2,
    "half of the mean is added, contrast stays": clean + mean / 2,
    "half the contrast, then its least value taken off": half - of_image(half, np.min),
    "half the contrast, within a black frame": framed,
    "half the contrast, then the mean and deviation it had": (half - of_image(half, np.mean))
    / of_image(half, np.std)
    * deviation
    + mean,
}

names = sys.argv[1:] or MODELS
print("| |", " | ".join(f"`{name}`" for name in names), "|")
print("|---|" + "---:|" * len(names))
classifiers = [zoo.load(f"exports/fashion-mnist/{name}", provider="cpu") for name in names]
for change, values in CHANGES.items():
    images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    shares = []
    for classifier in classifiers:
        parts = [classifier.probabilities(images[k : k + BATCH]).argmax(axis=1) for k in range(0, IMAGES, BATCH)]
        shares.append(np.mean(np.concatenate(parts) == labels))
    print(f"| {change} |", " | ".join(f"{share:.1%}" for share in shares), "|", flush=True)
