"""Shipped models as files without FAMILIARITY, for tests that put it in themselves or ask what is answered without."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from zoo.contract import FAMILIARITY, Metadata


def without_familiarity(model: Any) -> Any:
    """A copy of a loaded ONNX model without that output, and without all that was written into its graph for it."""
    bare = type(model)()
    bare.CopyFrom(model)
    for part in (bare.graph.output, bare.graph.node, bare.graph.initializer, bare.graph.value_info):
        kept = [each for each in part if not each.name.startswith(FAMILIARITY)]
        del part[:]
        part.extend(kept)
    said = replace(metadata_in(bare), familiarity={}).to_properties()
    del bare.metadata_props[:]
    for key, value in said.items():
        bare.metadata_props.add(key=key, value=value)
    return bare


def metadata_in(model: Any) -> Metadata:
    """What a loaded ONNX model says of itself."""
    return Metadata.from_properties({p.key: p.value for p in model.metadata_props}, "model")
