"""Entries that run in turns, each in a process of its own: how `zoo benchmark` and benchmarks/ measure.

What a busy machine does falls on neighboring turns, so that ratios between entries hold where times don't.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.core.support.workers import usable_cores
from pipelines.inference.worker import MATRIX
from zoo.contract import FLOAT32

logger = logging.getLogger("zoo.inference")

ROUNDS = 5  # turns of each entry at each batch size
ALIKE = 1e-4  # of a probability: what libraries that calculate the same in float32 may differ by
COUNTED = 3  # starts at least, of which the cold start is the median


class WorkerError(Exception):
    """An entry that can't start, or fails on the way, in one sentence."""


@dataclass(frozen=True)
class Entry:
    """What is measured: a model in a library.

    name: as tables call it. library: one of `pipelines.inference.worker.LIBRARIES`. file: what it loads.
    provider: of an export in the project's own runtime; empty for peers.
    """

    name: str
    library: str
    file: Path
    precision: str = "float32"
    provider: str = ""


@dataclass(frozen=True)
class Timing:
    """An entry at one batch size.

    threads: the number that it was fastest with. median, p95, p99: milliseconds a batch, over all its calls.
    rounds: the median of each round, in order: their range is the spread, and entries are compared by round.
    share: of this machine's measured peak of multiply-accumulates in float32; None where the model's aren't known.
    """

    batch: int
    threads: int
    calls: int
    median: float
    p95: float
    p99: float
    rounds: tuple[float, ...]
    share: float | None = None

    @property
    def throughput(self) -> float:
        """Images, or rows, a second."""
        return 1000 * self.batch / self.median


@dataclass(frozen=True)
class Measured:
    """What was found of an entry.

    provider: of an export; empty for peers. size: of the file, in bytes.
    cold_start: seconds in a new process from the first import to the first answer, the median of some starts.
    peak_memory: bytes, of a process that ran all batch sizes.
    difference: the largest one of a probability from the first float32 entry's, or the first one's if there is none.
    """

    name: str
    provider: str
    precision: str
    size: int
    cold_start: float
    peak_memory: int
    difference: float
    timings: tuple[Timing, ...]

    def at(self, batch: int) -> Timing:
        """Its timing at a batch size."""
        return next(timing for timing in self.timings if timing.batch == batch)


@dataclass(frozen=True)
class Ratio:
    """How many times as long another one takes: the median over rounds, and the lowest and highest of a round."""

    ratio: float
    low: float
    high: float


def ratio(timing: Timing, other: Timing) -> Ratio:
    """The other's time divided by this one's, round by round: above 1 where this one is faster."""
    each = [theirs / own for own, theirs in zip(timing.rounds, other.rounds, strict=True)]
    return Ratio(median(each), min(each), max(each))


@dataclass(frozen=True)
class Turns:
    """What was measured in turns.

    peak: multiply-accumulates a second of a matrix product on all cores. left_out: who couldn't take part, and why.
    """

    measured: tuple[Measured, ...]
    peak: float
    left_out: tuple[str, ...]


def time_in_turns(
    entries: Sequence[Entry],
    inputs: NDArray[Any],
    batches: Sequence[int],
    *,
    threads: Sequence[int] = (),
    seconds: float = 1.0,
    multiply_accumulates: float | None = None,
) -> Turns:
    """Measure all entries at all batch sizes, in turns.

    inputs: as many as the largest batch has, which all are given. threads: those to try, of which each entry gets
    the best at each batch size; 1, 2, 4 … and all cores where none are given. seconds: for each cell of the table.
    multiply_accumulates: of one image. Raises WorkerError where one of our own can't run.
    """
    each_turn = seconds / ROUNDS
    counts = tuple(threads) or thread_counts()
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "inputs.npy"
        np.save(path, inputs)
        tried: dict[Entry, list[_Start]] = {}
        left_out: list[str] = []
        for entry in entries:
            logger.info("%s, %s: trying %s threads", entry.name, entry.precision, ", ".join(map(str, counts)))
            with _left_out(entry, tried, left_out):
                tried[entry] = [_try(entry, path, count, batches, each_turn) for count in counts]
        best = {(each, batch): _fastest(starts, batch) for each, starts in tried.items() for batch in batches}
        logger.info("running all in %d interleaved rounds", ROUNDS)
        with ExitStack() as stack:
            running = {}
            for each, count in dict.fromkeys((each, count) for (each, _), count in best.items()):
                if each not in tried:
                    continue
                with _left_out(each, tried, left_out):
                    running[each, count] = stack.enter_context(_Process(each, path, count))
            matrix = stack.enter_context(_Process(Entry("matrix product", "matrix", path), path, 1))
            seats = [(each, batch) for batch in batches for each in tried]
            taken: dict[tuple[Entry, int], list[list[int]]] = {seat: [] for seat in seats}
            products = []
            for turn in range(ROUNDS):
                # There and back, so that nobody always comes after the same one.
                for each, batch in seats if turn % 2 == 0 else reversed(seats):
                    if each in tried:
                        with _left_out(each, tried, left_out):
                            taken[each, batch].append(running[each, best[each, batch]].go(batch, each_turn))
                products += matrix.go(1, each_turn)
            starts = {
                each: [*tried[each], *(p.start for (own, _), p in running.items() if own == each)] for each in tried
            }
        for each in starts:
            with _left_out(each, tried, left_out):
                starts[each] += [_try(each, path, counts[0], (), 0) for _ in range(COUNTED - len(starts[each]))]
    peak = MATRIX**3 / (min(products) / 1e9)
    # Other precisions answer otherwise: float32 is what all are compared with, where it is there.
    first = next((each for each in starts if each.precision == FLOAT32), next(iter(starts), None))
    reference = starts[first][0].answer if first else []
    measured = tuple(
        Measured(
            name=each.name,
            provider=each.provider,
            precision=each.precision,
            size=_size(each.file),
            cold_start=median(start.seconds for start in starts[each]),
            peak_memory=max(start.peak_memory for start in starts[each]),
            difference=float(np.abs(np.subtract(starts[each][0].answer, reference)).max()),
            timings=tuple(
                _timing(batch, best[each, batch], taken[each, batch], multiply_accumulates, peak) for batch in batches
            ),
        )
        for each in tried
    )
    return Turns(measured, peak, tuple(left_out))


