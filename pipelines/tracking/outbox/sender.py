"""The outbox of a run that is being trained: what it logs goes to disk, and on to the store, beside the training.

A store that is away stops nothing. What waits for it is sent when it is back, by the training itself, or by `zoo sync`.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Event, Thread
from typing import Any

from pipelines.tracking.outbox import delivery
from pipelines.tracking.outbox.journal import InUseError, Journal, Record, waits
from pipelines.tracking.store import (
    OUTBOX_FOLDER,
    hide_secrets,
    open_client,
    store_uri,
    sync_database,
    without_secrets,
)
from zoo.errors import TrackingError

logger = logging.getLogger("zoo.tracking")

TOGETHER = 1.0  # seconds of records that go in one request, where training is faster than that
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0)  # seconds between attempts at a store that is away, the last one for good
LAST_PATIENCE = 20.0  # seconds that a training waits at its end for a store that has just begun to fail
HEARTBEAT = 30.0  # seconds between two signs of life
HEARTBEAT_TAG = "process.heartbeat"  # seconds since 1970

_open: dict[str, Outbox] = {}  # by run: those that this process trains


def folder_of(run_id: str) -> Path:
    """Where a run's outbox lies."""
    return (OUTBOX_FOLDER / run_id).absolute()


def unsent(run_id: str) -> int:
    """How many records of a run wait on this machine for the store."""
    return waits(folder_of(run_id))


def trained_here(run_id: str) -> Outbox | None:
    """The outbox of a run that this process trains; None for any other."""
    return _open.get(run_id)


@contextmanager
def outbox_of(run_id: str, *, resumed: bool = False) -> Iterator[None]:
    """Inside of the block whatever is logged to the run is kept on disk first, and sent from there by a thread.

    No other process may have it open. At its end the store has all, or what waits is reported, and how to send it.
    resumed: send what waits from before, and leave out what comes again that was measured before.
    Raises TrackingError where the run is another process's; if it is resumed, where the store is away, too.
    """
    journal = Journal(folder_of(run_id), without_secrets(store_uri()))
    try:
        known = _catch_up(run_id, journal) if resumed else (set(), set())
        opened = Outbox(run_id, journal, *known)
        _open[run_id] = opened
        try:
            yield
        finally:
            del _open[run_id]
            opened.close()
    finally:
        journal.close()


def _catch_up(run_id: str, journal: Journal) -> tuple[set[tuple[str, int]], set[str]]:
    send(run_id, journal)
    with open_client() as client:
        names = client.get_run(run_id).data.metrics
        return delivery.measured(client, run_id, names), {model.name for model in delivery.ready_models(client, run_id)}


def send(run_id: str, journal: Journal, *, again: bool = True) -> int:
    """Send what waits, the oldest first, and say how many records that were. TrackingError where the store fails.

    again: some may have been received already, and not only the first, where what is confirmed was lost.
    """
    count = 0
    with open_client() as client, _asked_once():
        for batch in delivery.batches(journal.waiting()):
            delivery.deliver(client, run_id, batch, again=again)
            sync_database()
            journal.confirm(batch[-1])
            count += len(batch)
    return count


def send_all() -> list[tuple[str, int, int, str, bool]]:
    """Send what waits on this machine but what a training sends itself: run, records sent, records left, why, and
    whether a training sends them.
    """
    found = []
    for folder in sorted(path.parent for path in OUTBOX_FOLDER.absolute().glob("*/journal.jsonl")):
        sent, reason, waiting = 0, "", waits(folder)
        try:
            journal = Journal(folder)
        except TrackingError as error:
            found.append((folder.name, 0, waiting, str(error), isinstance(error, InUseError)))
            continue
        try:
            if journal.store != (here := without_secrets(store_uri())):
                raise TrackingError(f"it belongs to {journal.store}, not to {here}: set MLFLOW_TRACKING_URI to that")
            sent = send(folder.name, journal)
        except TrackingError as error:
            reason, sent = str(error), waiting - waits(folder)
        finally:
            left = waits(folder)
            journal.close()
        found.append((folder.name, sent, left, reason, False))
    return found


