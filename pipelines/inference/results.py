"""What a benchmark measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.core.provenance.machine import Machine
from pipelines.inference.harness import Measured


@dataclass(frozen=True)
class Benchmarked:
    """One export.

    name: DATA SET/MODEL. multiply_accumulates: of one image; None where the export doesn't say.
    entries: the export on each provider and precision, and then its peers.
    peak: multiply-accumulates a second of a matrix product in float32 on all cores, measured in between.
    notes: who was left out, and what else is to be known, a sentence each.
    """

    name: str
    family: str
    multiply_accumulates: int | None
    peak: float
    entries: tuple[Measured, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Benchmark:
    """What was measured, on what, and when (UTC). plot: where it was drawn."""

    exports: tuple[Benchmarked, ...]
    machine: Machine
    versions: dict[str, str]
    date: str
    seconds: float
    plot: Path | None = None
