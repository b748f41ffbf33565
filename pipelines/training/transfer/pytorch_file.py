"""PyTorch's old file format, read with NumPy alone: tensors by name, of a file that may be hostile.

Until version 1.6, `torch.save` wrote five pickles (a magic number, a version, what machine it was, the object, the keys
of its storages), and then the numbers of each storage. `pickle` carries out what a file says, and an allow-list of
names still leaves a file BUILD, which sets attributes of what is allowed, and LONG_BINPUT, which claims any amount of
memory. So the few instructions that a dictionary of tensors takes are carried out here, into plain data; whatever else
there is makes the file none of ours.

Format: `_legacy_load` in PyTorch's torch/serialization.py, and Python's pickletools.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
LARGEST = 64 * 2**20  # bytes of a file
MOST_INSTRUCTIONS = 100_000  # of a pickle: a tensor takes some 35
MOST_AXES = 8
ORDERED, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
DTYPES: Mapping[str, np.dtype[Any]] = {"torch FloatStorage": np.dtype("<f4"), "torch LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Name:
    """What a pickle would import."""

    name: str


@dataclass(frozen=True)
class _Storage:
    """Numbers in a row, which follow the pickles. count: of them."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True)
class _Tensor:
    """Which numbers of a storage a tensor is. offset, strides: in numbers."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_tensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a file by name, float32 or int64, as views of the file's bytes that can't be written to.

    Sizes, dtypes, strides and storages are checked before anything is allocated, and nothing is executed.
    Raises ValueError, with the reason, for whatever isn't a dictionary of such tensors in the old format, whole.
    """
    if len(data) > LARGEST:
        raise ValueError(f"it has {len(data):,} bytes, expected at most {LARGEST:,}")
    stream = io.BytesIO(data)
    if _unpickled(stream) != MAGIC or _unpickled(stream) != VERSION:
        raise ValueError("it isn't in PyTorch's old format")
    machine = _unpickled(stream)
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ValueError("its numbers aren't little-endian")
    tensors = _unpickled(stream)
    if not isinstance(tensors, dict) or not all(isinstance(each, _Tensor) for each in tensors.values()):
        raise ValueError("it holds something other than tensors by name")
    starts = _starts(stream, _storages(tensors), _unpickled(stream))
    return {name: _view(data, tensor, starts[tensor.storage.key]) for name, tensor in tensors.items()}


def _storages(tensors: Mapping[str, _Tensor]) -> dict[str, _Storage]:
    """Of all tensors, each once."""
    found: dict[str, _Storage] = {}
    for name, tensor in tensors.items():
        if found.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise ValueError(f"the storage of {name} is described in two ways")
        _check_bounds(name, tensor)
    return found


def _check_bounds(name: str, tensor: _Tensor) -> None:
    """Raise ValueError for a tensor that has numbers outside of its storage, or more than there are in it."""
    shape, strides, count = tensor.shape, tensor.strides, tensor.storage.count
    if len(shape) != len(strides) or len(shape) > MOST_AXES:
        raise ValueError(
            f"{name} has {len(shape)} axes and {len(strides)} strides, expected as many, at most {MOST_AXES}"
        )
    if min((tensor.offset, count, *shape, *strides)) < 0:
        raise ValueError(f"{name} has a size below zero")
    last = tensor.offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    numbers: int = prod(shape)
    if numbers > count or (numbers > 0 and last >= count):
        raise ValueError(f"{name} reaches beyond its storage of {count:,} numbers")


def _starts(stream: io.BytesIO, storages: Mapping[str, _Storage], keys: Any) -> dict[str, int]:
    """Where each storage's numbers begin in the file: they follow in the order of the keys, each after its count."""
    known = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
    if not known or sorted(keys) != sorted(storages):
        raise ValueError("its storages aren't those of its tensors")
    starts = {}
    size = len(stream.getbuffer())
    for key in keys:
        storage = storages[key]
        count = int.from_bytes(stream.read(8), "little", signed=True)
        starts[key] = stream.tell()
        if count != storage.count:
            raise ValueError(f"a storage has {count:,} numbers, expected {storage.count:,}")
        end = stream.tell() + count * storage.dtype.itemsize
        if end > size:
            raise ValueError(f"it ends after {size:,} bytes, expected {end:,} or more")
        stream.seek(end)
    if stream.tell() != size:
        raise ValueError(f"{size - stream.tell():,} bytes follow its last storage")
    return starts


