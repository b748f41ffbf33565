"""What the machine does while a run trains: processor, memory, graphics cards, in the UI under System metrics."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pipelines.tracking.store import import_mlflow, open_client
from zoo.errors import TrackingError

logger = logging.getLogger("zoo.tracking")

SYSTEM = "system/"  # what the names of these metrics begin with, which is how the UI knows them
# Seconds between two looks: soon at first, so that a training of seconds has some. To look and write takes 7 ms.
FIRST, LONGEST = 1.0, 30.0


@contextmanager
def watch_machine(run_id: str) -> Iterator[None]:
    """Log what the machine does, in a thread of its own, until the block ends. A step is a second since the run began.

    Should the store fail, the training's own writing reports it; here it ends the watching alone.
    """
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(run_id, ended), name="watch_machine", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=LONGEST)


def _watch(run_id: str, ended: threading.Event) -> None:
    from pipelines.tracking.runs.logging import log_machine

    try:
        monitors = _monitors()
        _look(monitors)  # the processor's share is that since the look before
        with open_client() as client:
            began = client.get_run(run_id).info.start_time / 1000
        pause = FIRST
        while not ended.wait(pause):
            pause = min(2 * pause, LONGEST)
            metrics = _look(monitors)
            log_machine(run_id, metrics, round(time.time() - began))
    except TrackingError as error:
        logger.warning("system metrics stopped: %s", error)


def _monitors() -> list[Any]:
    """MLflow's own, whose names its UI knows."""
    import_mlflow()
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitors = [CPUMonitor()]
    try:
        monitors.append(GPUMonitor())
    except Exception:  # no card, or without the package that asks it: NVIDIA's own types of error
        return monitors
    return monitors


def _look(monitors: list[Any]) -> Mapping[str, float]:
    """What each monitor measures: the processor's share since the last look, the rest as it is."""
    import psutil

    found = {"process_memory_usage_megabytes": psutil.Process().memory_info().rss / 1e6}
    for monitor in monitors:
        monitor.collect_metrics()
        found |= monitor.aggregate_metrics()
        monitor.clear_metrics()
    return {SYSTEM + name: float(value) for name, value in found.items()}
