"""Every file of a listing, opened once: what it is, what is wrong with it, and what tells it from the others."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.listing import Listing, Problem
from zoo.errors import PictureError
from zoo.pictures import FORMATS, Decoded, Pixels

Progress = Callable[[int, int], None]  # done, in all

ARRAY = 100
THUMB = 16  # pixels a side of the small grey pictures that near duplicates are found with
# More pictures than these are looked through for equal ones alone: their thumbs would take more memory than the rest.
LARGEST_WITH_THUMBS = 200_000
AHEAD = 256  # pictures that are decoded before the first of them is taken
ENDINGS = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}


@dataclass(frozen=True, eq=False)
class Inspection:
    """What was found in N files.

    formats: [N] int8, indices into zoo.pictures.FORMATS; -1 where it can't be read, ARRAY where it was one. modes: [N]
    Pillow's names, such as RGB. heights, widths: [N] int32, in pixels, upright. digests: [N] 16 bytes each, of the
    decoded pixels: equal ones are the same picture. thumbs: [N, 16, 16] uint8, grey; None where they are too many.
    problems: of those that can't be read, in their order.
    """

    formats: NDArray[np.int8]
    modes: NDArray[np.str_]
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    digests: NDArray[np.void]
    thumbs: Pixels | None
    problems: tuple[Problem, ...]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """[N]: whether the file can be used."""
        return self.formats >= 0

    def wrongly_named(self, listing: Listing) -> Iterator[Problem]:
        """Pictures whose name ends as those of another format do. They are used all the same."""
        for k in np.flatnonzero(self.readable & (self.formats != ARRAY)).tolist():
            kind, file = FORMATS[self.formats[k]], listing.files[k]
            if not file.lower().endswith(ENDINGS[kind]):
                yield Problem(file, "wrongly named", f"{listing.where(k)} is a {kind}: it is used all the same")


def inspect(listing: Listing, take: Callable[[int, Decoded], Callable[[], None]], on_progress: Progress) -> Inspection:
    """Decode each picture once.

    take: given the place of a readable picture in the listing, and the picture, in one of several threads; what it
    returns is called in the order of the listing, by one thread.
    """
    count = len(listing)
    formats, modes = np.full(count, -1, np.int8), np.zeros(count, "<U8")
    heights, widths = np.zeros(count, np.int32), np.zeros(count, np.int32)
    digests = np.zeros(count, "V16")
    thumbs = np.zeros((count, THUMB, THUMB), np.uint8) if count <= LARGEST_WITH_THUMBS else None
    problems: list[Problem] = []

    def look(place: int) -> PictureError | Callable[[], None]:
        try:
            decoded = listing.decode(place)
        except PictureError as error:
            return error
        pixels = decoded.pixels
        formats[place], modes[place] = FORMATS.index(decoded.format) if decoded.format else ARRAY, decoded.mode
        heights[place], widths[place] = pixels.shape[:2]
        digests[place] = _digest(pixels)
        if thumbs is not None:
            thumbs[place] = _thumb(pixels)
        return take(place, decoded)

    with ThreadPoolExecutor() as threads:  # Pillow lets go of the interpreter while it decodes
        for start in range(0, count, AHEAD):  # all at once would take a kilobyte each before the first is read
            ahead = range(start, min(start + AHEAD, count))
            for place, looked in zip(ahead, threads.map(look, ahead), strict=True):
                if isinstance(looked, PictureError):
                    problems.append(Problem(listing.files[place], looked.kind, str(looked)))
                else:
                    looked()
                on_progress(place + 1, count)
    return Inspection(formats, modes, heights, widths, digests, thumbs, tuple(problems))


def _digest(pixels: Pixels) -> bytes:
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def _thumb(pixels: Pixels) -> Pixels:
    """[H, W, C] -> [16, 16], grey. Each pixel takes in some of its neighbours: edges may lie anywhere between two."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)).convert("L")
    return np.asarray(image.resize((THUMB, THUMB), Image.Resampling.BILINEAR))


def save(inspection: Inspection, file: Path) -> None:
    """Write it beside pictures that are kept in a file. No pickle."""
    problems = np.array([(p.file, p.kind, p.sentence) for p in inspection.problems], np.str_).reshape(-1, 3)
    arrays = {name: value for name, value in vars(inspection).items() if name != "problems" and value is not None}
    with file.open("wb") as out:
        np.savez(out, problems=problems, **arrays)


def read(file: Path) -> Inspection:
    """What `save` wrote."""
    with np.load(file, allow_pickle=False) as found:
        arrays = dict(found)
    problems = tuple(Problem(*map(str, row)) for row in arrays.pop("problems"))
    return Inspection(problems=problems, **{"thumbs": None, **arrays})
