"""What continues a run that wasn't finished."""

from __future__ import annotations

from collections.abc import Mapping

SWEEP, TRIAL = "sweep", "sweep_trial"  # tags: the name of the sweep, and of a trial's run its number
TRAINED_ON = "trained_on"  # tag of a run: by which devices, where several trained it together


def resumed_by(run_id: str, tags: Mapping[str, str]) -> str:
    """The command that continues a run, or in words the one that began it, where that alone knows how to go on."""
    if SWEEP in tags:
        return "its zoo sweep command again"
    on = tags.get(TRAINED_ON, "")
    if "workers" in on.rpartition(", then ")[2]:  # of those that trained it last
        return "the same command again for all workers"
    return f"zoo train --resume {run_id[:8]}{' --devices all' if on else ''}"
