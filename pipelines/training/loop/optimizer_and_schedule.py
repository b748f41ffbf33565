"""The optimizer, AdamW or Muon, and the schedule of its learning rate: up to the peak, and down to 0 along a cosine."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from zoo.models.backend import start_keras
from zoo.recipe import Recipe

# Of a matrix: below it, making its directions equally long is a step that hardly knows where to go.
LEAST_INPUTS = 16


def make_optimizer(recipe: Recipe, updates: int, weights: list[Any]) -> Any:
    """A `keras.optimizers.Optimizer` for `updates` steps on `weights`, the trainable ones of a model.

    The rate follows Loshchilov & Hutter 2017; weight decay (2019) leaves biases and norms alone.
    """
    keras = start_keras()
    warmup = math.floor(updates * recipe.warmup)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else recipe.learning_rate,
        warmup_target=recipe.learning_rate if warmup else None,
        warmup_steps=warmup,
        decay_steps=updates - warmup,
    )
    if recipe.optimizer == "muon":
        logits = [weight.path for weight in weights if len(weight.shape) > 1][-1]
        decay = recipe.weight_decay
        optimizer = _muon()(rate, weight_decay=decay, adam_weight_decay=decay, exclude_layers=[logits])
    else:
        optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
    optimizer.exclude_from_weight_decay([weight for weight in weights if len(weight.shape) < 2])  # biases and norms
    return optimizer


@cache
def _muon() -> Any:
    """The optimizer's class; made when it is first needed, since importing Keras takes seconds."""
    keras = start_keras()
    from keras import ops

    class ConvMuon(keras.optimizers.Muon):  # type: ignore[misc, name-defined]
        """Muon (Jordan et al. 2024) at AdamW's rates (Liu et al. 2025), for the kernels of convolutions, too.

        A kernel [k, k, Cin, Cout] is the matrix [k*k*Cin, Cout] that it multiplies patches with, as in Jordan's own
        training on CIFAR-10; Keras would leave it to AdamW, as this does with norms, biases, depthwise kernels, kernels
        of few inputs, and the layer of the logits.
        """

        def _should_use_adamw(self, variable: Any) -> bool:
            *inputs, outputs = variable.shape
            is_matrix = len(inputs) in (1, 3) and outputs > 1 and math.prod(inputs) >= LEAST_INPUTS
            return not is_matrix or variable.path in self.exclude_layers

        def _muon_update_step(self, gradient: Any, variable: Any, lr: Any, m: Any) -> None:
            self.assign_add(m, gradient + m * (self.momentum - 1))
            ahead = ops.reshape(gradient + self.momentum * m, (-1, variable.shape[-1]))
            step = self.lr_adjust(self.zeropower_via_newtonschulz5(ahead, self.ns_steps))
            self.assign_sub(variable, lr * ops.reshape(step, variable.shape))

    return ConvMuon
