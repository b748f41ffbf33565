"""Images as arrays, with NumPy alone and Pillow where pixels change: an app that has arrays waits for no decoder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from zoo.contract import RESIZINGS
from zoo.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    Pixels: TypeAlias = NDArray[np.uint8]
Part: TypeAlias = tuple[slice, slice]  # of an image, by rows and columns


def check_array(array: NDArray[Any]) -> Pixels:
    """[H, W] or [H, W, C] uint8, of 1, 3 or 4 channels -> [H, W, C], the same memory. InputError for anything else."""
    array = np.asarray(array)  # a matrix would have two dimensions, whatever it is indexed with
    if array.dtype != np.uint8:
        raise InputError(f"expected uint8 0..255, received {array.dtype} {_range(array)}: scale and convert")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)) or not array.size:
        raise InputError(
            "expected an image [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], received an array of shape "
            f"{list(array.shape)}"
        )
    return array.reshape(*array.shape[:2], -1)


def _range(array: NDArray[np.generic]) -> str:
    numbers = array.size and np.issubdtype(array.dtype, np.number) and not np.iscomplexobj(array)
    return f"{array.min():g}..{array.max():g}" if numbers else f"of shape {list(array.shape)}"


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


def _as_image(image: Pixels) -> Image:
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(image[..., 0] if image.shape[2] == 1 else image))
