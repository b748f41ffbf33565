"""What is promised of an image file holds for each format, however the image comes in: format × entry."""

from __future__ import annotations

import base64
import random
import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from zoo.data import load
from zoo.errors import ImageError, InputError
from zoo.formats import FORMATS
from zoo.images import decoding, read_image
from zoo.jxl import jxl_size

LOSSY = 24  # of 255: how far JPEG and AVIF may be off in the middle of a square of one color
SIDE = 16  # of such a square: a multiple of JPEG's blocks, with and without subsampling
# As saved: (name, format, options). More than one of a format where Pillow reads them by other code.
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "jpg": ("JPEG", {"quality": 95}),
    "tif": ("TIFF", {}),
    "lzw.tif": ("TIFF", {"compression": "tiff_lzw"}),
    "jpeg.tif": ("TIFF", {"compression": "jpeg", "quality": 95}),
    "mpo.jpg": ("MPO", {"quality": 95, "save_all": True, "append_images": [Image.new("RGB", (8, 8))]}),
    "avif": ("AVIF", {"quality": 95}),
}


def opened(path: Path) -> Image.Image:
    return Image.open(path)


def loaded(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


def copied(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


def close(source: Any) -> None:
    if not isinstance(source, np.ndarray | memoryview) and hasattr(source, "close"):
        source.close()


def asked_for_exif(path: Path) -> Image.Image:
    image = Image.open(path)
    image.getexif()
    return image


class Answer:
    """A file that can't go back, as the answer of a server."""

    def __init__(self, path: Path) -> None:
        self._rest = BytesIO(path.read_bytes())
        self.read = self._rest.read

    def seekable(self) -> bool:
        return False


def open_file_read_before(path: Path) -> Any:
    file = path.open("rb")
    file.read(5)
    return file


ENTRIES: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "text": str,
    "bytes": Path.read_bytes,
    "bytearray": lambda path: bytearray(path.read_bytes()),
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "BytesIO": lambda path: BytesIO(path.read_bytes()),
    "open file": lambda path: path.open("rb"),
    "open file, read before": open_file_read_before,
    "answer of a server": Answer,
    "PIL image, opened": opened,
    "PIL image, asked for EXIF": asked_for_exif,
    "PIL image, loaded": loaded,
    "PIL image, copied": copied,
}

# What the tag says of the pixels as they are stored -> how they come to be so.
STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].transpose(1, 0, 2),
    8: lambda upright: np.rot90(upright, -1),
}
COLORS = np.array(
    [[(250, 10, 10), (10, 250, 10), (10, 10, 250)], [(250, 250, 10), (10, 10, 10), (250, 250, 250)]], np.uint8
)
UPRIGHT = COLORS.repeat(SIDE, axis=0).repeat(SIDE, axis=1)  # [32, 48, 3]


def save(path: Path, name: str, pixels: np.ndarray, orientation: int) -> Path:
    kind, options = SAVED[name]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, kind, exif=exif, **options)
    return path


def colors_of(pixels: np.ndarray) -> np.ndarray:
    """The middle of each square."""
    return pixels[SIDE // 2 :: SIDE, SIDE // 2 :: SIDE].astype(int)


@pytest.mark.parametrize("name", SAVED)
def test_an_image_is_turned_as_its_tag_says_once_in_each_format_and_from_each_entry(tmp_path, name):
    for orientation, stored in STORED.items():
        path = save(tmp_path / f"{orientation}.{name}", name, stored(UPRIGHT), orientation)
        for entry, source_of in ENTRIES.items():
            source = source_of(path)
            for _ in range(2 if entry != "answer of a server" else 1):  # the first reading may have changed it
                found = read_image(source, 3)
                where = f"{entry}, orientation {orientation}"
                assert found.shape == UPRIGHT.shape, where
                np.testing.assert_allclose(colors_of(found), COLORS, atol=LOSSY, err_msg=where)
            assert not getattr(source, "closed", False), f"{entry} was closed"
            close(source)
        with decoding(path) as decoded:
            np.testing.assert_allclose(colors_of(decoded.pixels), COLORS, atol=LOSSY)


def rgba() -> Image.Image:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:] = 200, 0, 0, 255
    return Image.fromarray(pixels)


# A promise -> files that it is made of, and what one pixel at the left and one at the right are.
PROMISES: dict[str, tuple[Image.Image, tuple[str, ...], tuple[Any, Any]]] = {
    "transparent pixels lie on white": (rgba(), ("png", "webp", "tif"), ((255, 255, 255), (200, 0, 0))),
    "gray stays gray": (Image.linear_gradient("L").rotate(90), ("png", "tif", "lzw.tif"), ((0, 0, 0), (255, 255, 255))),
    "a palette has its colors": (rgba().convert("RGB").quantize(4), ("png", "tif"), ((0, 0, 0), (200, 0, 0))),
    "one bit is black and white": (rgba().convert("L").point(lambda v: 255 * (v > 0)).convert("1"), ("png", "tif"),
                                   ((0, 0, 0), (255, 255, 255))),
    "CMYK has its colors": (rgba().convert("RGB").convert("CMYK"), ("tif", "lzw.tif"), ((0, 0, 0), (200, 0, 0))),
}  # fmt: skip