@contextmanager
def _asked_once() -> Iterator[None]:
    """MLflow repeats a request that had no answer, as it is: we look first what became of it."""
    name = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    before = os.environ.get(name)
    os.environ[name] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Outbox:
    """A journal with the thread that sends it.

    measured, models: what isn't to be written again, metrics by name and step, models by name.
    """

    def __init__(
        self, run_id: str, journal: Journal, measured: Collection[tuple[str, int]], models: Collection[str]
    ) -> None:
        self._run_id, self._journal, self._measured, self._models = run_id, journal, measured, models
        self._changed, self._waits, self._closing, self._failure = Condition(), False, False, ""
        self._thread = Thread(target=self._go_on_sending, name=f"outbox of {run_id[:8]}", daemon=True)
        self._thread.start()

    def put(self, record: Record, files: Path | None = None, *, synced: bool = True) -> None:
        """Keep a record, and a copy of its files. On return it is on disk, if `synced`. TrackingError where not."""
        if record["kind"] == "metrics":
            new = [metric for metric in record["metrics"] if (metric[0], metric[3]) not in self._measured]
            if not new:
                return
            record = {**record, "metrics": new}
        if record["kind"] == "model" and record["name"] in self._models:
            return
        self._journal.append(record, files, synced=synced)
        with self._changed:
            self._waits = True
            self._changed.notify()

    def sync(self) -> None:
        """Return when all that was put is on disk. TrackingError where it can't be."""
        self._journal.sync()

    def close(self) -> None:
        """Wait until all is sent, or the store fails; what is left stays on disk, which is reported."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        try:
            self._thread.join()
        except KeyboardInterrupt:  # who waits no longer loses nothing
            self._failure = self._failure or "interrupted"
        if left := len(self._journal.waiting()):
            records, wait, them = ("records", "wait", "them") if left > 1 else ("record", "waits", "it")
            logger.warning(
                f"{left} {records} of run {self._run_id[:8]} {wait} in {self._journal.folder}, "
                f"as the store doesn't take {them} ({self._failure}): `zoo sync` sends {them}"
            )

    def _go_on_sending(self) -> None:
        """Send what comes until the outbox is closed, and then until all is sent, or the store can't be waited for."""
        failures, beaten, closing, ends = 0, time.monotonic(), False, 0.0
        while True:
            if closing:
                time.sleep(_pause(failures))
            elif closing := self._wait(failures):
                # A store that has been away is asked once more; one that begins to fail now may only be busy.
                ends = time.monotonic() + (0 if failures else LAST_PATIENCE)
            try:
                send(self._run_id, self._journal, again=failures > 0)
                if time.monotonic() - beaten >= HEARTBEAT:
                    beat(self._run_id)
                    beaten = time.monotonic()
            except Exception as error:  # whatever it is, the records are on disk: no reason to stop a training
                self._failure = _reason(error)
                if not failures and not closing:
                    logger.warning("training continues without the store, and its records are kept: %s", self._failure)
                failures += 1
            else:
                if failures and not closing:
                    logger.info("the store is back and has received all records")
                failures, self._failure = 0, ""
            if closing and (not failures or time.monotonic() >= ends):
                return

    def _wait(self, failures: int) -> bool:
        """Wait for something to send, and a little for more, or for the next attempt. Whether the outbox is closed."""
        with self._changed:
            if failures:
                self._changed.wait_for(lambda: self._closing, _pause(failures))
            elif self._changed.wait_for(lambda: self._waits or self._closing, HEARTBEAT):
                self._changed.wait_for(lambda: self._closing, TOGETHER)
            self._waits = False
            return self._closing


def _pause(failures: int) -> float:
    return PAUSES[min(failures, len(PAUSES)) - 1]


def last_seen(run: Any) -> float:
    """When a run, as MLflow gives it, last gave a sign of life: seconds since 1970."""
    try:
        beaten = float(run.data.tags.get(HEARTBEAT_TAG, 0))
    except ValueError:  # of that run no more is known than when it began
        beaten = 0.0
    return float(max(run.info.start_time / 1000, beaten))


def sign_of_life() -> dict[str, str]:
    """As a tag."""
    return {HEARTBEAT_TAG: str(int(time.time()))}


def beat(run_id: str) -> None:
    """Write a sign of life into a run."""
    with open_client() as client:
        for name, value in sign_of_life().items():
            client.set_tag(run_id, name, value)


@contextmanager
def beating(run_id: str) -> Iterator[None]:
    """Signs of life of a run that has no outbox, as long as the block lasts."""
    ended = Event()

    def go_on() -> None:
        while not ended.wait(HEARTBEAT):
            with suppress(Exception):  # the store may be away for a while
                beat(run_id)

    thread = Thread(target=go_on, name=f"signs of life of {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(LAST_PATIENCE)


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, TrackingError) else f"{type(error).__name__}: {error}"
    return hide_secrets(text, store_uri())
