"""PyTorch's old file format, read without PyTorch: what a file of tensors holds, and that no other does anything."""

from __future__ import annotations

import os
import pickle
import struct

import numpy as np
import pytest

from pipelines.training.transfer.pytorch_file import read_tensors

VALUES = np.arange(24, dtype="<f4")
ORDERED = b"ccollections\nOrderedDict\n)R"  # an empty one


def text(value: str) -> bytes:
    return b"X" + struct.pack("<i", len(value.encode())) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def storage(key: str = "7", count: int = 24, kind: str = "FloatStorage") -> bytes:
    return (
        group(text("storage"), b"ctorch\n" + kind.encode() + b"\n", text(key), text("cpu"), number(count), b"N") + b"Q"
    )


def tensor(of: bytes | None = None, offset: int = 0, shape=(2, 3, 4), strides=(1, 8, 2)) -> bytes:
    sizes = (group(*map(number, each)) for each in (shape, strides))
    called = group(of or storage(), number(offset), *sizes, b"\x89", ORDERED)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + called + b"R"


def file_of(*values: bytes, body: bytes | None = None, keys=("7",), numbers: bytes | None = None, **changed) -> bytes:
    """A file with the tensors "a", "b", … changed: magic, version or machine."""
    items = b"".join(text(name) + value for name, value in zip("abc", values, strict=False))
    parts = {
        "magic": b"\x8a\x0a" + 0x1950A86A20F9469CFC6C.to_bytes(10, "little"),
        "version": number(1001),
        "machine": b"}(" + text("little_endian") + b"\x88u",
        "body": body if body is not None else ORDERED + b"(" + items + b"u",
        "keys": b"](" + b"".join(map(text, keys)) + b"e",
        **changed,
    }
    stored = struct.pack("<q", len(VALUES)) + VALUES.tobytes() if numbers is None else numbers
    return b"".join(b"\x80\x02" + part + b"." for part in parts.values()) + stored


def test_tensors_are_views_that_follow_their_strides():
    data = file_of(tensor(), tensor(offset=20, shape=(4,), strides=(1,)), tensor(shape=(), strides=(), offset=23))
    tensors = read_tensors(data)
    expected = VALUES.reshape(3, 4, 2).transpose(2, 0, 1)
    np.testing.assert_array_equal(tensors["a"], expected)
    np.testing.assert_array_equal(tensors["b"], [20, 21, 22, 23])
    assert tensors["c"] == 23
    assert all(not each.flags.writeable and not each.flags.owndata for each in tensors.values())
    assert {each.dtype for each in tensors.values()} == {np.dtype("<f4")}


def test_counters_are_int64():
    of = storage("9", 1, "LongStorage")
    numbers = struct.pack("<q", len(VALUES)) + VALUES.tobytes() + struct.pack("<qq", 1, 2**40)
    tensors = read_tensors(file_of(tensor(), tensor(of, shape=(), strides=()), keys=("7", "9"), numbers=numbers))
    assert (tensors["b"].dtype, int(tensors["b"])) == (np.int64, 2**40)


