"""Runs that count as running, and whose process is gone: killed, or its machine was switched off.

`zoo runs --stale` shows them, ended as KILLED from then on, and `zoo train --resume RUN` goes on with each.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from pipelines import tracking
from pipelines.core.support.process import process_of
from pipelines.training.loop import checkpoint

SILENCE = 300.0  # seconds without a sign of life, ten of them missed, that a run on another machine may have


@dataclass(frozen=True)
class StaleRun:
    """A run whose process is gone.

    process: its id, on `host`. seen: the last sign of life, in seconds since 1970. reason: how one knows.
    resume: the command that continues it, or which one does, in words; "" where its checkpoint isn't in this folder.
    sweep: that it belongs to; "" for none.
    """

    run: str
    model: str
    data_set: str
    host: str
    process: int
    seen: float
    reason: str
    resume: str
    sweep: str = ""


def stale() -> tuple[StaleRun, ...]:
    """Find runs whose process is gone, latest first, and end each as KILLED at its last heartbeat.

    First, records in mlruns/outbox are sent: a run that ended while its store was unreachable isn't stale.
    Raises TrackingError if the store can't be reached.
    """
    tracking.existing_store()
    tracking.check_store()
    waiting = {run_id for run_id, _, left, *_ in tracking.send_all() if left}
    found = []
    for run in tracking.search("status = 'RUNNING'", most=10_000):
        process, run_id = process_of(run.data.tags), run.info.run_id
        if process is None or run_id in waiting:  # made by others, or what ends it is still on its way
            continue
        seen = tracking.last_seen(run)
        gone, silent = process.is_gone(), time.time() - seen
        if not (silent > SILENCE if gone is None else gone):
            continue
        tracking.end_at(run_id, "KILLED", seen)
        # A sweep of several processes begins the trial anew.
        goes_on = tracking.SWEEP in run.data.tags or checkpoint.exists(run_id)
        found.append(
            StaleRun(
                run=run_id,
                model=run.data.tags.get("model", run.info.run_name),
                data_set=run.data.tags.get("data_set", ""),
                host=process.host,
                process=process.pid,
                seen=seen,
                reason="its process is gone" if gone else f"no sign of life for {silent / 60:.0f} minutes",
                resume=tracking.resumed_by(run_id, run.data.tags) if goes_on else "",
                sweep=run.data.tags.get(tracking.SWEEP, ""),
            )
        )
    return tuple(found)
