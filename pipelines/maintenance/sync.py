"""`zoo sync`: send what trainings have kept for a store that was away."""

from __future__ import annotations

from dataclasses import dataclass

from pipelines import tracking


@dataclass(frozen=True)
class Synced:
    """What became of a run's outbox. sent, waiting: records. reason: why some wait; "" where none does.

    training: whether the run is being trained, and sends them itself.
    """

    run: str
    sent: int
    waiting: int
    reason: str
    training: bool = False


def sync() -> tuple[Synced, ...]:
    """Send the records that wait in mlruns/outbox, each run's in order, and report the result for each run.

    A run that is being trained sends its own. Raises TrackingError if the store can't be reached.
    """
    tracking.check_store()
    return tuple(Synced(*found) for found in tracking.send_all())
