"""Whatever kind of image comes in, the same pixels come out; what isn't an image is told in one sentence."""

from __future__ import annotations

import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from zoo.contract import RESIZINGS
from zoo.errors import ImageError, InputError
from zoo.images import LARGEST_IMAGE, decoding, read_image, resize

GREY = np.random.RandomState(1).randint(0, 256, (12, 17, 1)).astype(np.uint8)
COLOR = np.random.RandomState(2).randint(0, 256, (12, 17, 3)).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def claims_to_be(width: int, height: int) -> bytes:
    """A PNG of 100 bytes whose header promises more."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 9)) + chunk(b"IEND", b"")
    )


def one_sentence(error: pytest.ExceptionInfo) -> bool:
    message = str(error.value)
    return "\n" not in message and 10 < len(message) < 300


# --- what comes in -------------------------------------------------------------------------------------------------


def test_path_bytes_image_and_array_give_the_same_pixels(tmp_path):
    image = Image.fromarray(COLOR)
    path = tmp_path / "image.png"
    path.write_bytes(encoded(image))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), image, COLOR):
        found = read_image(source, 3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, COLOR)


@pytest.mark.parametrize("array", [GREY, GREY[..., 0]], ids=["H W 1", "H W"])
def test_grey_arrays_come_with_or_without_a_channel(array):
    np.testing.assert_array_equal(read_image(array, 1), GREY)
    np.testing.assert_array_equal(read_image(array, 3), np.repeat(GREY, 3, axis=2))


def test_color_becomes_grey_by_its_luma():
    luma = (COLOR @ np.array([0.299, 0.587, 0.114]))[..., None]
    for source in (COLOR, encoded(Image.fromarray(COLOR))):
        np.testing.assert_allclose(read_image(source, 1), luma, atol=0.51)


def test_a_slice_of_a_larger_array_is_read_as_it_looks():
    np.testing.assert_array_equal(read_image(COLOR[::-1, ::2], 3), COLOR[::-1, ::2])
    assert read_image(COLOR[::-1, ::2], 1).shape == (12, 9, 1)


def test_the_first_frame_of_an_animation_is_read():
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "green", "blue")]
    for kind in ("GIF", "PNG", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        animation = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert Image.open(BytesIO(animation)).n_frames == 3
        np.testing.assert_array_equal(read_image(animation, 3), np.broadcast_to([255, 0, 0], (6, 8, 3)))


def transparent_palette() -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putdata([0, 1])
    return encoded(image, transparency=0)


def transparent_image(mode: str, clear: tuple[int, ...], opaque: tuple[int, ...]) -> bytes:
    image = Image.new(mode, (2, 1), clear)
    image.putpixel((1, 0), opaque)
    return encoded(image)


@pytest.mark.parametrize(
    ("image", "opaque"),
    [
        (transparent_image("RGBA", (0, 0, 255, 0), (255, 0, 0, 255)), (255, 0, 0)),
        (transparent_image("LA", (0, 0), (90, 255)), (90, 90, 90)),
        (transparent_palette(), (255, 0, 0)),
        (encoded(Image.fromarray(np.array([[0, 90]], np.uint8)), transparency=0), (90, 90, 90)),
    ],
    ids=["RGBA", "LA", "palette", "gray with one transparent value"],
)
def test_what_is_transparent_lies_on_white(image, opaque):
    np.testing.assert_array_equal(read_image(image, 3), [[(255, 255, 255), opaque]])
    assert read_image(image, 1)[0, 0, 0] == 255


def test_half_transparent_is_half_white():
    image = encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))
    np.testing.assert_allclose(read_image(image, 3), 127, atol=1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_sixteen_bits_are_scaled_to_eight_not_clipped(kind):
    values = np.array([[0, 128, 257, 1000, 32768, 65535]], np.uint16)
    image = encoded(Image.fromarray(values), kind)
    np.testing.assert_array_equal(read_image(image, 1)[..., 0], np.round(values / 257))


def test_cmyk_keeps_its_colors():
    for color in ((255, 0, 0), (0, 128, 255), (250, 250, 250)):
        image = encoded(Image.new("RGB", (16, 16), color).convert("CMYK"), "JPEG", quality=100)
        assert Image.open(BytesIO(image)).mode == "CMYK"
        np.testing.assert_allclose(read_image(image, 3)[8, 8], color, atol=4)


def test_an_image_of_one_bit_is_black_and_white():
    bits = np.array([[0, 255, 255]], np.uint8)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(bits).convert("1")), 1)[..., 0], bits)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_camera_says(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    path.write_bytes(encoded(Image.fromarray(COLOR), exif=exif))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(path)))
    np.testing.assert_array_equal(read_image(path, 3), upright)
    np.testing.assert_array_equal(read_image(Image.open(path), 3), upright)
    with decoding(path) as decoded:
        assert decoded.pixels.shape[:2] == upright.shape[:2]


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0garbage", b"Exif\0\0nothing"])
def test_an_image_with_damaged_exif_is_read_as_it_lies(exif):
    image = encoded(Image.fromarray(GREY[..., 0]), exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow says what is wrong with the EXIF data
        np.testing.assert_array_equal(read_image(image, 1), GREY)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP"])
def test_an_orientation_that_only_xmp_states_turns_nothing(kind):
    """Nor does it in browsers, and in Node.js: Pillow alone looks for it there."""
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF tiff:Orientation="6"/></x:xmpmeta>'
    content = BytesIO()
    if kind == "PNG":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        Image.new("L", (5, 3)).save(content, kind, pnginfo=info)
    else:
        Image.new("L", (5, 3)).save(content, kind, xmp=xmp)
    with Image.open(BytesIO(content.getvalue())) as opened:
        assert opened.getexif()[0x0112] == 6, "as Pillow has it"
    assert read_image(content.getvalue(), 1).shape == (3, 5, 1)


def test_reading_leaves_the_callers_image_as_it_was():
    image = Image.fromarray(COLOR)
    read_image(image, 1)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), COLOR)


# --- what isn't an image ------------------------------------------------------------------------------------------


def test_a_file_that_is_missing_is_told(tmp_path):
    for path in (tmp_path / "no.png", str(tmp_path / "no.png"), f"{tmp_path}/no\0.png"):
        with pytest.raises(ImageError, match=r"no.*\.png") as error:
            read_image(path, 1)
        assert one_sentence(error)


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ImageError, match="is not a file"):
        read_image(tmp_path, 1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
def test_a_truncated_image_is_told_by_name(tmp_path, kind, kept):
    noise = np.random.RandomState(3).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    whole = encoded(Image.fromarray(noise), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(ImageError, match=path.name) as error:
        read_image(path, 3)
    assert one_sentence(error)
    with pytest.raises(ImageError):
        read_image(path.read_bytes(), 3)


def test_text_called_png_is_not_an_image(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("milk, bread, butter")
    with pytest.raises(ImageError, match=r"notes\.png is not an image: BMP, GIF, JPEG") as error:
        read_image(path, 1)
    assert one_sentence(error)


def test_an_empty_file_is_told(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    with pytest.raises(ImageError, match=r"empty.jpg is empty \(0 bytes\)"):
        read_image(path, 1)
    with pytest.raises(ImageError, match="is empty"):
        read_image(b"", 1)


@pytest.mark.parametrize(("width", "height"), [(9_000, 9_000), (12_000, 9_000), (60_000, 60_000)])
def test_a_small_file_that_claims_to_be_huge_is_refused_without_a_warning(tmp_path, width, height):
    assert width * height > LARGEST_IMAGE
    path = tmp_path / "bomb.png"
    path.write_bytes(claims_to_be(width, height))
    for source in (path, path.read_bytes()):
        with pytest.raises(ImageError, match="too large, expected at most 64,000,000 pixels") as error:
            read_image(source, 1)
        assert one_sentence(error)


def test_floating_point_images_are_told_to_be_scaled():
    image = encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")
    with pytest.raises(ImageError, match="floating-point numbers"):
        read_image(image, 1)


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.full((4, 4, 3), 0.5, np.float32), r"expected uint8 0..255, received float32 0.5..0.5: scale and convert"),
        (np.zeros((4, 4), np.int64), "received int64 0..0"),
        (np.zeros((4, 4), bool), "received bool"),
        (np.zeros((3, 4, 5), np.uint8), r"shape \[3, 4, 5\]"),
        (np.zeros((4, 4, 2), np.uint8), r"shape \[4, 4, 2\]"),
        (np.zeros((2, 4, 4, 3), np.uint8), r"shape \[2, 4, 4, 3\]"),
        (np.zeros((0, 4), np.uint8), r"shape \[0, 4\]"),
        (np.zeros(4, np.uint8), r"shape \[4\]"),
    ],
)
def test_an_array_of_another_kind_is_told_what_was_expected(array, told):
    with pytest.raises(InputError, match=told) as error:
        read_image(array, 3)
    assert one_sentence(error)


@pytest.mark.parametrize("source", [None, 3, [[1, 2]]])
def test_anything_else_is_not_an_image(source):
    with pytest.raises(InputError, match=f"received {type(source).__name__}"):
        read_image(source, 3)


def test_images_have_one_or_three_channels():
    with pytest.raises(InputError, match="received 4"):
        read_image(GREY, 4)


# --- sizes and threads ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("image", [GREY, COLOR], ids=["gray", "color"])
def test_resizing_is_pillows_antialiased_bilinear(image):
    pil = Image.fromarray(image.squeeze())
    for height, width in ((5, 6), (28, 28), (12, 3)):
        expected = np.asarray(pil.resize((width, height), Image.Resampling.BILINEAR))
        found = resize(image, height, width)
        assert found.shape == (height, width, image.shape[2])
        np.testing.assert_array_equal(found.squeeze(), expected)


@pytest.mark.parametrize("resizing", RESIZINGS)
def test_an_image_that_has_the_size_is_not_touched(resizing):
    assert resize(COLOR, 12, 17, resizing) is COLOR


def test_cropping_keeps_proportions_and_the_middle():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 200
    np.testing.assert_array_equal(resize(wide, 10, 10, "crop"), 200)
    tall = wide.transpose(1, 0, 2)
    np.testing.assert_array_equal(resize(tall, 10, 10, "crop"), 200)
    assert resize(wide, 10, 30, "crop").mean() == pytest.approx(wide.mean())  # its own proportions: all of it


def test_padding_keeps_proportions_and_all_of_the_image():
    found = resize(np.full((20, 60, 1), 200, np.uint8), 30, 30, "pad")
    np.testing.assert_array_equal(found[10:20], 200)
    np.testing.assert_array_equal(found[:10], 0)
    np.testing.assert_array_equal(found[20:], 0)


def test_many_threads_read_at_once_and_leave_pythons_warnings_as_they_were(tmp_path):
    path = Path(tmp_path / "image.png")
    path.write_bytes(encoded(Image.fromarray(COLOR)))
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        for found in threads.map(lambda _: read_image(path, 3), range(200)):
            np.testing.assert_array_equal(found, COLOR)
    assert warnings.filters == before


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "bmp", "tif", "webp", "ppm"])
def test_a_large_file_is_read_as_it_is_decoded_and_a_small_one_at_once(ending, tmp_path, monkeypatch):
    path = tmp_path / f"image.{ending}"
    options = {"compression": "tiff_lzw"} if ending == "tif" else {}
    Image.effect_noise((30, 20), 90).convert("RGB").save(path, **options)
    small = read_image(path, 3)
    monkeypatch.setattr("zoo.images.READ_AT_ONCE", path.stat().st_size - 1)
    np.testing.assert_array_equal(read_image(path, 3), small)