COUNTED = struct.pack("<q", 24)
HUGE = 2**31 - 1
HOSTILE = {
    "nothing": (b"", "exhausted"),
    "no pickle": (b"PK\x03\x04" + bytes(64), "newline"),
    "another magic number": (file_of(tensor(), magic=number(1)), "old format"),
    "another version": (file_of(tensor(), version=number(1002)), "old format"),
    "big-endian": (file_of(tensor(), machine=b"}(" + text("little_endian") + b"\x89u"), "little-endian"),
    "a machine that is none": (file_of(tensor(), machine=b"]"), "little-endian"),
    "a call of the system": (file_of(b"cposix\nsystem\n" + group(text("true")) + b"R"), "calls posix system"),
    "a call of eval": (file_of(b"cbuiltins\neval\n" + group(text("1")) + b"R"), "calls builtins eval"),
    "a call of what is no name": (file_of(number(1) + b")R"), "no name"),
    "a call of text": (file_of(text("eval") + b")R"), "no name"),
    "an object of a class": (file_of(b"(cbuiltins\nlist\no"), "instruction OBJ"),
    "an object by its class": (file_of(b"(iposix\nsystem\n"), "instruction INST"),
    "a newer object": (file_of(b"cposix\nsystem\n)\x81"), "instruction NEWOBJ"),
    "a name from the stack": (file_of(text("posix") + text("system") + b"\x93"), "instruction STACK_GLOBAL"),
    "a registered extension": (file_of(b"\x82\x01"), "instruction EXT1"),
    "bytes": (file_of(b"C\x01x"), "instruction SHORT_BINBYTES"),
    "an ordered dictionary of something": (file_of(b"ccollections\nOrderedDict\n" + group(b"N") + b"R"), "arguments"),
    "a tensor of other arguments": (file_of(b"ctorch._utils\n_rebuild_tensor_v2\n" + group(b"N") + b"R"), "arguments"),
    "a tensor of no storage": (file_of(tensor(text("7"))), "arguments"),
    "sizes that are text": (file_of(tensor().replace(number(3), text("3"), 1)), "arguments"),
    "a storage that is none": (file_of(tensor(number(1) + b"Q")), "other than a storage"),
    "a storage of another kind": (file_of(tensor(storage(kind="HalfStorage"))), "torch HalfStorage"),
    "a storage by the name of something": (
        file_of(tensor(storage().replace(b"torch\nFloatStorage", b"posix\nsystem"))),
        "posix system",
    ),
    "a name that stays": (file_of(b"cposix\nsystem\n"), "other than tensors"),
    "no dictionary": (file_of(body=b"]"), "other than tensors"),
    "a name that is a number": (file_of(body=ORDERED + b"(" + number(1) + tensor() + b"u"), "by text"),
    "a key that is a list": (file_of(body=b"}(]" + tensor() + b"u"), "by text"),
    "items of a list": (file_of(body=b"](" + text("a") + tensor() + b"u"), "by text"),
    "a value without a name": (file_of(body=b"}(" + tensor() + b"u"), "by text"),
    "values for a dictionary": (file_of(body=b"}(" + tensor() + b"e"), "no list"),
    "more values than there are": (file_of(body=b"\x87"), "isn't there"),
    "a group that never began": (file_of(body=b"t"), "isn't there"),
    "a group that was taken from": (file_of(body=b"](0t"), "instruction POP"),
    "what was never kept": (file_of(body=b"h\x05"), "isn't there"),
    "kept under a number that claims memory": (file_of(body=b"r\xff\xff\xff\xff"), "isn't there"),
    "text that claims memory": (file_of(body=b"X" + struct.pack("<i", HUGE)), "expected 2147483647 bytes"),
    "more axes than strides": (file_of(tensor(strides=(1, 1))), "3 axes and 2 strides"),
    "very many axes": (file_of(tensor(shape=(1,) * 9, strides=(1,) * 9)), "at most 8"),
    "a side below zero": (file_of(tensor(shape=(-1, 3, 4))), "below zero"),
    "a stride below zero": (file_of(tensor(strides=(-1, 8, 2))), "below zero"),
    "an offset below zero": (file_of(tensor(offset=-1)), "below zero"),
    "a count below zero": (file_of(tensor(storage(count=-24))), "below zero"),
    "one number too far": (file_of(tensor(offset=1)), "beyond its storage"),
    "a stride too long": (file_of(tensor(strides=(2, 8, 2))), "beyond its storage"),
    "one number a billion times": (file_of(tensor(shape=(HUGE, HUGE), strides=(0, 0))), "beyond its storage"),
    "a storage larger than the file": (
        file_of(tensor(storage(count=HUGE)), numbers=struct.pack("<q", HUGE) + VALUES.tobytes()),
        "it ends after",
    ),
    "another count than was said": (file_of(tensor(), numbers=struct.pack("<q", 23) + VALUES.tobytes()), "expected 24"),
    "a storage that is two things": (file_of(tensor(), tensor(storage(count=12), shape=(), strides=())), "two ways"),
    "a storage of no tensor": (file_of(tensor(), keys=("7", "8")), "aren't those"),
    "a storage twice": (file_of(tensor(), keys=("7", "7")), "aren't those"),
    "a tensor without its storage": (file_of(tensor(), keys=()), "aren't those"),
    "keys that are none": (file_of(tensor(), keys=()).replace(b"](e", b"](Ne"), "aren't those"),
    "something behind": (file_of(tensor()) + b"!", "1 bytes follow"),
}


@pytest.mark.parametrize(("data", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_whatever_is_no_file_of_tensors_is_refused_with_the_reason(data, reason):
    with pytest.raises(ValueError, match=reason):
        read_tensors(data)


def test_what_pickle_would_run_is_not_run(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    body = pickle.dumps(Harm(), protocol=2).removeprefix(b"\x80\x02").removesuffix(b".")
    with pytest.raises(ValueError, match="calls posix mkdir, which no tensor takes"):
        read_tensors(file_of(body=body))
    assert not list(tmp_path.iterdir())
    pickle.loads(pickle.dumps(Harm()))
    assert list(tmp_path.iterdir()), "pickle runs it"


def test_a_file_that_was_cut_anywhere_is_refused():
    data = file_of(tensor())
    for end in range(len(data)):
        with pytest.raises(ValueError):
            read_tensors(data[:end])


@pytest.mark.parametrize("flipped", [0x01, 0x80, 0xFF])
def test_a_byte_that_changed_is_refused_or_changes_numbers_alone(flipped):
    data = file_of(tensor())
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= flipped
        try:
            tensors = read_tensors(bytes(changed))
        except ValueError:
            continue
        assert all(each.size <= 24 for each in tensors.values())


def test_a_pickle_without_end_and_a_file_without_bounds_are_refused():
    with pytest.raises(ValueError, match="more than 100,000 instructions"):
        read_tensors(file_of(body=b"N" * 100_001))
    with pytest.raises(ValueError, match="expected at most 67,108,864"):
        read_tensors(bytes(64 * 2**20 + 1))
