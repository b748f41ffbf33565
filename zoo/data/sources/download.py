"""The files of a data set as its authors publish them: wherever they lie, else downloaded, and always checked."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedRandom
from pathlib import Path
from typing import TypeAlias

from zoo.data.cache import NEW, cache_folder, remove_left
from zoo.errors import DataError

Progress: TypeAlias = Callable[[int, int], None]  # done, in all

PATIENCE = 20  # seconds without an answer
BLOCK = 2**20  # bytes that are read at once
LARGEST_UNPACKED = 2**28  # bytes: EMNIST's largest has 88 million


@dataclass(frozen=True)
class Published:
    """A file. size, sha256: of its bytes; content: size and SHA-256 of what it unpacks to by gzip, where others pack
    the same content into other bytes, so that it alone is compared.
    """

    url: str
    size: int
    sha256: str = ""
    content: tuple[int, str] | None = None


@dataclass(frozen=True)
class Source:
    """All files of a data set, by their names.

    name: of the data set, and of the folder that they lie in; title: the same, for people. elsewhere: folders that
    packages of systems put them in. loose: whether they may lie in $ZOO_DATA itself, where other data sets have files
    of the same names. hint: another way to come to them.
    """

    name: str
    title: str
    files: Mapping[str, Published]
    elsewhere: tuple[Path, ...] = ()
    loose: bool = False
    hint: str = ""

    @property
    def size(self) -> int:
        """Bytes of the download."""
        return sum(file.size for file in self.files.values())


def find_files(source: Source, folder: Path | None, on_progress: Progress) -> Path:
    """The folder that holds all files of a source: the one that is named, or a usual place, or the cache, into which
    they are downloaded where they are in none of these. What they hold isn't looked at yet: `read_file` does.

    on_progress: of a download, in bytes.
    Raises DataError where a folder is named and they aren't in it, where a place holds some of them alone, and where
    they can't be downloaded.
    """
    found = place_of(source, folder)
    if found is None and folder is not None:
        raise DataError(f"{folder} doesn't contain {source.title}, expected {', '.join(source.files)} in it")
    if found == _cache(source):
        remove_left(found)
    return found or _download(source, on_progress)


def place_of(source: Source, folder: Path | None = None) -> Path | None:
    """The folder that holds all files of a source already; None where there is none. Raises what `find_files` does."""
    for place in _places(source, folder):
        there = [name for name in source.files if _is_file(place / name)]
        missing = [name for name in source.files if name not in there]
        if there and missing and place != _cache(source):  # into which they come one by one
            raise DataError(f"{place} holds {there[0]}, but not {' and '.join(missing)}: add what is missing")
        if not missing:
            return place
    return None


def read_file(source: Source, name: str, folder: Path) -> bytes:
    """What one of the files unpacks to, which ends in .gz. DataError where it isn't the authors'."""
    path, published = folder / name, source.files[name]
    try:
        packed = path.read_bytes()
        if published.content:
            return unpack(packed, *published.content)
        _compare(published, len(packed), hashlib.sha256(packed).hexdigest())
        return gunzip(packed, LARGEST_UNPACKED)
    except ValueError as error:
        raise _not_theirs(path, source, error) from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None


def checked_file(source: Source, name: str, folder: Path) -> Path:
    """The path of one of the files, too large for the memory. DataError where it isn't the authors'."""
    path = folder / name
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256")
        _compare(source.files[name], path.stat().st_size, digest.hexdigest())
    except ValueError as error:
        raise _not_theirs(path, source, error) from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error.strerror or error}") from None
    return path


def unpack(packed: bytes, size: int, sha256: str) -> bytes:
    """What a file of gzip holds. ValueError where it hasn't that size and that SHA-256."""
    content = gunzip(packed, size)
    _compare(Published("", size, sha256), len(content), hashlib.sha256(content).hexdigest(), " unpacked")
    return content


