"""What frozen layers make of the images: computed once for each view of each image, and kept in the cache."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.provenance.code import code_digest
from pipelines.core.provenance.machine import training_threads, versions_of
from pipelines.core.provenance.weights import weights_sha256
from pipelines.core.support.atomic import PARTIAL, atomic_file
from pipelines.core.support.progress import progress
from pipelines.core.support.reasons import reason_of
from pipelines.core.support.to_json import digest_of
from pipelines.training.loop.fused_norms import with_fused_norms
from zoo.data import DataSet, Split
from zoo.data.batches import view_batches
from zoo.data.cache import cache_folder
from zoo.errors import RecipeError
from zoo.models.backend import start_keras
from zoo.recipe import Recipe

logger = logging.getLogger("zoo.training")

BATCH = 32  # images: so many of 224x224 fit into memory on their way through a large network
LEFT_AFTER = 24 * 3600.0  # seconds since something was written to what isn't finished
KEPT_FOR = 30 * 24 * 3600.0  # seconds since they were used last; a day, where the disk has no room for more
MUCH = 2**30  # bytes, above which it is said what is about to be written
# Fields of a recipe that decide which views there are.
OF_VIEWS = (
    "views",
    "images",
    "augmentation",
    "mirrored",
    "rotation",
    "scale",
    "degrade",
    "seed",
)
LIBRARIES = ("tensorflow", "keras", "numpy")  # whose versions change what is computed

Rows = NDArray[np.float32]  # [N, F], the features of an image in each


def apart(learner: Any, frozen: Collection[str]) -> tuple[Any, Any]:
    """Two `keras.Model`s that share a model's layers: from images to features [N, F], and from these to logits.

    frozen: names of the layers whose weights stay as they are. RecipeError where the layers that learn read them in
    several places, or read maps.
    """
    fixed: dict[str, bool] = {}  # whether a layer gives the same for an image each time
    read: dict[str, Any] = {}  # of each fixed layer that others read, what they read
    for layer in learner.layers:
        inputs = [] if type(layer).__name__ == "InputLayer" else layer.input
        inputs = inputs if isinstance(inputs, list) else [inputs]
        sources = {tensor._keras_history.operation.name: tensor for tensor in inputs}
        draws = getattr(layer, "seed_generator", None) is not None  # dropout
        settled = not draws and (not layer.weights or layer.name in frozen)
        fixed[layer.name] = settled and all(fixed[name] for name in sources)
        if not fixed[layer.name]:
            read |= {name: tensor for name, tensor in sources.items() if fixed[name]}
    shapes = [tuple(tensor.shape[1:]) for tensor in read.values()]
    if len(shapes) != 1 or len(shapes[0]) != 1:
        raise RecipeError(
            f"the layers of {learner.name} that learn read {shapes} of those that are frozen, expected one row of "
            "features: set views=0"
        )
    (features,) = read.values()
    keras = start_keras()
    return keras.Model(learner.input, features), keras.Model(features, learner.output)


def features_of(extractor: Any, recipe: Recipe, data_set: DataSet) -> tuple[Rows, Rows]:
    """The features of the recipe's views of the training images, and those of the validation images as they are.

    extractor: a `keras.Model` from images to features. The training's are [V*N, F], of a file: all images as they are,
    then as the recipe augments them, again and again. RecipeError where the cache can't take them.

    A file is its numbers alone, so that nothing in it is interpreted: what they are of is its name, and its length is
    known before it is read.
    """
    folder = cache_folder() / "features"
    own_layers = {type(layer): None for layer in extractor.layers if type(layer).__module__.startswith("zoo.")}
    always = {
        "weights": weights_sha256(extractor),
        "layers": json.loads(extractor.to_json())["config"]["layers"],  # and not its name, which Keras counts up
        "images": data_set.digest,
        "versions": versions_of(LIBRARIES),
        "threads": training_threads(),
        "code": code_digest(_kept, with_fused_norms, *own_layers),
    }
    recipe_of_views = {name: getattr(recipe, name) for name in OF_VIEWS}
    of_views = {**always, **recipe_of_views, "keeps labels": data_set.mirrored}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        validation = folder / f"{digest_of(always)}.f32"
        train = folder / f"{digest_of(of_views)}.f32"
        return (
            _kept(train, extractor, data_set.train, recipe, recipe.views, mirrored=data_set.mirrored),
            _kept(validation, extractor, data_set.validation, recipe, 1, mirrored=data_set.mirrored),
        )
    except OSError as error:
        raise RecipeError(
            f"the features of {data_set.name} can't be stored in {folder} ({reason_of(error)}): choose another place "
            "with XDG_CACHE_HOME, or set views=0"
        ) from None


def _kept(file: Path, extractor: Any, split: Split, recipe: Recipe, views: int, *, mirrored: bool) -> Rows:
    """[V*N, F] of a file, which is written if it isn't there, or is damaged. RecipeError where it has no room."""
    shape = (views * len(split), int(extractor.output.shape[-1]))
    size = math.prod(shape) * np.dtype(np.float32).itemsize
    if not len(split):
        return np.empty(shape, np.float32)
    with suppress(FileNotFoundError):
        if file.is_file() and file.stat().st_size == size:
            os.utime(file)  # when it was used last
            return np.memmap(file, np.float32, "r", shape=shape)
    _make_room(file.parent, size, f"{views} views of {len(split):,} images")
    with (
        atomic_file(file) as partial,
        partial.open("wb") as rows,  # and not a map, by which a full disk would end the process
        progress(f"features of {len(split):,} images") as advance,
    ):
        done = 0
        for view in range(views):
            for images in view_batches(split, recipe, mirrored=mirrored, view=view, batch_size=BATCH):
                count = min(BATCH, (view + 1) * len(split) - done)
                rows.write(np.asarray(extractor.predict_on_batch(images)[:count], np.float32).tobytes())
                done += count
                advance(done, shape[0], f"view {view + 1} of {views}")
    return np.memmap(file, np.float32, "r", shape=shape)


def _make_room(folder: Path, size: int, what: str) -> None:
    """Say what is about to be written where it is much. RecipeError where the disk hasn't room for so many bytes."""
    if shutil.disk_usage(folder).free < size:
        _sweep(folder, LEFT_AFTER)
    free = shutil.disk_usage(folder).free
    takes = f"the features of {what} take {size / 2**30:,.1f} GiB"
    if free < size:
        raise RecipeError(
            f"{takes}, and {free / 2**30:,.1f} are free on the disk of {folder}: set fewer views (views=0 computes "
            "them again in each epoch), or choose another place with XDG_CACHE_HOME"
        )
    if size > MUCH:
        logger.info("%s in %s", takes, folder)


def _sweep(folder: Path, kept_for: float = KEPT_FOR) -> None:
    """Remove what nobody has used for so long, and after a day what a killed process has left half-written."""
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # another process has just finished it, or removed it
            if time.time() - file.stat().st_mtime > (LEFT_AFTER if PARTIAL.fullmatch(file.name) else kept_for):
                file.unlink()
