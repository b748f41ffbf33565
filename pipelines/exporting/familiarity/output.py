"""The output FAMILIARITY of a model: measured on the images of its data set, and put into its file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.evaluation.predictions import in_batches
from pipelines.exporting.familiarity.features import Placed, add_features, read_features
from pipelines.exporting.familiarity.fit import LEAST, METHOD, THRESHOLD, fit
from pipelines.exporting.familiarity.graph import add_familiarity
from pipelines.exporting.graph.edit import Model, drop_unused
from zoo.contract import Metadata
from zoo.data import DataSet, Split
from zoo.data.held_out import held_out

logger = logging.getLogger("zoo.exporting")

LEARNED = 10_000  # training images, drawn from all, that say where the classes lie


def give_familiarity(
    model: Model, metadata: Metadata, data_set: DataSet, placed: Placed | None = None
) -> Mapping[str, Any]:
    """Put FAMILIARITY into a finished model. Returns what its metadata says of it.

    placed: the features that it computes already; None where they are still to be put in, which a float32 graph allows.
    {} where the recipe holds no images out of training, or fewer than 20, and where all that a model knows of an image
    is one number: the output is left out, and the log says so.
    """
    others = held_out(data_set, str(metadata.recipe.get("images", "all")))
    name = f"{metadata.data_set}/{metadata.model}"
    if others is None or len(others) < LEAST:
        held = "no" if others is None else f"only {len(others)}"
        logger.warning(
            "%s: %s images were held out of training, expected %d or more, so its file can't detect unknown classes%s",
            name,
            held,
            LEAST,
            "; images=most or images=train holds some out" if others is None else "",
        )
        return {}
    learned = drawn(data_set.train, LEARNED)
    placed = placed or add_features(model.graph, metadata)
    if sum(placed[1]) < 2:  # as a share of itself, it is always 1
        drop_unused(model.graph)
        logger.warning("%s describes %s by one number: its file can't detect unknown classes", name, data_set.kind)
        return {}
    known, unseen = (
        read_features(model, placed, metadata, in_batches(split.inputs, "learning familiarity"))
        for split in (learned, others)
    )
    kept = [output for output in model.graph.output if output.name != placed[0]]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    add_familiarity(model.graph, placed, fit(known, learned.labels, placed[1], unseen))
    return {"method": METHOD, "images": len(others), "threshold": THRESHOLD}


def drawn(split: Split, count: int) -> Split:
    """So many of the images, drawn from all, in their order; the same ones each time."""
    return split.take(np.sort(np.random.default_rng(0).permutation(len(split))[:count]))
