"""A file, bytes, a PIL image or an array -> uint8 [H, W, C]: the one decoder, for training and for apps."""

from __future__ import annotations

import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from zoo.contract import RESIZINGS
from zoo.errors import ImageError, InputError, printable

if TYPE_CHECKING:  # an app that hands over arrays never waits for Pillow
    from PIL.Image import Image

Pixels: TypeAlias = NDArray[np.uint8]
Part: TypeAlias = tuple[slice, slice]  # of an image, by rows and columns
Source: TypeAlias = "str | os.PathLike[str] | bytes | Image | NDArray[np.uint8]"

# Pixels in one image, 8,000 x 8,000: what a few kB can claim to unpack to. Below Pillow's own limit of 89 million.
LARGEST_IMAGE = 64_000_000
# As Pillow names them. Of its others, some start programs of the machine (EPS), and none is a format of photographs.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# What a file begins with -> its format, and the module of PIL that reads it. `Image.open` imports five at least,
# and all 45 where one for the formats that it is given isn't there yet: a quarter of the time to a first answer.
_BEGINNINGS = (
    (b"\xff\xd8\xff", "JPEG", "JpegImagePlugin"),
    (b"\x89PNG", "PNG", "PngImagePlugin"),
    (b"RIFF", "WEBP", "WebPImagePlugin"),
    (b"GIF8", "GIF", "GifImagePlugin"),
    (b"BM", "BMP", "BmpImagePlugin"),
    (b"II", "TIFF", "TiffImagePlugin"),
    (b"MM", "TIFF", "TiffImagePlugin"),
    (b"P", "PPM", "PpmImagePlugin"),
)

_EXIF_ORIENTATION = 0x0112
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


