"""Temperature scaling (Guo et al. 2017): one number that logits are divided by, so that probabilities come true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.core.metrics.calibration import cross_entropy

LEAST_IMAGES = 50  # a temperature of fewer says more of these images than of the model
# Models in use have 0.7 to 3. Below, what arithmetic rounds would be magnified, so that a file no longer answers as the
# Keras model did to five digits.
SIDES = (0.2, 20.0)


def fit_temperature(logits: NDArray[np.floating], truth: NDArray[np.int64]) -> float:
    """The temperature T > 0 with the least cross-entropy of logits / T. logits: [N, K]; truth: [N].

    One more image of which nothing is known, any label as likely as the others, is added to the N (as Platt 1999 does
    for two classes): where all answers are correct the cross-entropy falls for ever as T does, and the images would be
    too few to believe it. 1 where no other temperature has less of it on the N images themselves. The cross-entropy is
    convex in 1 / T, so that there is one minimum. Raises ValueError for fewer than LEAST_IMAGES.
    """
    from scipy.optimize import minimize_scalar  # slow to import

    if len(truth) < LEAST_IMAGES:
        raise ValueError(f"expected {LEAST_IMAGES} images or more, received {len(truth)}")
    logits = logits.astype(np.float64)
    unknown = 1 / (len(truth) + 1)

    def loss(log_temperature: float) -> float:
        cooled = logits / np.exp(log_temperature)
        highest = cooled.max(axis=1)
        over_labels = highest + np.log(np.exp(cooled - highest[:, np.newaxis]).sum(axis=1)) - cooled.mean(axis=1)
        return (1 - unknown) * cross_entropy(cooled, truth) + unknown * float(over_labels.mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(SIDES)), method="bounded", options={"xatol": 1e-7})
    temperature = float(f"{np.exp(found.x):.6g}")
    return temperature if cross_entropy(logits / temperature, truth) < cross_entropy(logits, truth) else 1.0
