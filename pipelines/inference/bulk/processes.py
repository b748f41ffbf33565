"""Chunks of images, answered in several processes, in order. What ends a process costs the image that did it alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.core.support.workers import AHEAD, Pool, check_starts
from pipelines.inference.bulk.answers import encoded, row_of
from zoo.contract import MODEL_FILES, sha256
from zoo.data.unlabeled import Unread
from zoo.errors import ExportError, ImageError, InputError, printable
from zoo.images import Pixels
from zoo.runtime import Classifier, Prediction, load

MOST_CRASHES = 8  # of processes, one after the other: then it isn't the images


@dataclass(frozen=True)
class Asking:
    """How images are answered, and written. export: its path. digest: of its file, which every process opens."""

    export: str
    digest: str
    provider: str
    threads: int | None
    precision: str
    coverage: float | None
    by_class: bool
    on_bad: str
    kind: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Answered:
    """A chunk as lines. images: how many; unreadable: of these; error: of the first that is."""

    lines: bytes
    images: int
    unreadable: int
    error: str


def digest_of(export: Path, precision: str) -> str:
    """SHA-256, in hex, of the file that `zoo.load` opens of an export's folder, or of a stray file."""
    return sha256(export / MODEL_FILES[precision] if export.is_dir() else export)


def answer(asking: Asking, chunk: Sequence[Unread]) -> Answered:
    """One chunk. Where memory doesn't last for it, it is asked about in halves.

    Raises ImageError for an image that can't be read where on_bad is fail, and what `Classifier.predict` raises but
    for InputError, which is why an image has no answer.
    """
    try:
        return _written(asking, chunk, _predictions(asking, chunk))
    except InputError as error:
        if len(chunk) > 1:
            half = len(chunk) // 2
            return _joined(answer(asking, chunk[:half]), answer(asking, chunk[half:]))
        return _unreadable(asking, chunk[0], f"{printable(chunk[0].name)} can't be answered: {error}")


def _predictions(asking: Asking, chunk: Sequence[Unread]) -> list[Prediction | str]:
    """For each image the answer, or why there is none."""
    classifier = _opened(asking)
    bad: dict[int, str] = {}

    def readable() -> Iterator[Pixels]:
        for place, image in enumerate(chunk):
            try:
                yield classifier.read(image.source())
            except ImageError as error:
                if asking.on_bad == "fail":
                    raise
                bad[place] = str(error)

    found = iter(classifier.predict_batch(readable(), coverage=asking.coverage, by_class=asking.by_class))
    return [bad[place] if place in bad else next(found) for place in range(len(chunk))]


def in_order(
    asking: Asking, chunks: Iterable[Sequence[Unread]], processes: int, *, apart: bool = False
) -> Generator[Answered]:
    """Each chunk's answers, in their order. processes: 1 is this one, unless it is to be `apart`.

    Raises what `answer` raises, and InputError where processes don't start, or end whatever they are given.
    """
    if processes == 1 and not apart:
        yield from (answer(asking, chunk) for chunk in chunks)
        return
    with Processes(asking, processes) as workers:
        waiting: deque[tuple[Sequence[Unread], Future[Answered] | None]] = deque()
        for chunk in chunks:
            waiting.append((chunk, workers.start(chunk)))
            if len(waiting) >= AHEAD * processes:
                yield workers.finish(*waiting.popleft())
        while waiting:
            yield workers.finish(*waiting.popleft())


@dataclass
class Processes:
    """A pool that is made anew where one of its processes was killed or crashed.

    Used in a `with` block, at whose beginning InputError says that processes don't start.
    """

    asking: Asking
    processes: int
    crashes: int = 0
    _pool: Pool = field(init=False)

    def __enter__(self) -> Processes:
        self._pool = Pool(self.processes)
        check_starts(self._pool)
        return self

    def __exit__(self, *how: Any) -> None:
        self._pool.__exit__(*how)

    def start(self, chunk: Sequence[Unread]) -> Future[Answered] | None:
        """None where the pool is broken: the chunk is answered when its turn comes."""
        try:
            return self._pool.submit(answer, self.asking, chunk)
        except BrokenProcessPool:
            return None

    def finish(self, chunk: Sequence[Unread], future: Future[Answered] | None) -> Answered:
        """Wait for a chunk. One that was in a pool that broke is done again, in halves where it is the one."""
        if future is not None:
            with suppress(BrokenProcessPool):
                return self._alive(future.result())
        return self._again(chunk)

    def _again(self, chunk: Sequence[Unread]) -> Answered:
        self._pool.shutdown()
        self._pool = Pool(1)  # nothing else runs in it: what ends it is in this chunk
        try:
            return self._alive(self._pool.submit(answer, self.asking, chunk).result())
        except BrokenProcessPool:
            pass
        finally:
            self._pool.shutdown()
            self._pool = Pool(self.processes)
        if len(chunk) > 1:
            half = len(chunk) // 2
            return _joined(self._again(chunk[:half]), self._again(chunk[half:]))
        self.crashes += 1
        name = printable(chunk[0].name)
        if self.crashes >= MOST_CRASHES:
            raise InputError(
                f"{self.crashes} processes that read one image each were killed or crashed, the last with {name}: "
                "check that image and how much memory is free, then run the same command, which continues from here"
            )
        reason = f"{name} ended the process that read it, which was killed or crashed: look at it, or leave it out"
        return _unreadable(self.asking, chunk[0], reason)

    def _alive(self, answered: Answered) -> Answered:
        self.crashes = 0
        return answered


@lru_cache(maxsize=1)
def _opened(asking: Asking) -> Classifier:
    classifier = load(asking.export, asking.provider, asking.threads, asking.precision)
    if digest_of(Path(asking.export), asking.precision) != asking.digest:
        raise ExportError(
            f"{asking.export} was replaced in the meantime: start again, so that all predictions are of one file"
        )
    return classifier


def _written(asking: Asking, chunk: Sequence[Unread], answers: Sequence[Prediction | str]) -> Answered:
    rows = (row_of(asking.columns, image.name, found) for image, found in zip(chunk, answers, strict=True))
    errors = [found for found in answers if isinstance(found, str)]
    return Answered(encoded(asking.kind, asking.columns, rows), len(chunk), len(errors), (errors or [""])[0])


def _unreadable(asking: Asking, image: Unread, reason: str) -> Answered:
    if asking.on_bad == "fail":
        raise ImageError(reason)
    return _written(asking, [image], [reason])


def _joined(first: Answered, second: Answered) -> Answered:
    unreadable = first.unreadable + second.unreadable
    return Answered(first.lines + second.lines, first.images + second.images, unreadable, first.error or second.error)
