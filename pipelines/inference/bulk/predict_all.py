"""`zoo predict EXPORT DATA --out FILE`: many images, answered into a file. Needs the app's part alone."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.core.support.durable import sync
from pipelines.core.support.progress import progress
from pipelines.core.support.workers import usable_cores
from pipelines.inference.bulk.answers import columns_of, finish, heading, kind_of
from pipelines.inference.bulk.processes import Answered, Asking, digest_of, in_order
from pipelines.inference.bulk.ray_cluster import connected, import_ray
from pipelines.inference.bulk.state import (
    State,
    alone,
    appending,
    check_free,
    is_made,
    lines_of,
    resume,
    save,
    state_of,
)
from pipelines.inference.predict import ON_BAD
from zoo.contract import FLOAT32, Metadata
from zoo.data.unlabeled import EXPECTED, Unread, is_table, unlabeled_images
from zoo.errors import ImageError, InputError, printable
from zoo.runtime import load
from zoo.runtime.loading import find_export

CHUNK = 64  # images that one process answers at once
CHUNK_BYTES = 16 * 2**20  # of images whose bytes are sent to it
SECONDS = 5.0  # of work that is lost at most when a job is killed, beside the chunks that are at work
MOST_ON_A_DEVICE = 4  # processes, unless more are asked for: each has the model in the device's memory


@dataclass(frozen=True)
class Answers:
    """What a job has written. images: rows; unreadable: those with an error instead of an answer, the first is `error`.

    resumed: rows that an earlier start of the same job had written. columns: of the file.
    """

    out: Path
    images: int
    unreadable: int
    resumed: int
    error: str
    columns: tuple[str, ...]


def predict_all(
    export: str | os.PathLike[str],
    paths: Sequence[str | os.PathLike[str]],
    out: Path,
    *,
    provider: str = "auto",
    threads: int | None = None,
    precision: str = FLOAT32,
    on_bad: str = "skip",
    coverage: float | None = None,
    by_class: bool = False,
    images: Path | None = None,
    follow_links: bool = False,
    processes: int | None = None,
    ray: str | None = None,
) -> Answers:
    """Classify every image at the paths, in order, and write a row for each to `out`: CSV, JSON lines, or Parquet.

    paths, images, follow_links: as in `zoo.data.unlabeled.unlabeled_images`. export, provider, precision, coverage,
    by_class: as in `predict`. on_bad: "skip" writes why an image has no prediction; "fail" raises an ImageError.
    processes: how many read and classify, by default one per core, and at most four on an accelerator. threads: of each
    process; by default 1 if there are several processes, otherwise onnxruntime's choice.
    ray: HOST:PORT of a Ray cluster whose actors replace the processes, or "local" to start one on this machine.
    The file appears when it is complete. If a job was interrupted or killed, the same call continues it; if it is
    complete, the same call does nothing.
    Raises what `zoo.load` raises, DataError or InputError for paths that can't be listed or contain no images, and
    InputError if the classifier takes rows of tables, the file belongs to something else, or there is no such cluster;
    MissingExtraError if Ray is requested but not installed.
    """
    if on_bad not in ON_BAD:
        raise InputError(f"on_bad is one of {', '.join(ON_BAD)}, received {on_bad!r}")
    if processes is not None and processes < 1:
        raise InputError(f"processes must be 1 or more, received {processes}")
    if ray is not None:
        import_ray(ray)
    kind, places = kind_of(out), [Path(path) for path in paths]
    if images is not None and not any(map(is_table, places)):
        raise InputError("--images needs a table that names the images: give one")
    found = find_export(export).absolute()  # looked up, or fetched from a store, once
    metadata, device, options = _checked(found, provider, threads, precision, coverage, by_class)
    options |= {} if images is None else {"images": str(images.resolve())}
    options |= {"follow_links": True} if follow_links else {}
    columns, digest = columns_of(metadata, coverage), digest_of(found, precision)
    with alone(out):
        count, data = _looked_at(places, images, follow_links)
        job = {
            "export": {"model": f"{metadata.data_set}/{metadata.model}", "sha256": digest},
            "data": {"paths": [str(place.resolve()) for place in places], "images": count, "sha256": data},
            "options": options,
        }
        again = state_of(out).exists()
        begun = state = resume(job, out)
        if on_bad == "fail" and state.unreadable:
            raise ImageError(
                f"{state.error} (found by an earlier start: --on-bad skip continues; or replace the image, remove "
                f"{state_of(out)} and the files next to it, and start again)"
            )
        if not is_made(state, out):
            several = min(processes or _processes(device), max(1, -(-(count - state.images) // CHUNK)))
            each = threads or (1 if several > 1 or ray is not None else None)
            how = (precision, coverage, by_class, on_bad, kind, columns)
            asking = Asking(str(found), digest, device, each, *how)
            chunks = partial(_chunks, places, images, follow_links, state.images, CHUNK)
            if ray is None:  # what ended an earlier call may be an image that ends whoever reads it
                answers = in_order(asking, chunks(), several, apart=again)
            else:
                answers = _on_ray(asking, chunks, ray, processes)
            try:
                if not state.images:
                    save(state, out)  # before there are lines: nobody else's are taken for them
                state = _answered(_readable(answers), state, count, out, heading(kind, columns))
                finish(kind, columns, lines_of(out), out)
            except OSError as error:
                raise InputError(
                    f"{out} can't be written ({error.strerror or error}): the same command continues once it can"
                ) from None
    return Answers(out, state.images, state.unreadable, begun.images, state.error, columns)


def _checked(
    export: Path,
    provider: str,
    threads: int | None,
    precision: str,
    coverage: float | None,
    by_class: bool,
) -> tuple[Metadata, str, dict[str, Any]]:
    """What an export says of itself, where it runs, and what may change its answers; it is closed again."""
    classifier = load(export, provider, threads, precision)
    if classifier.columns:
        raise InputError(f"{export} takes rows of a table: --out is for images, --json has the answers for rows")
    classifier.predict_batch([], coverage=coverage, by_class=by_class)  # whether it has such sets
    options: dict[str, Any] = {"precision": classifier.precision, "provider": classifier.provider}
    options |= {} if coverage is None else {"coverage": coverage, "by_class": by_class}
    return classifier.metadata, classifier.provider, options


def _on_ray(
    asking: Asking, chunks: partial[Iterator[list[Unread]]], address: str, processes: int | None
) -> Generator[Answered]:
    threads = asking.threads or 1
    with connected(address, (processes or max(1, usable_cores() // threads)) * threads):
        from pipelines.inference.bulk.ray_data import answered_on_ray

        yield from answered_on_ray(asking, chunks, processes)


def _readable(answers: Generator[Answered]) -> Generator[Answered]:
    """The same. What fails while they are asked for isn't the file that they are written into."""
    try:
        yield from answers
    except OSError as error:
        where = printable(str(error.filename or "what the images are in"))
        raise InputError(
            f"{where} can't be read any more ({error.strerror or error}): the same command continues once it can"
        ) from None


