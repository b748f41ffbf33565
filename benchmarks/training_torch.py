"""An entry of training.py: conv-small in PyTorch, eager, channels_last. It needs torch and NumPy, nothing of ours.

Everything that is known to make eager PyTorch fast on a processor and costs one line is done: images scaled once and
kept as one float32 tensor in channels_last, a batch taken by one index, ReLU in place, the fused AdamW, no running
metrics. One step is otherwise what Keras does: the same layers, norms, initial distribution, optimizer and schedule.
"""

from __future__ import annotations

import json
import math
import sys
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn
from turns import Turns, tell, wait_for_the_end

# (channels, stride) of the six convolutions. Where Keras pads an image of even side on one side of it, this does on
# both: the same work.
UNITS = ((32, 1), (32, 1), (48, 2), (48, 1), (48, 2), (48, 1))
VALIDATION_BATCH = 512  # images


def main() -> None:
    settings = json.loads(sys.argv[1])
    torch.manual_seed(settings["seed"])
    data = np.load(settings["data"])
    images, labels = tensors(data["train_inputs"], data["train_labels"])
    classes = int(labels.max()) + 1
    model = conv_small(images.shape[1], classes).to(memory_format=torch.channels_last)
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
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
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


def conv_small(channels: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for filters, stride in UNITS:
        layers += [
            nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(filters, eps=1e-3, momentum=0.1),  # Keras' momentum 0.9 is torch's 0.1
            nn.ReLU(inplace=True),
        ]
        channels = filters
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
    for weights in model.parameters():
        if weights.dim() > 1:
            nn.init.xavier_uniform_(weights)  # Keras' Glorot
    nn.init.zeros_(model[-1].bias)
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
