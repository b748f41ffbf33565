"""Whether an ONNX file is all there is: none of its weights lie in other files, and its operators are standard ones.

onnxruntime before 1.24.1 reads such weights from wherever the file says: `../`, an absolute path, a link. It does so
while it opens the file, so protobuf's wire format is read here before (https://protobuf.dev/programming-guides/encoding).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.checked import read_file
from zoo.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

LARGEST_MODEL = 2**31 - 1  # bytes: protobuf's own limit
MOST_FIELDS = 1_000_000  # a hundred times those of a large model, a second's reading

# Of onnx.proto: message -> number of a field -> the message that it holds. What holds no tensor and no node isn't here.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # fields of a tensor
_DOMAIN = 7  # field of a node


def read_model(file: str | Path) -> bytes:
    """The content of a file. Raises ExportError where there is none, or it is larger than a model can be."""
    try:
        return read_file(file, LARGEST_MODEL)
    except FileNotFoundError:
        raise ExportError(f"{file} is missing: export the model again") from None


def check_self_contained(content: bytes, file: str | Path) -> None:
    """Raise ExportError for weights outside of a model, operators that aren't ONNX's own, and what is no model."""
    try:
        what = _first_foreign(memoryview(content))
    except ValueError as error:
        raise ExportError(
            f"{file} can't be read as ONNX ({error}): it is truncated, damaged, or not an ONNX file; export the model "
            "again"
        ) from None
    if what:
        raise ExportError(f"{file} {what}: don't use this file, or export the model again")


def _first_foreign(content: memoryview) -> str:
    """What of a model leads out of it, in words; "" for nothing. Raises ValueError where it isn't protobuf."""
    waiting, seen = [("model", content)], 0
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            seen += 1
            if seen > MOST_FIELDS:
                raise ValueError(f"more than {MOST_FIELDS:,} fields")
            if kind == "tensor" and (number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value)):
                return "keeps weights in other files, expected all of them inside"
            if kind == "node" and number == _DOMAIN and not _is_standard(value):
                return "has operators that aren't ONNX's own, expected standard ones alone"
            if number in _MESSAGES[kind] and isinstance(value, memoryview):
                waiting.append((_MESSAGES[kind][number], value))
    return ""


def _is_standard(domain: int | memoryview) -> bool:
    return isinstance(domain, memoryview) and bytes(domain[:8]) in (b"", b"ai.onnx")


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of each field: bytes of what has a length, and a number of all else."""
    place, end = 0, len(message)
    while place < end:
        key, place = _varint(message, place)
        if key >> 32 or not key >> 3:  # readers in C++ would cut it to 32 bits, and find another field
            raise ValueError("a field with an invalid number")
        value: int | memoryview
        if key & 7 == 0:
            value, place = _varint(message, place)
        elif key & 7 == 2:
            size, start = _varint(message, place)
            place = start + size
            value = message[start:place]
        elif key & 7 in (1, 5):  # a number of 64 bits, or of 32
            value, place = 1, place + (8 if key & 7 == 1 else 4)
        else:
            raise ValueError(f"a field of type {key & 7}")
        if place > end:
            raise ValueError("a field that extends past the end")
        yield key >> 3, value


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """(the number of variable length that begins there, the place behind it)."""
    number = shift = 0
    while shift < 70:
        if place >= len(message):
            raise ValueError("a field that extends past the end")
        byte = message[place]
        number |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return number, place
    raise ValueError("a number without an end")
