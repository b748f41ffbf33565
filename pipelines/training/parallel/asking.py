"""What a command asks for when several devices are to train, and what a run says of those that trained it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines import tracking
from pipelines.core.provenance.plan import Plan
from pipelines.training.loop import checkpoint
from pipelines.training.parallel.agreement import together_fingerprint
from pipelines.training.parallel.team import ALL, Team
from pipelines.training.parallel.workers import Cluster, apart, check_port, cluster_of
from zoo.errors import ParallelError, TrackingError

logger = logging.getLogger("zoo.training")


@dataclass(frozen=True)
class Together:
    """Who is to train: devices of this machine, a number or "all", or the processes of a cluster with all of theirs."""

    devices: int | str | None
    cluster: Cluster | None


def together_of(
    devices: int | str | None, workers: str | None, worker: int | None, *, time: float | None, resume: str | None
) -> Together | None:
    """What the options of `train` ask for; None for a training on one device. time, resume: what else was asked for.

    Raises ParallelError where they can't be, TrackingError where the chief of a cluster can't reach its store.
    """
    if workers is not None:
        return Together(None, checked_cluster(workers, worker, devices=devices, time=time, resume=resume))
    if worker is not None:
        raise ParallelError("--worker says which of --workers this is: add --workers")
    if reason := apart():
        logger.warning("%s", reason)
    if devices is None:
        return None
    _check_time(time)
    if devices != ALL and (not isinstance(devices, int) or devices < 1):
        raise ParallelError(f"expected a number of devices or {ALL}, received {devices!r}")
    return Together(devices, None)


def checked_cluster(
    workers: str, worker: int | None, *, devices: int | str | None, time: float | None, resume: str | None
) -> Cluster:
    """The cluster that `workers` names, where the other options go with it. Raises what `together_of` raises."""
    _check_time(time)
    if devices is not None:
        raise ParallelError(
            "each of --workers trains on all GPUs of its machine: leave out --devices (CUDA_VISIBLE_DEVICES limits "
            "them)"
        )
    if resume is not None:
        raise ParallelError("workers continue by themselves when the same command is run again: leave out --resume")
    cluster = cluster_of(workers, worker)
    check_port(cluster)
    if cluster.is_chief:
        tracking.check_store()  # before the others wait for it
    return cluster


def _check_time(time: float | None) -> None:
    if time is not None:
        raise ParallelError("--time measures the speed of one device: set the number of epochs instead")


def check_resumable(run_id: str, tags: Mapping[str, str], team: Team | None) -> None:
    """Raise TrackingError where a run of one device is to go on with several, or the other way round.

    The two come to weights that differ by rounding: neither would be reproducible. tags: of the run.
    """
    if team is None and (on := tags.get(tracking.TRAINED_ON)):
        raise TrackingError(f"run {run_id} was trained on {on}: add --devices, with any number, to continue it")
    if team is not None and tracking.TRAINED_ON not in tags:
        raise TrackingError(f"run {run_id} was trained without --devices: leave it out to continue it")


def unfinished(plan: Plan) -> str | None:
    """The id of the latest run of a plan that several devices trained, and didn't finish, with its checkpoint here.

    One that counts as running may have lost its process: whoever opens it finds out.
    """
    found = tracking.find_interrupted(plan, together_fingerprint(plan), running=True)
    return next((run_id for run_id in found if checkpoint.exists(run_id)), None)
