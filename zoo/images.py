"""A file, bytes, a PIL image or an array -> uint8 [H, W, C]: the one decoder, for training and for apps."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zoo.arrays import Part as Part
from zoo.arrays import _as_image, check_array
from zoo.arrays import matching_parts as matching_parts
from zoo.arrays import resize as resize
from zoo.contract import WHITE
from zoo.errors import ImageError, InputError, printable
from zoo.formats import is_address, is_base64, open_header

if TYPE_CHECKING:  # an app that hands over arrays never waits for Pillow
    from numpy.typing import NDArray
    from PIL.Image import Image

# NDArray[np.uint8], as numpy.typing writes it out: that module and pathlib take a twentieth of the time to the first
# answer, from a file.
Pixels: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[np.uint8]]
Source: TypeAlias = "str | os.PathLike[str] | bytes | IO[bytes] | Image | NDArray[np.uint8]"

MOST_NAMED = 300  # letters of a path in an error
LARGEST_STREAM = 512 * 2**20  # bytes of a file that is no file of the disk: it may have no end
READ_AT_ONCE = 2**20  # bytes of a file; larger ones are read as they are decoded
# Pixels in one image, 8,000 x 8,000: what a few kB can claim to unpack to. Below Pillow's own limit of 89 million.
LARGEST_IMAGE = 64_000_000

_EXIF_ORIENTATION = 0x0112
_XMP = ("xmp", "XML:com.adobe.xmp")  # of an image's info
# Tag value -> the name in PIL.Image.Transpose that turns the image upright; 1 is upright.
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
# An image of LARGEST_IMAGE takes about a gigabyte while it is decoded, whatever its file's size: one at a time.
LARGE_IMAGE = 8_000_000
_decoding_large = threading.RLock()


def read_image(source: Source, channels: int, white: int = WHITE) -> Pixels:
    """Decode one image: uint8 [H, W, channels], upright, opaque; the first frame of an animation.

    source: a path, encoded bytes, a file that is open for reading bytes (it is read from its beginning, and stays
    open), a PIL image, or an array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGBA) of uint8.
    channels: 1 (gray, the luma of ITU-R 601-2) or 3 (RGB). What is transparent lies on white; 16 bits become 8.
    white: the value of 16 bits that becomes 255; cameras and scanners of 12 bits write no more than 4095.
    The array may be read-only, and may be the one that was handed in.
    Raises ImageError for an image that can't be read, InputError for an array or a type that isn't taken.
    """
    if channels not in (1, 3):
        raise InputError(f"images have 1 channel (gray) or 3 (RGB), received {channels}")
    if isinstance(source, np.ndarray):
        return _read_array(source, channels)
    with _opened(source) as (image, where):
        return _as_pixels(_decoded(image, where, white), channels)


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image and what its file was. format: one of zoo.formats.FORMATS; mode: as Pillow names it, such as CMYK.

    pixels: uint8 [H, W, 1] where the image shows no color, however it was saved, else [H, W, 3]. highest: the largest
    value in an image of 16 bits; 0 for others. image: of Pillow, that shows the pixels, L or RGB; None of an array.
    """

    format: str
    mode: str
    pixels: Pixels
    highest: int = 0
    image: Image | None = None


@contextmanager
def decoding(path: str | os.PathLike[str] | IO[bytes], white: int = WHITE) -> Iterator[Decoded]:
    """Decode one file as `read_image` does, with as many channels as it needs. Raises ImageError as that does.

    path: or the file, open for reading bytes, whose `name` an error says.

    Inside of the block no other thread decodes a large image if this is one: what is made of it takes memory, too.
    """
    with _opened(path) as (image, where), _alone_if_large(image):
        # MPO is a JPEG with further ones behind it, as some cameras write.
        kind, mode = "JPEG" if image.format == "MPO" else str(image.format), image.mode
        highest = _highest(image, where) if mode.startswith("I") else 0
        image = _decoded(image, where, white)
        pixels = _as_pixels(image, 1 if image.mode == "L" else 3)
        yield Decoded(kind, mode, _without_equal_channels(pixels), highest, image)


