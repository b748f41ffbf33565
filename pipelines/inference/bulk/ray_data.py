"""Chunks of images, answered on a Ray cluster by Ray Data: listed in one task, answered by actors, taken in order.

Imports Ray: `ray_cluster.connected` comes first. An actor that is killed starts again, and its chunk is answered anew.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import ray
import ray.data

from pipelines.inference.bulk.processes import Answered, Asking, Processes, answer
from zoo.data.unlabeled import Unread
from zoo.errors import InputError, MissingExtraError, ZooError

ON_GPUS = ("cuda", "tensorrt")  # providers, each actor of which has a GPU of its own
COLUMN = "item"  # of the tables of one row that Ray Data passes on

Chunks = Callable[[], Iterator[Sequence[Unread]]]


@dataclass(frozen=True)
class _Chunk:
    """An object, so that no library takes a list for a column of numbers."""

    images: tuple[Unread, ...]


def answered_on_ray(asking: Asking, chunks: Chunks, processes: int | None) -> Iterator[Answered]:
    """Each chunk's answers, in their order. chunks: called on the machine of this process, in the same folder.

    processes: actors at most; by default as many as the cluster has cores, or GPUs where they answer. Every machine
    needs this package, and the export and the images at the same paths.
    Raises what `answer` raises, and InputError where a machine lacks what it needs.
    """
    needs = {"num_cpus": asking.threads or 1, "num_gpus": int(asking.provider in ON_GPUS)}
    room = sum(_fit(node["Resources"], needs) for node in ray.nodes() if node["Alive"])
    if not room:  # Ray would wait for such a machine
        raise InputError(f"the Ray cluster has no machine with {needs['num_cpus']} CPUs and {needs['num_gpus']} GPUs")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.target_max_block_size = 1  # each chunk is a block, which any actor may take
    context.execution_options.preserve_order = True
    size = min(processes or room, room)
    actors = ray.data.ActorPoolStrategy(min_size=1, max_size=size, initial_size=size)
    folder = os.getcwd()  # noqa: PTH109 (what names of images are relative to)
    # Without a core of its own, the task that lists isn't made one with the actors, which would answer one by one.
    found = ray.data.read_datasource(_Listed(chunks, folder), num_cpus=0, override_num_blocks=1).map_batches(
        _Answering,
        fn_constructor_args=(asking, folder),
        batch_size=None,
        batch_format="pandas",
        compute=actors,
        **needs,
    )
    try:
        for row in found.iter_rows():
            if isinstance(row[COLUMN], ZooError):
                raise row[COLUMN]
            yield row[COLUMN]
    except ZooError:
        raise
    except Exception as error:  # of Ray, in many kinds; what ended a task is in the last line
        last = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        raise InputError(
            f"the job failed on the Ray cluster ({last.strip()}): every machine needs this package with its extra "
            "ray; the same command continues from here"
        ) from None


def _fit(machine: Mapping[str, float], needs: Mapping[str, int]) -> int:
    """How many actors a machine has room for."""
    parts = {"CPU": needs["num_cpus"], "GPU": needs["num_gpus"]}
    return min(int(machine.get(unit, 0) // number) for unit, number in parts.items() if number)


class _Listed(ray.data.Datasource):  # type: ignore[misc]  # untyped
    """What Ray Data reads: the chunks, one after the other, as they are asked for."""

    def __init__(self, chunks: Chunks, folder: str) -> None:
        super().__init__()
        self.chunks, self.folder = chunks, folder

    @property
    def supports_distributed_reads(self) -> bool:
        return False  # on the machine of the job

    def estimate_inmemory_data_size(self) -> None:
        return None

    def get_read_tasks(self, *_: Any, **__: Any) -> list[ray.data.ReadTask]:
        chunks, folder = self.chunks, self.folder
        unknown = ray.data.block.BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ray.data.ReadTask(lambda: _listed(chunks, folder), unknown)]


def _listed(chunks: Chunks, folder: str) -> Iterable[pd.DataFrame]:
    try:
        os.chdir(folder)
        for chunk in chunks():
            yield _table(_Chunk(tuple(chunk)))
    except ZooError as error:
        yield _table(_sent(error))


class _Answering:
    """An actor. One that takes the place of another that was killed answers in a process of its own.

    So an image that ends whoever reads it costs its own row, and not one actor after the other.
    """

    def __init__(self, asking: Asking, folder: str) -> None:
        self.asking = asking
        self.error: ZooError | None = None
        self.processes: Processes | None = None
        try:
            os.chdir(folder)
            if ray.get_runtime_context().was_current_actor_reconstructed:
                self.processes = Processes(asking, 1).__enter__()
        except OSError as error:
            self.error = _sent(InputError(f"there is no folder {folder} ({error.strerror}): every machine needs it"))
        except ZooError as error:
            self.error = _sent(error)

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        item = table[COLUMN].iloc[0]
        if not isinstance(item, _Chunk) or self.error:
            return _table(self.error or item)
        try:
            if self.processes is None:
                return _table(answer(self.asking, item.images))
            return _table(self.processes.finish(item.images, self.processes.start(item.images)))
        except ZooError as error:
            return _table(_sent(error))


def _table(item: object) -> pd.DataFrame:
    return pd.DataFrame({COLUMN: pd.Series([item], dtype=object)})


def _sent(error: ZooError) -> ZooError:
    """An error as it is, but for one that is about a machine, which it names."""
    if isinstance(error, MissingExtraError) or "every machine" in str(error):
        return InputError(f"on {socket.gethostname()}, {error}")
    return error