def read_image(source: Source, channels: int) -> Pixels:
    """Decode one image: uint8 [H, W, channels], upright, opaque; the first frame of an animation.

    source: a path, encoded bytes, a PIL image, or an array [H, W], [H, W, 1] or [H, W, 3] of uint8.
    channels: 1 (gray, the luma of ITU-R 601-2) or 3 (RGB). What is transparent lies on white; 16 bits become 8.
    The array may be read-only, and may be the one that was handed in.
    Raises ImageError for an image that can't be read, InputError for an array or a type that isn't taken.
    """
    if channels not in (1, 3):
        raise InputError(f"images have 1 channel (gray) or 3 (RGB), received {channels}")
    if isinstance(source, np.ndarray):
        return _read_array(source, channels)
    with _opened(source) as (image, where):
        return _as_pixels(_decoded(image, where), channels)


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image and what its file was. format: one of FORMATS; mode: as Pillow names it, such as CMYK.

    pixels: uint8 [H, W, 1] where the image shows no color, however it was saved, else [H, W, 3].
    """

    format: str
    mode: str
    pixels: Pixels


@contextmanager
def decoding(path: str | os.PathLike[str]) -> Iterator[Decoded]:
    """Decode one file as `read_image` does, with as many channels as it needs. Raises ImageError as that does.

    Inside of the block no other thread decodes a large image if this is one: what is made of it takes memory, too.
    """
    with _opened(path) as (image, where), _alone_if_large(image):
        # MPO is a JPEG with further ones behind it, as some cameras write.
        kind, mode = "JPEG" if image.format == "MPO" else str(image.format), image.mode
        image = _decoded(image, where)
        pixels = _as_pixels(image, 1 if image.mode == "L" else 3)
        yield Decoded(kind, mode, _without_equal_channels(pixels))


def _alone_if_large(image: Image) -> AbstractContextManager[object]:
    return _decoding_large if image.width * image.height > LARGE_IMAGE else nullcontext()


def _decoded(image: Image, where: str) -> Image:
    """Upright and opaque, L or RGB."""
    try:
        with _alone_if_large(image):
            return _on_white(_upright(image))
    except ImageError as error:
        raise ImageError(f"{where} {error}") from None
    except Exception as error:  # Pillow's decoders fail in a dozen types, some of them plain ValueError
        raise ImageError(f"{where} is damaged, it can't be decoded ({_reason(error)}): replace it") from None


def _without_equal_channels(pixels: Pixels) -> Pixels:
    """[H, W, 3] of three equal channels -> [H, W, 1]."""
    if pixels.shape[2] == 1:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    return pixels[..., :1] if np.array_equal(red, green) and np.array_equal(green, blue) else pixels


def resize(image: Pixels, height: int, width: int, resizing: str = "stretch") -> Pixels:
    """An image at another size, by Pillow's antialiased bilinear resizing; the same array if it fits.

    image: uint8 [H, W, C] -> [height, width, C]. resizing: stretch, to the size as it is; crop, the largest part in
    the middle that has the size's proportions; pad, the whole image, centered between black margins. An exported file
    does the same in its graph (`pipelines.exporting.graph.resizing`), with the same roundings.
    """
    rows, columns, channels = image.shape
    seen, place = matching_parts(rows, columns, height, width, resizing)
    if (rows, columns) == (height, width):
        return image
    resized = _stretched(image[seen], place[0].stop - place[0].start, place[1].stop - place[1].start)
    if resized.shape[:2] == (height, width):
        return resized
    padded = np.zeros((height, width, channels), np.uint8)
    padded[place] = resized
    return padded


def matching_parts(rows: int, columns: int, height: int, width: int, resizing: str) -> tuple[Part, Part]:
    """What `resize` takes of an image of rows x columns, and where that lies in the one of height x width.

    One of the two is the whole: a crop leaves some of the image out, a pad some of the size empty.
    """
    if resizing not in RESIZINGS:
        raise InputError(f"images are resized by {', '.join(RESIZINGS)}, received {resizing!r}")
    seen = place = (0, 0)
    seen_size, place_size = (rows, columns), (height, width)
    if resizing == "crop":
        seen_size = (
            _proportional(columns, height, width, most=rows),
            _proportional(rows, width, height, most=columns),
        )
        seen = ((rows - seen_size[0]) // 2, (columns - seen_size[1]) // 2)
    elif resizing == "pad":
        place_size = (
            _proportional(rows, width, columns, most=height),
            _proportional(columns, height, rows, most=width),
        )
        place = ((height - place_size[0]) // 2, (width - place_size[1]) // 2)
    return _part(seen, seen_size), _part(place, place_size)


def _part(start: tuple[int, int], size: tuple[int, int]) -> Part:
    return slice(start[0], start[0] + size[0]), slice(start[1], start[1] + size[1])


def _proportional(a: int, b: int, c: int, most: int) -> int:
    """a * b / c, rounded in whole numbers as the exported graph does it, at least 1 and at most `most`."""
    return min(max((2 * a * b + c) // (2 * c), 1), most)


def _stretched(image: Pixels, height: int, width: int) -> Pixels:
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    pixels = np.asarray(_as_image(image).resize((width, height), Image.Resampling.BILINEAR))
    return pixels.reshape(height, width, image.shape[2])


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes | Image) -> Iterator[tuple[Image, str]]:
    """The PIL image with only its header read, and the words that name it in an error."""
    from PIL import Image, UnidentifiedImageError

    file: Path | BytesIO
    if isinstance(source, Image.Image):
        yield _not_too_large(source, "the PIL image"), "the PIL image"
        return
    if isinstance(source, (bytes, bytearray, memoryview)):
        file, size, where = BytesIO(source), len(source), f"the image of {len(source):,} bytes"
    elif isinstance(source, (str, os.PathLike)):
        file = Path(source)
        size, where = _file_size(file), printable(str(source))
    else:
        received = type(source).__name__
        raise InputError(f"expected an image as path, bytes, PIL image or array of uint8, received {received}")
    if size == 0:
        raise ImageError(f"{where} is empty (0 bytes): replace it", "empty")
    with ExitStack() as opened:
        try:
            stream: IO[bytes] = opened.enter_context(file.open("rb") if isinstance(file, Path) else file)
            image = opened.enter_context(_open_header(stream))
        except UnidentifiedImageError:
            raise ImageError(f"{where} is not an image: {', '.join(FORMATS)} are read", "not an image") from None
        except OSError as error:
            if error.errno is None:  # Pillow's own, of a file that isn't whole
                raise ImageError(f"{where} can't be opened as an image ({_reason(error)}): replace it") from None
            raise ImageError(f"{where} can't be read ({_reason(error)})", "unreachable") from None
        except Exception as error:
            raise ImageError(f"{where} can't be opened as an image ({_reason(error)}): replace it") from None
        yield _not_too_large(image, where), where


def _file_size(path: Path) -> int:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ImageError(f"{printable(str(path))} is not a file: expected an image", "not an image")
        return found.st_size
    except FileNotFoundError:
        raise ImageError(f"there is no image at {printable(str(path))}", "missing") from None
    except (OSError, ValueError) as error:  # no permission, a name too long, a null byte
        raise ImageError(f"{printable(str(path))} can't be read ({_reason(error)})", "unreachable") from None


def _open_header(stream: IO[bytes]) -> Image:
    """`Image.open` for our formats alone, and without its limit: `_not_too_large` has the last word."""
    from PIL import Image, UnidentifiedImageError

    start = stream.read(16)
    for beginning, kind, module in _BEGINNINGS:
        if start.startswith(beginning):
            import_module(f"PIL.{module}")
            open_it, accepts = Image.OPEN[kind]
            if accepts is None or accepts(start):
                stream.seek(0)
                with suppress(SyntaxError, IndexError, TypeError, struct.error):  # what they mean by "it isn't mine"
                    return open_it(stream, "")
    raise UnidentifiedImageError


def _not_too_large(image: Image, where: str) -> Image:
    if image.width * image.height > LARGEST_IMAGE:
        raise ImageError(
            f"{where} is too large, expected at most {LARGEST_IMAGE:,} pixels, received {image.width:,} x "
            f"{image.height:,}: make it smaller",
            "too large",
        )
    return image


def _orientation(image: Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read: nobody knows a better one."""
    try:
        found = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:
        return 1
    return found if found in _TURNS else 1


