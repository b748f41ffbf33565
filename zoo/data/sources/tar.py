"""Archives from anywhere: read from the first member to the last, and never unpacked onto the disk."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

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
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, RecursionError) as error:
        raise ValueError(f"no whole tar archive, {error}") from None
    raise ValueError(f"it lacks {', '.join(sorted(wanted - found.keys()))}")