def _alone_if_large(image: Image) -> AbstractContextManager[object]:
    return _decoding_large if image.width * image.height > LARGE_IMAGE else nullcontext()


def _highest(image: Image, where: str) -> int:
    with _explained(where):
        return int(np.asarray(image).max(initial=0))


def _decoded(image: Image, where: str, white: int = WHITE) -> Image:
    """Upright and opaque, L or RGB."""
    with _explained(where), _alone_if_large(image):
        return _on_white(_upright(image), white)


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """What goes wrong in decoding an image, as an ImageError that names it."""
    try:
        yield
    except ImageError as error:
        raise ImageError(f"{where} {error}") from None
    except Exception as error:  # Pillow's decoders fail in a dozen types, some of them plain ValueError
        raise ImageError(f"{where} is damaged, it can't be decoded ({_reason(error)}): replace it") from None


def _without_equal_channels(pixels: Pixels) -> Pixels:
    """[H, W, 3] of three equal channels -> [H, W, 1]."""
    if pixels.shape[2] == 1:
        return pixels
    # The first row first: few colored images get past it.
    equal = all((part[..., :1] == part[..., 1:]).all() for part in (pixels[0], pixels))
    return pixels[..., :1] if equal else pixels


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes | IO[bytes] | Image) -> Iterator[tuple[Image, str]]:
    """The PIL image with only its header read, and the words that name it in an error."""
    from PIL import Image

    if isinstance(source, Image.Image):
        _check_size((source.width, source.height), "the PIL image ")
        yield source, "the PIL image"
        return
    where = _where(source)
    with ExitStack() as opened:
        try:
            stream = _stream(source, where, opened)
            if not stream.read(1):
                raise ImageError("is empty (0 bytes): replace it", "empty")
            stream.seek(0)
            image = opened.enter_context(open_header(stream, _check_promised))
        except InputError:
            raise
        except ImageError as error:
            raise ImageError(f"{where} {error}", error.kind) from None
        except OSError as error:
            if error.errno is None:  # Pillow's own, of a file that isn't whole
                raise ImageError(f"{where} can't be opened as an image ({_reason(error)}): replace it") from None
            raise ImageError(f"{where} can't be read ({_reason(error)})", "unreachable") from None
        except Exception as error:
            raise ImageError(f"{where} can't be opened as an image ({_reason(error)}): replace it") from None
        _check_size((image.width, image.height), f"{where} ")
        yield image, where


def _where(source: object) -> str:
    """The words that name an image in an error. InputError for what is none."""
    if isinstance(source, (str, os.PathLike)):
        named = printable(str(source)[: MOST_NAMED + 1])
        return named if len(named) <= MOST_NAMED else f"{named[:MOST_NAMED]}..."
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"the image of {len(source):,} bytes"
    if hasattr(source, "read"):
        name = getattr(source, "name", None)
        return _where(name) if isinstance(name, str) and name else "the open file"
    received = type(source).__name__
    raise InputError(f"expected an image as path, bytes, open file, PIL image or array of uint8, received {received}")