def _upright(image: Image) -> Image:
    from PIL import Image

    turn = _TURNS.get(_orientation(image))
    return image.transpose(Image.Transpose[turn]) if turn else image


def _on_white(image: Image) -> Image:
    """Any of Pillow's modes as one without transparency, of 8 bits: L or RGB."""
    from PIL import Image

    if image.mode.startswith("I"):
        return _sixteen_to_eight(image)
    if image.mode == "F":
        raise ImageError("holds floating-point numbers, expected 0..255 or 16 bits: scale and convert it")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    image.load()
    return _in_mode(image, "L" if image.mode in ("1", "L") else "RGB")


def _in_mode(image: Image, mode: str) -> Image:
    """Pillow would copy an image that has the mode already."""
    return image if image.mode == mode else image.convert(mode)


def _sixteen_to_eight(image: Image) -> Image:
    """Pillow's own conversion would clip at 255 and leave a white image."""
    from PIL import Image

    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"has values from {values.min()} to {values.max()}, expected 16 bits: scale and convert it")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))  # 65535 = 257 * 255


def _read_array(array: Pixels, channels: int) -> Pixels:
    array = np.asarray(array)  # a matrix would have two dimensions, whatever it is indexed with
    if array.dtype != np.uint8:
        raise InputError(f"expected uint8 0..255, received {array.dtype} {_range(array)}: scale and convert")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,)) or not array.size:
        raise InputError(
            f"expected an image [H, W], [H, W, 1] or [H, W, 3], received an array of shape {list(array.shape)}"
        )
    image = array.reshape(*array.shape[:2], -1)
    return image if image.shape[2] == channels else _as_pixels(_as_image(image), channels)


def _range(array: NDArray[np.generic]) -> str:
    numbers = array.size and np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    return f"{array.min():g}..{array.max():g}" if numbers else f"of shape {list(array.shape)}"


def _as_image(image: Pixels) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))


def _as_pixels(image: Image, channels: int) -> Pixels:
    pixels = np.asarray(_in_mode(image, "L" if channels == 1 else "RGB"))
    return pixels.reshape(image.height, image.width, channels)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__).splitlines()[0]
