"""`zoo placement EXPORT`: which nodes of an export run on which provider. The app's part is all that it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from zoo.runtime import load
from zoo.runtime.providers import Node


@dataclass(frozen=True)
class Placement:
    """provider: the one that was asked for, or that "auto" took. places: provider -> the nodes that it runs."""

    provider: str
    places: Mapping[str, tuple[Node, ...]]

    @property
    def nodes(self) -> int:
        """How many there are."""
        return sum(map(len, self.places.values()))


def placement(export: str | os.PathLike[str], *, provider: str = "auto") -> Placement:
    """Report where each node of the export runs on this machine, as onnxruntime assigned them.

    export, provider: as in `zoo.load`. Raises what `zoo.load` raises, and ProviderError for onnxruntime before 1.24.
    """
    classifier = load(export, provider)
    return Placement(classifier.provider, classifier.placement())
