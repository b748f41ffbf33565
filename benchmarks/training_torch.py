"""An entry of training.py: models of ours in PyTorch, channels_last. It needs torch and NumPy, nothing of ours.

Everything that is known to make PyTorch fast on a processor and costs one line is done: images scaled once and kept as
one float32 tensor in channels_last, a batch taken by one index, ReLU in place, the fused AdamW, no running metrics,
and bfloat16 and torch.compile where the settings say so. One step is otherwise what Keras does: the same layers, norms,
initial distribution, optimizer and schedule.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from turns import Turns, tell, wait_for_the_end

# (channels, stride) of conv-small's six convolutions. Where Keras pads an image of even side on one side of it, this
# does on both: the same work.
UNITS = ((32, 1), (32, 1), (48, 2), (48, 1), (48, 2), (48, 1))
VALIDATION_BATCH = 512  # images


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.manual_seed(settings["seed"])
    data = np.load(settings["data"])
    images, labels = tensors(data["train_inputs"], data["train_labels"])
    classes = int(labels.max()) + 1
    model = initialized(MODELS[settings["model"]](images.shape, classes)).to(memory_format=torch.channels_last)
    answer = torch.compile(model) if settings["compiled"] else model
    optimizer, schedule = optimizer_of(model, settings)
    arithmetic: Any = nullcontext()
    if settings["precision"] == "bfloat16":
        arithmetic = torch.autocast("cpu", dtype=torch.bfloat16)

    turns, batch = Turns(settings["warming"]), settings["batch_size"]
    for _ in range(settings["turns"]):
        turns.begin()
        order = torch.randperm(len(labels))
        for step in range(settings["steps"]):
            chosen = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            with arithmetic:
                loss = nn.functional.cross_entropy(answer(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            schedule.step()
            turns.stepped(step + 1)
        turns.end()
    if settings["accuracy"]:
        tell(accuracy=accuracy(model, *tensors(data["validation_inputs"], data["validation_labels"])))
    wait_for_the_end()


def tensors(images: Any, labels: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """[N, H, W, C] uint8, [N] -> [N, C, H, W] float32 in 0..1 in channels_last, [N] int64"""
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    return scaled.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


# --- the models, by the names that the zoo has for them ---------------------------------------------------------------


def conv_small(shape: torch.Size, classes: int) -> nn.Module:
    layers, channels = [], shape[1]
    for filters, stride in UNITS:
        layers += [*conv(channels, filters, stride), nn.ReLU(inplace=True)]
        channels = filters
    return nn.Sequential(*layers, *pooling_head(channels, classes))


def resnet20(shape: torch.Size, classes: int) -> nn.Module:
    layers, channels = [*conv(shape[1], 16), nn.ReLU(inplace=True)], 16
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            layers.append(ResidualBlock(channels, filters, stride=2 if stage and not block else 1))
            channels = filters
    return nn.Sequential(*layers, *pooling_head(channels, classes))


def separable_small(shape: torch.Size, classes: int) -> nn.Module:
    layers, channels = [*conv(shape[1], 48), nn.ReLU(inplace=True)], 48
    for filters, residuals in ((80, 3), (112, 4)):
        layers += [separable(channels, filters, stride=2)]
        layers += [Residual(separable(filters, filters)) for _ in range(residuals)]
        channels = filters
    return nn.Sequential(*layers, *pooling_head(channels, classes))


def mlp_large(shape: torch.Size, classes: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(shape[1:])
    for units in (640, 512, 256):
        layers += [nn.Linear(width, units, bias=False), nn.BatchNorm1d(units, eps=1e-3), nn.ReLU(inplace=True)]
        layers += [nn.Dropout(0.2)]
        width = units
    return nn.Sequential(*layers, nn.Linear(width, classes))


MODELS: dict[str, Callable[[torch.Size, int], nn.Module]] = {
    "conv-small": conv_small,
    "mlp-large": mlp_large,
    "resnet20": resnet20,
    "separable-small": separable_small,
}


def conv(channels: int, filters: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> list[nn.Module]:
    """A convolution and its norm, with Keras' epsilon; its momentum of 0.9 is PyTorch's 0.1."""
    convolution = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(filters, eps=1e-3)]


def separable(channels: int, filters: int, stride: int = 1) -> nn.Module:
    depthwise = [*conv(channels, channels, stride, groups=channels), nn.ReLU(inplace=True)]
    return nn.Sequential(*depthwise, *conv(channels, filters, kernel=1), nn.ReLU(inplace=True))


def pooling_head(channels: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


class Residual(nn.Module):
    """x + inner(x)"""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return x + self.inner(x)


class ResidualBlock(nn.Module):
    """relu(shortcut(x) + units(x))"""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        units = [*conv(channels, filters, stride), nn.ReLU(inplace=True), *conv(filters, filters)]
        self.units = nn.Sequential(*units)
        same = (channels, stride) == (filters, 1)
        self.shortcut = nn.Identity() if same else nn.Sequential(*conv(channels, filters, stride, kernel=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # noqa: D102
        return nn.functional.relu(self.shortcut(x) + self.units(x), inplace=True)


def initialized(model: nn.Module) -> nn.Module:
    """With Keras' distributions: Glorot's for kernels, 0 for biases."""
    for name, weights in model.named_parameters():
        if weights.dim() > 1:
            nn.init.xavier_uniform_(weights)
        elif name.endswith("bias"):
            nn.init.zeros_(weights)
    return model


def optimizer_of(model: nn.Module, settings: Any) -> tuple[Any, Any]:
    """AdamW with the recipe's decay on kernels alone, and its rate after each step: up from 0, down along a cosine."""
    kernels = [weights for weights in model.parameters() if weights.dim() > 1]
    others = [weights for weights in model.parameters() if weights.dim() <= 1]
    groups = [{"params": kernels, "weight_decay": settings["weight_decay"]}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings["learning_rate"], eps=1e-7, fused=True)
    updates = settings["updates"]
    warmup = math.floor(updates * settings["warmup"])

    def share(step: int) -> float:
        if step < warmup:
            return step / warmup
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / (updates - warmup))))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, share)


@torch.no_grad()
def accuracy(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    model.eval()
    answers = torch.cat([model(some).argmax(1) for some in images.split(VALIDATION_BATCH)])
    return float((answers == labels).float().mean())


if __name__ == "__main__":
    main()
