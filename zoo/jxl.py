"""How large a JPEG XL is, by its first bytes: Pillow's plugin decodes all of it before it says so.

The layout is that of ISO/IEC 18181-1, SizeHeader, and -2, boxes.
"""

from __future__ import annotations

from typing import IO

CODESTREAM, CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
MOST_BOXES = 1000  # before the one with the image: metadata
WIDTHS = (9, 13, 18, 30)  # bits of a side, by a number of two bits before it
RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # width to height


def jxl_size(stream: IO[bytes]) -> tuple[int, int]:
    """(width, height) in pixels, both 0 where there is no image in it.

    The stream is at its first byte, before and afterwards.
    """
    try:
        start = stream.read(len(CONTAINER))
        if start.startswith(CODESTREAM):
            stream.seek(0)
        elif start != CONTAINER or not _to_codestream(stream):
            return 0, 0
        return _size(stream.read(16))
    finally:
        stream.seek(0)


def _to_codestream(stream: IO[bytes]) -> bool:
    """Whether a box holds the image; then the stream is where it begins."""
    for _ in range(MOST_BOXES):
        head = stream.read(8)
        length, kind, read = int.from_bytes(head[:4], "big"), head[4:], 8
        if length == 1:
            length, read = int.from_bytes(stream.read(8), "big"), 16
        if kind in (b"jxlc", b"jxlp"):
            stream.seek(4 * (kind == b"jxlp"), 1)  # the number of the part
            return True
        if len(head) < 8 or not read <= length < 2**62:
            return False
        stream.seek(length - read, 1)
    return False


def _size(start: bytes) -> tuple[int, int]:
    if not start.startswith(CODESTREAM) or len(start) < 16:
        return 0, 0
    bits = int.from_bytes(start[2:], "little")

    def take(count: int) -> int:
        nonlocal bits
        found, bits = bits & ((1 << count) - 1), bits >> count
        return found

    small = take(1)

    def side() -> int:
        return 8 * (1 + take(5)) if small else 1 + take(WIDTHS[take(2)])

    height, ratio = side(), take(3)
    if ratio == 0:
        return side(), height
    above, below = RATIOS[ratio - 1]
    return height * above // below, height