def _stream(source: Any, where: str, opened: ExitStack) -> IO[bytes]:
    """The bytes of an image from the first on, and with a way back. A file that somebody else opened stays open."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return opened.enter_context(BytesIO(source))
    if isinstance(source, (str, os.PathLike)):
        size = _size_of(source)
        file = opened.enter_context(open(source, "rb"))  # noqa: SIM115
        # Decoders ask for a few bytes at a time, and go back and forth. Asked for a MiB, Python takes one first: twice
        # the time of a small file.
        return BytesIO(file.read(size + 1)) if size <= READ_AT_ONCE else file
    try:
        if not isinstance(source.read(0), bytes):
            raise InputError(f"{where} is open for reading text, expected bytes: open it with 'rb'")
        if source.seekable():
            source.seek(0)
            stream: IO[bytes] = source
            return stream
    except (AttributeError, ValueError, TypeError) as error:  # closed, or without one of these methods
        raise InputError(f"{where} can't be read as a file ({_reason(error)}): open it with 'rb'") from None
    found = source.read(LARGEST_STREAM + 1)  # such as an answer from a server
    if len(found) > LARGEST_STREAM:
        raise ImageError(f"holds more than {LARGEST_STREAM // 2**20} MiB: save it, and give its path", "too large")
    return BytesIO(found)


def _size_of(path: str | os.PathLike[str]) -> int:
    """In bytes. ImageError, about the file without its name, where there is none."""
    given = str(path)
    try:
        found = os.stat(path)
        if not stat.S_ISREG(found.st_mode):
            raise ImageError("is not a file: expected an image", "not an image")
        return found.st_size
    except (OSError, ValueError) as error:  # not there, no permission, a name too long, a null byte
        if is_address(given):
            reason = ImageError("is an address: download it, and give the file or its bytes", "missing")
        elif is_base64(given):
            reason = ImageError("is an image as base64: decode it, by base64.b64decode, and give the bytes", "missing")
        elif not isinstance(error, FileNotFoundError):
            reason = ImageError(f"can't be read ({_reason(error)})", "unreachable")
        elif os.path.islink(path):
            reason = ImageError("is a link to where nothing is: fetch it (`git annex get`, `dvc pull`)", "missing")
        else:
            reason = ImageError("is missing: there is no image at this path", "missing")
        raise reason from None


def _check_promised(size: tuple[int, int]) -> None:
    """As `_check_size`, of what a file says before it is decoded; ImageError where it promises no pixels."""
    if not all(size):
        raise ImageError("is damaged, it has no pixels: replace it")
    _check_size(size)


def _check_size(size: tuple[int, int], where: str = "") -> None:
    """Raise ImageError for an image of more pixels than are decoded. size: (width, height)."""
    width, height = size
    if width * height > LARGEST_IMAGE:
        raise ImageError(
            f"{where}is too large, expected at most {LARGEST_IMAGE:,} pixels, received {width:,} x {height:,}: "
            "make it smaller",
            "too large",
        )


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read: nobody knows a better one."""
    from PIL import Image

    try:
        exif = image.getexif()
        if any(name in image.info for name in _XMP):  # Pillow, and nobody else, looks for an orientation there, too
            exif = Image.Exif()
            exif.load(image.info.get("exif", b""))
        found = exif.get(_EXIF_ORIENTATION)
    except Exception:
        return 1
    return found if found in _TURNS else 1


def _upright(image: Image) -> Image:
    from PIL import Image

    # First: Pillow turns a TIFF while it loads it, and removes the tag; of a PNG, the tag may lie behind the pixels.
    image.load()
    turn = _TURNS.get(_orientation(image))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _on_white(image: Image, white: int = WHITE) -> Image:
    """Any of Pillow's modes as one without transparency, of 8 bits: L or RGB."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _sixteen_to_eight(image, white)
    if image.mode == "F":
        raise ImageError("holds floating-point numbers, expected 0..255 or 16 bits: scale and convert it")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return _in_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def _in_mode(image: Image, mode: str) -> Image:
    """Pillow would copy an image that has the mode already."""
    return image if image.mode == mode else image.convert(mode)


def _sixteen_to_eight(image: Image, white: int) -> Image:
    """Pillow's own conversion would clip at 255 and leave a white image. What is brighter than white is white."""
    from PIL import Image

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"has values from {values.min()} to {values.max()}, expected 16 bits: scale and convert it")
    scaled = (np.minimum(values, white).astype(np.uint32) * 510 + white) // (2 * white)  # rounded, in whole numbers
    return Image.fromarray(scaled.astype(np.uint8))


def _read_array(array: Pixels, channels: int) -> Pixels:
    image = check_array(array)
    if image.shape[2] == 4:
        return _as_pixels(_on_white(_as_image(image)), channels)
    return image if image.shape[2] == channels else _as_pixels(_as_image(image), channels)


def _as_pixels(image: Image, channels: int) -> Pixels:
    pixels = np.asarray(_in_mode(image, "L" if channels == 1 else "RGB"))
    return pixels.reshape(image.height, image.width, channels)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