def _answered(answers: Generator[Answered], state: State, count: int, out: Path, first_line: bytes) -> State:
    """Append what isn't answered yet, line by line, and save how far it is every few seconds. The state at the end."""
    with (
        closing(answers),
        appending(state, out, first_line) as lines,
        progress(f"answering into {out.name}", state.images) as advance,
    ):

        def saved(state: State) -> State:
            lines.flush()
            sync(lines_of(out))
            save(state, out)
            return state

        state, at = replace(state, size=lines.tell()), time.monotonic()
        try:
            for found in answers:
                lines.write(found.lines)
                state = state.after(found.images, found.unreadable, len(found.lines), found.error)
                unreadable = f", {state.unreadable:,} unreadable" if state.unreadable else ""
                advance(state.images, count, f"{state.images:,} of {count:,}{unreadable}")
                if time.monotonic() - at >= SECONDS:
                    state, at = saved(state), time.monotonic()
        except KeyboardInterrupt:
            saved(state)
            raise KeyboardInterrupt(f"interrupted after {state.images:,} images: the same command continues") from None
        if state.images != count:
            raise InputError(
                f"{count:,} images were counted, but {state.images:,} were read, so they have changed: remove "
                f"{state_of(out)} and start again"
            )
        check_free(state, out)  # hours may have passed
        return saved(replace(state, finished=True))


def _looked_at(places: Sequence[Path], images: Path | None, follow_links: bool) -> tuple[int, str]:
    """How many images there are, and a digest of their names and of the archives that they are in.

    Looking at all before the first is answered shows a table's errors at once, and how long it will take.
    """
    digest, count, archive = hashlib.sha256(), 0, None
    with progress("counting images") as advance:
        for count, image in enumerate(_all(places, images, follow_links, None), start=1):
            digest.update(f"{image.name}\0{image.span}\0".encode(errors="surrogateescape"))
            if image.span and image.path is not None and image.path != archive:
                archive, found = image.path, image.path.stat()
                digest.update(f"{found.st_size} {found.st_mtime_ns}\0".encode())
            if count % 1000 == 0:
                advance(count, count, f"{count:,}")
    if not count:
        named = ", ".join(printable(str(place)) for place in places[:5])
        raise InputError(f"{named} holds no images: expected {EXPECTED}")
    return count, digest.hexdigest()


def _all(places: Iterable[Path], images: Path | None, follow_links: bool, skip: int | None) -> Iterator[Unread]:
    """The images at all places. skip: how many needn't bring their bytes; None: all of them."""
    passed = 0
    for place in places:
        left = 2**63 if skip is None else max(0, skip - passed)
        found = unlabeled_images(
            place, images=images if is_table(place) else None, follow_links=follow_links, skip=left
        )
        for image in found:
            passed += 1
            yield image


def _chunks(
    places: Sequence[Path], images: Path | None, follow_links: bool, answered: int, most: int
) -> Iterator[list[Unread]]:
    """What isn't answered yet, at most so many images at once."""
    chunk: list[Unread] = []
    size = 0
    for image in islice(_all(places, images, follow_links, answered), answered, None):
        chunk.append(image)
        size += len(image.content or b"")
        if len(chunk) == most or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _processes(provider: str) -> int:
    return usable_cores() if provider == "cpu" else min(usable_cores(), MOST_ON_A_DEVICE)
