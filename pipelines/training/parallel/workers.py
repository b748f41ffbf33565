"""Which processes train together: as a command names them, or as Kubernetes and Vertex AI do in TF_CONFIG."""

from __future__ import annotations

import json
import os
import re
import socket
from dataclasses import dataclass

from zoo.errors import ParallelError

TF_CONFIG = "tf-config"  # instead of addresses: take them from the environment variable TF_CONFIG
CHIEFS = ("chief", "master")  # as the first worker is called there, if it isn't called worker


@dataclass(frozen=True)
class Cluster:
    """Processes that train together. workers: their addresses, host:port; the first is the chief's. index: of this one.

    The chief alone writes to the tracking store and to its disk.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes."""
        return self.index == 0

    @property
    def others(self) -> str:
        """The addresses of the other workers, for a sentence."""
        return ", ".join(address for index, address in enumerate(self.workers) if index != self.index)


def cluster_of(workers: str, worker: int | None) -> Cluster:
    """The cluster of `host1:port,host2:port` and this process' place in it, counted from 0; or of `tf-config`.

    Raises ParallelError for what can't be a cluster, for a place that isn't in it, and for a port that is taken.
    """
    if workers == TF_CONFIG:
        if worker is not None:
            raise ParallelError("TF_CONFIG says which worker this is: leave out --worker")
        cluster = _from_environment()
    else:
        addresses = tuple(part.strip() for part in workers.split(",") if part.strip())
        if worker is None:
            raise ParallelError(f"which of the {len(addresses)} workers is this? add --worker, counted from 0")
        cluster = Cluster(addresses, worker)
    _check(cluster)
    return cluster


def apart() -> str:
    """Why somebody who sets TF_CONFIG may be surprised that this process trains alone; "" where nobody is."""
    try:
        count = len(_from_environment().workers)
    except ParallelError:
        return ""
    together = f"TF_CONFIG names {count} workers, of which this one trains alone: --workers {TF_CONFIG} joins them"
    return together if count > 1 else ""


def check_port(cluster: Cluster) -> None:
    """Raise ParallelError where the port of this process is another's by now. TensorFlow would only say "unknown"."""
    port = int(cluster.workers[cluster.index].rpartition(":")[2])
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was used a moment ago is free
        try:
            trial.bind(("", port))
        except OSError as error:
            raise ParallelError(
                f"port {port} of worker {cluster.index} can't be opened ({error.strerror}): choose another, for all "
                "workers alike"
            ) from None


def _check(cluster: Cluster) -> None:
    count = len(cluster.workers)
    for address in cluster.workers:
        host, _, port = address.rpartition(":")
        if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:.]+\]", host) or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ParallelError(f"a worker's address is host:port, received {address!r}")
    if count < 2:
        raise ParallelError("there is one worker: leave out --workers to train on this machine alone")
    if len(set(cluster.workers)) < count:
        raise ParallelError(f"two workers have one address in {','.join(cluster.workers)}: each needs its own")
    if not 0 <= cluster.index < count:
        raise ParallelError(f"there is no worker {cluster.index} of {count}: they are counted from 0 to {count - 1}")


def _from_environment() -> Cluster:
    """What TF_CONFIG says: {"cluster": {"chief": [...], "worker": [...]}, "task": {"type": ..., "index": ...}}."""
    text = os.environ.get("TF_CONFIG")
    if not text:
        raise ParallelError(f"--workers {TF_CONFIG} needs the environment variable TF_CONFIG, which isn't set")
    try:
        found = json.loads(text)
        jobs = {str(name): [str(address) for address in several] for name, several in found["cluster"].items()}
        kind, index = str(found["task"]["type"]), int(found["task"]["index"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParallelError(f"TF_CONFIG isn't what TensorFlow expects ({error!r})") from None
    chiefs = [address for name in CHIEFS for address in jobs.pop(name, [])]
    workers = jobs.pop("worker", [])
    if others := [name for name, several in jobs.items() if several]:
        raise ParallelError(f"TF_CONFIG names tasks of type {', '.join(others)}: expected a chief and workers alone")
    if kind not in (*CHIEFS, "worker"):
        raise ParallelError(f"TF_CONFIG says that this task is of type {kind!r}: expected chief or worker")
    return Cluster((*chiefs, *workers), index + (len(chiefs) if kind == "worker" else 0))
