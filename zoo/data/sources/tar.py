"""Tar archives from anywhere: read from the first member to the last, and never unpacked into files."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from zoo.errors import printable

_GZIP = b"\x1f\x8b"


class _Bounded(io.RawIOBase):
    """A stream that may give so many bytes and no more."""

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream, self._left, self._most = stream, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        found = self._stream.read(min(len(buffer), self._left + 1))
        if len(found) > self._left:
            raise ValueError(f"it unpacks to more than {self._most:,} bytes")
        self._left -= len(found)
        buffer[: len(found)] = found
        return len(found)


@contextmanager
def unpacking(path: Path, most: int) -> Iterator[IO[bytes]]:
    """The content of a file, unpacked where it is one of gzip. ValueError, while it is read, above `most` bytes."""
    with path.open("rb") as opened:
        packed = opened.read(2) == _GZIP
        opened.seek(0)
        stream: Any = gzip.GzipFile(fileobj=opened) if packed else opened
        yield io.BufferedReader(_Bounded(stream, most))


def read_members(path: Path, wanted: set[str], *, largest: int, most: int) -> dict[str, bytes]:
    """Files of an archive, by the last part of their names; the first of each, and links are none.

    largest: bytes of one of them; most: bytes that the archive may unpack to.
    Raises ValueError where it is none, lacks one of them, or is larger, and OSError where it can't be read.
    """
    found: dict[str, bytes] = {}
    try:
        with unpacking(path, most) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if not member.isreg() or name not in wanted or name in found:
                    continue
                if member.size > largest:
                    raise ValueError(f"{member.name} has {member.size:,} bytes, expected at most {largest:,}")
                content = archive.extractfile(member)
                found[name] = b"" if content is None else content.read()
                if len(found[name]) != member.size:
                    raise ValueError(f"it was cut short in {member.name}")
                if len(found) == len(wanted):
                    return found
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, RecursionError) as error:
        raise ValueError(f"not a complete tar archive, {error}") from None
    raise ValueError(f"it lacks {', '.join(sorted(wanted - found.keys()))}")


def members_of(path: Path) -> Iterator[tuple[str, int, int]]:
    """The files in an archive that isn't compressed, in their order: name, and the place and number of their bytes.

    Raises ValueError where it was cut short, is damaged, or is none. Links, and files with holes in them, are left out.
    """
    with path.open("rb") as opened:
        if opened.read(2) == _GZIP:
            raise ValueError("it is compressed: unpack it by gunzip")
        opened.seek(0)
        try:
            with tarfile.open(fileobj=opened, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    archive.members = []  # type: ignore[attr-defined]  # a million of them would fill the memory
                    if member.size < 0:  # older versions of tarfile would read the same header for ever
                        raise ValueError(f"it is damaged: {printable(member.name)} has a size below 0")
                    if member.isreg() and not member.issparse():
                        yield member.name, member.offset_data, member.size
                _check_end(opened, archive.offset)  # tarfile ends in silence where it finds no further header
        except (tarfile.TarError, RecursionError) as error:
            cut = "unexpected end" in str(error) or "truncated" in str(error)
            raise ValueError("it was cut short" if cut else f"it isn't a tar archive, {error}") from None


def _check_end(opened: IO[bytes], end: int) -> None:
    """Raise ValueError where an archive doesn't end as it should: in blocks of zeros, and with nothing behind them."""
    opened.seek(end)
    block = opened.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise ValueError("it was cut short")
    if any(block):
        raise ValueError(f"it is damaged at byte {end:,}")
    while block := opened.read(2**20):
        if block.count(0) != len(block):
            raise ValueError("it has data after its end, such as another archive: pack it again")


def uncompressed(path: Path, kept: Path, most: int) -> Path:
    """The same archive where it isn't compressed, else what it unpacks to, made once at `kept`.

    Raises ValueError where that is more than `most` bytes, or it is damaged.
    """
    with path.open("rb") as opened:
        if opened.read(2) != _GZIP:
            return path
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(prefix=f".{kept.name}-", dir=kept.parent)
    try:
        with os.fdopen(descriptor, "wb") as out, unpacking(path, most) as stream:
            shutil.copyfileobj(stream, out)
        Path(beside).replace(kept)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"not a complete gzip file, {error}") from None
    finally:
        Path(beside).unlink(missing_ok=True)
    return kept
