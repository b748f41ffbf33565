"""Every file of a listing, opened once: what it is, what is wrong with it, and what sets it apart from the others."""

from __future__ import annotations

import json
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from zoo.contract import WHITE
from zoo.data.listing import Listing, Problem
from zoo.errors import DataError, ImageError, MissingExtraError
from zoo.formats import ENDINGS, FORMATS
from zoo.images import Decoded, Pixels

Progress = Callable[[int, int], None]  # done, in all

ARRAY = 100
THUMB = 16  # pixels a side of the small gray images that near duplicates are found with
# More images than these are looked through for equal ones alone: their thumbs would take 1.3 GB of memory, and the
# index of those that are near as much.
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

    formats: [N] int8, indices into zoo.formats.FORMATS; -1 where it can't be read, ARRAY where it was one. modes: [N]
    Pillow's names, such as RGB. colors: [N] bool, whether it shows any. heights, widths: [N] int32, in pixels,
    upright. digests: [N] 16 bytes each, of the decoded pixels: equal ones are the same image. thumbs: [N, 16, 16]
    uint8, gray; None where they are too many. highest: [N] int32, the largest value of an image of 16 bits, 0 of
    others. constant: [N] bool, whether all pixels are the same. problems: of those that can't be read, in their order.
    """

    formats: NDArray[np.int8]
    modes: NDArray[np.str_]
    colors: NDArray[np.bool_]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    digests: NDArray[np.void]
    thumbs: Pixels | None
    highest: NDArray[np.int32]
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
) -> Inspection:
    """Decode each image once, `ahead_of` of them before the first is taken. white: as of `zoo.images.read_image`.

    take: given the place of a readable image in the listing, and the image, in one of several threads; what it
    returns is called in the order of the listing, by one thread.
    """
    from PIL import Image

    Image.core.set_block_size(BLOCK)  # type: ignore[attr-defined]
    count = len(listing)
    formats, modes = np.full(count, -1, np.int8), np.zeros(count, "<U8")
    colors = np.zeros(count, bool)
    heights, widths = np.zeros(count, np.int32), np.zeros(count, np.int32)
    digests = np.zeros(count, "V16")
    thumbs = np.zeros((count, THUMB, THUMB), np.uint8) if count <= LARGEST_WITH_THUMBS else None
    highest, constant = np.zeros(count, np.int32), np.zeros(count, bool)
    problems: list[Problem] = []

    def look(place: int) -> ImageError | Callable[[], None]:
        try:
            with listing.decoding(place, white) as decoded:
                pixels = decoded.pixels
                heights[place], widths[place] = pixels.shape[:2]
                colors[place] = pixels.shape[2] == 3
                digests[place] = _digest(pixels)
                highest[place] = decoded.highest
                constant[place] = _is_constant(pixels)
                if thumbs is not None:
                    thumbs[place] = _thumb(decoded)
                taken = take(place, decoded)
        except ImageError as error:
            return error
        formats[place], modes[place] = FORMATS.index(decoded.format) if decoded.format else ARRAY, decoded.mode
        return taken

    for place, looked in enumerate(_in_threads(look, count, ahead_of)):
        if isinstance(looked, ImageError):
            problems.append(Problem(listing.files[place], looked.kind, str(looked)))
        else:
            looked()
        on_progress(place + 1, count)
    return Inspection(formats, modes, colors, heights, widths, digests, thumbs, highest, constant, tuple(problems))


def _in_threads(look: Callable[[int], T], count: int, ahead_of: int) -> Iterator[T]:
    """look(0), look(1), … in this order, at most `ahead_of` of them before the first of these is taken."""
    in_one = max(1, ahead_of // ROUNDS)

    def look_at(start: int) -> list[T]:
        return [look(place) for place in range(start, min(start + in_one, count))]

    waiting: deque[Future[list[T]]] = deque()
    with ThreadPoolExecutor() as threads:  # Pillow lets go of the interpreter while it decodes
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


def _thumb(decoded: Decoded) -> Pixels:
    """[16, 16], gray. Each pixel takes in some of its neighbors: edges may lie anywhere between two."""
    from PIL import Image

    image, pixels = decoded.image, decoded.pixels
    if image is None:
        image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels))
    return np.asarray(image.convert("L").resize((THUMB, THUMB), Image.Resampling.BILINEAR))


def save(inspection: Inspection, file: Path) -> None:
    """Write it beside images that are kept in a file. No pickle."""
    problems = json.dumps([(p.file, p.kind, p.sentence) for p in inspection.problems]).encode()
    arrays = {name: value for name, value in vars(inspection).items() if name != "problems" and value is not None}
    with file.open("wb") as out:
        np.savez(out, problems=np.frombuffer(problems, np.uint8), **arrays)


def read(file: Path) -> Inspection:
    """What `save` wrote. DataError where it is damaged."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as found:
            arrays = dict(found)
        problems = tuple(Problem(*row) for row in json.loads(arrays.pop("problems").tobytes()))
        return Inspection(problems=problems, **{"thumbs": None, **arrays})
    except (ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is damaged ({error}): remove {file.parent}, and it will be created again") from None
