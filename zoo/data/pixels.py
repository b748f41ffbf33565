"""Images that don't fit into memory: decoded once into a file, and read from it a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo.errors import DataError
from zoo.images import Pixels

CHUNK = 256  # images that are handled at once where all of them are read


class PixelFile:
    """[N, H, W, C] uint8 in a file, of which an index copies some into memory: `pixels[3]`, `[a:b]`, `[indices]`.

    Read by `pread` and not mapped: what is read is the system's cache, not memory of this process.
    rows: [N] int64, the places in the file, where it isn't all of them in their order.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, file: Path, shape: tuple[int, ...], rows: NDArray[np.int64] | None = None) -> None:
        self.file = file
        self.rows = np.arange(shape[0]) if rows is None else rows
        self.shape = (len(self.rows), *shape[1:])
        self._bytes = int(np.prod(shape[1:]))
        try:
            self._descriptor = os.open(file, os.O_RDONLY)
        except OSError as error:
            raise DataError(
                f"{file} can't be read ({error.strerror}): start again, and it will be created again"
            ) from None

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Pixels:
        rows = self.rows[index]
        found = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
        flat = found.reshape(-1, self._bytes)
        # Neighbors in the file are read in one go.
        starts = np.flatnonzero(np.diff(np.ravel(rows), prepend=-2) != 1)
        ends = np.append(starts[1:], len(flat))[: len(starts)]  # none of none
        for begin, end in zip(starts, ends, strict=True):
            self._read(flat[begin:end].data.cast("B"), int(np.ravel(rows)[begin]) * self._bytes)
        return found

    def _read(self, into: memoryview, place: int) -> None:
        """Fill the memory from a place in the file on. Linux gives 2 GiB in a call at most."""
        while into:
            count = os.preadv(self._descriptor, [into], place)
            if not count:
                raise DataError(f"{self.file} was cut short: remove {self.file.parent}, and it will be created again")
            into, place = into[count:], place + count

    def __iter__(self) -> Iterator[Pixels]:
        """One after the other."""
        return (self[k] for k in range(len(self)))

    def take(self, indices: NDArray[np.int64]) -> PixelFile:
        """Those images of the same file, none of them read yet."""
        return PixelFile(self.file, self.shape, self.rows[indices])


Images: TypeAlias = Pixels | PixelFile  # [N, H, W, C] uint8, in memory or in a file
Inputs: TypeAlias = Images | NDArray[np.float32]  # or the rows of a table, [N, F]


def take(inputs: Inputs, indices: NDArray[np.int64]) -> Inputs:
    """Those at the indices, in that order."""
    return inputs.take(indices) if isinstance(inputs, PixelFile) else inputs[indices]


def take_apart(inputs: Images, parts: Sequence[NDArray[np.int64]]) -> list[Images]:
    """Those at the places of each part, which have none in common; `inputs` are used up by it.

    What is in memory is put in order where it lies: copies of all parts would take as much memory again.
    """
    if isinstance(inputs, PixelFile):
        return [inputs.take(part) for part in parts]
    _arrange(inputs, np.concatenate(parts))
    ends = np.cumsum([len(part) for part in parts])
    return [inputs[end - len(part) : end] for part, end in zip(parts, ends.tolist(), strict=True)]


def _arrange(pixels: Pixels, order: NDArray[np.int64]) -> None:
    """pixels[k] becomes what pixels[order[k]] was, in place; what is in no place of the order comes after it."""
    others = np.setdiff1d(np.arange(len(pixels)), order)
    source = np.concatenate([order, others]).tolist()
    for start in range(len(source)):
        if source[start] in (start, -1):
            continue
        kept, place = pixels[start].copy(), start
        while (following := source[place]) != start:
            pixels[place] = pixels[following]
            source[place], place = -1, following  # done
        pixels[place], source[place] = kept, -1


def join(first: Inputs, second: Inputs) -> Inputs:
    """One after the other; both of one file, or both in memory."""
    if isinstance(first, PixelFile) and isinstance(second, PixelFile):
        return PixelFile(first.file, first.shape, np.concatenate([first.rows, second.rows]))
    return np.concatenate([first[:], second[:]])


def in_chunks(inputs: Inputs, size: int = CHUNK) -> Iterator[Any]:
    """All of them, `size` at a time, in memory."""
    return (inputs[start : start + size] for start in range(0, len(inputs), size))


class PixelWriter:
    """Takes up to N images one after the other, in memory or in a file; of one channel until a colored one comes."""

    def __init__(self, images: int, height: int, width: int, file: Path | None = None) -> None:
        self._room, self._side, self._file = images, (height, width), file
        self._count, self._channels = 0, 1
        self._array = None if file else np.empty((images, height, width, 1), np.uint8)
        self._out = file.open("wb") if file else None

    def add(self, pixels: Pixels) -> None:
        """[H, W, 1], or [H, W, 3] for one with colors."""
        if pixels.shape[2] > self._channels:
            self._to_color()
        self._put(self._count, pixels[np.newaxis])
        self._count += 1

    def _put(self, place: int, pixels: Pixels) -> None:
        colored = pixels
        if pixels.shape[3] != self._channels:
            colored = np.broadcast_to(pixels, (*pixels.shape[:3], self._channels))
        if self._array is not None:
            self._array[place : place + len(pixels)] = colored
        if self._out is not None:
            self._out.write(np.ascontiguousarray(colored).data)

    def _to_color(self) -> None:
        """Begin anew with three channels, and copy what came before."""
        gray = self.finish()
        self._channels = 3
        if self._file is None:
            self._array = np.empty((self._room, *self._side, 3), np.uint8)
        else:
            self._file.unlink()  # `gray` has it open, and reads on
            self._out = self._file.open("wb")
        for k, pixels in enumerate(in_chunks(gray)):
            self._put(k * CHUNK, pixels)

    def finish(self) -> Images:
        """The images that came."""
        if self._array is not None:
            return self._array[: self._count]
        assert self._out is not None and self._file is not None  # noqa: S101 (the one or the other)
        self._out.close()
        return PixelFile(self._file, (self._count, *self._side, self._channels))
