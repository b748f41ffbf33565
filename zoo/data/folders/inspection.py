"""Every file of a listing, opened once: what it is, what is wrong with it, and what sets it apart from the others."""

from __future__ import annotations

import json
import zipfile
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.data.folders.thumbs import THUMB, THUMBS_FILE, thumb_of, writing_thumbs
from zoo.data.listing import Listing, Problem
from zoo.data.pixels import Images, PixelFile
from zoo.errors import DataError, ImageError, MissingExtraError
from zoo.formats import ENDINGS, FORMATS
from zoo.images import Decoded, Pixels

Progress = Callable[[int, int], None]  # done, in all

ARRAY = 100
# More images than these are looked through for equal ones alone: their thumbs would take 1.3 GB of a disk, and each of
# them is compared with ever more others.
LARGEST_WITH_THUMBS = 5_000_000
# Bytes that Pillow allocates at once. Of its usual 16 MiB, glibc keeps what one thread gives back from the others: five
# images of 64 million pixels took 5 GB, one after the other. Blocks above 32 MiB go back to the system.
BLOCK = 64 * 2**20
# What sensors and scanners write into files of 16 bits: as many bits as they have.
WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))
AHEAD = 256  # images that are decoded before the first of them is taken
ROUNDS = 64  # in which that many are handed to threads: one by one costs as much as decoding a small one

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in N files.

    Of a million of them it takes 30 MB.
    formats: [N] int8, indices into zoo.formats.FORMATS; -1 where it can't be read, ARRAY where it was one. modes:
    Pillow's names, such as RGB -> readable images. colors: [N] bool, whether it shows any. heights, widths: [N] int32,
    in pixels, upright. digests: [N] 16 bytes each, of the decoded pixels: equal ones are the same image. thumbs:
    [N, 16, 16, 1] uint8, in a file; None where they are too many. highest: [N] uint16, the largest value of an image
    of 16 bits, 0 of others. constant: [N] bool, whether all pixels are the same. problems: of those that can't be read,
    in their order.
    """

    formats: NDArray[np.int8]
    modes: Mapping[str, int]
    colors: NDArray[np.bool_]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    digests: NDArray[np.void]
    thumbs: Images | None
    highest: NDArray[np.uint16]
    constant: NDArray[np.bool_]
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """[N]: whether the file can be used."""
        return self.formats >= 0

    @property
    def colored(self) -> bool:
        """Whether any image that can be used shows a color, so that all of them have three channels."""
        return bool(self.colors[self.readable].any())

    @property
    def white(self) -> int:
        """The value of 16 bits that is white in all of these images: the largest of as many bits as they use."""
        highest = int(self.highest.max(initial=0))
        return next(white for white in WHITES if highest <= white) if highest else WHITE

    def wrongly_named(self, listing: Listing) -> Iterator[Problem]:
        """Images whose name ends as those of another format do. They are used anyway."""
        for k in np.flatnonzero(self.readable & (self.formats != ARRAY)).tolist():
            kind, file = FORMATS[self.formats[k]], listing.files[k]
            if not file.lower().endswith(ENDINGS[kind]):
                yield Problem(file, "wrongly named", f"{listing.where(k)} is a {kind}: it is used anyway")


def inspect(
    listing: Listing,
    take: Callable[[int, Decoded], Callable[[], None]],
    on_progress: Progress,
    ahead_of: int = AHEAD,
    white: int = WHITE,
    thumbs_in: Path | None = None,
    *,
    with_thumbs: bool = True,
    threads: int | None = None,
) -> Inspection:
    """Decode each image once, `ahead_of` of them before the first is taken. white: as of `zoo.images.read_image`.

    thumbs_in: the folder that keeps the thumbs; by default they are gone with the inspection. with_thumbs: False where
    `take` looks after them. threads: by default as many as Python takes for this machine.
    take: given the place of a readable image in the listing, and the image, in one of several threads; what it
    returns is called in the order of the listing, by one thread.
    """
    from PIL import Image

    Image.core.set_block_size(BLOCK)  # type: ignore[attr-defined]
    count = len(listing)
    formats, modes = np.full(count, -1, np.int8), Counter[str]()
    colors = np.zeros(count, bool)
    heights, widths = np.zeros(count, np.int32), np.zeros(count, np.int32)
    digests = np.zeros(count, "V16")
    highest, constant = np.zeros(count, np.uint16), np.zeros(count, bool)
    problems: list[Problem] = []
    put_thumb: Callable[[int, Pixels], None] | None = None

    def look(place: int) -> ImageError | tuple[str, Callable[[], None]]:
        try:
            with listing.decoding(place, white) as decoded:
                pixels = decoded.pixels
                heights[place], widths[place] = pixels.shape[:2]
                colors[place] = pixels.shape[2] == 3
                digests[place] = _digest(pixels)
                highest[place] = decoded.highest
                constant[place] = _is_constant(pixels)
                if put_thumb is not None:
                    put_thumb(place, thumb_of(decoded))
                taken = take(place, decoded)
        except ImageError as error:
            return error
        formats[place] = FORMATS.index(decoded.format) if decoded.format else ARRAY
        return decoded.mode, taken

    with ExitStack() as block:
        thumbs = None
        if with_thumbs and count <= LARGEST_WITH_THUMBS:
            writer = block.enter_context(writing_thumbs(count, thumbs_in))
            put_thumb = writer.put
        for place, looked in enumerate(_in_threads(look, count, ahead_of, threads)):
            if isinstance(looked, ImageError):
                problems.append(Problem(listing.files[place], looked.kind, str(looked)))
            else:
                mode, taken = looked
                modes[mode] += 1
                taken()
            on_progress(place + 1, count)
        if put_thumb is not None:
            thumbs = writer.finish()
    return Inspection(formats, modes, colors, heights, widths, digests, thumbs, highest, constant, tuple(problems))


def _in_threads(look: Callable[[int], T], count: int, ahead_of: int, most: int | None) -> Iterator[T]:
    """look(0), look(1), … in this order, at most `ahead_of` of them before the first of these is taken."""
    in_one = max(1, ahead_of // ROUNDS)

    def look_at(start: int) -> list[T]:
        return [look(place) for place in range(start, min(start + in_one, count))]

    waiting: deque[Future[list[T]]] = deque()
    with ThreadPoolExecutor(most) as threads:  # Pillow lets go of the interpreter while it decodes
        try:
            for start in range(0, count, in_one):
                waiting.append(threads.submit(look_at, start))
                if len(waiting) * in_one >= ahead_of:
                    yield from _used_up(waiting.popleft().result())
            while waiting:
                yield from _used_up(waiting.popleft().result())
        finally:
            threads.shutdown(cancel_futures=True)


def _used_up(found: list[T]) -> Iterator[T]:
    """Each from the first on, and none of them kept."""
    found.reverse()
    while found:
        yield found.pop()


def _is_constant(pixels: Pixels) -> bool:
    """Whether all pixels [H, W, C] are the same. The first row first: few images get past it."""
    return bool((pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all())


def _digest(pixels: Pixels) -> bytes:
    """16 bytes. XXH3: nobody gains by two images that only seem equal, and BLAKE2 took as long as decoding a JPEG."""
    try:
        from xxhash import xxh3_128
    except ModuleNotFoundError:
        raise MissingExtraError("xxhash", "train") from None
    digest = xxh3_128(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def save(inspection: Inspection, file: Path) -> None:
    """Write it beside images that are kept in a file, and beside the thumbs. No pickle."""
    problems = [(p.file, p.kind, p.sentence) for p in inspection.problems]
    texts = json.dumps({"modes": inspection.modes, "problems": problems}).encode()
    arrays: dict[str, Any] = {name: value for name, value in vars(inspection).items() if isinstance(value, np.ndarray)}
    with file.open("wb") as out:
        np.savez(out, texts=np.frombuffer(texts, np.uint8), **arrays)


def read(file: Path) -> Inspection:
    """What `save` wrote. DataError where it is damaged."""
    thumbs = file.with_name(THUMBS_FILE)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            arrays = dict(found)
        texts = json.loads(arrays.pop("texts").tobytes())
        problems = tuple(Problem(*row) for row in texts["problems"])
        shape = (len(arrays["formats"]), THUMB, THUMB, 1)
        kept = PixelFile(thumbs, shape) if thumbs.is_file() else None
        return Inspection(problems=problems, modes=texts["modes"], thumbs=kept, **arrays)
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is damaged ({error}): remove {file.parent}, and it will be created again") from None