@pytest.mark.parametrize("promise", PROMISES)
def test_what_is_promised_of_pixels_holds_in_each_format_and_from_each_entry(tmp_path, promise):
    image, names, (left, right) = PROMISES[promise]
    for name in names:
        kind, options = SAVED[name]
        path = tmp_path / name
        image.save(path, kind, **options)
        for entry, source_of in ENTRIES.items():
            source = source_of(path)
            found = read_image(source, 3)
            close(source)
            np.testing.assert_allclose(found[2, 0], left, atol=1, err_msg=f"{name}, {entry}")
            np.testing.assert_allclose(found[2, -1], right, atol=1, err_msg=f"{name}, {entry}")


def test_an_array_with_transparency_lies_on_white_as_the_image_does():
    np.testing.assert_array_equal(read_image(np.asarray(rgba()), 3), read_image(rgba(), 3))
    np.testing.assert_array_equal(read_image(np.asarray(rgba()), 1), read_image(rgba(), 1))


@pytest.mark.parametrize("name", SAVED)
def test_a_damaged_file_is_an_image_or_an_error_of_ours_in_each_format(tmp_path, name):
    whole = save(tmp_path / name, name, UPRIGHT, 6).read_bytes()
    dice = random.Random(0)
    damaged = [whole[: len(whole) * k // 12] for k in range(1, 12)]
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(dice.randrange(1, 20)):
            data[dice.randrange(len(data) if dice.random() < 0.5 else min(len(data), 200))] ^= 1 << dice.randrange(8)
        damaged.append(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about metadata
        for data in damaged:
            for source in (data, BytesIO(data)):
                try:
                    assert read_image(source, 3).dtype == np.uint8
                except ImageError as error:
                    assert len(str(error)) < 500
                    assert "\n" not in str(error)


# --- what isn't an image, and what to do about it -------------------------------------------------------------------

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(600)
REASONS: dict[str, tuple[Any, str]] = {
    "web address": ("https://example.org/cat.png", "is an address: download it"),
    "address that was a path": (Path("https://example.org/cat.png"), "is an address: download it"),
    "store's address": ("s3://bucket/cat.png", "is an address: download it"),
    "file's address": ("file:///tmp/cat.png", "is an address: download it"),
    "base64": (base64.b64encode(PNG * 9).decode(), "is an image as base64: decode it, by base64.b64decode"),
    "base64 of a megabyte": (base64.b64encode(PNG * 20_000).decode(), "is an image as base64: decode it"),
    "base64 in bytes": (base64.b64encode(PNG * 9), "is an image as base64: decode it"),
    "data address": ("data:image/png;base64," + base64.b64encode(PNG).decode(), "is an image as base64: decode it"),
    "HEIC": (HEIC, "is an HEIC image, which Pillow reads by a plugin alone: pip install pillow-heif"),
    "JPEG XL": (b"\xff\x0a" + bytes(90), "is a JPEG XL image, which Pillow reads by a plugin alone: pip install"),
    "JPEG XL in a container": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(90), "is a JPEG XL image"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "`git lfs pull`"),
    "git-annex": (b"/annex/objects/SHA256E-s1--0.png\n", "`git annex get`"),
    "git-annex as text": (b"../.git/annex/objects/Xk/0j/SHA256E-s1--0.png/0.png", "`git annex get`"),
    "web page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "is a web page"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "is an SVG"),
    "PDF": (b"%PDF-1.7\n", "is a document"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "is a JPEG 2000"),
    "Photoshop": (b"8BPS\0\1" + bytes(40), "is a Photoshop document"),
    "DICOM": (bytes(128) + b"DICM" + bytes(40), "is a DICOM file"),
    "text": (b"milk, bread, butter", "is not an image: BMP, GIF"),
    "nothing": (b"", r"is empty \(0 bytes\)"),
    "empty BytesIO": (BytesIO(), "the open file is empty"),
}


@pytest.mark.parametrize("what", REASONS)
def test_what_is_no_image_is_named_with_what_to_do(tmp_path, monkeypatch, what):
    for plugin in ("pillow_heif", "pi_heif", "pillow_jxl"):
        monkeypatch.setitem(sys.modules, plugin, None)  # as Python itself marks a package that isn't to be found
    source, reason = REASONS[what]
    sources = [source]
    if isinstance(source, bytes):
        path = tmp_path / "image.png"
        path.write_bytes(source)
        sources += [path, BytesIO(source)]
    for each in sources:
        with pytest.raises(ImageError, match=reason) as error:
            read_image(each, 3)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500


def test_a_folder_of_images_that_need_a_plugin_is_refused_with_its_name(tmp_path, monkeypatch, capsys):
    for plugin in ("pillow_heif", "pi_heif"):
        monkeypatch.setitem(sys.modules, plugin, None)
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for k in range(4):
            (tmp_path / label / f"{k}.HEIC").write_bytes(HEIC)
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "pip install pillow-heif" in capsys.readouterr().err


def test_a_folder_of_avif_images_can_be_learned_from(tmp_path):
    for k in range(8):
        (tmp_path / f"{k % 2}").mkdir(exist_ok=True)
        save(tmp_path / f"{k % 2}" / f"{k}.avif", "avif", STORED[6](UPRIGHT // (k + 1)), 6)
    data = load(str(tmp_path))
    assert (data.report.formats, data.train.inputs.shape[1:]) == ({"AVIF": 8}, UPRIGHT.shape)


def test_a_link_to_where_nothing_is_says_what_fetches_it(tmp_path):
    (tmp_path / "annexed.png").symlink_to(tmp_path / ".git" / "annex" / "objects" / "0.png")
    with pytest.raises(ImageError, match=r"annexed\.png is a link to where nothing is: fetch it"):
        read_image(tmp_path / "annexed.png", 3)


def closed() -> BytesIO:
    file = BytesIO(PNG)
    file.close()
    return file


def test_a_file_that_gives_no_bytes_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "image.png"
    rgba().save(path)
    with path.open(encoding="latin-1") as text, pytest.raises(InputError, match=r"image\.png is open for reading text"):
        read_image(text, 3)
    with pytest.raises(InputError, match=r"open file can't be read as a file .*closed.*: open it with 'rb'"):
        read_image(closed(), 3)
    with pytest.raises(InputError, match="received int"):
        read_image(7, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "plugin", "ending"), [("HEIF", "pillow_heif", "heic"), ("JXL", "pillow_jxl", "jxl")])
def test_a_format_of_a_plugin_is_read_upright_where_it_is_installed(tmp_path, kind, plugin, ending):
    """Skipped where the plugin isn't installed: pip install pillow-heif pillow-jxl-plugin."""
    installed = pytest.importorskip(plugin)
    if kind == "HEIF":
        installed.register_heif_opener()
    for orientation, stored in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{ending}"
        Image.fromarray(np.ascontiguousarray(stored(UPRIGHT))).save(path, kind, quality=95, exif=exif.tobytes())
        for entry, source_of in ENTRIES.items():
            source = source_of(path)
            found = read_image(source, 3)
            close(source)
            assert found.shape == UPRIGHT.shape, f"{entry}, orientation {orientation}"
            np.testing.assert_allclose(colors_of(found), COLORS, atol=LOSSY, err_msg=entry)
        with decoding(path) as decoded:
            assert decoded.format in FORMATS


# What a JPEG XL begins with that promises 2^30 pixels a side, and as many of height alone; in a container, too.
HUGE_JXL = b"\xff\x0a" + (0b110 | (2**30 - 1) << 3 | 1 << 33).to_bytes(8, "little") + bytes(600)
BOXES = b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl \0\0\0\0jxl "


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (HUGE_JXL, "is too large, expected at most 64,000,000 pixels, received 1,073,741,824 x 1,073,741,824"),
        (BOXES + b"\0\0\0\x09Exif?\0\0\0\0jxlc" + HUGE_JXL, "is too large"),
        (BOXES + b"\0\0\0\x01Exif\0\0\0\0\0\0\0\x11?\0\0\0\0jxlp\0\0\0\0" + HUGE_JXL, "is too large"),
        (BOXES + b"\0\0\0\0Exif" + bytes(50), "is damaged"),
        (BOXES + b"\0\0\0\x08free" * 2000 + b"\0\0\0\0jxlc" + HUGE_JXL, "is damaged"),
        (BOXES + b"\0\0\0\0jxlc\0\0" + bytes(50), "is damaged"),
        (HUGE_JXL[:9], "is damaged"),
        (BOXES, "is damaged"),
    ],
)
def test_a_jpeg_xl_is_decoded_once_its_size_is_known(content, reason):
    pytest.importorskip("pillow_jxl")
    with pytest.raises(ImageError, match=rf"^the image of [\d,]+ bytes {reason}"):
        read_image(content, 3)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 20), (24, 32), (300, 100), (513, 2), (9000, 3)], ids=str)
def test_the_size_of_a_jpeg_xl_is_that_of_its_first_bytes(size):
    pytest.importorskip("pillow_jxl")
    for more in ({}, {"exif": Image.Exif().tobytes() + bytes(9)}, {"use_container": True}):
        Image.new("RGB", size).save(stored := BytesIO(), "JXL", effort=1, **more)
        stored.seek(0)
        assert jxl_size(stored) == size
        assert stored.tell() == 0
    assert jxl_size(BytesIO(PNG)) == (0, 0)
