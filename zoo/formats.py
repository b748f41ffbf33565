"""Which format an image file has, by what it begins with, and what of Pillow opens it."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import IO, TYPE_CHECKING

from zoo.errors import ImageError
from zoo.jxl import jxl_size

if TYPE_CHECKING:
    from PIL.Image import Image

# As Pillow names them -> what names of such files end in. Of Pillow's others, some start programs of the machine (EPS),
# and none is a format of photographs. New ones go to the end: places in this list are stored.
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "JPEG": (".jpg", ".jpeg", ".jfif"),
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "JXL": (".jxl",),
}
FORMATS = tuple(ENDINGS)
IMAGE_ENDINGS = tuple(sorted(ending for endings in ENDINGS.values() for ending in endings))
BEGINNING = 512  # bytes of a file that are looked at

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
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_JXL_BEGINNINGS = (b"\xff\x0a", b"\0\0\0\x0cJXL ")
# Plugins of Pillow: (the module, what registers it there; "": importing it does).
_HEIF_PLUGINS = (("pillow_heif", "register_heif_opener"), ("pi_heif", "register_heif_opener"))
_JXL_PLUGINS = (("pillow_jxl", ""),)

# What lies in the place of an image often -> why, and what to do about it.
_OTHERS = (
    (rb"version https://git-lfs", "is a pointer of Git LFS to an image that isn't here: fetch it by `git lfs pull`"),
    (rb"[./\\]*(\.git/)?/?annex/objects/", "points to an image that isn't here: fetch it by `git annex get`"),
    (rb"(?i)\s*(<!doctype html|<html)", "is a web page, as a download leaves it that failed: download it again"),
    (rb"(?i)\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<svg", "is an SVG, which isn't read: save it as PNG"),
    (rb"%PDF|%!PS", "is a document, which isn't read: save its pages as PNG"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "is a JPEG 2000, which isn't read: save it as PNG"),
    (rb"8BPS", "is a Photoshop document, which isn't read: save it as PNG"),
    (rb"(?s).{128}DICM", "is a DICOM file, which isn't read: save its image as PNG"),
    (rb"\x93NUMPY", "is an array of NumPy, which isn't read here: pass the array, or save it as PNG"),
)
_BASE64 = rb"\s*(/9j/|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk0)[A-Za-z0-9+/=_\s-]{60,}"


def open_header(stream: IO[bytes], check_size: Callable[[tuple[int, int]], None]) -> Image:
    """`Image.open` for our formats alone, and without its limit of pixels, which is the caller's to check.

    check_size: is given (width, height) where the header isn't all that is read, and raises for too many pixels.
    Raises ImageError, about the file without its name, for what isn't one of them, or needs a plugin that isn't there.
    """
    from PIL import Image

    start = stream.read(BEGINNING)
    for kind in formats_of(start):
        if kind == "JXL":
            stream.seek(0)
            check_size(jxl_size(stream))
        open_it, accepts = Image.OPEN[kind]
        if accepts is None or accepts(start) is True:
            stream.seek(0)
            with suppress(SyntaxError, IndexError, TypeError, struct.error):  # what they mean by "it isn't mine"
                return open_it(stream, "")
    raise ImageError(_instead(start), "not an image")


def is_base64(text: str | bytes) -> bool:
    """Whether it is an image as text, with or without data: in front."""
    start = (text[:4000].encode(errors="replace") if isinstance(text, str) else text[:4000]).lstrip()
    return start.startswith(b"data:image/") or bool(re.match(_BASE64, start))


def is_address(text: str) -> bool:
    """Whether it is an address in the web or in a store. One slash may be missing: paths have lost it."""
    return bool(re.match(r"(?i)(https?|ftp|file|s3|gs|gcs|az|abfss?|hdfs):/", text))


def formats_of(start: bytes) -> list[str]:
    """Those that begin like this, with what opens them known to Pillow; ImageError where that isn't installed."""
    found = []
    for beginning, kind, module in _BEGINNINGS:
        if start.startswith(beginning):
            import_module(f"PIL.{module}")
            found.append(kind)
    if start[4:8] == b"ftyp":
        size = min(int.from_bytes(start[:4], "big"), len(start))
        brands = {start[8:12], *(start[place : place + 4] for place in range(16, size, 4))}
        if brands & _AVIF_BRANDS:
            found.append(_avif())
        elif brands & _HEIF_BRANDS:
            found.append(_by_plugin("HEIF", "an HEIC image", "pillow-heif", _HEIF_PLUGINS))
    elif start.startswith(_JXL_BEGINNINGS):
        found.append(_by_plugin("JXL", "a JPEG XL image", "pillow-jxl-plugin", _JXL_PLUGINS))
    return found


def _avif() -> str:
    from PIL import features

    if "avif" not in features.modules or not features.check("avif"):
        raise ImageError("is an AVIF image, which Pillow reads from 11.3 on: upgrade Pillow", "unsupported")
    import_module("PIL.AvifImagePlugin")
    return "AVIF"


def plugin_versions() -> tuple[str, ...]:
    """Which plugins of Pillow are installed, and which versions: what can be read depends on them."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("pillow-heif", "pi-heif", "pillow-jxl-plugin"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return tuple(found)


def _by_plugin(kind: str, what: str, package: str, plugins: tuple[tuple[str, str], ...]) -> str:
    from PIL import Image

    for name, register in plugins:
        with suppress(ImportError):
            plugin = import_module(name)
            if kind not in Image.OPEN and register:
                getattr(plugin, register)()
            return kind
    raise ImageError(
        f"is {what}, which Pillow reads by a plugin alone: pip install {package}, or save it as JPEG", "unsupported"
    )


def _instead(start: bytes) -> str:
    """What a file is that is no image."""
    if is_base64(start):
        return "is an image as base64: decode it, by base64.b64decode, and give the bytes"
    for pattern, reason in _OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return reason
    return f"is not an image: {', '.join(FORMATS)} are read"