@contextmanager
def _left_out(entry: Entry, tried: dict[Entry, list[_Start]], said: list[str]) -> Iterator[None]:
    """A peer that fails is left out from here on, with a sentence; one of our own ends the measurement."""
    try:
        yield
    except WorkerError as error:
        if entry.provider:
            raise
        tried.pop(entry, None)
        said.append(f"{entry.name} ({entry.precision}) is left out: {error}")


def thread_counts() -> tuple[int, ...]:
    """1, 2, 4 and so on, and the number of cores that this process may use."""
    cores = usable_cores()
    return tuple(sorted({*(2**k for k in range(cores.bit_length()) if 2**k <= cores), cores}))


def _timing(
    batch: int, threads: int, turns: Sequence[Sequence[int]], multiply_accumulates: float | None, peak: float
) -> Timing:
    milliseconds = np.concatenate([np.array(turn) for turn in turns]) / 1e6
    middle, p95, p99 = (float(value) for value in np.percentile(milliseconds, (50, 95, 99)))
    return Timing(
        batch=batch,
        threads=threads,
        calls=len(milliseconds),
        median=middle,
        p95=p95,
        p99=p99,
        rounds=tuple(float(np.median(turn)) / 1e6 for turn in turns),
        share=None if not multiply_accumulates else multiply_accumulates * batch / (middle / 1000) / peak,
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size


# --- processes -----------------------------------------------------------------------------------------------------


@dataclass
class _Start:
    """A start of an entry. seconds: to its first answer, which is [K] probabilities. times: ms by batch size."""

    seconds: float
    answer: list[float]
    threads: int
    peak_memory: int
    times: dict[int, float]


def _try(entry: Entry, inputs: Path, threads: int, batches: Sequence[int], seconds: float) -> _Start:
    with _Process(entry, inputs, threads) as process:
        for batch in batches:
            process.start.times[batch] = median(process.go(batch, seconds))
        return process.start


def _fastest(starts: Sequence[_Start], batch: int) -> int:
    return min(starts, key=lambda start: start.times[batch]).threads


class _Process:
    """An entry that runs. Use it in a `with`: the process is gone at its end."""

    def __init__(self, entry: Entry, inputs: Path, threads: int) -> None:
        """Start it, and wait for its first answer. Raises WorkerError."""
        settings = {
            "library": entry.library,
            "file": str(entry.file),
            "provider": entry.provider,
            "precision": entry.precision,
            "threads": threads,
            "inputs": str(inputs),
        }
        code = str(Path(__file__).resolve().parents[2])  # the same code as this process runs
        path = os.pathsep.join(filter(None, (code, os.environ.get("PYTHONPATH"))))
        # A file: a pipe that nobody reads would fill up, and stop it.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "pipelines.inference.worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._to, self._from = cast(TextIO, self._process.stdin), cast(TextIO, self._process.stdout)
        try:
            first = self._answer()
        except BaseException:
            self.end()
            raise
        self.start = _Start(first["cold_start"], first["answer"], threads, 0, {})

    def go(self, batch: int, seconds: float) -> list[int]:
        """Let it have a turn: the nanoseconds of each call."""
        with suppress(BrokenPipeError):  # it is gone: its last words say why
            self._to.write(json.dumps({"batch": batch, "seconds": seconds}) + "\n")
            self._to.flush()
        answer = self._answer()
        self.start.peak_memory = answer["peak_memory"]
        taken: list[int] = answer["nanoseconds"]
        return taken

    def _answer(self) -> dict[str, Any]:
        for line in self._from:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                if "error" in found:
                    raise WorkerError(found["error"])
                return found
        code = self._process.wait()
        self._errors.seek(0)
        words = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        raise WorkerError(f"its process ended with code {code}" + (f" ({words[-1][:200]})" if words else ""))

    def end(self) -> None:
        """Let it go, and wait until it is gone."""
        for stream in (self._to, self._from):
            with suppress(BrokenPipeError):
                stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> _Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
