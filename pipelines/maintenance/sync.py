"""`zoo sync`: send what trainings have kept for a store that was away."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines import tracking


@dataclass(frozen=True)
class Synced:
    """What became of a run's outbox. sent, waiting: records. reason: why some wait; "" where none does."""

    run: str
    sent: int
    waiting: int
    reason: str


def sync() -> tuple[Synced, ...]:
    """Send what waits in mlruns/outbox, each run's records in order, and report what became of each.

    A run that is being trained sends its own. Raises TrackingError where the store is away.
    """
    tracking.check_store()
    return tuple(Synced(*found) for found in tracking.send_all())
