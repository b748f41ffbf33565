"""What continues a run that wasn't finished."""

from __future__ import annotations

from collections.abc import Mapping

TRAINED_ON = "trained_on"  # tag of a run: by which devices, where several trained it together


def resume_command(run_id: str, tags: Mapping[str, str]) -> str:
    """The command that continues a run. One that several devices trained goes on with any number of them alone."""
    return f"zoo train --resume {run_id[:8]}{' --devices all' if TRAINED_ON in tags else ''}"
