"""Sets of labels that hold the true one in a stated share of cases, by the thresholds that a file carries."""

from __future__ import annotations

from math import ceil
from numbers import Real
from typing import TYPE_CHECKING

from zoo.errors import ExportError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zoo.contract import Metadata

LEAST_BY_CLASS = 20  # held-out images of each class, for a threshold of its own


def images_needed(coverage: float) -> int:
    """The least number of held-out images that a threshold for this coverage can rest on. coverage: 0..1, exclusive."""
    return ceil(round(coverage / (1 - coverage), 9))


def images_needed_by_class(coverage: float) -> int:
    """The same of each class, for sets by class."""
    return max(LEAST_BY_CLASS, images_needed(coverage))


def thresholds_for(metadata: Metadata, coverage: float, by_class: bool = False) -> tuple[float, ...]:
    """What each label's probability has to reach, [K], so that a share `coverage` of the sets holds the true label.

    coverage: 0..1, exclusive; a coverage between two that the file has thresholds for takes those of the higher one.
    by_class: whether that share is to be reached among the images of each class, not among all.
    Raises InputError for a coverage that the file has no thresholds for, ExportError where it has none at all, or too
    few held-out images of a class.
    """
    name, sets = f"{metadata.data_set}/{metadata.model}", metadata.sets
    if not isinstance(coverage, Real) or not 0 < coverage < 1:  # NaN is neither
        raise InputError(f"coverage is a share above 0 and below 1, such as 0.95, received {coverage!r}")
    if not sets or not sets["thresholds"]:
        images = metadata.recipe.get("images")
        reason = (
            "it is of contract 1, before there were sets: export its model again"
            if metadata.contract == "1"
            else "its model learned from all images but the test set: train it with images=most"
            if images == "all"
            else "too few images were held out of its training, or none: export its model again with more"
        )
        raise ExportError(f"{name} gives no sets of labels, {reason}")
    of_all = sets["thresholds"]
    wanted = f"{ceil(round(100 * coverage, 6)) / 100:.2f}"
    if wanted not in of_all:
        raise InputError(
            f"{name} gives sets for a coverage of {min(of_all)} to {max(of_all)}, by {sets['images']:,} held-out "
            f"images, received {coverage!r}"
        )
    if not by_class:
        return (of_all[wanted],) * len(metadata.labels)
    if wanted not in sets["by_class"]:
        needed = images_needed_by_class(float(wanted))
        images, label = min(zip(sets["images_by_class"], metadata.labels, strict=True))
        raise ExportError(
            f"{name} gives no sets of that coverage by class: they take {needed} held-out images of each class, and "
            f"{label!r} has {images}"
        )
    return tuple(sets["by_class"][wanted])


def labels_within(ranking: Sequence[tuple[str, float]], least: dict[str, float]) -> tuple[str, ...]:
    """The labels as probable as they have to be, likeliest first; never none, the likeliest is always among them.

    ranking: all labels with their probabilities, likeliest first. least: by label.
    """
    (first, _), *others = ranking
    return (first, *(label for label, probability in others if probability >= least[label]))