def gunzip(packed: bytes, most: int) -> bytes:
    """What a file of gzip holds. ValueError where it is none, or holds more bytes than `most`."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)  # 16: with the header of gzip
    try:
        content = unpacker.decompress(packed, most + 1)  # one more than expected is enough to know
    except zlib.error as error:
        raise ValueError(f"not a gzip file, {error}") from None
    if len(content) > most:
        raise ValueError(f"expected {most:,} bytes unpacked, received more")
    return content


def _compare(expected: Published, size: int, sha256: str, unpacked: str = "") -> None:
    if size != expected.size:
        raise ValueError(f"expected {expected.size:,} bytes{unpacked}, received {size:,}")
    if sha256 != expected.sha256:
        raise ValueError(f"expected the SHA-256 {expected.sha256}, received {sha256}")


def _not_theirs(path: Path, source: Source, error: ValueError) -> DataError:
    return DataError(f"{path} is not the file of {source.title} ({error}): replace or remove it")


# --- where they lie --------------------------------------------------------------------------------------------------


def _places(source: Source, folder: Path | None) -> Iterator[Path]:
    """Where to look, in this order. A folder that was named is the only place: nothing replaces it unasked."""
    if folder:
        yield from (folder, folder / source.name)
        return
    if named := os.environ.get("ZOO_DATA"):
        yield from (Path(named), Path(named) / source.name) if source.loose else (Path(named) / source.name,)
    yield from source.elsewhere
    yield _cache(source)


def _cache(source: Source) -> Path:
    return cache_folder() / source.name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise DataError(
            f"{path.parent} can't be read ({error.strerror}): let this user read it, or name another"
        ) from None


# --- a download ------------------------------------------------------------------------------------------------------


def _download(source: Source, on_progress: Progress) -> Path:
    """Bring what is missing to the user's cache: each file checked, or not at all."""
    cache, done = _cache(source), 0
    try:
        cache.mkdir(parents=True, exist_ok=True)
        remove_left(cache)
        for name, published in source.files.items():
            if not _is_file(cache / name):
                _fetch(source, name, cache, partial(_further, on_progress, done, source.size))
            done += published.size
            on_progress(done, source.size)
    except OSError as error:
        reason = f"{cache} can't be written ({error.strerror or error})"
        raise DataError(f"{reason}: set XDG_CACHE_HOME to a folder that can") from None
    finally:
        with suppress(OSError):  # something is in it
            cache.rmdir()
    return cache


def _further(on_progress: Progress, before: int, in_all: int, done: int) -> None:
    on_progress(min(before + done, in_all), in_all)


def _fetch(source: Source, name: str, cache: Path, on_bytes: Callable[[int], None]) -> None:
    """One file, written beside its place and moved there once it is known to be the authors'."""
    published = source.files[name]
    descriptor, beside = tempfile.mkstemp(prefix=f"{NEW}{name}-", dir=cache)
    try:
        with os.fdopen(descriptor, "w+b") as out:
            for count, block in _blocks(source, published):
                out.write(block)
                on_bytes(count)
            out.seek(0)
            if published.content:
                unpack(out.read(), *published.content)
            else:
                _compare(published, out.seek(0, os.SEEK_END), _sha256_of(out))
            os.fsync(out.fileno())
        os.replace(beside, cache / name)  # noqa: PTH105 (beside is a string)
    except ValueError as error:
        raise DataError(f"{published.url} is not the file of {source.title} ({error}): try again later") from None
    finally:
        Path(beside).unlink(missing_ok=True)


def _sha256_of(opened: BufferedRandom) -> str:
    opened.seek(0)
    return hashlib.file_digest(opened, "sha256").hexdigest()


def _blocks(source: Source, published: Published) -> Iterator[tuple[int, bytes]]:
    """What a server answers, block by block, and how many bytes came so far: one too many at most."""
    count, most = 0, published.size if published.sha256 else 2 * published.size  # others may pack it worse
    try:
        with urllib.request.urlopen(published.url, timeout=PATIENCE) as answer:  # noqa: S310 (a constant)
            while count <= most and (block := answer.read(min(BLOCK, most + 1 - count))):
                count += len(block)
                yield count, block
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the server's answer, too
        reason = error.reason if type(error) is urllib.error.URLError else error
        looked = ", ".join(str(place) for place in _places(source, None))
        files = "its file" if len(source.files) == 1 else f"its {len(source.files)} files"
        raise DataError(
            f"{source.title} is not in {looked}, and can't be downloaded from {published.url} ({reason}): "
            f"{source.hint}put {files} ({', '.join(source.files)}) in a folder and name that with --data-folder, or "
            f"in a folder {source.name} of $ZOO_DATA"
        ) from None
