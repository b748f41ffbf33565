"""Images in a Parquet file, one after the other: their bytes, as Hugging Face's data sets have them, or their paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.data.names import columns_for
from zoo.errors import DataError, MissingExtraError

PARQUET_ENDING = ".parquet"
ROWS_AT_ONCE = 16  # whose bytes are in memory
_BUFFER = 2**20  # bytes that are read at once: else a group of rows is read whole
_USUAL = ("image", "img", "bytes", "content", "data")  # names of columns with images; the likeliest first


def pyarrow() -> Any:
    """The package. Raises MissingExtraError where it isn't installed."""
    try:
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise MissingExtraError("pyarrow", "parquet") from None
    return pyarrow


def is_bytes(path: Path) -> bool:
    """Whether a file has the bytes of images, rather than their paths. Raises DataError where it has neither."""
    with _opened(path) as file:
        return _columns(path, file.schema_arrow)[0] is not None


def read_parquet(path: Path, skip: int = 0) -> Iterator[tuple[str | None, bytes | None]]:
    """Each row's name, if a column has one, and its bytes; None where there are none, and of the first `skip` rows.

    Bytes lie in a column of them, or beside a path in one of structures. Raises DataError for a file that is damaged,
    has neither, or several columns that may be meant; MissingExtraError where pyarrow isn't installed.
    """
    with _opened(path) as file:
        image, name = _columns(path, file.schema_arrow)
        row = 0
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            wanted = [column for column in (name, image if row + rows > skip else None) if column]
            if not wanted:
                yield from ((None, None) for _ in range(rows))
            else:
                for batch in file.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=wanted):
                    names = _values(batch, name) or [None] * len(batch)
                    contents = _values(batch, image) if image in wanted else None
                    yield from zip(names, contents or [None] * len(batch), strict=True)
            row += rows


def _columns(path: Path, schema: Any) -> tuple[str | None, str | None]:
    """Where the images' bytes are, if anywhere, and their names: columns, or parts of one such as image.bytes."""
    found = {field.name: _parts(field) for field in schema}
    images = {name: parts for name, parts in found.items() if parts}
    if len(images) > 1:
        images = {name: images[name] for name in _USUAL if name in images} or images
        if not set(images) & set(_USUAL):
            raise DataError(
                f"{path} has several columns of bytes ({', '.join(images)}): call the one with the images image"
            )
    texts = [field.name for field in schema if _is_text(field.type)]
    called = [texts[place] for place in columns_for("path", texts)]
    name = called[0] if called else None
    if images:
        (content, inner), *_ = images.values()
        return content, name or inner
    if name is None:
        raise DataError(
            f"{path} has no images: expected a column of bytes, such as image, or one with paths, such as path; it has "
            f"{', '.join(schema.names)}"
        )
    return None, name


def _parts(field: Any) -> tuple[str, str | None] | None:
    """Where in a column bytes are, and beside them a path; None where there are none."""
    types = pyarrow().types
    if types.is_binary(field.type) or types.is_large_binary(field.type):
        return field.name, None
    if types.is_struct(field.type):
        inner = {part.name: part.type for part in field.type}
        if "bytes" in inner and (types.is_binary(inner["bytes"]) or types.is_large_binary(inner["bytes"])):
            return f"{field.name}.bytes", f"{field.name}.path" if _is_text(inner.get("path")) else None
    return None


def _is_text(kind: Any) -> bool:
    types = pyarrow().types
    return kind is not None and (types.is_string(kind) or types.is_large_string(kind))


def _values(batch: Any, column: str | None) -> list[Any] | None:
    if column is None:
        return None
    outer, _, inner = column.rpartition(".")
    found = batch.column(column if column in batch.schema.names else outer)
    values: list[Any] = (found.field(inner) if column not in batch.schema.names else found).to_pylist()
    return values


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file. What goes wrong while it is read is a DataError."""
    arrow = pyarrow()
    try:
        with arrow.parquet.ParquetFile(path, buffer_size=_BUFFER) as file:
            yield file
    except (arrow.ArrowException, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
        raise DataError(f"{path} can't be read as Parquet ({reason}): replace it") from None
