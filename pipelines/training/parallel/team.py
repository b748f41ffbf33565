"""The devices of a training, on one machine or several, and what their processes have to say to each other.

All messages go the way that gradients go, as sums over the workers. Whether all are alive is known by `heartbeat`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.support.watched import exit_now, is_watched
from pipelines.training.parallel.watching import LOST_ANOTHER
from pipelines.training.parallel.workers import Cluster, check_port
from zoo.errors import ParallelError
from zoo.models.backend import start_keras

ALL = "all"

logger = logging.getLogger("zoo.training")


@dataclass(frozen=True)
class Team:
    """Those who train together.

    strategy: TensorFlow's. cluster: of the processes; None where it is this one alone.
    """

    strategy: Any
    cluster: Cluster | None = None

    @property
    def devices(self) -> int:
        """How many there are in all."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def workers(self) -> int:
        """How many processes."""
        return len(self.cluster.workers) if self.cluster else 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes to the tracking store, and to disk."""
        return self.cluster is None or self.cluster.is_chief

    def __str__(self) -> str:
        """Such as "2 devices", or "4 devices of 2 workers"."""
        devices = f"{self.devices} device{'s' if self.devices > 1 else ''}"
        return f"{devices} of {self.workers} workers" if self.cluster else devices

    def from_chief(self, text: str) -> str:
        """The chief's text, in each process. All of them have to ask, each as often as the others."""
        if self.cluster is None:
            return text
        said = np.frombuffer(text.encode() if self.is_chief else b"", np.uint8).astype(np.int32)
        length = int(self._sum(np.array([len(said)], np.int32))[0])
        if not length:  # TensorFlow 2.21 crashes, now and then, at a sum of nothing
            return ""
        return self._sum(said if self.is_chief else np.zeros(length, np.int32)).astype(np.uint8).tobytes().decode()

    def values_of_chief(self, variables: Any) -> None:
        """Give Keras variables the values that they have in the chief's process."""
        if self.cluster is None:
            return
        for variable in variables:
            value = np.asarray(variable)
            wide = value if value.dtype.kind == "f" and value.dtype.itemsize >= 4 else value.astype(np.int64)
            variable.assign(self._sum(wide if self.is_chief else np.zeros_like(wide)).astype(value.dtype))

    def part(self) -> None:
        """Wait until all have come here. One that is gone by now has been here: what came before has reached it."""
        if self.cluster is None:
            return
        import tensorflow as tf

        with suppress(tf.errors.OpError):
            self._sum(np.zeros(1, np.int32))

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Raise ParallelError, in each process, where one was started with other facts. facts: what -> its digest."""
        if self.cluster is None:
            return
        chief = json.loads(self.from_chief(json.dumps(dict(facts))))
        differs = [name for name, digest in facts.items() if chief.get(name) != digest]
        found = np.zeros((self.workers, len(facts)), np.int32)
        found[self.cluster.index] = [name in differs for name in facts]
        for worker, row in enumerate(self._sum(found)):
            if row.any():
                names = " and ".join(name for name, other in zip(facts, row, strict=True) if other)
                raise ParallelError(
                    f"worker {worker} ({self.cluster.workers[worker]}) has another {names} than worker 0: all workers "
                    "need the same command, code, libraries and data"
                )

    def _sum(self, mine: NDArray[Any]) -> NDArray[Any]:
        """Over all processes, of arrays of one shape and type."""
        import tensorflow as tf

        own = self.strategy.num_replicas_in_sync // self.workers

        def value(context: Any) -> Any:  # of a process' first device; of its others nothing
            return tf.constant(mine if context.replica_id_in_sync_group % own == 0 else np.zeros_like(mine))

        values = self.strategy.experimental_distribute_values_from_function(value)
        summed: NDArray[Any] = self._add(values).numpy()
        return summed

    @cached_property
    def _add(self) -> Any:
        """The sum as a graph: where it is run operation by operation, a worker that dies takes this process along."""
        import tensorflow as tf

        reduce_op = tf.distribute.ReduceOp.SUM
        return tf.function(lambda values: self.strategy.reduce(reduce_op, values, axis=None), reduce_retracing=True)


@contextmanager
def team_of(devices: str | int | None, cluster: Cluster | None) -> Iterator[Team]:
    """The team of this machine's devices, or of all workers, for which it waits: the first thing TensorFlow does.

    devices: how many, or "all". What TensorFlow raises inside of the block because another worker is gone is a
    ParallelError. Raises one, too, where there aren't so many devices, or a port can't be opened.
    """
    start_keras()
    if cluster is None:
        yield Team(_on_this_machine(devices or ALL))
        return
    import tensorflow as tf

    check_port(cluster)
    if not is_watched():  # `train` was called from Python; else the others are there
        logger.warning(
            "nothing watches over worker %d of %d: where another one is lost, it may crash, or wait forever; the "
            "command `zoo train` ends it then",
            cluster.index,
            len(cluster.workers),
        )
        logger.info("worker %d of %d waits for %s", cluster.index, len(cluster.workers), cluster.others)
    try:
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.workers)}),
            task_type="worker",
            task_id=cluster.index,
            num_accelerators={"GPU": len(tf.config.list_physical_devices("GPU"))},
            rpc_layer="grpc",
        )
        yield Team(tf.distribute.MultiWorkerMirroredStrategy(resolver), cluster)
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    ):
        if is_watched():  # the other process knows more, and reports it
            exit_now(LOST_ANOTHER)
        raise ParallelError(
            f"worker {cluster.index} has lost another one, of {cluster.others}: the same command, for all workers, "
            "continues from the last checkpoint"
        ) from None


def _on_this_machine(devices: str | int) -> Any:
    """A MirroredStrategy of GPUs or, where there are none, of what TensorFlow takes the processor for."""
    import tensorflow as tf

    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    names = [device.name for device in tf.config.list_logical_devices(kind)]
    wanted = len(names) if devices == ALL else int(devices)
    if wanted > len(names):
        raise ParallelError(
            f"there {'are' if len(names) > 1 else 'is'} {len(names)} {'GPU' if kind == 'GPU' else 'processor'}"
            f"{'s' if len(names) > 1 else ''} on this machine, and --devices asks for {wanted}: take {ALL}, or fewer"
        )
    return tf.distribute.MirroredStrategy(names[:wanted])
