"""What a model is trained on: a few images beside what the recipe makes of them, logged when a run begins."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines import tracking
from pipelines.plotting.tiles import augmented
from zoo.data import DataSet, Split
from zoo.data.batches import training_batches
from zoo.recipe import LEARNED_AS_THEY_ARE, Recipe

IMAGES = 8
CHANGES = 5
FILE = "augmentation.png"


def log_augmented(run_id: str, recipe: Recipe, happened: Mapping[str, Any], data_set: DataSet) -> None:
    """Draw it, and add it to the run's artifacts; nothing where images are learned as they are.

    happened: fields of the recipe that were carried out otherwise, as of `effective_recipe`.
    """
    recipe = recipe.with_values({name: happened[name] for name in LEARNED_AS_THEY_ARE if name in happened})
    if not recipe.changes_images:
        return
    with tempfile.TemporaryDirectory() as folder:
        first, changed = changes(recipe, data_set)
        augmented(Path(folder) / FILE, first, changed, _how(recipe))
        tracking.log_folder(run_id, Path(folder))


def _how(recipe: Recipe) -> str:
    """What changes images, in the recipe's words: `augmentation=light, mixup=0.2`."""
    made = ((name, getattr(recipe, name)) for name in LEARNED_AS_THEY_ARE)
    return ", ".join(f"{name}={value}" for name, value in made if value != LEARNED_AS_THEY_ARE[name])


def changes(recipe: Recipe, data_set: DataSet) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Some images [P, H, W, C], of different classes first, and what they become [CHANGES, P, H, W, C], both uint8.

    They come through the stream that trains, each as a class of its own, to be found after the shuffle.
    """
    firsts = np.sort(np.unique(data_set.train.labels, return_index=True)[1])  # of each class
    others = np.setdiff1d(np.arange(min(IMAGES, len(data_set.train))), firsts)
    chosen = np.concatenate([firsts, others])[:IMAGES]
    images = data_set.train.inputs[chosen]
    few = Split(images, np.arange(len(images)), tuple(map(str, chosen)))
    alone = recipe.with_values({"batch_size": len(few), "balance": "none"})

    def batches(recipe: Recipe) -> list[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
        """For each epoch, the images and their order."""
        found = training_batches(few, len(few), recipe, mirrored=data_set.mirrored, first_epoch=0, epochs=CHANGES)
        return [(batch.numpy(), np.argsort(targets.numpy().argmax(axis=1))) for batch, targets in found]

    changed = batches(alone)
    # The target of a mixed image doesn't say which of the two it is: the same order, unmixed, does.
    unmixed = batches(alone.with_values({"mixup": 0, "cutmix": 0})) if alone.mixup or alone.cutmix else changed
    return images, np.stack([batch[order] for (batch, _), (_, order) in zip(changed, unmixed, strict=True)])
