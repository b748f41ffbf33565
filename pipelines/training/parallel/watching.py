"""A worker's training in a process of its own, watched over by one in which no TensorFlow can crash, or wait.

Where a worker is gone, TensorFlow's collectives in the others raise an error, crash, or wait, and may do so once more
at the end of the process. Whichever it is, the process that watches ends the other one, and says in one sentence what
is lost and how to go on. The workers' signs of life are those of these processes.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

from pipelines.core.support.watched import WATCHED
from pipelines.training.parallel.heartbeat import Heartbeat, heartbeat_port
from pipelines.training.parallel.workers import Cluster
from zoo.errors import ParallelError

KILLED = -9  # exit code, as `subprocess` has it, of a process that SIGKILL ended
LOST_ANOTHER = 75  # exit code of one whose collectives report that another is gone: sysexits' "try again"

LOOK = 0.2  # seconds between two looks at the process
GRACE = 30.0  # seconds for a process to end by itself, and to record its run as failed, once another worker is lost
NEWS = 5.0  # seconds to hear that another worker was lost, which explains that the process of this one has crashed

logger = logging.getLogger("zoo.training")


def watch(cluster: Cluster, command: Sequence[str], heartbeat: Heartbeat | None = None, grace: float = GRACE) -> int:
    """Run the command of a worker, as soon as all workers are there, and return its exit code.

    Raises ParallelError where the command crashed, or another worker is gone: then the command has ended, too.
    """
    heartbeat = heartbeat or Heartbeat(cluster)
    done = False
    try:
        _wait_for_all(cluster, heartbeat)
        with _started(command) as process:
            while process.poll() is None and heartbeat.lost is None:
                heartbeat.turn(LOOK)
            lost = _lost(cluster, heartbeat, process, grace)
        done = process.returncode == 0 or heartbeat.lost is not None  # of which all know
    finally:
        heartbeat.close(done=done)
    if lost:
        raise ParallelError(f"{lost}: the same command, for all workers, continues from the last checkpoint")
    return process.returncode


def _wait_for_all(cluster: Cluster, heartbeat: Heartbeat) -> None:
    host, port = cluster.workers[0].rpartition(":")[0], heartbeat_port(cluster)
    what = f"waits at port {port} for {cluster.others}" if cluster.is_chief else f"waits for worker 0 at {host}:{port}"
    logger.info("worker %d of %d %s", cluster.index, len(cluster.workers), what)
    while not heartbeat.begun:
        heartbeat.turn(LOOK)


def _lost(cluster: Cluster, heartbeat: Heartbeat, process: subprocess.Popen[bytes], grace: float) -> str:
    """What was lost, for a sentence; "" where the process has ended by itself, and has said why. It has ended then."""
    first = process.returncode is not None  # of those that are gone, as far as is known here
    _turn(heartbeat, grace, lambda: process.poll() is not None)
    killed = process.poll() == KILLED  # by somebody, or for want of memory: the loss of another doesn't do it
    process.kill()
    process.wait()
    if killed or (first and process.returncode):
        heartbeat.report_end()
    if killed:
        return _ended_by(cluster, -KILLED)
    if process.returncode >= 0 and process.returncode != LOST_ANOTHER:
        return ""
    _turn(heartbeat, NEWS, lambda: heartbeat.lost is not None)
    if heartbeat.lost is not None:
        return f"worker {heartbeat.lost} ({cluster.workers[heartbeat.lost]}) is gone"
    if process.returncode == LOST_ANOTHER:
        return f"worker {cluster.index} has lost another one, of {cluster.others}"
    return _ended_by(cluster, -process.returncode)


def _ended_by(cluster: Cluster, number: int) -> str:
    return f"the process of worker {cluster.index} was ended by signal {number} ({signal.strsignal(number)})"


def _turn(heartbeat: Heartbeat, seconds: float, ended: Callable[[], bool]) -> None:
    until = monotonic() + seconds
    while not ended() and monotonic() < until:
        heartbeat.turn(LOOK)


@contextmanager
def _started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that doesn't outlive the block, nor this process. Ctrl-C is for it to take, once."""
    process: subprocess.Popen[bytes] | None = None

    def interrupt(*_: object) -> None:
        if process is None:
            raise KeyboardInterrupt
        process.send_signal(signal.SIGINT)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, interrupt) if main else None
    try:
        process = subprocess.Popen(  # noqa: S603 (this command again)
            command,
            stdin=subprocess.PIPE,
            env={**os.environ, WATCHED: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0 if os.name == "posix" else None,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()  # nothing, where it has ended
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