def _view(data: bytes, tensor: _Tensor, start: int) -> NDArray[Any]:
    dtype = tensor.storage.dtype
    return np.ndarray(
        tensor.shape,
        dtype,
        buffer=data,
        offset=start + tensor.offset * dtype.itemsize if prod(tensor.shape) else 0,
        strides=[stride * dtype.itemsize for stride in tensor.strides],
    )


# --- pickles -------------------------------------------------------------------------------------------------------


class _Stack(list[Any]):
    """What instructions take values from, and leave them on."""

    def __init__(self) -> None:
        super().__init__()
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(len(self))

    def above_mark(self) -> tuple[Any, ...]:
        if not self._marks:
            raise ValueError("its pickle takes what isn't there")
        return self.take(len(self) - self._marks.pop())

    def take(self, count: int) -> tuple[Any, ...]:
        """The topmost values, in the order in which they came."""
        if not 0 <= count <= len(self):
            raise ValueError("its pickle takes what isn't there")
        taken = tuple(self[len(self) - count :])
        del self[len(self) - count :]
        return taken


def _unpickled(stream: io.BytesIO) -> Any:
    """The value of the pickle that begins here: numbers, text, lists, tuples, dictionaries by text, and tensors."""
    stack, memo = _Stack(), dict[int, Any]()
    for name, argument in _instructions(stream):
        match name:
            case "PROTO":
                pass
            case "BINUNICODE" | "BININT" | "BININT1" | "BININT2" | "LONG1":
                stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_DICT" | "EMPTY_LIST" | "EMPTY_TUPLE":
                stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}[name]())
            case "MARK":
                stack.mark()
            case "TUPLE":
                stack.append(stack.above_mark())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(stack.take(int(name[-1])))
            case "APPEND" | "APPENDS":
                _list(stack, stack.take(1) if name == "APPEND" else stack.above_mark())
            case "SETITEM" | "SETITEMS":
                _set(stack, stack.take(2) if name == "SETITEM" else stack.above_mark())
            case "BINPUT" | "LONG_BINPUT":
                (memo[argument],) = stack[-1:] or stack.take(1)
            case "BINGET" | "LONG_BINGET":
                if argument not in memo:
                    raise ValueError("its pickle takes what isn't there")
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_Name(argument))
            case "BINPERSID":
                stack.append(_storage(*stack.take(1)))
            case "REDUCE":
                stack.append(_made(*stack.take(2)))
            case "BUILD":
                stack.take(1)  # of a dictionary of tensors, the versions of its layers
            case "STOP":
                (value,) = stack.take(1)
                return value
            case _:
                raise ValueError(f"its pickle has the instruction {name}, which no tensor takes")
    raise ValueError("its pickle has no end")


def _instructions(stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
        if count == MOST_INSTRUCTIONS:
            raise ValueError(f"its pickle has more than {MOST_INSTRUCTIONS:,} instructions")
        yield code.name, argument


def _list(stack: _Stack, values: tuple[Any, ...]) -> None:
    if not stack or not isinstance(stack[-1], list):
        raise ValueError("its pickle appends to what is no list")
    stack[-1].extend(values)


def _set(stack: _Stack, items: tuple[Any, ...]) -> None:
    names = items[::2]
    if not stack or not isinstance(stack[-1], dict) or len(items) % 2 or not all(isinstance(n, str) for n in names):
        raise ValueError("its pickle sets items of what is no dictionary by text")
    stack[-1].update(zip(names, items[1::2], strict=True))


def _storage(described: Any) -> _Storage:
    match described:
        case ("storage", _Name(name), str(key), str(), int(count), None) if name in DTYPES:
            return _Storage(key, DTYPES[name], count)
        case (_, _Name(name), *_):
            raise ValueError(f"it has a storage of {name}, expected one of {', '.join(DTYPES)}")
    raise ValueError("it refers to something other than a storage")


def _made(made: Any, of: Any) -> Any:
    """What a call of an allowed name gives; the name is never looked up."""
    match made, of:
        case _Name(name), () if name == ORDERED:
            return {}
        case _Name(name), (_Storage() as storage, int(offset), tuple(shape), tuple(strides), bool(), dict()) if (
            name == TENSOR and all(isinstance(size, int) for size in (*shape, *strides))
        ):
            return _Tensor(storage, offset, shape, strides)
        case _Name(name), _ if name in (ORDERED, TENSOR):
            raise ValueError(f"it calls {name} with other arguments than a tensor takes")
        case _Name(name), _:
            raise ValueError(f"it calls {name}, which no tensor takes")
    raise ValueError("it calls what has no name")
